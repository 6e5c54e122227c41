//! The loop of one lane: read → core → write. The next message is normalised while the last one goes to disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use atalaya_bus::{
    BusError, ChainCheck, Damage, FencedWriter, Filter, Floor, FloorEntry, Floors, Lease, Message, OutputLane, Part,
    Position, Stream, verify_position,
};
use atalaya_chassis::Shutdown;
use atalaya_model::{Books, LaneId};
use atalaya_proto::dlq_v1::Parked;
use atalaya_proto::raw::RawBody;
use atalaya_proto::raw_v1::Entry;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::dlq::Dlq;
use crate::lanes::Shared;
use crate::normalize::{Normalizer, RecordCounts};
use crate::park::Budgets;
use crate::parts::{Arrived, Stored};
use crate::telemetry;

/// Messages normalised and not yet written, at most.
const PIPELINE_MESSAGES: usize = 2;

/// How often passed positions become a mark, and the floor is told.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// How long a drain waits for the bus to take what is at hand; the rest is done again by the next one.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Name of this reader of RAW among the floors.
const READER: &str = "normalizer";

/// A message of RAW, ready to be written.
struct Prepared {
    position: Position,
    arrived: Arrived,
    parts: Vec<Part>,
    parked: Vec<Parked>,
    counts: RecordCounts,
}

/// Works on a lane while its lease lasts, until the drain is asked for.
pub(crate) async fn run(shared: Arc<Shared>, lane: LaneId, lease: Lease, shutdown: Shutdown) -> anyhow::Result<()> {
    lease.hold(work(&shared, &lane, &shutdown)).await
}

async fn work(shared: &Arc<Shared>, lane: &LaneId, shutdown: &Shutdown) -> anyhow::Result<()> {
    let writer = FencedWriter::resume(Arc::clone(&shared.bus), OutputLane::evt(lane)).await?;
    if let Some(position) = writer.position() {
        verify_position(&*shared.bus, Stream::Raw, position).await?;
    }
    let reader = LaneReader::open(shared, lane, &writer).await?;
    let floors = Floors::open(&*shared.bus).await?;
    let floor = floors.hold(Stream::Raw, READER, lane.as_str()).await?;
    let writing = Writing {
        lane: lane.clone(),
        writer,
        dlq: Dlq::new(Arc::clone(&shared.bus), lane.clone()),
        budgets: Budgets::default(),
        floor,
    };
    let (sender, receiver) = mpsc::channel(PIPELINE_MESSAGES);
    let draining = async {
        shutdown.requested().await;
        tokio::time::sleep(DRAIN_WAIT).await;
    };
    tokio::select! {
        both = async { tokio::try_join!(reader.run(sender, shutdown), writing.run(receiver)) } => both.map(|_| ()),
        () = draining => Ok(()),
    }
}

/// Reads RAW and normalises.
struct LaneReader {
    shared: Arc<Shared>,
    lane: LaneId,
    input: Box<dyn atalaya_bus::Reader>,
    chain: ChainCheck,
    /// With what it remembers; away while it works.
    normalizer: Option<Normalizer>,
    /// The half-written position, until it was read.
    unfinished: Option<(u64, Stored)>,
}

impl LaneReader {
    async fn open(shared: &Arc<Shared>, lane: &LaneId, writer: &FencedWriter) -> anyhow::Result<Self> {
        let after = writer.position().map_or(0, |position| position.sequence);
        let filter = Filter::new(&format!("raw.{lane}.>"))?;
        let input = shared.bus.read(Stream::Raw, &filter, after).await?;
        let unfinished = match writer.unfinished() {
            Some(unfinished) => {
                telemetry::completed(lane, unfinished.position.sequence, unfinished.stored.len());
                Some((unfinished.position.sequence, Stored::of(unfinished).map_err(Damage::new)?))
            }
            None => None,
        };
        let chain = ChainCheck::open(&*shared.bus, Stream::Raw, after).await?;
        Ok(Self { shared: Arc::clone(shared), lane: lane.clone(), input, chain, normalizer: None, unfinished })
    }

