//! Where a lane's parked records go. Nothing waits for it for long: what it does not take is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{Bus, FencedWriter, OutputLane, Position, Stream, WriteError};
use atalaya_model::{Books, LaneId};
use atalaya_proto::dlq_v1::Parked;
use tokio::time::Instant;

use crate::parts::Arrived;
use crate::telemetry;

/// The stage in the DLQ's subjects.
const STAGE: &str = "normalizer";

/// How long a message's parked records may take.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// How long records are dropped at once after the DLQ took too long.
const DOWN_FOR: Duration = Duration::from_secs(30);

/// Pause before a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Share of the DLQ's size, in percent, from which on records are dropped.
const FULL_PERCENT: u64 = 95;

/// The DLQ of one lane.
pub(crate) struct Dlq {
    bus: Arc<dyn Bus>,
    lane: LaneId,
    output: OutputLane,
    /// Opened with the first parked record, and again after a failure.
    writer: Option<FencedWriter>,
    down_until: Option<Instant>,
}

impl Dlq {
    pub(crate) fn new(bus: Arc<dyn Bus>, lane: LaneId) -> Self {
        let output = OutputLane::dlq(STAGE, lane.as_str());
        Self { bus, lane, output, writer: None, down_until: None }
    }

    /// Keeps a message's parked records.
    ///
    /// # Errors
    /// With the reason why they are not kept.
    pub(crate) async fn park(
        &mut self,
        position: &Position,
        arrived: &Arrived,
        parked: &[Parked],
    ) -> Result<(), &'static str> {
        if parked.is_empty() {
            return Ok(());
        }
        if self.down_until.is_some_and(|until| Instant::now() < until) {
            return Err("dlq_down");
        }
        let written = tokio::time::timeout(MAX_WAIT, self.insist(position, arrived, parked)).await;
        written.unwrap_or_else(|_| {
            self.down_until = Some(Instant::now() + DOWN_FOR);
            Err("dlq_down")
        })
    }

    /// Tries until it is kept or never will be.
    async fn insist(&mut self, position: &Position, arrived: &Arrived, parked: &[Parked]) -> Result<(), &'static str> {
        loop {
            // A writer that fails, or is dropped half-way, is of no use any more.
            let writer = self.writer.take();
            match self.write(writer, position, arrived, parked).await {
                Ok(Some(writer)) => {
                    self.writer = Some(writer);
                    return Ok(());
                }
                Ok(None) => return Err("dlq_full"),
                Err(WriteError::Refused(_)) => return Err("dlq_refused"),
                Err(WriteError::Fenced { .. } | WriteError::Bus(_)) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Writes once; none if the DLQ is full.
    async fn write(
        &self,
        writer: Option<FencedWriter>,
        position: &Position,
        arrived: &Arrived,
        parked: &[Parked],
    ) -> Result<Option<FencedWriter>, WriteError> {
        let info = self.bus.info(Stream::Dlq).await?;
        if info.bytes.saturating_mul(100) >= info.max_bytes.saturating_mul(FULL_PERCENT) {
            return Ok(None);
        }
        let mut writer = match writer {
            Some(writer) => writer,
            None => self.open(position).await?,
        };
        let covered =
            |written: &Position| written.incarnation == position.incarnation && written.sequence >= position.sequence;
        if writer.position().is_some_and(covered) {
            // Written by the run before, which did not come to cover the position.
            return Ok(Some(writer));
        }
        let parts = arrived.parked(parked, self.output.mark());
        writer.write(position.clone(), parts, Books::default()).await?;
        for record in parked {
            telemetry::parked(&self.lane, &record.reason, &record.detail, record.line);
        }
        Ok(Some(writer))
    }

    /// A half-written position of an earlier run is ended, unless it is the one at hand, which is written again.
    async fn open(&self, position: &Position) -> Result<FencedWriter, WriteError> {
        let mut writer = FencedWriter::resume(Arc::clone(&self.bus), self.output.clone()).await?;
        let unfinished = writer.unfinished().map(|unfinished| unfinished.position.clone());
        if let Some(unfinished) = unfinished.filter(|unfinished| unfinished != position) {
            writer.write(unfinished, Vec::new(), Books::default()).await?;
        }
        Ok(writer)
    }
}
