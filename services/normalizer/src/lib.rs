//! Turns raw records into events.
//!
//! Consumes RAW, one lane per lease; produces EVT, and DLQ for records no mapping can read.
//!
//! Guarantees: every record of a message leaves as an event, parked or counted as dropped before the message is
//! covered, and leaves once, whatever crashes in between; the same message gives the same output; a record that cannot
//! be read holds nobody else up. What a field becomes is said by the mappings, which are content.
//!
//! Limits: [`MAX_RECORD_BYTES`]; rows and bytes of a message as in `atalaya_schema`; parked records as in [`park`].

pub mod owners;
pub mod park;
pub mod shield;

mod config;
mod dlq;
mod domains;
mod fill;
mod formats;
mod keys;
mod lanes;
mod mapping;
mod normalize;
mod parts;
mod reader;
mod record;
mod telemetry;
mod time;
mod worker;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use atalaya_bus::{Bus, Stream, TrimReader, holder_name, keep_trimmed};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;

pub use config::Config;
pub use mapping::{MappingError, Mappings};
pub use normalize::{Enrichment, NormalizeError, Normalized, Normalizer, PartitionEvents, RecordCounts, normalize};
pub use owners::{Assets, Ownership, OwnershipError};

/// A record at most, bytes; a longer one is parked, cut.
pub const MAX_RECORD_BYTES: usize = 256 << 10;

/// What must be done with RAW before it is let go.
const RAW_READERS: [&str; 2] = ["normalizer", "ledger"];

/// Of RAW, what stays for a replay, bytes.
const RAW_KEEP_BYTES: u64 = 256 << 20;

/// What the normalizer talks to.
pub struct Deps {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// What events are enriched with.
    pub enrichment: Enrichment,
}

/// The normalizer.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-normalizer";
    const ABOUT: &'static str = "Turns raw records into events";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        Config::read(directory)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        let bus =
            atalaya_bus::open_with(&config.bus, &config.nats).await.with_context(|| format!("bus {}", config.bus))?;
        Ok(Deps { bus, enrichment: config.enrichment()? })
    }

    fn run(
        config: Config,
        deps: Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        run(config, deps, shutdown)
    }
}

/// Normalises the lanes it can lease until the drain is asked for.
///
/// # Errors
/// If the mappings are wrong, or the bus does not answer at the start.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    let holder = holder_name("normalizer");
    let readers = RAW_READERS.map(TrimReader::awaited).to_vec();
    let trimming = keep_trimmed(Arc::clone(&deps.bus), Stream::Raw, readers, RAW_KEEP_BYTES, &holder);
    tokio::select! {
        ended = lanes::run(&config, deps, &shutdown) => ended,
        never = trimming => match never {},
    }
}
