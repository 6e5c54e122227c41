//! The test suites, run one after the other, and their totals.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;

/// One suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Units, properties and doc tests
    Unit,
    /// One suite per port, on every adapter
    Conformance,
    /// The all-in-one on real data
    Pipeline,
    /// The mesh on real servers and real data, while processes and servers are killed
    Real,
    /// Seeded faults over the whole chain
    Sim,
    /// Formatting, clippy, cargo-deny, tidy
    Lint,
    /// The chart: lint, unit tests, validation, and the product started on what it renders
    Helm,
    /// Known vulnerabilities of our dependencies; needs the advisory database, so never part of "all"
    Advisories,
}

/// What runs without a name.
const ALL: [Suite; 7] =
    [Suite::Unit, Suite::Conformance, Suite::Pipeline, Suite::Real, Suite::Sim, Suite::Lint, Suite::Helm];

/// Tests that ran, by how they ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs suites; all of them if none is named.
pub(crate) fn run(suites: &[Suite]) -> anyhow::Result<ExitCode> {
    let suites = if suites.is_empty() { &ALL } else { suites };
    let (mut totals, mut lines) = (Totals::default(), Vec::new());
    for suite in suites {
        let began = Instant::now();
        let found = suite.run()?;
        let (name, seconds) = (suite.name(), began.elapsed().as_secs_f64());
        lines.push(format!("{name:<12} {:>5} passed {:>3} failed  {seconds:>6.0} s", found.passed, found.failed));
        totals += found;
    }
    say("");
    lines.iter().for_each(|line| say(line));
    say(&format!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped));
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Suite {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn run(self) -> anyhow::Result<Totals> {
        match self {
            Self::Unit => {
                let mut totals = tests(&["--lib".to_owned(), "--bins".to_owned()])?;
                totals += tests(&targets(self)?)?;
                totals += tests(&["--doc".to_owned()])?;
                Ok(totals)
            }
            Self::Conformance | Self::Pipeline | Self::Sim => tests(&targets(self)?),
            Self::Real if build_services()? => tests(&targets(self)?),
            Self::Real => Ok(Totals { failed: 1, ..Totals::default() }),
            Self::Lint => lint(),
            Self::Helm => crate::helm::run(),
            Self::Advisories => counted_step("advisories", deny(&["advisories"])?),
        }
    }

    /// The suite that an integration test belongs to, by its name.
    fn of(test: &str) -> Self {
        match test {
            "journal" | "embedded" | "nats" | "cassandra" | "s3" => Self::Conformance,
            "pipeline" | "readers" => Self::Pipeline,
            "real" => Self::Real,
            "sim" => Self::Sim,
            "tidy" => Self::Lint,
            _ => Self::Unit,
        }
    }
}

/// Builds the binaries of the services; whether they compile. Always the whole workspace, so that the suites find the
/// same compiled crates.
pub(crate) fn build_services() -> anyhow::Result<bool> {
    Ok(cargo(&["build", "--workspace", "--bins"]).status().context("cargo build")?.success())
}

/// Runs some tests; always with the whole workspace, so that every suite finds the same compiled crates.
fn tests(selection: &[String]) -> anyhow::Result<Totals> {
    let mut cargo = cargo(&["test", "--workspace", "--no-fail-fast"]);
    cargo.args(selection);
    counted(cargo)
}

/// The integration tests of a suite, as arguments.
fn targets(suite: Suite) -> anyhow::Result<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output().context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let names = targets.filter(|target| target["kind"][0] == "test").filter_map(|target| target["name"].as_str());
    let mut names: Vec<&str> = names.filter(|name| Suite::of(name) == suite).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.iter().flat_map(|name| ["--test".to_owned(), (*name).to_owned()]).collect())
}

fn lint() -> anyhow::Result<Totals> {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets", "--quiet"]);
    clippy.args(["--", "--deny", "warnings"]);
    let mut totals = counted_step("fmt", cargo(&["fmt", "--all", "--check"]))?;
    totals += counted_step("clippy", clippy)?;
    totals += counted_step("deny", deny(&["licenses", "bans", "sources"])?)?;
    totals += tests(&targets(Suite::Lint)?)?;
    say("advisories are not checked here: cargo xtask test advisories does, where the database can be reached");
    Ok(totals)
}

fn deny(checks: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(atalaya_servers::cargo_deny()?);
    command.args(["--log-level", "error", "check"]).args(checks);
    Ok(command)
}

/// Cargo as it is when called by hand. What `cargo run` says of this package to this process is taken away: some build
/// scripts depend on it, and DataFusion would be compiled anew after each change between the two.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments);
    let of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    std::env::vars().map(|(name, _)| name).filter(|name| of_this_package(name)).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// A step that counts as one test.
fn counted_step(name: &str, mut command: Command) -> anyhow::Result<Totals> {
    say(&format!("{name}: {command:?}"));
    let passed = command.status().with_context(|| name.to_owned())?.success();
    say(&format!("{name}: {}", if passed { "ok" } else { "FAILED" }));
    Ok(Totals { passed: u64::from(passed), failed: u64::from(!passed), skipped: 0 })
}

/// Runs cargo test, passes its output on and adds up the closing lines of every test binary.
fn counted(mut command: Command) -> anyhow::Result<Totals> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo test")?;
    let mut totals = Totals::default();
    for line in BufReader::new(child.stdout.take().context("cargo's output")?).lines() {
        let line = line?;
        totals += closing_line(&line).unwrap_or_default();
        if !line.is_empty() && !line.ends_with("... ok") && !line.starts_with("running ") {
            say(&line);
        }
    }
    if !child.wait()?.success() && totals.failed == 0 {
        // It did not compile, or a test binary died.
        totals.failed = 1;
    }
    Ok(totals)
}

/// The totals in `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn closing_line(line: &str) -> Option<Totals> {
    let rest = line.strip_prefix("test result: ")?;
    let count = |what: &str| {
        let before = rest.split(what).next()?;
        before.split_whitespace().last()?.parse().ok()
    };
    Some(Totals { passed: count(" passed")?, failed: count(" failed")?, skipped: count(" ignored")? })
}

/// Writes a line for the person who waits.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell where the standard output is closed.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s";
        let totals = closing_line(line).unwrap();
        assert_eq!((totals.passed, totals.failed, totals.skipped), (12, 2, 1));
        assert!(closing_line("test a ... ok").is_none());
    }
}
