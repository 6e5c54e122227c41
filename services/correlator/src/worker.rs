//! The one loop, per partition: read → detector → write; snapshots between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use atalaya_bus::{
    Bus, BusError, ChainCheck, Claim, Damage, FencedWriter, Filter, Floor, FloorEntry, Floors, Group, Kind, Lease,
    Message, OutputLane, Position, Stream, StreamInfo, Subject, verify_position, work_leased,
};
use atalaya_chassis::Shutdown;
use atalaya_model::{Alert, Books};
use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::batch_of;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::detect::{Arrival, Detector, Limits, Output};
use crate::restore::{self, Restored};
use crate::rules::Rules;
use crate::snapshots::{Snapshot, Snapshots};
use crate::{output, telemetry};

/// This reader's name in bucket `floors` and in leases.
const READER: &str = "correlator";

/// Positions without alerts become a mark after this long.
const MARK_AFTER: Duration = Duration::from_millis(500);

/// What all partitions share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) floors: Floors,
    pub(crate) group: Arc<Group>,
    pub(crate) snapshots: Snapshots,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) snapshot_every: Duration,
    pub(crate) shutdown: Shutdown,
}

/// Takes a partition whenever it is free, and correlates it, until the drain is asked for.
pub(crate) async fn serve(shared: Arc<Shared>, partition: u16) {
    let claim = Claim { group: Arc::clone(&shared.group), name: format!("evt.{partition}.{READER}") };
    let work = |lease: Lease| lease.hold(correlate(&shared, partition));
    let tell = |stop, error: &anyhow::Error| telemetry::partition_stopped(partition, stop, error);
    work_leased(&claim, shared.shutdown.requested(), work, tell).await;
}

async fn correlate(shared: &Shared, partition: u16) -> anyhow::Result<()> {
    let Some(work) = shared.shutdown.unless_requested(Work::resume(shared, partition)).await else { return Ok(()) };
    let mut work = work?;
    let mut reader = shared.bus.read(Stream::Evt, &work.filter, work.position.sequence).await?;
    let mut mark = tokio::time::interval(MARK_AFTER);
    mark.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.requested() => {
                work.writer.flush().await?;
                work.settle().await?;
                work.snapshot().await?;
                return work.settle().await;
            }
            Some(kept) = work.keeping.join_next() => work.landed(kept?).await?,
            _ = mark.tick() => {
                work.writer.flush().await?;
                if work.snapshot_at <= Instant::now() && work.keeping.is_empty() {
                    work.snapshot().await?;
                }
            }
            message = reader.next() => work.take(&message?).await?,
        }
    }
}

/// A partition that is held.
struct Work<'s> {
    shared: &'s Shared,
    partition: u16,
    filter: Filter,
    subject: Subject,
    /// None while a blocking thread has it.
    detector: Option<Detector>,
    rules: Rules,
    /// Incidents of rules that are gone, to be closed with the next message.
    closing: Vec<Alert>,
    /// The last message the detector has seen.
    position: Position,
    chain: ChainCheck,
    writer: FencedWriter,
    floor: FloorEntry,
    /// Position of the newest snapshot that is known to be good.
    kept: Option<Position>,
    /// The next one, on its way to the state store; messages do not wait for it.
    keeping: JoinSet<anyhow::Result<Position>>,
    /// When the one after that is due.
    snapshot_at: Instant,
}

