//! What the correlator is told: section `correlator`, and the files in `rules/`.

use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_archive::S3Options;
use atalaya_bus::LeaseMs;
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_chassis::config::Directory;
use serde::Deserialize;

use crate::built_in_rules;
use crate::detect::Limits;
use crate::sigma::RuleFile;

/// Section `correlator` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of the bus; set from the section of that name.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// URL of the state store; set from the section of that name.
    #[serde(skip)]
    pub state: String,
    /// How S3 is reached; set from the section `s3`.
    #[serde(skip)]
    pub s3: S3Options,
    /// The files in `rules/`.
    #[serde(skip)]
    pub rules: Vec<RuleFile>,
    /// Whether the built-in pack is loaded too.
    pub built_in: bool,
    /// Groups of one rule of one tenant in one domain; beyond, the one seen longest ago is forgotten and counted.
    pub groups_per_rule: usize,
    /// How long a live input may be silent before the watermark goes on without it, milliseconds.
    pub idle_ms: u64,
    /// How often a partition that moved is snapshotted, milliseconds.
    pub snapshot_ms: u64,
    /// How long a partition stays with a correlator that no longer answers, milliseconds.
    pub lease_ms: LeaseMs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: String::new(),
            nats: NatsOptions::default(),
            state: String::new(),
            s3: S3Options::default(),
            rules: Vec::new(),
            built_in: true,
            groups_per_rule: 100_000,
            idle_ms: 300_000,
            snapshot_ms: 15_000,
            lease_ms: LeaseMs::default(),
        }
    }
}

impl Config {
    /// Reads the section and the rule files.
    ///
    /// # Errors
    /// If it is wrong; the error names file and line.
    pub fn read(directory: &Directory) -> anyhow::Result<Self> {
        let mut config: Self = directory.section("correlator")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
        config.state = directory.section("state")?;
        config.s3 = directory.section("s3")?;
        let files = directory.rules().iter();
        config.rules =
            files.map(|file| RuleFile { path: file.path.display().to_string(), text: file.text.clone() }).collect();
        config.validate()?;
        Ok(config)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn validate(&self) -> anyhow::Result<()> {
        let Self { groups_per_rule, snapshot_ms, .. } = self;
        self.s3.validate().context("s3")?;
        ensure!(*groups_per_rule > 0, "correlator.groups_per_rule: write 1 or more");
        ensure!(*snapshot_ms > 0, "correlator.snapshot_ms: write 1 or more");
        Ok(())
    }

    pub(crate) fn all_rules(&self) -> Vec<RuleFile> {
        let pack = if self.built_in { built_in_rules() } else { Vec::new() };
        pack.into_iter().chain(self.rules.iter().cloned()).collect()
    }

    pub(crate) fn limits(&self) -> Limits {
        let idle_us = i64::try_from(self.idle_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        Limits { groups_per_rule: self.groups_per_rule, idle_us }
    }

    pub(crate) fn snapshot_every(&self) -> Duration {
        Duration::from_millis(self.snapshot_ms)
    }
}