    /// Until the drain is asked for or nobody writes any more.
    async fn run(mut self, prepared: mpsc::Sender<Prepared>, shutdown: &Shutdown) -> anyhow::Result<()> {
        loop {
            let next = tokio::select! {
                next = shutdown.unless_requested(self.input.next()) => next,
                () = prepared.closed() => None,
            };
            let Some(message) = next else { return Ok(()) };
            let message = message?;
            self.chain.check(&message)?;
            let sequence = message.sequence;
            let ready = self.prepare(message).await.with_context(|| format!("message {sequence} of RAW"))?;
            if prepared.send(ready).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn prepare(&mut self, message: Message) -> anyhow::Result<Prepared> {
        let stored = self.stored(&message)?;
        let position = Position {
            incarnation: self.shared.incarnation,
            sequence: message.sequence,
            id: message.headers.id.clone(),
        };
        let mut normalizer = self.normalizer.take().unwrap_or_else(|| self.shared.normalizer());
        let (lane, partitions) = (self.lane.clone(), self.shared.partitions);
        let normalising = tokio::task::spawn_blocking(move || {
            let ready = prepare(&mut normalizer, position, &message, lane, partitions, &stored);
            (normalizer, ready)
        });
        let (normalizer, ready) = normalising.await?;
        self.normalizer = Some(normalizer);
        ready
    }

    /// What is stored already of a message's output.
    fn stored(&mut self, message: &Message) -> anyhow::Result<Stored> {
        let Some((sequence, stored)) = self.unfinished.take() else { return Ok(Stored::default()) };
        if sequence != message.sequence {
            let found = message.sequence;
            let error = format!("RAW {sequence}, whose output is half written, is gone; the next message is {found}");
            return Err(BusError::Mismatch(error).into());
        }
        Ok(stored)
    }
}

/// A message's output: the part of the work that takes the processor.
fn prepare(
    normalizer: &mut Normalizer,
    position: Position,
    message: &Message,
    lane: LaneId,
    partitions: u16,
    stored: &Stored,
) -> anyhow::Result<Prepared> {
    let begin = Instant::now();
    let raw = RawBody::decode(&message.body).map_err(Damage::new)?;
    let mut ready = Prepared {
        position,
        arrived: Arrived {
            lane,
            id: message.headers.id.clone(),
            header: raw.header.clone(),
            traceparent: message.headers.traceparent.clone(),
            enrichment: normalizer.enrichment().versions(),
        },
        parts: Vec::new(),
        parked: Vec::new(),
        counts: RecordCounts::default(),
    };
    match raw.header.entry() {
        Entry::Open | Entry::Heartbeat | Entry::Close => ready.parts = ready.arrived.controls(partitions, stored)?,
        Entry::Mark => {}
        Entry::Records | Entry::Unspecified => {
            let normalized = normalizer.normalize(&raw)?;
            let events: usize = normalized.events.iter().map(|events| events.events.rows.num_rows()).sum();
            ready.parts = ready.arrived.events(normalized.events, stored)?;
            ready.parked = normalized.parked;
            ready.counts = normalized.counts;
            telemetry::normalized(&ready.arrived.lane, ready.counts, events, begin.elapsed());
        }
    }
    Ok(ready)
}

/// Writes EVT and DLQ, and tells the floor.
struct Writing {
    lane: LaneId,
    writer: FencedWriter,
    dlq: Dlq,
    budgets: Budgets,
    floor: FloorEntry,
}

impl Writing {
    /// Until nothing is prepared any more.
    async fn run(mut self, mut prepared: mpsc::Receiver<Prepared>) -> anyhow::Result<()> {
        let mut flush = tokio::time::interval(FLUSH_EVERY);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = prepared.recv() => match next {
                    Some(ready) => self.write(ready).await?,
                    None => return self.tell().await,
                },
                _ = flush.tick() => self.tell().await?,
            }
        }
    }

    async fn write(&mut self, ready: Prepared) -> anyhow::Result<()> {
        let Prepared { position, arrived, parts, mut parked, mut counts } = ready;
        if !parked.is_empty() {
            let over = self.budgets.admit(&mut parked, arrived.header.received_time_us);
            self.count_dropped(&mut counts, over, "budget");
            if let Some(why) = self.dlq.park(&position, &arrived, &parked).await.context("DLQ")? {
                self.count_dropped(&mut counts, parked.len() as u64, why);
            }
        }
        let books = arrived.books(counts);
        Ok(self.writer.write(position, parts, books).await?)
    }

    fn count_dropped(&self, counts: &mut RecordCounts, records: u64, why: &'static str) {
        if records > 0 {
            telemetry::dropped(&self.lane, records, why);
            counts.parked -= records;
            counts.dropped += records;
        }
    }

    /// Makes what was passed durable, and tells how far this lane is.
    async fn tell(&mut self) -> anyhow::Result<()> {
        self.writer.flush().await?;
        let Some(position) = self.writer.position() else { return Ok(()) };
        if self.floor.floor().is_some_and(|floor| floor.position == *position) {
            return Ok(());
        }
        let floor = Floor { position: position.clone(), books: Books::default() };
        Ok(self.floor.set(floor).await?)
    }
}