impl<'s> Work<'s> {
    /// The newest usable snapshot at or below what was written, under the rules it names; then those configured, from
    /// the next message that nothing was written of.
    async fn resume(shared: &'s Shared, partition: u16) -> anyhow::Result<Self> {
        let bus = shared.bus.as_ref();
        let writer = FencedWriter::resume(Arc::clone(&shared.bus), OutputLane::alert(partition)).await?;
        let half_written = writer.unfinished().map(|unfinished| &unfinished.position);
        for position in writer.position().into_iter().chain(half_written) {
            verify_position(bus, Stream::Evt, position).await?;
        }
        let written = writer.position().map_or(0, |position| position.sequence);
        let info = bus.info(Stream::Evt).await?;
        let floor = shared.floors.hold(Stream::Evt, READER, &partition.to_string()).await.context("floor")?;
        let found = restore::newest(shared, partition, info.incarnation, written).await?;
        let kept = found.as_ref().map(|found| found.position.clone());
        let found = found.unwrap_or_else(|| beginning(shared, partition, &info, written));
        let Restored { position, detector, rules, closing } = found;
        verify_position(bus, Stream::Evt, &position).await?;
        telemetry::partition_taken(partition, &position, written);
        let mut work = Self {
            shared,
            partition,
            filter: Filter::new(&format!("evt.{partition}.>"))?,
            subject: Subject::new(&format!("alert.{partition}"))?,
            detector: Some(detector),
            rules,
            closing,
            chain: ChainCheck::open(bus, Stream::Evt, position.sequence).await?,
            position,
            writer,
            floor,
            kept,
            keeping: JoinSet::new(),
            snapshot_at: Instant::now() + shared.snapshot_every.mul_f64(share(partition)),
        };
        if work.kept.is_none() {
            // What the first message is judged by must be known to whoever comes after.
            work.keep(&work.rules.clone()).await?;
            work.settle().await?;
        }
        work.catch_up(written).await?;
        work.switch_if_due().await?;
        Ok(work)
    }

    /// Computes again what was written already.
    async fn catch_up(&mut self, written: u64) -> anyhow::Result<()> {
        if self.position.sequence >= written {
            return Ok(());
        }
        let mut reader = self.shared.bus.read(Stream::Evt, &self.filter, self.position.sequence).await?;
        while self.position.sequence < written {
            let message = reader.next().await?;
            if message.sequence > written {
                let reason = "ALERT covers it, and it is not there".to_owned();
                return Err(BusError::Damaged { stream: Stream::Evt, sequence: written, reason }.into());
            }
            self.detect(&message).await?;
        }
        Ok(())
    }

    /// The rules configured, from the next message on; durable before anything is written under them. What is half
    /// written is completed first under the rules it was begun with, and incidents that an earlier change closes are
    /// written.
    async fn switch_if_due(&mut self) -> anyhow::Result<()> {
        let rules = self.shared.rules.clone();
        if rules.hash() == self.rules.hash() || !self.closing.is_empty() || self.writer.unfinished().is_some() {
            return Ok(());
        }
        self.writer.flush().await?;
        self.settle().await?;
        self.keep(&rules).await?;
        self.settle().await?;
        let compiled = Arc::clone(&rules.compiled);
        self.closing = self.compute(|detector| detector.switch(compiled)).await?;
        telemetry::rules_switched(self.partition, &self.position, rules.hash());
        self.rules = rules;
        Ok(())
    }

