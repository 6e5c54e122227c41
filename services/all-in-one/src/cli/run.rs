//! `atalaya run`.

use anyhow::Context;
use clap::Args;

use super::output::note;
use super::{Outcome, Place};
use crate::{Instance, Options, Roles};

/// Run all seven services in this process, until SIGINT or SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "Without --config: tenant 'default', ingest on loopback, the built-in rules.
The other commands find this instance by its data directory.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<Outcome> {
    let directory = atalaya_chassis::config::Directory::load(args.place.config.as_deref())?;
    let metrics = atalaya_chassis::telemetry::install(&directory.section("telemetry")?)?;
    let mut instance = Instance::start(Options {
        data: args.place.data.clone(),
        config: args.place.config,
        roles: Roles::All,
        default_ports: true,
        prints_alerts: true,
        metrics: Some(metrics),
    })
    .await?;
    let run = instance.run_file();
    note(&format!(
        "atalaya {} on {}: gateway {}, ingest {}, health {}",
        env!("CARGO_PKG_VERSION"),
        args.place.data.display(),
        run.gateway,
        run.ingest,
        run.health
    ));
    tokio::select! {
        signal = atalaya_chassis::signalled() => signal.context("signals")?,
        failed = instance.failed() => {
            let stopped = instance.stop().await;
            return Err(failed.context(format!("while stopping: {stopped:?}")));
        }
    }
    note("draining");
    instance.stop().await?;
    Ok(Outcome::Good)
}
