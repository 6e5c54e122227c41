//! A whole process: config → connect → run → drain.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde::de::DeserializeOwned;

use crate::config::{Directory, Watcher};
use crate::{Shutdown, health, telemetry};

/// How long a drain may take; shorter than Kubernetes' default grace period of 30 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);

/// A service: what chassis needs to make a process of it.
pub trait Service: 'static {
    /// Name of the binary.
    const NAME: &'static str;
    /// One line for `--help`.
    const ABOUT: &'static str;
    /// What it is told.
    type Config: DeserializeOwned + Send + 'static;
    /// What it talks to.
    type Deps: Send + 'static;

    /// Takes its part of the configuration.
    ///
    /// # Errors
    /// If something is wrong there; the error names file, line and cure.
    fn configure(directory: &Directory) -> anyhow::Result<Self::Config>;

    /// Opens what it talks to and binds its listeners.
    fn connect(config: &Self::Config) -> impl Future<Output = anyhow::Result<Self::Deps>> + Send;

    /// Works until the drain is asked for, then finishes what it holds.
    fn run(
        config: Self::Config,
        deps: Self::Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static;
}

/// The command line of a service's own binary.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory with atalaya.yaml, tenants/, sources/ and rules/
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
}

/// Makes ring the process's TLS provider; with two compiled in, rustls would not choose.
pub fn install_tls_provider() {
    // A second call finds the provider installed, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The main of a service's binary.
#[must_use]
pub fn main<S: Service>() -> ExitCode {
    let command = <Arguments as clap::CommandFactory>::command().name(S::NAME).about(S::ABOUT);
    let arguments = <Arguments as clap::FromArgMatches>::from_arg_matches(&command.get_matches());
    let outcome = arguments.context("arguments").and_then(|arguments| process::<S>(&arguments));
    if let Err(error) = &outcome {
        tracing::error!("{}: {error:#}", S::NAME);
        complain(S::NAME, error);
    }
    telemetry::shutdown();
    outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

#[allow(clippy::print_stderr, reason = "the last word of a process that may have no logs yet")]
fn complain(name: &str, error: &anyhow::Error) {
    eprintln!("{name}: {error:#}");
}

fn process<S: Service>(arguments: &Arguments) -> anyhow::Result<()> {
    install_tls_provider();
    let directory = Directory::load(Some(&arguments.config))?;
    let config = S::configure(&directory)?;
    let metrics = telemetry::install_as(S::NAME, &directory.section("telemetry")?)?;
    let health_config: health::Config = directory.section("health")?;
    let check = |directory: Directory| S::configure(&directory).map(|_| directory);
    let (watcher, changes) = Watcher::new(arguments.config.clone(), directory, check);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("runtime")?;
    runtime.block_on(async {
        let listener = health::bind(&health_config).await?;
        let (trigger, shutdown) = Shutdown::new();
        let shutdown = shutdown.with_configuration(changes);
        let health = shutdown.health().clone();
        // Before it connects: a process that waits for its stores is alive, and says that it is not ready.
        let server = tokio::spawn(health::serve(listener, health.clone(), Some(metrics), shutdown.clone()));
        let deps = tokio::select! {
            deps = S::connect(&config) => deps?,
            signal = crate::signalled() => return signal.context("signals"),
        };
        tokio::spawn(watcher.run(shutdown.clone()));
        let mut work = tokio::spawn(S::run(config, deps, shutdown));
        health.set_ready(true);
        tokio::select! {
            ended = &mut work => return ended.context("the service's task")?,
            signal = crate::signalled() => signal.context("signals")?,
        }
        health.set_ready(false);
        trigger.request();
        let ended = tokio::time::timeout(DRAIN_DEADLINE, work).await;
        server.abort();
        ended.with_context(|| format!("the drain took more than {DRAIN_DEADLINE:?}"))?.context("the service's task")?
    })
}
