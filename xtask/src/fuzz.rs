//! Fuzzing on a stable compiler: coverage without a sanitizer. cargo-fuzz on a nightly compiler finds the same targets.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// What makes the compiler count which edges were taken, for libFuzzer.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table";

/// Bytes of an input at most.
const MAX_INPUT_BYTES: usize = 64 << 10;

/// Builds a target, named so that flags do not reach build scripts, and runs it for a time over the corpus in the cache.
pub(crate) fn run(target: &str, seconds: u64) -> anyhow::Result<ExitCode> {
    let host = host()?;
    let directory = atalaya_servers::cache()?.join("fuzz");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--bin", target, "--target", &host, "--manifest-path"]).arg(manifest);
    build.arg("--target-dir").arg(directory.join("target")).env("RUSTFLAGS", COVERAGE);
    if !build.status().context("cargo build")?.success() {
        return Ok(ExitCode::FAILURE);
    }
    let corpus = directory.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
    let status = Command::new(directory.join("target").join(host).join("release").join(target))
        .current_dir(&directory)
        .arg(corpus)
        .args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_INPUT_BYTES}")])
        .status()
        .context("the fuzz target")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}
