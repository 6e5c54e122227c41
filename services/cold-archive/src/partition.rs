//! One partition of EVT or ALERT: lease, floor, and a reader that hands its messages on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context;
use atalaya_archive::{Archive, Feed, Scope};
use atalaya_bus::repair::Repairs;
use atalaya_bus::{
    Bus, BusError, ChainCheck, Claim, Damage, Filter, FloorEntry, Floors, Group, Kind, Lease, Message, Position,
    Reader, Stop, Stream, StreamInfo, verify_position, work_leased,
};
use atalaya_chassis::Shutdown;
use atalaya_model::{Alert, Books, Counts, LIVE_DOMAIN};
use atalaya_proto::alert_v1::Alerts;
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::batch_of;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::buffer::Taken;
use crate::{findings, telemetry};

/// This reader's name in bucket `floors` and in leases.
const READER: &str = "archive";

/// What a partition tells the worker.
pub(crate) enum Event {
    /// It is held and read from its floor. Dropping `keep` makes it start over.
    Opened { scope: Scope, generation: u64, floor: FloorEntry, keep: oneshot::Sender<()> },
    /// Its next message.
    Message { scope: Scope, generation: u64, taken: Taken },
    /// It is no longer held.
    Closed { scope: Scope, generation: u64 },
}

/// What all partitions share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) archive: Archive,
    /// When the bus was last repaired, microseconds since 1970: what was received before may be held already.
    pub(crate) repaired_us: Arc<AtomicI64>,
    pub(crate) floors: Floors,
    pub(crate) group: Arc<Group>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Nothing more is read.
    pub(crate) drain: Shutdown,
    /// Everything read is flushed: leases are given back.
    pub(crate) done: Shutdown,
}

/// One partition.
pub(crate) struct Partition {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: Stream,
    pub(crate) number: u16,
}

impl Partition {
    /// Takes it whenever it is free, and reads it, until the drain is over.
    pub(crate) async fn serve(self) {
        let Shared { group, drain, .. } = self.shared.as_ref();
        let name = format!("{}.{}.{READER}", self.stream.name().to_lowercase(), self.number);
        let claim = Claim { group: Arc::clone(group), name };
        let mut generation = 0;
        let hold = |lease| {
            generation += 1;
            self.hold(lease, generation)
        };
        work_leased(&claim, drain.requested(), hold, |stop, error| self.stopped(stop, error)).await;
    }

    fn stopped(&self, stop: Stop, error: &anyhow::Error) {
        match stop {
            Stop::Damaged => telemetry::partition_damaged(self.stream, self.number, error),
            Stop::Lost | Stop::Left | Stop::Failed => telemetry::partition_failed(self.stream, self.number, error),
        }
    }

    async fn hold(&self, lease: Lease, generation: u64) -> anyhow::Result<()> {
        let mut opened = None;
        let ended = lease.hold(async {
            let (reader, kept, reading) = self.open(generation).await?;
            opened = Some(reading.scope);
            self.read(reader, kept, reading).await
        });
        let ended = ended.await;
        if let Some(scope) = opened {
            telemetry::partition_left(self.stream, self.number);
            // Nobody listens any more once the worker has ended.
            let _ = self.shared.events.send(Event::Closed { scope, generation }).await;
        }
        ended
    }

    /// Tells the worker of the partition, to be read from its floor.
    async fn open(&self, generation: u64) -> anyhow::Result<(Box<dyn Reader>, oneshot::Receiver<()>, Reading)> {
        let bus = self.shared.bus.as_ref();
        let number = self.number.to_string();
        let floor = self.shared.floors.hold(self.stream, READER, &number).await.context("floor")?;
        let after = floor.floor().map(|floor| floor.position.clone()).unwrap_or_default();
        verify_position(bus, self.stream, &after).await?;
        let info = bus.info(self.stream).await?;
        let feed = if self.stream == Stream::Alert { Feed::Alert } else { Feed::Evt };
        let scope = Scope { feed, incarnation: info.incarnation, partition: self.number };
        self.check_tables(&info, &scope).await?;
        let filter = match feed {
            Feed::Evt => format!("evt.{number}.>"),
            Feed::Alert => format!("alert.{number}"),
        };
        let filter = Filter::new(&filter).context("filter")?;
        let reader = bus.read(self.stream, &filter, after.sequence).await?;
        let chain = ChainCheck::open(bus, self.stream, after.sequence).await?;
        let (keep, kept) = oneshot::channel();
        let opened = Event::Opened { scope, generation, floor, keep };
        self.shared.events.send(opened).await.context("the worker is gone")?;
        telemetry::partition_taken(self.stream, self.number, after.sequence);
        Ok((reader, kept, Reading { scope, generation, chain }))
    }

