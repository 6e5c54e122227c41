//! The one loop, per partition: read → detector → write; snapshots between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use atalaya_bus::{
    Bucket, Bus, ChainCheck, FencedWriter, Filter, Floor, FloorEntry, Floors, Kind, Lease, Message, OutputLane,
    Position, Stream, Subject, verify_position,
};
use atalaya_chassis::Shutdown;
use atalaya_model::{Alert, Books};
use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::batch_of;
use prost::Message as _;

use crate::detect::{Arrival, Detector, Limits, Output};
use crate::rules::Rules;
use crate::snapshots::{Snapshot, Snapshots};
use crate::{output, telemetry};

/// This reader's name in bucket `floors` and in leases.
const READER: &str = "correlator";

/// Positions without alerts become a mark after this long.
const MARK_AFTER: Duration = Duration::from_millis(500);

/// Pause before a partition that failed is taken again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all partitions share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) floors: Floors,
    pub(crate) leases: Arc<dyn Bucket>,
    pub(crate) snapshots: Snapshots,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) holder: String,
    pub(crate) lease: Duration,
    pub(crate) snapshot_every: Duration,
    pub(crate) shutdown: Shutdown,
}

/// Takes a partition whenever it is free, and correlates it, until the drain is asked for.
pub(crate) async fn serve(shared: Arc<Shared>, partition: u16) {
    let shutdown = shared.shutdown.clone();
    while let Some(mut lease) = shutdown.unless_requested(take(&shared, partition)).await {
        let ended = hold(&shared, partition, &mut lease).await;
        // A lease that is not given back runs out by itself.
        let _ = lease.release().await;
        if let Err(error) = ended {
            telemetry::partition_failed(partition, &error);
            shutdown.unless_requested(tokio::time::sleep(RETRY_AFTER)).await;
        }
    }
}

/// Waits until nobody else holds it.
async fn take(shared: &Shared, partition: u16) -> Lease {
    let name = format!("evt.{partition}.{READER}");
    loop {
        match Lease::acquire(Arc::clone(&shared.leases), &name, &shared.holder, shared.lease).await {
            Ok(Some(lease)) => return lease,
            Ok(None) => {}
            Err(error) => telemetry::partition_failed(partition, &error.into()),
        }
        tokio::time::sleep(shared.lease / 3).await;
    }
}

