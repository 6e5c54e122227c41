//! `cargo xtask`: everything that is done with the repository, and not by the product.

mod bench;
mod fuzz;
mod helm;
mod image;
mod mesh;
mod running;
mod servers;
mod suites;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What is done with the repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Run the tests: all suites, or those named
    Test {
        /// Only by name: advisories, which needs the advisory database
        suites: Vec<suites::Suite>,
    },
    /// Run a benchmark
    #[command(subcommand)]
    Bench(Bench),
    /// The real servers of a local mesh: NATS, SeaweedFS, Cassandra
    #[command(subcommand)]
    Servers(servers::Action),
    /// The servers and the seven services, configured as in examples/mesh
    #[command(subcommand)]
    Mesh(servers::Action),
    /// Build a container image with buildah and check it; skipped, and said so, where buildah is missing
    Image {
        /// Which binary
        #[arg(long, default_value = "atalaya")]
        package: String,
        /// Passed on to buildah build, such as --isolation chroot
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed a parser with what no source would send: raw_body, evt_body, records or rules; a crash is kept in the cache
    Fuzz {
        /// The target, one of fuzz/fuzz_targets
        target: String,
        /// How long, seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
enum Bench {
    /// The whole pipeline: in one process on embedded stores, and as a mesh on real servers
    #[command(after_help = bench::EXAMPLES)]
    Spine {
        /// Build everything for release first: 50 CPU minutes; without, the profile of the tests, whose hot crates are
        /// fully optimised
        #[arg(long)]
        release: bool,
        #[command(flatten)]
        arguments: bench::Arguments,
    },
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Test { suites } => suites::run(&suites),
        Task::Bench(Bench::Spine { release, arguments }) => bench::spine(release, &arguments),
        Task::Servers(action) => servers::run(action),
        Task::Mesh(action) => mesh::run(action),
        Task::Image { package, arguments } => image::run(&package, &arguments),
        Task::Fuzz { target, seconds } => fuzz::run(&target, seconds),
    };
    done.unwrap_or_else(|error| {
        suites::say(&format!("xtask: {error:#}"));
        ExitCode::FAILURE
    })
}
