//! Benchmarks: run alone, in the profile of everything else unless asked for release.

#[allow(dead_code, reason = "most of it is read by the bench alone")]
#[path = "../../tests/benches/spine/arguments.rs"]
mod arguments;

use std::process::ExitCode;

use anyhow::Context;

use crate::suites::cargo;

pub(crate) use arguments::{Arguments, EXAMPLES};

/// What is built: with the whole workspace and the features of the tests, so that nothing is compiled a second time.
const SPINE: [&str; 3] = ["--workspace", "--bench", "spine"];

/// Runs the bench of the whole pipeline. What it is asked for is passed on as it was written.
pub(crate) fn spine(release: bool, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let profile = ["--profile", if release { "release" } else { "dev" }];
    if !arguments.all_in_one() && arguments.binaries.is_none() {
        let mut build = cargo(&["build", "--bins"]);
        let built = build.args(SPINE).args(profile).status().context("cargo build")?;
        if !built.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    let asked = std::env::args().skip_while(|argument| argument != "spine").skip(1);
    let mut bench = cargo(&["bench"]);
    bench.args(SPINE).args(profile).arg("--").args(asked.filter(|argument| argument != "--release"));
    let status = bench.status().context("cargo bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
