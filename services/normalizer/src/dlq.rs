//! Where a lane's parked records go. A DLQ that is full, or refuses them, makes them dropped and counted; one that does
//! not answer makes the lane fail: nothing waits for it without end, and nothing is dropped because of a network.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{Bus, BusError, FencedWriter, OutputLane, Position, Stop, Stream, Unfinished, WriteError};
use atalaya_model::{Books, LaneId};
use atalaya_proto::dlq_v1::{Parked, ParkedRecords};
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout};

use crate::parts::Arrived;
use crate::telemetry;

/// The stage in the DLQ's subjects.
const STAGE: &str = "normalizer";

/// How long a message's parked records may take, over all tries.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long one try may take: a stream that is full holds a writer for ever, and is looked at again after this.
const MAX_TRY: Duration = Duration::from_secs(5);

/// First pause before a failed try is repeated, milliseconds; it doubles up to [`MAX_PAUSE_MS`].
const MIN_PAUSE_MS: u64 = 20;

/// Longest pause between two tries, milliseconds.
const MAX_PAUSE_MS: u64 = 1_000;

/// Share of the DLQ's size, in percent, from which on records are dropped: before any bus refuses them as too many.
const FULL_PERCENT: u64 = 90;

/// What a message has besides its body, bytes, about.
const OVERHEAD_BYTES: u64 = 1 << 10;

/// Why records are not kept, by policy.
pub(crate) type Dropped = &'static str;

/// The DLQ of one lane.
pub(crate) struct Dlq {
    bus: Arc<dyn Bus>,
    lane: LaneId,
    output: OutputLane,
    /// Opened with the first parked record, and again after a failure.
    writer: Option<FencedWriter>,
    max_wait: Duration,
}

impl Dlq {
    pub(crate) fn new(bus: Arc<dyn Bus>, lane: LaneId) -> Self {
        let output = OutputLane::dlq(STAGE, lane.as_str());
        Self { bus, lane, output, writer: None, max_wait: MAX_WAIT }
    }

    /// Keeps a message's parked records, or says why policy drops them.
    ///
    /// # Errors
    /// If the DLQ does not answer within [`MAX_WAIT`], or cannot be trusted.
    pub(crate) async fn park(
        &mut self,
        position: &Position,
        arrived: &Arrived,
        parked: &[Parked],
    ) -> Result<Option<Dropped>, WriteError> {
        if parked.is_empty() {
            return Ok(None);
        }
        let (until, mut pause_ms) = (Instant::now() + self.max_wait, MIN_PAUSE_MS);
        loop {
            let error = match timeout(MAX_TRY, self.attempt(position, arrived, parked)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(WriteError::Refused(_))) => return Ok(Some("dlq_refused")),
                Ok(Err(error)) => error,
                Err(_) => BusError::Io(format!("the DLQ did not take {} records in {MAX_TRY:?}", parked.len())).into(),
            };
            if Instant::now() >= until || Stop::of(&error) == Stop::Damaged {
                return Err(error);
            }
            telemetry::parking_failed(&self.lane, &error);
            sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(MAX_PAUSE_MS);
        }
    }

    /// Writes once. A writer that fails, or is dropped half-way, is of no use any more.
    async fn attempt(
        &mut self,
        position: &Position,
        arrived: &Arrived,
        parked: &[Parked],
    ) -> Result<Option<Dropped>, WriteError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open(position).await?,
        };
        let covered =
            |written: &Position| written.incarnation == position.incarnation && written.sequence >= position.sequence;
        if !writer.position().is_some_and(covered) {
            let missing = missing(parked, writer.unfinished());
            let parts = arrived.parked(&missing, self.output.mark());
            let bytes = parts.iter().map(|part| part.body.len() as u64 + OVERHEAD_BYTES).sum::<u64>();
            let info = self.bus.info(Stream::Dlq).await?;
            if info.bytes.saturating_add(bytes).saturating_mul(100) >= info.max_bytes.saturating_mul(FULL_PERCENT) {
                return Ok(Some("dlq_full"));
            }
            writer.write(position.clone(), parts, Books::default()).await?;
            for record in &missing {
                telemetry::parked(&self.lane, &record.reason, &record.detail, record.line);
            }
        }
        self.writer = Some(writer);
        Ok(None)
    }

    /// A half-written position of an earlier run is ended, unless it is the one at hand, which is completed.
    async fn open(&self, position: &Position) -> Result<FencedWriter, WriteError> {
        let mut writer = FencedWriter::resume(Arc::clone(&self.bus), self.output.clone()).await?;
        let unfinished = writer.unfinished().map(|unfinished| unfinished.position.clone());
        if let Some(unfinished) = unfinished.filter(|unfinished| unfinished != position) {
            writer.write(unfinished, Vec::new(), Books::default()).await?;
        }
        Ok(writer)
    }
}

/// The records that a half-written position does not have yet.
fn missing(parked: &[Parked], unfinished: Option<&Unfinished>) -> Vec<Parked> {
    let bodies = unfinished.iter().flat_map(|unfinished| &unfinished.stored).map(|message| message.body.clone());
    let stored: HashSet<u32> = bodies
        .filter_map(|body| ParkedRecords::decode(body).ok())
        .flat_map(|parked| parked.records)
        .map(|record| record.record)
        .collect();
    parked.iter().filter(|record| !stored.contains(&record.record)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use atalaya_testkit::{FaultBus, Faults, Life, TestBus};

    use super::*;

    /// After the limit the lane fails, and takes the same records again: then they are parked once.
    #[tokio::test]
    async fn a_dlq_that_never_answers_fails_the_lane() {
        let test = TestBus::new().unwrap();
        let life = Life::new(1, Faults { fail_read: 1.0, lose_request: 1.0, ..Faults::NONE });
        let lane: LaneId = "c1-0".parse().unwrap();
        let mut dlq = Dlq::new(FaultBus::new(test.bus(), Arc::clone(&life)), lane.clone());
        dlq.max_wait = Duration::from_millis(300);
        let position = Position { incarnation: 1, sequence: 7, id: "m7".into() };
        let (header, enrichment) = (Default::default(), String::new());
        let arrived = Arrived { lane, id: "m7".into(), header, traceparent: None, enrichment };
        let parked: Vec<_> = (0..3).map(|record| Parked { record, ..Parked::default() }).collect();
        let begun = Instant::now();
        assert!(matches!(dlq.park(&position, &arrived, &parked).await, Err(WriteError::Bus(BusError::Io(_)))));
        assert!(begun.elapsed() >= dlq.max_wait);
        assert!(life.heal());
        for _ in 0..2 {
            assert_eq!(dlq.park(&position, &arrived, &parked).await.unwrap(), None);
        }
        let stored = test.all(Stream::Dlq, "dlq.>").await.unwrap();
        let bodies = stored.iter().map(|message| ParkedRecords::decode(message.body.clone()).unwrap().records);
        assert_eq!(bodies.flatten().collect::<Vec<_>>(), parked);
    }
}