    /// The tables outlive the bus: one that has more of a partition than the stream ever gave out, or has another
    /// stream's messages and nothing of this one, would drop what comes now, or take it in twice.
    async fn check_tables(&self, info: &StreamInfo, scope: &Scope) -> anyhow::Result<()> {
        let repairs = Repairs::read(self.shared.bus.as_ref()).await?;
        self.shared.repaired_us.fetch_max(repairs.last_us().unwrap_or(0), Ordering::Relaxed);
        let archived = self.shared.archive.positions().await?;
        let mut own = archived.iter().filter(|(at, _)| (at.feed, at.partition) == (scope.feed, scope.partition));
        let reason = match archived.get(scope) {
            Some(&sequence) if sequence > info.last => {
                format!("the archive has it up to {sequence}, it ends at {}", info.last)
            }
            None if !repairs.knows(self.stream, scope.incarnation) => match own.next_back() {
                Some((other, _)) => {
                    format!("the archive has incarnation {}, found {}", other.incarnation, info.incarnation)
                }
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        Err(BusError::Mismatch(format!("{}: {reason}; run 'atalaya bus repair'", self.stream)).into())
    }

    /// Until the drain is over, or the partition is to start over.
    async fn read(
        &self,
        mut reader: Box<dyn Reader>,
        mut kept: oneshot::Receiver<()>,
        mut reading: Reading,
    ) -> anyhow::Result<()> {
        let Shared { events, drain, done, .. } = self.shared.as_ref();
        let mut waiting: Option<Event> = None;
        let mut damaged_at: Option<Instant> = None;
        loop {
            let reads = waiting.is_none() && damaged_at.is_none() && !drain.is_requested();
            let again = damaged_at.map(|at| at + Stop::Damaged.pause());
            tokio::select! {
                () = done.requested() => return Ok(()),
                _ = &mut kept => return Ok(()),
                permit = events.reserve(), if waiting.is_some() => {
                    let permit = permit.context("the worker is gone")?;
                    if let Some(event) = waiting.take() {
                        permit.send(event);
                    }
                }
                message = reader.next(), if reads => {
                    match message.map_err(Into::into).and_then(|message| reading.next(&message)) {
                        Ok(event) => waiting = Some(event),
                        Err(error) if Stop::of(error.as_ref()) == Stop::Damaged => {
                            // What was read before it is archived meanwhile.
                            self.stopped(Stop::Damaged, &error);
                            damaged_at = Some(Instant::now());
                        }
                        Err(error) => return Err(error),
                    }
                }
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => return Ok(()),
                () = drain.requested(), if reads => {}
            }
        }
    }
}

/// Where a reader stands.
struct Reading {
    scope: Scope,
    generation: u64,
    chain: ChainCheck,
}

impl Reading {
    fn next(&mut self, message: &Message) -> anyhow::Result<Event> {
        self.chain.check(message)?;
        let place = || format!("{} {} on {}", message.stream, message.sequence, message.subject);
        let taken = match self.scope.feed {
            Feed::Evt => events_of(message, self.scope.incarnation),
            Feed::Alert => alerts_of(message, self.scope.incarnation),
        };
        let taken = taken.with_context(place).map_err(Damage::new)?;
        Ok(Event::Message { scope: self.scope, generation: self.generation, taken })
    }
}

fn position(message: &Message, incarnation: u64) -> Position {
    Position { incarnation, sequence: message.sequence, id: message.headers.id.clone() }
}

fn events_of(message: &Message, incarnation: u64) -> anyhow::Result<Taken> {
    let mut books = Books::default();
    for (key, counts) in message.headers.books.iter().filter(|(_, counts)| counts.events > 0) {
        books.add(key, Counts { archived: counts.events, ..Counts::default() });
    }
    let mut taken = Taken { position: position(message, incarnation), books, events: None, closes: false };
    match message.headers.kind {
        Kind::Data => taken.events = Some(batch_of(message.decoded.as_ref(), &message.body)?),
        Kind::Input => {
            let header = RawHeader::decode(message.body.clone())?;
            taken.closes = header.entry() == Entry::Close && header.domain != LIVE_DOMAIN;
        }
        Kind::Mark => {}
    }
    Ok(taken)
}

fn alerts_of(message: &Message, incarnation: u64) -> anyhow::Result<Taken> {
    let position = position(message, incarnation);
    let mut taken = Taken { position, books: Books::default(), events: None, closes: false };
    if message.headers.kind == Kind::Data {
        let alerts = Alerts::decode(message.body.clone())?.alerts.into_iter().map(Alert::try_from);
        taken.events = Some(Arc::new(findings(&alerts.collect::<Result<Vec<_>, _>>()?)?));
        taken.closes = message.headers.domain != LIVE_DOMAIN && !message.headers.domain.is_empty();
    }
    Ok(taken)
}
