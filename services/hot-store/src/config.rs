//! What the hot-store service is told: section `hot_store`.

use std::time::Duration;

use anyhow::ensure;
use atalaya_archive::S3Options;
use atalaya_bus::LeaseMs;
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_chassis::config::Directory;
use atalaya_hot::cassandra::Options as CassandraOptions;
use serde::Deserialize;

/// Longest wait for more messages, milliseconds: a row is to be found within a second.
const MAX_LINGER_MS: u64 = 500;

/// Section `hot_store` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of the bus; set from the section of that name.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// URL of the hot store; set from the section of that name.
    #[serde(skip)]
    pub hot: String,
    /// How Cassandra is reached; set from the section `cassandra`.
    #[serde(skip)]
    pub cassandra: CassandraOptions,
    /// URL of the archive, which refills what the trim was faster with; set from the section of that name.
    #[serde(skip)]
    pub archive: String,
    /// How S3 is reached; set from the section `s3`.
    #[serde(skip)]
    pub s3: S3Options,
    /// How long a message waits for others to be synced with, milliseconds.
    pub linger_ms: u64,
    /// How long a partition stays with a hot-store service that no longer answers, milliseconds.
    pub lease_ms: LeaseMs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: String::new(),
            nats: NatsOptions::default(),
            hot: String::new(),
            cassandra: CassandraOptions::default(),
            archive: String::new(),
            s3: S3Options::default(),
            linger_ms: 10,
            lease_ms: LeaseMs::default(),
        }
    }
}

impl Config {
    /// Reads the section.
    ///
    /// # Errors
    /// If it is wrong; the error names file and line.
    pub fn read(directory: &Directory) -> anyhow::Result<Self> {
        let mut config: Self = directory.section("hot_store")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
        config.hot = directory.section("hot")?;
        config.cassandra = directory.section("cassandra")?;
        config.archive = directory.section("archive")?;
        config.s3 = directory.section("s3")?;
        config.validate()?;
        Ok(config)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.s3.validate()?;
        let Self { linger_ms, .. } = self;
        ensure!(*linger_ms <= MAX_LINGER_MS, "hot_store.linger_ms: {linger_ms} is more than {MAX_LINGER_MS}");
        Ok(())
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }
}
