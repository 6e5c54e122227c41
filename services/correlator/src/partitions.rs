//! Which partitions this correlator works on: those it can lease.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::{Bucket, Bus, Lease, Stream};
use atalaya_chassis::Shutdown;
use object_store::ObjectStore;
use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::detect::{Compiled, Limits};
use crate::sigma::{RuleFile, RuleSet, load};
use crate::state::StateStore;
use crate::worker::{self, Ended};
use crate::{Config, Deps, telemetry};

const LEASES_BUCKET: &str = "leases";

/// How often partitions without a correlator are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Pause before a partition that failed is taken again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all partitions share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn Bus>,
    store: Arc<dyn ObjectStore>,
    files: Vec<RuleFile>,
    /// The rules that are to be in force.
    pub(crate) configured: Arc<Compiled>,
    /// Rules that were in force, by the hash they were kept under.
    known: Mutex<HashMap<String, Arc<Compiled>>>,
    pub(crate) limits: Limits,
    /// Of EVT.
    pub(crate) incarnation: u64,
    pub(crate) lease: Duration,
    pub(crate) snapshot_messages: u64,
    pub(crate) snapshot_every: Duration,
}

fn compile(set: RuleSet) -> anyhow::Result<Arc<Compiled>> {
    Compiled::new(set).map(Arc::new).map_err(|reason| anyhow::anyhow!("rules: {reason}"))
}

impl Shared {
    /// A partition's part of the state store.
    pub(crate) fn state(&self, partition: u16) -> StateStore {
        StateStore::new(Arc::clone(&self.store), partition, self.incarnation)
    }

    /// Keeps the configured rules under their hash.
    pub(crate) async fn keep_configured(&self, partition: u16) -> anyhow::Result<()> {
        self.state(partition).save_rules(&self.configured.set.hash, &self.files).await
    }

    /// The rules that were in force under a hash; those configured where they are not to be had any more.
    pub(crate) async fn rules(&self, hash: &str) -> Arc<Compiled> {
        if hash == self.configured.set.hash {
            return Arc::clone(&self.configured);
        }
        let mut known = self.known.lock().await;
        if let Some(compiled) = known.get(hash) {
            return Arc::clone(compiled);
        }
        let compiled = match self.read_rules(hash).await {
            Ok(compiled) => compiled,
            Err(error) => {
                telemetry::rules_missing(hash, &error);
                Arc::clone(&self.configured)
            }
        };
        known.insert(hash.to_owned(), Arc::clone(&compiled));
        compiled
    }

    /// Reads rules back. A newer program may understand them differently: they have another hash then, under which they
    /// are kept as well.
    async fn read_rules(&self, hash: &str) -> anyhow::Result<Arc<Compiled>> {
        let state = self.state(0);
        let files = state.rules(hash).await?;
        let set = load(&files);
        if set.hash != hash {
            state.save_rules(&set.hash, &files).await?;
        }
        compile(set)
    }
}

/// The partitions at work.
struct Partitions {
    shared: Arc<Shared>,
    leases: Arc<dyn Bucket>,
    holder: String,
    count: u16,
    tasks: JoinSet<anyhow::Result<Ended>>,
    working: HashMap<Id, u16>,
    not_before: HashMap<u16, Instant>,
    damaged: HashSet<u16>,
}

/// Works until the drain is asked for, then until every partition has finished what it holds.
pub(crate) async fn run(config: Config, deps: Deps, shutdown: &Shutdown) -> anyhow::Result<()> {
    let max = config.max_partitions;
    let mut partitions = Partitions::open(config, deps).await?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shutdown.is_requested() {
        tokio::select! {
            () = shutdown.requested() => break,
            Some(ended) = partitions.tasks.join_next_with_id() => partitions.ended(ended),
            _ = look.tick() => {
                if let Err(error) = partitions.look(max, shutdown).await {
                    telemetry::partitions_unknown(&error);
                }
            }
        }
    }
    while let Some(ended) = partitions.tasks.join_next_with_id().await {
        partitions.ended(ended);
    }
    Ok(())
}

impl Partitions {
    async fn open(config: Config, deps: Deps) -> anyhow::Result<Self> {
        let Deps { bus, state } = deps;
        let set = load(&config.rules);
        set.refused.iter().for_each(telemetry::rule_refused);
        telemetry::rules_loaded(set.rules.len(), set.refused.len(), &set.hash);
        let info = bus.info(Stream::Evt).await.context("stream EVT")?;
        let shared = Shared {
            store: state,
            configured: compile(set)?,
            known: Mutex::default(),
            limits: config.limits(),
            incarnation: info.incarnation,
            lease: config.lease(),
            snapshot_messages: config.snapshot_messages,
            snapshot_every: Duration::from_millis(config.snapshot_interval_ms),
            files: config.rules,
            bus,
        };
        Ok(Self {
            leases: shared.bus.bucket(LEASES_BUCKET).await?,
            shared: Arc::new(shared),
            holder: format!("correlator-{}", std::process::id()),
            count: info.partitions,
            tasks: JoinSet::new(),
            working: HashMap::new(),
            not_before: HashMap::new(),
            damaged: HashSet::new(),
        })
    }

    /// Takes every partition that can be had.
    async fn look(&mut self, max: usize, shutdown: &Shutdown) -> anyhow::Result<()> {
        for partition in 0..self.count {
            let at_work = self.working.values().any(|&working| working == partition) || self.damaged.contains(&partition);
            let early = self.not_before.get(&partition).is_some_and(|&time| Instant::now() < time);
            if at_work || early || self.working.len() >= max {
                continue;
            }
            let (name, ttl) = (format!("evt.{partition}.correlator"), self.shared.lease);
            let lease = Lease::acquire(Arc::clone(&self.leases), &name, &self.holder, ttl).await?;
            let Some(lease) = lease else { continue };
            telemetry::partition_taken(partition);
            let work = worker::run(Arc::clone(&self.shared), partition, lease, shutdown.clone());
            let task = self.tasks.spawn(work);
            self.working.insert(task.id(), partition);
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, anyhow::Result<Ended>), tokio::task::JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow::Error::from(error))),
        };
        let Some(partition) = self.working.remove(&id) else { return };
        match outcome {
            Ok(Ended::Drained | Ended::LeaseLost) => {}
            Ok(Ended::Damaged(error)) => {
                telemetry::partition_damaged(partition, &error);
                self.damaged.insert(partition);
            }
            Err(error) => {
                telemetry::partition_failed(partition, &error);
                self.not_before.insert(partition, Instant::now() + RETRY_AFTER);
            }
        }
        telemetry::partition_left(partition);
    }
}
