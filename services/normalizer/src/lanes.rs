//! Which lanes this normalizer works on: those it can lease of the ones that collectors have registered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::{Bucket, Bus, Claim, Group, Lease, Stop, Stream, is_unanswered, patiently};
use atalaya_chassis::Shutdown;
use atalaya_model::LaneId;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{Config, Deps, Enrichment, Mappings, Normalizer, telemetry, worker};

/// Collectors register their lanes here at their start.
const LANES_BUCKET: &str = "lanes";

const LEASES_BUCKET: &str = "leases";

/// How often new and abandoned lanes are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What all lanes share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) mappings: Arc<Mappings>,
    pub(crate) enrichment: Arc<Enrichment>,
    pub(crate) partitions: u16,
    /// Of RAW.
    pub(crate) incarnation: u64,
}

impl Shared {
    /// A core for a lane.
    pub(crate) fn normalizer(&self) -> Normalizer {
        Normalizer::new(Arc::clone(&self.mappings), Arc::clone(&self.enrichment), self.partitions)
    }
}

/// The lanes at work.
struct Lanes {
    shared: Arc<Shared>,
    lanes: Arc<dyn Bucket>,
    group: Arc<Group>,
    tasks: JoinSet<anyhow::Result<()>>,
    working: HashMap<Id, LaneId>,
    not_before: HashMap<LaneId, Instant>,
}

/// Works until the drain is asked for, then until every lane has finished what it holds.
pub(crate) async fn run(config: &Config, deps: Deps, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mappings = Arc::new(Mappings::built_in()?);
    let (bus, enrichment) = (deps.bus, Arc::new(deps.enrichment));
    let starting = patiently(
        || start(&bus, &mappings, &enrichment, config.lease_ms.into()),
        |error| is_unanswered(error.as_ref()),
    );
    let Some(lanes) = shutdown.unless_requested(starting).await else { return Ok(()) };
    let mut lanes = lanes?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shutdown.is_requested() {
        tokio::select! {
            () = shutdown.requested() => break,
            Some(ended) = lanes.tasks.join_next_with_id() => lanes.ended(ended),
            _ = look.tick() => {
                if let Err(error) = lanes.look(config, shutdown).await {
                    telemetry::lanes_unknown(&error);
                }
            }
        }
    }
    while let Some(ended) = lanes.tasks.join_next_with_id().await {
        lanes.ended(ended);
    }
    Ok(())
}

async fn start(
    bus: &Arc<dyn Bus>,
    mappings: &Arc<Mappings>,
    enrichment: &Arc<Enrichment>,
    lease: Duration,
) -> anyhow::Result<Lanes> {
    Ok(Lanes {
        shared: Arc::new(Shared {
            bus: Arc::clone(bus),
            mappings: Arc::clone(mappings),
            enrichment: Arc::clone(enrichment),
            partitions: bus.info(Stream::Evt).await.context("stream EVT")?.partitions,
            incarnation: bus.info(Stream::Raw).await.context("stream RAW")?.incarnation,
        }),
        lanes: bus.bucket(LANES_BUCKET).await?,
        group: Group::join(bus.bucket(LEASES_BUCKET).await?, "normalizer", lease, 0),
        tasks: JoinSet::new(),
        working: HashMap::new(),
        not_before: HashMap::new(),
    })
}

impl Lanes {
    /// Takes every lane that can be had.
    async fn look(&mut self, config: &Config, shutdown: &Shutdown) -> anyhow::Result<()> {
        let registered = self.lanes.list("").await?;
        self.group.set_total(registered.len());
        for entry in registered {
            let Ok(lane) = entry.key.parse::<LaneId>() else { continue };
            let at_work = self.working.values().any(|working| *working == lane);
            let early = self.not_before.get(&lane).is_some_and(|&time| Instant::now() < time);
            if at_work || early || self.working.len() >= config.max_lanes {
                continue;
            }
            let claim = Claim { group: Arc::clone(&self.group), name: format!("raw.{lane}") };
            let Some(lease) = Lease::take(&claim).await? else { continue };
            telemetry::lane_taken(&lane);
            let work = worker::run(Arc::clone(&self.shared), lane.clone(), lease, shutdown.clone());
            let task = self.tasks.spawn(work);
            self.working.insert(task.id(), lane);
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, anyhow::Result<()>), tokio::task::JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow::Error::from(error))),
        };
        let Some(lane) = self.working.remove(&id) else { return };
        telemetry::lane_left(&lane);
        let Err(error) = outcome else { return };
        let stop = Stop::of(error.as_ref());
        match stop {
            Stop::Left => {}
            Stop::Lost | Stop::Failed => telemetry::lane_failed(&lane, &error),
            Stop::Damaged => telemetry::lane_damaged(&lane, &error),
        }
        self.not_before.insert(lane, Instant::now() + stop.pause());
    }
}
