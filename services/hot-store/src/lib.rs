//! Files events, alerts and what people do to alerts in the hot store (`atalaya_hot`).
//!
//! Consumes EVT and ALERT, one partition per lease, and `action.>` under a lease of its own; produces rows of the hot
//! store, then moves the floors `EVT.hot.<partition>` (with the books of what was filed, and of what was over on
//! arrival), `ALERT.hot.<partition>` and `ALERT.hot.action`.
//!
//! Guarantees: a floor moves only after everything up to there is on disk in the store; what was filed and not covered
//! by a floor is filed again, which changes nothing. Position and books move in one entry, so the books are exact across
//! any crash. A slow store slows this service and nothing else. Where the trim passed the floor, the gap is told and
//! reading goes on behind it.
//!
//! Limits: [`MAX_LOT_MESSAGES`] and [`MAX_LOT_BYTES`] of a partition in memory.

mod config;
mod lot;
mod scope;
mod telemetry;
mod worker;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use atalaya_bus::Bus;
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;
use atalaya_hot::Hot;

pub use config::Config;
pub use lot::{MAX_LOT_BYTES, MAX_LOT_MESSAGES};

/// What the hot-store service talks to.
pub struct Deps {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The hot store.
    pub hot: Arc<dyn Hot>,
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
        let bus = atalaya_bus::open(&config.bus).await.with_context(|| format!("bus {}", config.bus))?;
        let hot = atalaya_hot::open(&config.hot).await.with_context(|| format!("hot {}", config.hot))?;
        Ok(Deps { bus, hot })
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
