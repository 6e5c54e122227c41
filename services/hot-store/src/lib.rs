//! Files events, alerts and what people do to alerts in the hot store (`atalaya_hot`).
//!
//! Consumes EVT and ALERT, one partition per lease, and `action.>` under a lease of its own; produces rows of the hot
//! store, then moves the floors `EVT.hot.<partition>` (with the books of what was filed, and of what was over on
//! arrival), `ALERT.hot.<partition>` and `ALERT.hot.action`.
//!
//! Guarantees: a floor moves only after everything up to there is on disk in the store; what was filed and not covered
//! by a floor is filed again, which changes nothing. Position and books move in one entry, so the books are exact across
//! any crash. A slow store slows this service and nothing else.
//!
//! Where the trim passed the floor of events, the gap is recorded (bucket `gaps`), reading goes on behind it, and the
//! archive refills it meanwhile, once its own floor is past it: its rows of the gap are filed, what it counted and this
//! floor does not is added to the floor's books, and the entry is removed. All of it may be done again.
//!
//! Limits: [`MAX_LOT_MESSAGES`] and [`MAX_LOT_BYTES`] of a partition in memory; of gaps, [`MAX_REFILL_LOTS`] lots of
//! about [`MAX_REFILL_ROWS`] rows in all.

mod archived;
mod balance;
mod config;
mod data_file;
mod lot;
mod refill;
mod scope;
mod telemetry;
mod worker;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use atalaya_archive::Archive;
use atalaya_bus::{Bus, patiently};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;
use atalaya_hot::{Hot, HotError};

pub use archived::MAX_REFILL_ROWS;
pub use config::Config;
pub use lot::{MAX_LOT_BYTES, MAX_LOT_MESSAGES};
pub use worker::MAX_REFILL_LOTS;

/// What the hot-store service talks to.
pub struct Deps {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The hot store.
    pub hot: Arc<dyn Hot>,
    /// The archive, read only: what is missing comes from there.
    pub archive: Archive,
}

/// The hot-store service.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-hot-store";
    const ABOUT: &'static str = "Files events and alerts in the hot store";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        Config::read(directory)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        let bus =
            atalaya_bus::open_with(&config.bus, &config.nats).await.with_context(|| format!("bus {}", config.bus))?;
        let opening = || atalaya_hot::open_with(&config.hot, &config.cassandra);
        let hot = patiently(opening, |error| matches!(error, HotError::Io(_)))
            .await
            .with_context(|| format!("hot {}", config.hot))?;
        let archive = Archive::open_with(&config.archive, &config.s3);
        let archive = archive.with_context(|| format!("archive {}", config.archive))?;
        Ok(Deps { bus, hot, archive })
    }

    fn run(
        config: Config,
        deps: Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        run(config, deps, shutdown)
    }
}

/// Files what it can lease until the drain is asked for.
///
/// # Errors
/// If the configuration is wrong, or the bus does not answer at the start.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    worker::run(config, deps, shutdown).await
}
