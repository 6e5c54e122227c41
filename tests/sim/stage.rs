//! The processes of a world.

use std::sync::Arc;

use atalaya_archive::Archive;
use atalaya_bus::Bus;
use atalaya_chassis::Shutdown;
use atalaya_testkit::{FaultBus, Life};

use crate::feed;
use crate::input::TENANTS;
use crate::stores::{FaultHot, FaultStore};
use crate::world::World;

/// A process; all but the feeders are the real services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Feeder(usize),
    Normalizer,
    Correlator,
    HotStore,
    ColdArchive,
    Notifier,
}

impl Stage {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let services = [Self::Normalizer, Self::Correlator, Self::HotStore, Self::ColdArchive, Self::Notifier];
        (0..TENANTS.len()).map(Self::Feeder).chain(services)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Feeder(_) => "feeder",
            Self::Normalizer => "normalizer",
            Self::Correlator => "correlator",
            Self::HotStore => "hot-store",
            Self::ColdArchive => "cold-archive",
            Self::Notifier => "alert-notifier",
        }
    }

    /// One life of it.
    pub(crate) async fn run(self, world: &World, life: &Arc<Life>, shutdown: Shutdown) -> anyhow::Result<()> {
        let bus: Arc<dyn Bus> = FaultBus::new(Arc::clone(&world.bus), Arc::clone(life));
        let store = |store| Arc::new(FaultStore { store: Arc::clone(store), life: Arc::clone(life) });
        match self {
            Self::Feeder(lane) => feed::run(world, lane, bus, shutdown).await,
            Self::Normalizer => {
                let config = atalaya_normalizer::Config::default();
                let deps = atalaya_normalizer::Deps { bus, enrichment: config.enrichment()? };
                atalaya_normalizer::run(config, deps, shutdown).await
            }
            Self::Correlator => {
                let deps = atalaya_correlator::Deps { bus, state: store(&world.state) };
                atalaya_correlator::run(correlator(), deps, shutdown).await
            }
            Self::HotStore => {
                let config = atalaya_hot_store::Config::default();
                let hot = Arc::new(FaultHot { hot: Arc::clone(&world.hot), life: Arc::clone(life) });
                let archive = Archive::over(store(&world.archive))?;
                atalaya_hot_store::run(config, atalaya_hot_store::Deps { bus, hot, archive }, shutdown).await
            }
            Self::ColdArchive => {
                let config = atalaya_cold_archive::Config { flush_ms: 100, close_linger_ms: 20, ..Default::default() };
                let archive = Archive::over(store(&world.archive))?;
                atalaya_cold_archive::run(config, atalaya_cold_archive::Deps { bus, archive }, shutdown).await
            }
            Self::Notifier => {
                let deps = atalaya_alert_notifier::Deps { bus, stdout: Box::new(std::io::sink()) };
                let config = atalaya_alert_notifier::Config::default();
                atalaya_alert_notifier::run(config, deps, shutdown).await
            }
        }
    }

    /// Takes its leases away, as if they had run out.
    pub(crate) async fn break_leases(self, world: &World) -> anyhow::Result<()> {
        let leases = world.bus.bucket("leases").await?;
        for entry in leases.list("").await? {
            if self.holds(&entry.key) {
                leases.delete(&entry.key).await?;
            }
        }
        Ok(())
    }

    fn holds(self, lease: &str) -> bool {
        if lease.starts_with(&format!("members.{}.", self.name())) {
            return true;
        }
        match self {
            Self::Feeder(_) => false,
            Self::Normalizer => lease.starts_with("raw."),
            Self::Correlator => lease.ends_with(".correlator"),
            Self::HotStore => lease.ends_with(".hot"),
            Self::ColdArchive => lease.ends_with(".archive"),
            Self::Notifier => lease.ends_with(".notifier"),
        }
    }
}

/// A correlator that takes snapshots all the time.
pub(crate) fn correlator() -> atalaya_correlator::Config {
    atalaya_correlator::Config { snapshot_ms: 100, ..Default::default() }
}
