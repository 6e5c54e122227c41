//! The loop of one scope: read → file → sync → floor.

use std::sync::Arc;

use anyhow::Context;
use atalaya_archive::Archive;
use atalaya_bus::{
    Bus, BusError, ChainCheck, Claim, Damage, Filter, Floor, FloorEntry, Floors, Gap, Group, Lease, Message, Position,
    Reader, Stop, Stream, is_unanswered, patiently, verify_position, work_leased,
};
use atalaya_chassis::Shutdown;
use atalaya_hot::{Hot, HotError};
use atalaya_model::Books;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lot::Lot;
use crate::refill::{Holes, Refill};
use crate::scope::{READER, Scope};
use crate::{Config, Deps, telemetry};

const LEASES_BUCKET: &str = "leases";

/// Lots read from the archive and filed at a time, over all partitions: bounds their memory.
pub const MAX_REFILL_LOTS: usize = 2;

/// What all scopes share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) hot: Arc<dyn Hot>,
    pub(crate) archive: Archive,
    /// A turn for each lot that is refilled.
    pub(crate) refills: Semaphore,
    pub(crate) floors: Floors,
    group: Arc<Group>,
    config: Config,
    shutdown: Shutdown,
}

/// A store that is damaged stays so until somebody has looked.
fn judged(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(HotError::Damaged { .. }) => Damage::new(error).into(),
        _ => error,
    }
}

/// Files until the drain is asked for, then what is at hand.
pub(crate) async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    let starting = patiently(|| start(&config, &deps, &shutdown), |error| is_unanswered(error.as_ref()));
    let Some(tasks) = shutdown.unless_requested(starting).await else { return Ok(()) };
    let mut tasks = tasks?;
    while let Some(ended) = tasks.join_next().await {
        ended.context("a partition's task")?;
    }
    Ok(())
}

async fn start(config: &Config, deps: &Deps, shutdown: &Shutdown) -> anyhow::Result<JoinSet<()>> {
    let bus = &deps.bus;
    let events = bus.info(Stream::Evt).await.context("stream EVT")?.partitions;
    let alerts = bus.info(Stream::Alert).await.context("stream ALERT")?.partitions;
    let scopes: Vec<Scope> = Scope::all(events, alerts).collect();
    let shared = Arc::new(Shared {
        floors: Floors::open(bus.as_ref()).await?,
        group: Group::join(bus.bucket(LEASES_BUCKET).await?, "hot-store", config.lease_ms.into(), scopes.len()),
        bus: Arc::clone(bus),
        hot: Arc::clone(&deps.hot),
        archive: deps.archive.clone(),
        refills: Semaphore::new(MAX_REFILL_LOTS),
        config: config.clone(),
        shutdown: shutdown.clone(),
    });
    Ok(scopes.into_iter().map(|scope| serve(Arc::clone(&shared), scope)).collect())
}

/// Takes a scope whenever it is free, and files it, until the drain is asked for.
async fn serve(shared: Arc<Shared>, scope: Scope) {
    let claim = Claim { group: Arc::clone(&shared.group), name: scope.to_string() };
    let work = |lease: Lease| async {
        let ended = lease.hold(work(&shared, scope)).await;
        telemetry::left(scope);
        ended.map_err(judged)
    };
    let tell = |stop, error: &anyhow::Error| match stop {
        Stop::Damaged => telemetry::damaged(scope, error),
        Stop::Lost | Stop::Left | Stop::Failed => telemetry::failed(scope, error),
    };
    work_leased(&claim, shared.shutdown.requested(), work, tell).await;
}

/// A scope being filed.
struct Work<'a> {
    shared: &'a Shared,
    scope: Scope,
    filter: &'a Filter,
    incarnation: u64,
    floor: &'a Mutex<FloorEntry>,
    /// Where gaps are recorded: of events, which the archive gives back.
    holes: Option<&'a Holes>,
    reader: Box<dyn Reader>,
    chain: ChainCheck,
}

async fn work(shared: &Shared, scope: Scope) -> anyhow::Result<()> {
    let (bus, stream) = (shared.bus.as_ref(), scope.stream());
    let floor = shared.floors.hold(stream, READER, &scope.floor()).await.context("floor")?;
    let after = floor.floor().map(|floor| floor.position.clone()).unwrap_or_default();
    telemetry::taken(scope, after.sequence);
    verify_position(bus, stream, &after).await?;
    let filter = &scope.filter().context("filter")?;
    let incarnation = bus.info(stream).await?.incarnation;
    let reader = bus.read(stream, filter, after.sequence).await?;
    let chain = ChainCheck::open(bus, stream, after.sequence).await?;
    let floor = &Mutex::new(floor);
    let mut work = Work { shared, scope, filter, incarnation, floor, holes: None, reader, chain };
    let Scope::Events(partition) = scope else { return work.run().await };
    let holes = &Holes::open(bus, partition).await.context("gaps")?;
    work.holes = Some(holes);
    let refill = Refill { shared, partition, incarnation, filter, floor, holes };
    tokio::select! {
        ended = work.run() => ended,
        failed = refill.run() => match failed.context("refilling")? {},
    }
}

