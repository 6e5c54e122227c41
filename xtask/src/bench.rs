//! Benchmarks: run alone, in the profile of everything else unless asked for release.

use std::process::{Command, ExitCode};

use anyhow::Context;

/// Runs the bench of the whole pipeline.
pub(crate) fn spine(release: bool, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let profile = if release { "release" } else { "dev" };
    let mut command = Command::new(env!("CARGO"));
    command.args(["bench", "--package", "atalaya-tests", "--bench", "spine", "--profile", profile, "--"]);
    let status = command.args(arguments).status().context("cargo bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
