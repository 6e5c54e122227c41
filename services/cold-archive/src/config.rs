//! What the cold archive is told: section `cold_archive`.

use anyhow::ensure;
use atalaya_archive::S3Options;
use atalaya_bus::LeaseMs;
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_chassis::config::Directory;
use serde::Deserialize;

/// Longest wait before a flush, milliseconds: a row must be visible ten seconds after it arrived.
const MAX_FLUSH_MS: u64 = 8_000;

/// Section `cold_archive` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of the bus; set from the section of that name.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// URL of the archive; set from the section of that name.
    #[serde(skip)]
    pub archive: String,
    /// How S3 is reached; set from the section `s3`.
    #[serde(skip)]
    pub s3: S3Options,
    /// How long the first row in memory waits for others, milliseconds.
    pub flush_ms: u64,
    /// Rows in memory that are flushed at once.
    pub flush_rows: usize,
    /// Bytes in memory that are flushed at once.
    pub flush_bytes: usize,
    /// How long the end of a backfill's input waits for the ends of others, milliseconds.
    pub close_linger_ms: u64,
    /// How long a partition stays with a cold archive that no longer answers, milliseconds.
    pub lease_ms: LeaseMs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: String::new(),
            nats: NatsOptions::default(),
            archive: String::new(),
            s3: S3Options::default(),
            flush_ms: 5_000,
            flush_rows: 250_000,
            flush_bytes: 32 << 20,
            close_linger_ms: 200,
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
        let mut config: Self = directory.section("cold_archive")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
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
        let Self { flush_ms, flush_rows, flush_bytes, .. } = self;
        ensure!(*flush_ms <= MAX_FLUSH_MS, "cold_archive.flush_ms: {flush_ms} is more than {MAX_FLUSH_MS}");
        ensure!(*flush_rows > 0, "cold_archive.flush_rows: write 1 or more");
        ensure!(*flush_bytes > 0, "cold_archive.flush_bytes: write 1 or more");
        Ok(())
    }
}
