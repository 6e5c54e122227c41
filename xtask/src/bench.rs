//! Benchmarks: built for release, run alone.

use std::process::{Command, ExitCode};

use anyhow::Context;

/// Runs the bench of the whole pipeline.
pub fn spine(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["bench", "--package", "atalaya-tests", "--bench", "spine", "--"]).args(arguments);
    let status = command.status().context("cargo bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
