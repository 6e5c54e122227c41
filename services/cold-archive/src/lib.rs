//! Appends events and alerts to the archive.
//!
//! Consumes EVT and ALERT, one partition per lease; produces Delta commits (`atalaya_archive`), one per class and
//! flush, then moves the floors `EVT.archive.<partition>` (with the books of what is archived) and
//! `ALERT.archive.<partition>`.
//!
//! Guarantees: every row is in its table once, whatever dies in between: a floor moves only after every table is
//! committed up to there, and each table drops what it has already. A row can be queried at most ten seconds after it
//! arrived (`flush_ms` and the time of one flush), a backfill's last rows at once when its inputs close.
//!
//! Limits: rows and bytes in memory as configured, twice over while a flush is under way; beyond that nothing is read.

mod buffer;
mod config;
mod findings;
mod flush;
mod partition;
mod sweep;
mod telemetry;
mod worker;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use atalaya_archive::Archive;
use atalaya_bus::{Bus, Stream, TrimReader, holder_name, keep_trimmed};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;

pub use config::Config;
pub use findings::findings;

/// Who must be done with EVT and ALERT before they are let go. Of events, what the hot store was too slow for is in the
/// archive, which refills it.
const EVT_READERS: [&str; 3] = ["archive", "correlator", "ledger"];
const EVT_YIELDING: &str = "hot";
const ALERT_READERS: [&str; 4] = ["archive", "hot", "ledger", "notifier"];

/// Of each, what stays for a replay, bytes.
const KEEP_BYTES: u64 = 512 << 20;

/// What the cold archive talks to.
#[derive(Clone)]
pub struct Deps {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The archive.
    pub archive: Archive,
}

/// The cold archive.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-cold-archive";
    const ABOUT: &'static str = "Appends events and alerts to the Delta archive, exactly once";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        Config::read(directory)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        let bus =
            atalaya_bus::open_with(&config.bus, &config.nats).await.with_context(|| format!("bus {}", config.bus))?;
        let archive = Archive::open_with(&config.archive, &config.s3);
        let archive = archive.with_context(|| format!("archive {}", config.archive))?;
        Ok(Deps { bus, archive })
    }

    fn run(
        config: Config,
        deps: Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        run(config, deps, shutdown)
    }
}

/// Archives until the drain is asked for, then what is in memory.
///
/// # Errors
/// If the store does not create objects atomically or refuses this process, the bus does not answer at the start, or a
/// table is of a kind that must not be written to. A store that is away is waited for.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    if !sweep::prove(&deps.archive, &shutdown).await? {
        return Ok(());
    }
    let holder = holder_name("cold-archive");
    let trim = |stream, readers| keep_trimmed(Arc::clone(&deps.bus), stream, readers, KEEP_BYTES, &holder);
    let mut of_events = EVT_READERS.map(TrimReader::awaited).to_vec();
    of_events.push(TrimReader::yielding(EVT_YIELDING));
    let of_alerts = ALERT_READERS.map(TrimReader::awaited).to_vec();
    let (events, alerts) = (trim(Stream::Evt, of_events), trim(Stream::Alert, of_alerts));
    tokio::select! {
        ended = worker::run(&config, deps.clone(), shutdown) => ended,
        never = events => match never {},
        never = alerts => match never {},
        never = sweep::keep_swept(deps.archive.clone()) => match never {},
    }
}