    async fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        let output = self.detect(message).await?;
        let unfinished = self.writer.unfinished().filter(|unfinished| unfinished.position == self.position);
        let parts = output::parts(&self.subject, message, self.rules.hash(), &output.alerts, unfinished);
        let late = output::late(message, output.late);
        telemetry::correlated(output.alerts.len(), output.late, output.forgotten);
        self.writer.write(self.position.clone(), parts.map_err(Damage::new)?, late).await?;
        self.switch_if_due().await
    }

    /// Lets the detector see a message; incidents of rules that are gone are closed with it.
    async fn detect(&mut self, message: &Message) -> anyhow::Result<Output> {
        self.chain.check(message)?;
        let seen = message.clone();
        let output = self.compute(move |detector| see(detector, &seen)).await?;
        let mut output = output.with_context(|| format!("{message:?}")).map_err(Damage::new)?;
        output.alerts.splice(0..0, self.closing.drain(..));
        let (incarnation, id) = (self.position.incarnation, message.headers.id.clone());
        self.position = Position { incarnation, sequence: message.sequence, id };
        Ok(output)
    }

    /// Lets a blocking thread work with the detector.
    async fn compute<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Detector) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut detector = self.detector.take().context("the detector was lost")?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&mut detector);
            (detector, result)
        });
        let (detector, result) = task.await?;
        self.detector = Some(detector);
        Ok(result)
    }

    /// Keeps the detector as it is now, unless there are incidents to be closed first.
    async fn snapshot(&mut self) -> anyhow::Result<()> {
        self.snapshot_at = Instant::now() + self.shared.snapshot_every;
        if !self.closing.is_empty() {
            return Ok(());
        }
        if self.kept.as_ref() == Some(&self.position) {
            // Nothing came for a whole interval: an idle partition must not hold the others' trimming back.
            return self.raise_floor(self.position.clone()).await;
        }
        self.keep(&self.rules.clone()).await
    }

    /// Sends a snapshot on its way that names the rules from the next message on.
    async fn keep(&mut self, next_rules: &Rules) -> anyhow::Result<()> {
        let begun = Instant::now();
        let image = self.compute(|detector| detector.image()).await??;
        let (position, bytes) = (self.position.clone(), image.len());
        let (rules, next_rules) = (self.rules.hash().to_owned(), next_rules.hash().to_owned());
        let snapshot = Snapshot { position: position.clone(), rules, next_rules, image };
        let (snapshots, partition) = (self.shared.snapshots.clone(), self.partition);
        self.keeping.spawn(async move {
            snapshots.put(partition, snapshot).await.context("state store")?;
            telemetry::snapshotted(partition, &position, bytes, begun.elapsed());
            Ok(position)
        });
        Ok(())
    }

    /// Waits for the snapshot that is on its way.
    async fn settle(&mut self) -> anyhow::Result<()> {
        while let Some(kept) = self.keeping.join_next().await {
            self.landed(kept?).await?;
        }
        Ok(())
    }

    /// A snapshot is in the state store: the floor follows to the one before.
    async fn landed(&mut self, kept: anyhow::Result<Position>) -> anyhow::Result<()> {
        let kept = kept?;
        match self.kept.replace(kept.clone()) {
            Some(before) if before != kept => self.raise_floor(before).await,
            _ => Ok(()),
        }
    }

    async fn raise_floor(&mut self, position: Position) -> anyhow::Result<()> {
        if self.floor.floor().is_none_or(|floor| floor.position != position) {
            self.floor.set(Floor { position, books: Books::default() }).await.context("floor")?;
        }
        Ok(())
    }
}

/// The part of an interval after which a partition's first snapshot is due: not all at the same time.
fn share(partition: u16) -> f64 {
    const SHARES: u16 = 16;
    f64::from(partition % SHARES + 1) / f64::from(SHARES)
}

/// A detector that has seen nothing, before the oldest message that is there.
fn beginning(shared: &Shared, partition: u16, info: &StreamInfo, written: u64) -> Restored {
    if written > 0 {
        telemetry::state_lost(partition, written);
    }
    let sequence = written.min(info.first.saturating_sub(1));
    Restored {
        position: Position { incarnation: info.incarnation, sequence, id: String::new() },
        detector: Detector::new(Arc::clone(&shared.rules.compiled), shared.limits.clone()),
        rules: shared.rules.clone(),
        closing: Vec::new(),
    }
}

fn see(detector: &mut Detector, message: &Message) -> anyhow::Result<Output> {
    let lane = message.subject.token(2).context("a subject without a lane")?;
    let headers = &message.headers;
    let arrival =
        Arrival { lane, input: headers.input, domain: &headers.domain, received_us: headers.received_time_us };
    Ok(match headers.kind {
        Kind::Data => detector.events(&arrival, batch_of(message.decoded.as_ref(), &message.body)?.as_ref()),
        Kind::Input => detector.control(&arrival, &RawHeader::decode(message.body.clone())?),
        Kind::Mark => Output::default(),
    })
}
