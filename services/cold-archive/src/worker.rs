//! The one loop: partitions → buffer → flush → floors.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use atalaya_archive::{Archive, Scope};
use atalaya_bus::{FloorEntry, Floors, Group, Stream, is_unanswered, patiently};
use atalaya_chassis::Shutdown;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::buffer::Buffer;
use crate::flush::{Held, Moved, flush};
use crate::partition::{Event, Partition, Shared};
use crate::{Config, Deps, telemetry};

const LEASES_BUCKET: &str = "leases";

/// Messages between the readers and the buffer.
const MAX_WAITING_MESSAGES: usize = 64;

/// A partition that is held.
struct Open {
    generation: u64,
    /// None while a flush has it.
    floor: Option<FloorEntry>,
    /// Dropped, the partition starts over.
    _keep: oneshot::Sender<()>,
}

struct Worker {
    archive: Archive,
    events: mpsc::Receiver<Event>,
    open: HashMap<Scope, Open>,
    buffer: Buffer,
    started: Instant,
    /// When the bus was last repaired, microseconds since 1970; 0 for never.
    repaired_us: Arc<AtomicI64>,
    drain: Shutdown,
}

type Flight = BoxFuture<'static, anyhow::Result<Vec<Moved>>>;

/// Archives until the drain is asked for, then what is in memory.
pub(crate) async fn run(config: &Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel(MAX_WAITING_MESSAGES);
    let (finish, done) = Shutdown::new();
    let repaired_us = Arc::<AtomicI64>::default();
    let starting = || start(config, &deps, &repaired_us, sender.clone(), shutdown.clone(), done.clone());
    let starting = patiently(starting, |error: &anyhow::Error| is_unanswered(error.as_ref()));
    let Some(partitions) = shutdown.unless_requested(starting).await else { return Ok(()) };
    let mut partitions = partitions?;
    drop(sender);
    let worker = Worker {
        archive: deps.archive,
        events,
        open: HashMap::new(),
        buffer: Buffer::new(config),
        started: Instant::now(),
        repaired_us,
        drain: shutdown,
    };
    let result = worker.run().await;
    finish.request();
    if result.is_err() {
        partitions.abort_all();
    }
    while partitions.join_next().await.is_some() {}
    result
}

/// Starts a task for every partition of EVT and ALERT.
async fn start(
    config: &Config,
    deps: &Deps,
    repaired_us: &Arc<AtomicI64>,
    events: mpsc::Sender<Event>,
    drain: Shutdown,
    done: Shutdown,
) -> anyhow::Result<JoinSet<()>> {
    let bus = Arc::clone(&deps.bus);
    let mut scopes = Vec::new();
    for stream in [Stream::Evt, Stream::Alert] {
        let count = bus.info(stream).await.with_context(|| format!("stream {stream}"))?.partitions;
        scopes.extend((0..count).map(|number| (stream, number)));
    }
    let shared = Arc::new(Shared {
        floors: Floors::open(bus.as_ref()).await?,
        group: Group::join(bus.bucket(LEASES_BUCKET).await?, "cold-archive", config.lease_ms.into(), scopes.len()),
        archive: deps.archive.clone(),
        repaired_us: Arc::clone(repaired_us),
        bus,
        events,
        drain,
        done,
    });
    let partition = |(stream, number)| Partition { shared: Arc::clone(&shared), stream, number }.serve();
    Ok(scopes.into_iter().map(partition).collect())
}

impl Worker {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut flight: Option<Flight> = None;
        loop {
            let draining = self.drain.is_requested();
            if flight.is_none() && self.is_time(draining) {
                flight = Some(self.launch());
            }
            if draining && flight.is_none() {
                return Ok(());
            }
            let due = self.buffer.due_ms().map(|due| self.started + Duration::from_millis(due));
            tokio::select! {
                biased;
                landed = landing(&mut flight), if flight.is_some() => {
                    flight = None;
                    self.land(landed?);
                }
                () = self.drain.requested(), if !draining => {}
                () = tokio::time::sleep_until(due.unwrap_or(self.started)), if due.is_some() && flight.is_none() => {}
                event = self.events.recv(), if !draining && !self.buffer.is_full() => match event {
                    Some(event) => self.hear(event),
                    None => return Ok(()),
                },
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether what was gathered must go.
    fn is_time(&self, draining: bool) -> bool {
        self.buffer.due_ms().is_some_and(|due| draining || self.buffer.is_full() || due <= self.now_ms())
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Opened { scope, generation, floor, keep } => {
                self.buffer.forget(&scope);
                self.open.insert(scope, Open { generation, floor: Some(floor), _keep: keep });
            }
            Event::Message { scope, generation, taken } => {
                if self.open.get(&scope).is_some_and(|open| open.generation == generation) {
                    let now_ms = self.now_ms();
                    self.buffer.add(now_ms, scope, taken);
                }
            }
            Event::Closed { scope, generation } => {
                if self.open.get(&scope).is_some_and(|open| open.generation == generation) {
                    self.close(&scope);
                }
            }
        }
    }

    /// Lets go of a partition: what is in memory of it is read again.
    fn close(&mut self, scope: &Scope) {
        self.open.remove(scope);
        self.buffer.forget(scope);
    }

    fn launch(&mut self) -> Flight {
        let lot = self.buffer.take();
        let mut floors = HashMap::new();
        for scope in lot.progress.keys() {
            if let Some(open) = self.open.get_mut(scope)
                && let Some(entry) = open.floor.take()
            {
                floors.insert(*scope, Held { generation: open.generation, entry });
            }
        }
        let rows = lot.rows;
        let (archive, drain) = (self.archive.clone(), self.drain.clone());
        let repaired_us = self.repaired_us.load(Ordering::Relaxed);
        Box::pin(async move {
            let result = flush(archive, lot, floors, repaired_us, drain.clone()).await;
            if result.is_err() && drain.is_requested() {
                telemetry::drain_unfinished(rows);
            }
            result
        })
    }

    fn land(&mut self, moved: Vec<Moved>) {
        for Moved { scope, generation, entry } in moved {
            let Some(open) = self.open.get_mut(&scope).filter(|open| open.generation == generation) else { continue };
            match entry {
                Ok(entry) => open.floor = Some(entry),
                Err(error) => {
                    telemetry::floor_lost(&scope, &error);
                    self.close(&scope);
                }
            }
        }
    }
}

async fn landing(flight: &mut Option<Flight>) -> anyhow::Result<Vec<Moved>> {
    match flight {
        Some(flight) => flight.await,
        None => std::future::pending().await,
    }
}