impl Work<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let first = match self.shared.shutdown.unless_requested(self.reader.next()).await {
                None => return Ok(()),
                Some(Err(gap @ BusError::Gap { .. })) => {
                    self.pass_gap(&gap).await?;
                    continue;
                }
                Some(first) => first?,
            };
            self.chain.check(&first)?;
            let lot = self.gather(first).await?;
            self.file(lot).await?;
        }
    }

    /// Goes on behind what was trimmed: once it is recorded, where it can be refilled.
    async fn pass_gap(&mut self, gap: &BusError) -> anyhow::Result<()> {
        let BusError::Gap { expected, found, .. } = *gap else { return Ok(()) };
        telemetry::gap(self.scope, gap);
        let sequence = found.saturating_sub(1);
        if let Some(holes) = self.holes {
            holes.add(Gap { from: expected, to: sequence }).await.context("gaps")?;
            // Nothing may follow: the floor says all the same that nothing is left to read.
            self.move_floor(sequence, String::new(), &Books::default()).await?;
        }
        self.reader = self.shared.bus.read(self.scope.stream(), self.filter, sequence).await?;
        self.chain = ChainCheck::open(self.shared.bus.as_ref(), self.scope.stream(), sequence).await?;
        Ok(())
    }

    /// Adds what is there already, and what comes within the linger time. An error here comes again when the lot is
    /// filed, and is met then.
    async fn gather(&mut self, first: Message) -> anyhow::Result<Lot> {
        let until = Instant::now() + self.shared.config.linger();
        let mut lot = Lot::new(first);
        while !lot.is_full() {
            let next = match self.reader.try_next().await {
                Ok(Some(message)) => message,
                Ok(None) => match tokio::time::timeout_at(until, self.reader.next()).await {
                    Ok(Ok(message)) => message,
                    Ok(Err(_)) | Err(_) => break,
                },
                Err(_) => break,
            };
            self.chain.check(&next)?;
            lot.add(next);
        }
        Ok(lot)
    }

    async fn file(&mut self, lot: Lot) -> anyhow::Result<()> {
        let Some(last) = lot.last() else { return Ok(()) };
        let (sequence, id) = (last.sequence, last.headers.id.clone());
        let filed = match self.scope {
            Scope::Events(partition) => self.shared.file_events(lot, partition).await?,
            Scope::Alerts(_) => self.shared.file_alerts(&lot).await?,
            Scope::Actions => self.shared.file_actions(&lot).await?,
        };
        self.move_floor(sequence, id, &filed).await
    }

    async fn move_floor(&mut self, sequence: u64, id: String, filed: &Books) -> anyhow::Result<()> {
        let position = Position { incarnation: self.incarnation, sequence, id };
        let mut floor = self.floor.lock().await;
        let mut books = floor.floor().map(|floor| floor.books.clone()).unwrap_or_default();
        books.merge(filed);
        floor.set(Floor { position, books }).await.context("floor")
    }
}

impl Shared {
    async fn file_events(&self, lot: Lot, partition: u16) -> anyhow::Result<Books> {
        let started = Instant::now();
        let decoding = tokio::task::spawn_blocking(move || (lot.events(partition), lot));
        let (messages, lot) = decoding.await.context("decoding")?;
        let messages = messages.map_err(Damage::new)?;
        if messages.is_empty() {
            return Ok(Books::default());
        }
        let filed = self.hot.file(&messages).await?;
        self.hot.sync().await?;
        let total = |of: fn(&atalaya_hot::Filed) -> u64| filed.iter().map(of).sum();
        telemetry::filed(
            Scope::Events(partition),
            total(|filed| filed.rows),
            total(|filed| filed.expired),
            started.elapsed(),
        );
        Ok(lot.books(&filed))
    }

    async fn file_alerts(&self, lot: &Lot) -> anyhow::Result<Books> {
        let alerts = lot.alerts().map_err(Damage::new)?;
        if !alerts.is_empty() {
            self.hot.file_alerts(&alerts).await?;
            self.hot.sync().await?;
        }
        Ok(Books::default())
    }

    async fn file_actions(&self, lot: &Lot) -> anyhow::Result<Books> {
        for (action, own) in lot.actions().map_err(Damage::new)? {
            if own {
                self.hot.act(&action).await?;
            } else {
                telemetry::foreign_action(&action);
            }
        }
        self.hot.sync().await?;
        Ok(Books::default())
    }
}