async fn hold(shared: &Shared, partition: u16, lease: &mut Lease) -> anyhow::Result<()> {
    let mut work = Work::resume(shared, partition).await?;
    let filter = Filter::new(&format!("evt.{partition}.>"))?;
    let mut reader = shared.bus.read(Stream::Evt, &filter, work.position.sequence).await?;
    let mut renew = tokio::time::interval(shared.lease / 3);
    let mut mark = tokio::time::interval(MARK_AFTER);
    mark.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.requested() => {
                work.writer.flush().await?;
                return work.snapshot(None).await;
            }
            _ = renew.tick() => {
                if !lease.renew().await.context("lease")? {
                    return Err(anyhow!("the lease was lost"));
                }
            }
            _ = mark.tick() => {
                work.writer.flush().await?;
                if work.snapshotted_at.elapsed() >= shared.snapshot_every {
                    work.snapshot(None).await?;
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
    snapshot: Option<Position>,
    snapshotted_at: Instant,
}

impl<'s> Work<'s> {
    /// The newest snapshot at or below what was written, under the rules it names; then those configured, from the next
    /// message that nothing was written of.
    async fn resume(shared: &'s Shared, partition: u16) -> anyhow::Result<Self> {
        let writer = FencedWriter::resume(Arc::clone(&shared.bus), OutputLane::alert(partition)).await?;
        let incarnation = shared.bus.info(Stream::Evt).await?.incarnation;
        let written = writer.position().filter(|position| position.incarnation == incarnation);
        let written = written.map_or(0, |position| position.sequence);
        let floor = shared.floors.hold(Stream::Evt, READER, &partition.to_string()).await.context("floor")?;
        let found = shared.snapshots.newest(partition, incarnation, written, &shared.rules).await?;
        let mut closing = Vec::new();
        let (detector, rules, position) = match &found {
            Some(Snapshot { position, rules, next_rules, image }) => {
                let compiled = Arc::clone(&rules.compiled);
                let mut detector = Detector::from_image(image, compiled, shared.limits.clone())?;
                if next_rules.hash() != rules.hash() {
                    closing = detector.switch(Arc::clone(&next_rules.compiled));
                }
                (detector, next_rules.clone(), position.clone())
            }
            None => {
                let detector = Detector::new(Arc::clone(&shared.rules.compiled), shared.limits.clone());
                (detector, shared.rules.clone(), Position { incarnation, ..Position::default() })
            }
        };
        verify_position(shared.bus.as_ref(), Stream::Evt, &position).await?;
        telemetry::partition_taken(partition, &position, written);
        let mut work = Self {
            shared,
            partition,
            subject: Subject::new(&format!("alert.{partition}"))?,
            detector: Some(detector),
            rules,
            closing,
            chain: ChainCheck::new(position.sequence),
            snapshot: found.as_ref().map(|found| found.position.clone()),
            position,
            writer,
            floor,
            snapshotted_at: Instant::now(),
        };
        if found.is_none() {
            // What the first message is judged by must be known to whoever comes after.
            work.snapshot(None).await?;
        }
        work.catch_up(written).await?;
        if work.rules.hash() != shared.rules.hash() {
            work.switch().await?;
        }
        Ok(work)
    }

    /// Computes again what was written already.
    async fn catch_up(&mut self, written: u64) -> anyhow::Result<()> {
        if self.position.sequence >= written {
            return Ok(());
        }
        let filter = Filter::new(&format!("evt.{}.>", self.partition))?;
        let mut reader = self.shared.bus.read(Stream::Evt, &filter, self.position.sequence).await?;
        while let Some(message) = reader.try_next().await? {
            if message.sequence > written {
                break;
            }
            self.detect(&message).await?;
        }
        Ok(())
    }

    /// The rules configured, from the next message on; durable before anything is written under them.
    async fn switch(&mut self) -> anyhow::Result<()> {
        let rules = self.shared.rules.clone();
        self.snapshot(Some(rules.clone())).await?;
        let detector = self.detector.as_mut().context("the detector was lost")?;
        self.closing.extend(detector.switch(Arc::clone(&rules.compiled)));
        telemetry::rules_switched(self.partition, &self.position, rules.hash());
        self.rules = rules;
        Ok(())
    }

    async fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        let output = self.detect(message).await?;
        let unfinished = self.writer.unfinished().filter(|unfinished| unfinished.position == self.position);
        let parts = output::parts(&self.subject, message, self.rules.hash(), &output.alerts, unfinished)?;
        let late = output::late(message, output.late);
        telemetry::correlated(output.alerts.len(), output.late, output.forgotten);
        self.writer.write(self.position.clone(), parts, late).await?;
        Ok(())
    }

    /// Lets the detector see a message; incidents of rules that are gone are closed with it.
    async fn detect(&mut self, message: &Message) -> anyhow::Result<Output> {
        self.chain.check(message)?;
        let mut detector = self.detector.take().context("the detector was lost")?;
        let seen = message.clone();
        let task = tokio::task::spawn_blocking(move || {
            let output = see(&mut detector, &seen);
            output.map(|output| (detector, output))
        });
        let (detector, mut output) = task.await?.with_context(|| format!("{message:?}"))?;
        self.detector = Some(detector);
        if !self.closing.is_empty() {
            output.alerts.splice(0..0, self.closing.drain(..));
        }
        let (incarnation, id) = (self.position.incarnation, message.headers.id.clone());
        self.position = Position { incarnation, sequence: message.sequence, id };
        Ok(output)
    }

    /// Keeps the detector as it is now; nothing if it has not moved and the rules stay.
    async fn snapshot(&mut self, next_rules: Option<Rules>) -> anyhow::Result<()> {
        self.snapshotted_at = Instant::now();
        let moved = self.snapshot.as_ref() != Some(&self.position);
        if !self.closing.is_empty() {
            return Ok(());
        }
        if !moved && next_rules.is_none() {
            // Nothing came for a whole interval: an idle partition must not hold the others' trimming back.
            return self.raise_floor(self.position.clone()).await;
        }
        let image = self.detector.as_ref().context("the detector was lost")?.image()?;
        let (bytes, rules) = (image.len(), self.rules.clone());
        let next_rules = next_rules.unwrap_or_else(|| rules.clone());
        let snapshot = Snapshot { position: self.position.clone(), rules, next_rules, image };
        let second = self.shared.snapshots.put(self.partition, snapshot).await.context("state store")?;
        self.snapshot = Some(self.position.clone());
        if let Some(position) = second {
            self.raise_floor(position).await?;
        }
        telemetry::snapshotted(self.partition, &self.position, bytes, self.snapshotted_at.elapsed());
        Ok(())
    }
}

impl Work<'_> {
    async fn raise_floor(&mut self, position: Position) -> anyhow::Result<()> {
        if self.floor.floor().is_none_or(|floor| floor.position != position) {
            self.floor.set(Floor { position, books: Books::default() }).await.context("floor")?;
        }
        Ok(())
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
