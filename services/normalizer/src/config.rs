//! What the normalizer is told: section `normalizer`, and what the tenants' files say they own.

use anyhow::{Context, ensure};
use atalaya_bus::LeaseMs;
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_chassis::config::Directory;
use atalaya_model::TenantFile;
use serde::Deserialize;

use crate::{Assets, Enrichment, Ownership};

/// Section `normalizer` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of the bus; set from the section of that name.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// What the tenants' files say they own.
    #[serde(skip)]
    pub assets: Vec<Assets>,
    /// Lanes worked on at the same time, at most; others are left to other normalizers.
    pub max_lanes: usize,
    /// How long a lane stays with a normalizer that no longer answers, milliseconds.
    pub lease_ms: LeaseMs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: String::new(),
            nats: NatsOptions::default(),
            assets: Vec::new(),
            max_lanes: 64,
            lease_ms: LeaseMs::default(),
        }
    }
}

impl Config {
    /// Reads the section and the tenants' files.
    ///
    /// # Errors
    /// If one of them is wrong; the error names file and line.
    pub fn read(directory: &Directory) -> anyhow::Result<Self> {
        let mut config: Self = directory.section("normalizer")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
        for file in directory.tenants() {
            let tenant = file.stem().parse().with_context(|| file.path.display().to_string())?;
            let TenantFile { networks, domains, .. } = file.parse()?;
            config.assets.push(Assets { tenant, networks, domains });
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.max_lanes > 0, "normalizer.max_lanes: 0 lanes would normalise nothing; write 1 or more");
        self.enrichment().map(|_| ())
    }

    /// What events are enriched with.
    ///
    /// # Errors
    /// If a tenant's networks or domains cannot be read.
    pub fn enrichment(&self) -> anyhow::Result<Enrichment> {
        Ok(Enrichment { ownership: Ownership::new(&self.assets)? })
    }
}
