//! Groups alerts and delivers them to each tenant's receivers.
//!
//! Consumes ALERT, a partition at a time, by lease `alert.<partition>.notifier`; produces HTTP posts and lines, and
//! keeps bucket `outbox` and the floors `ALERT/notifier/<partition>`.
//!
//! Alerts of one tenant, domain, rule and entity form an episode: a flood of them is one opening message, repeats at
//! most each repeat interval, and one closing message. Guarantees: at least once, with the same idempotency key and body
//! in every attempt; a dead receiver delays no other, and never holds ALERT back; every alert opened is counted exactly
//! once, across any crash, as notified (every receiver of its routes heard of its episode), silenced (by a person, or
//! without a route) or undeliverable. Limits: [`grouping::MAX_EPISODES`], [`grouping::MAX_PENDING_PER_RECEIVER`],
//! [`delivery::MAX_IN_FLIGHT_PER_RECEIVER`], [`episode::MAX_ALERTS_PER_MESSAGE`], attempts and age of [`Config`].

pub mod delivery;
pub mod episode;
pub mod grouping;
pub mod outbox;
pub mod retry;
pub mod routes;
pub mod silences;

mod config;
mod message;
mod telemetry;
mod worker;

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use atalaya_bus::{Bus, BusError, Claim, Group, Lease, Stop, Stream, is_unanswered, patiently, work_leased};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;
use atalaya_model::TenantFile;
use tokio::task::JoinSet;

pub use config::Config;
use delivery::Senders;
use worker::Worker;

/// What the notifier talks to.
pub struct Deps {
    /// ALERT, and the buckets `outbox`, `floors`, `leases` and `silences`.
    pub bus: Arc<dyn Bus>,
    /// Where the lines of `stdout` receivers go.
    pub stdout: Box<dyn Write + Send>,
}

/// The service, for chassis.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-alert-notifier";
    const ABOUT: &'static str = "Groups alerts and delivers them to each tenant's receivers";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        let mut config: Config = directory.section("alert_notifier")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
        for file in directory.tenants() {
            let tenant = file.stem().parse().with_context(|| file.path.display().to_string())?;
            let parsed: TenantFile = file.parse()?;
            parsed.validate().with_context(|| file.path.display().to_string())?;
            config.tenants.insert(tenant, parsed.routes);
        }
        config.validate()?;
        Ok(config)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        Ok(Deps { bus: atalaya_bus::open_with(&config.bus, &config.nats).await?, stdout: Box::new(std::io::stdout()) })
    }

    async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
        run(config, deps, shutdown).await
    }
}

/// Notifies of every partition it can lease, until the drain is asked for.
///
/// # Errors
/// If the configuration is wrong or the bus cannot be reached at the start.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    let senders = Senders::new(deps.stdout, config.attempt_timeout())?;
    let bus = &deps.bus;
    let asking = || async { Ok((bus.info(Stream::Alert).await?.partitions, bus.bucket("leases").await?)) };
    let asking = patiently(asking, |error: &BusError| is_unanswered(error));
    let Some(answer) = shutdown.unless_requested(asking).await else { return Ok(()) };
    let (partitions, leases) = answer?;
    let group = Group::join(leases, "alert-notifier", config.lease_ms.into(), partitions.into());
    let shared = Arc::new(Shared { config, group, bus: deps.bus, senders, shutdown });
    let mut tasks: JoinSet<()> = (0..partitions).map(|partition| notify(Arc::clone(&shared), partition)).collect();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a partition's task")?;
    }
    Ok(())
}

struct Shared {
    config: Config,
    group: Arc<Group>,
    bus: Arc<dyn Bus>,
    senders: Senders,
    shutdown: Shutdown,
}

/// Works on a partition whenever its lease can be had, until the drain is asked for.
async fn notify(shared: Arc<Shared>, partition: u16) {
    let Shared { config, group, bus, senders, shutdown } = shared.as_ref();
    let claim = Claim { group: Arc::clone(group), name: format!("alert.{partition}.notifier") };
    let work = |lease: Lease| {
        lease.hold(async { Worker::resume(bus, config, senders.clone(), partition).await?.work(shutdown).await })
    };
    let tell = |stop, error: &anyhow::Error| match stop {
        Stop::Damaged => telemetry::stopped(partition, error),
        Stop::Lost | Stop::Left | Stop::Failed => telemetry::interrupted(partition, error),
    };
    work_leased(&claim, shutdown.requested(), work, tell).await;
}
