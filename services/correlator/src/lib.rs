//! Turns events into alerts, by rules and correlations over event time.
//!
//! Consumes EVT, one partition per lease; produces ALERT. Guarantees: alerts are a function of EVT and the rules alone;
//! a restart goes on from a snapshot, computes again what was written already and writes the rest; an alert is written as
//! soon as its event was read. Rules: Sigma detections and correlations ([`sigma`]), a plain detection being an incident
//! per entity. Limits: [`MAX_ALERTS_PER_MESSAGE`], [`detect::MAX_DOMAINS`], groups a rule as configured, and those of
//! [`detect::group`] and [`detect::window`].

pub mod detect;
pub mod engine;
pub mod sigma;
pub mod watermark;

mod check;
mod config;
#[cfg(test)]
mod fixtures;
mod output;
mod pack;
mod restore;
mod rules;
mod snapshots;
mod telemetry;
mod worker;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use atalaya_bus::{Bus, Floors, Group, Stream, is_unanswered, patiently};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;
use object_store::ObjectStore;
use tokio::task::JoinSet;

pub use check::{RuleReport, check};
pub use config::Config;
pub use output::MAX_ALERTS_PER_MESSAGE;
pub use pack::{built_in_rules, read_rules};
pub use snapshots::{KeptSnapshot, StateStore, forget_snapshots, kept_snapshots, open_state, open_state_with};

/// What the correlator talks to.
pub struct Deps {
    /// EVT, ALERT, and the buckets `floors` and `leases`.
    pub bus: Arc<dyn Bus>,
    /// Snapshots and rule sets.
    pub state: Arc<dyn ObjectStore>,
}

/// The correlator.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-correlator";
    const ABOUT: &'static str = "Turns events into alerts, by rules and correlations over event time";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        Config::read(directory)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        let bus =
            atalaya_bus::open_with(&config.bus, &config.nats).await.with_context(|| format!("bus {}", config.bus))?;
        Ok(Deps { bus, state: open_state_with(&config.state, &config.s3)? })
    }

    fn run(
        config: Config,
        deps: Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        run(config, deps, shutdown)
    }
}

/// Correlates until the drain is asked for.
///
/// # Errors
/// If the configuration is wrong, the rules cannot be compiled, or the bus or the state store does not answer at the
/// start.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    let rules = rules::Rules::compile(config.all_rules(), sigma::Logsources::built_in())?;
    for refused in &rules.compiled.set.refused {
        telemetry::rule_refused(refused);
    }
    let starting = patiently(|| start(&config, &deps, &rules, &shutdown), passes);
    let Some(tasks) = shutdown.unless_requested(starting).await else { return Ok(()) };
    let mut tasks = tasks?;
    while let Some(ended) = tasks.join_next().await {
        ended.context("a partition's task")?;
    }
    Ok(())
}

/// Whether a start that failed so is of use again: neither the bus nor the state store refused.
fn passes(error: &anyhow::Error) -> bool {
    let store = error.chain().find_map(|cause| cause.downcast_ref());
    is_unanswered(error.as_ref()) || matches!(store, Some(object_store::Error::Generic { .. }))
}

async fn start(config: &Config, deps: &Deps, rules: &rules::Rules, shutdown: &Shutdown) -> anyhow::Result<JoinSet<()>> {
    let bus = &deps.bus;
    let partitions = bus.info(Stream::Evt).await.context("stream EVT")?.partitions;
    let snapshots = snapshots::Snapshots::new(Arc::clone(&deps.state));
    snapshots.keep_rules(rules).await.context("state store")?;
    let shared = Arc::new(worker::Shared {
        floors: Floors::open(bus.as_ref()).await?,
        group: Group::join(bus.bucket("leases").await?, "correlator", config.lease_ms.into(), partitions.into()),
        snapshot_every: config.snapshot_every(),
        limits: config.limits(),
        bus: Arc::clone(bus),
        snapshots,
        rules: rules.clone(),
        shutdown: shutdown.clone(),
    });
    Ok((0..partitions).map(|partition| worker::serve(Arc::clone(&shared), partition)).collect())
}
