//! `cargo xtask`: everything that is done with the repository, and not by the product.

mod bench;
mod suites;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What is done with the repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Run the tests: all suites, or those named
    Test {
        /// Only by name: sim, which is not green yet, and advisories, which needs the advisory database
        suites: Vec<suites::Suite>,
    },
    /// Run a benchmark
    #[command(subcommand)]
    Bench(Bench),
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
enum Bench {
    /// The whole pipeline on embedded stores, per stage and whole
    Spine {
        /// Build everything for release first: 50 CPU minutes; without, the profile of the tests, whose hot crates are
        /// fully optimised
        #[arg(long)]
        release: bool,
        /// Passed on: see --help of the bench itself
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Test { suites } => suites::run(&suites),
        Task::Bench(Bench::Spine { release, arguments }) => bench::spine(release, &arguments),
    };
    done.unwrap_or_else(|error| {
        suites::say(&format!("xtask: {error:#}"));
        ExitCode::FAILURE
    })
}
