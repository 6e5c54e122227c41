//! The worker of a lane's other end: what the spool holds goes to RAW, one message a position.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::repair::{Recall, Remembered, recall};
use atalaya_bus::{Bus, FencedWriter, Message, OutputLane, Part, Position, Reader, Stop, Stream, WriteError};
use atalaya_model::{LaneId, Origin};
use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::spool::{Spool, SpoolError, missing, origin_of, place};
use crate::telemetry;
use crate::trim::Progress;

/// Pause before a bus that does not answer is tried again, milliseconds.
const RETRY_PAUSE_MS: u64 = 500;

/// The bucket of lanes: normalizers find there what to lease.
const LANES: &str = "lanes";

/// Tells everybody of a lane.
///
/// # Errors
/// If the bus does not answer.
pub(crate) async fn register(bus: &dyn Bus, lane: &LaneId, collector: &str) -> anyhow::Result<()> {
    let bucket = bus.bucket(LANES).await?;
    let value = Bytes::from(json!({ "collector": collector }).to_string());
    match bucket.get(lane.as_str()).await? {
        Some(entry) if entry.value == value => {}
        entry => {
            let revision = entry.map_or(0, |entry| entry.revision);
            bucket.put(lane.as_str(), value, revision, None).await.with_context(|| format!("register lane {lane}"))?;
        }
    }
    Ok(())
}

/// What RAW holds of a lane.
pub(crate) async fn resume(bus: &Arc<dyn Bus>, lane: &LaneId) -> Result<FencedWriter, WriteError> {
    FencedWriter::resume(Arc::clone(bus), OutputLane::raw(lane)).await
}

/// The newest entry of a lane that RAW has.
pub(crate) fn written(writer: &FencedWriter) -> Option<Origin> {
    writer.position().and_then(|position| Origin::parse(&position.id))
}

/// One lane's way from the spool to RAW.
pub(crate) struct Publisher {
    pub(crate) lane: LaneId,
    pub(crate) index: usize,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) spool: Spool,
    pub(crate) progress: Arc<Progress>,
    /// The spool takes nothing any more: what it holds is all there will be.
    pub(crate) last_words: CancellationToken,
}

impl Publisher {
    /// Publishes until the spool is closed and empty. A bus that does not answer is tried for ever, the spool filling
    /// meanwhile; so is a RAW that is not the log the spool remembers, until it is repaired.
    ///
    /// # Errors
    /// If another collector writes this lane, or the spool fails.
    pub(crate) async fn run(self, writer: FencedWriter) -> anyhow::Result<()> {
        let mut writer = Some(writer);
        loop {
            let resumed = match writer.take() {
                Some(writer) => Ok(writer),
                None => resume(&self.bus, &self.lane).await,
            };
            let error = match resumed {
                Ok(writer) => match self.publish(writer).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error.into(),
            };
            let fenced = matches!(error.downcast_ref(), Some(WriteError::Fenced { .. }));
            // A log that went back refuses the writer as another collector would.
            let error = if fenced { self.recall().await.err().unwrap_or(error) } else { error };
            if matches!(error.downcast_ref(), Some(WriteError::Bus(bus)) if Stop::of(bus) == Stop::Damaged) {
                telemetry::raw_damaged(&self.lane, &error);
                let pause = tokio::time::sleep(Stop::Damaged.pause());
                // A drain does not wait for somebody to repair it.
                if self.last_words.run_until_cancelled(pause).await.is_none() {
                    return Ok(());
                }
                continue;
            }
            match error.downcast_ref::<WriteError>() {
                Some(WriteError::Bus(_)) => telemetry::publish_failed(&self.lane, &error),
                Some(WriteError::Fenced { .. }) => {
                    return Err(error.context(format!("lane {}: is another collector of this id alive?", self.lane)));
                }
                _ => return Err(error.context(format!("lane {}", self.lane))),
            }
            tokio::time::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
        }
    }

    async fn publish(&self, mut writer: FencedWriter) -> anyhow::Result<()> {
        self.recall().await?;
        let incarnation = self.bus.info(Stream::Raw).await.map_err(WriteError::Bus)?.incarnation;
        let newest = written(&writer);
        let mut reader = self.reader(newest.as_ref()).await?;
        let mut before = newest.clone();
        while let Some(message) = self.next(reader.as_mut()).await? {
            let origin =
                origin_of(&message).with_context(|| format!("spool entry {} has no origin", message.sequence))?;
            if newest.as_ref().is_some_and(|newest| place(&origin) <= place(newest)) {
                self.progress.published(self.index, message.sequence);
                continue;
            }
            if let Some(before) = before.take() {
                telemetry::raw_lost(&self.lane, missing(&before, &origin));
            }
            write(&mut writer, &origin, &message).await?;
            telemetry::published(&self.lane, message.headers.rows);
            let position = Position { incarnation, sequence: writer.last(), id: message.headers.id.clone() };
            self.progress.published_at(self.index, message.sequence, position);
        }
        Ok(())
    }

    /// Checks that RAW still has what the spool let go. One that was repaired since is begun with anew: what the spool
    /// holds is written again.
    async fn recall(&self) -> anyhow::Result<()> {
        let Some(remembered) = self.spool.remembered(&self.lane).await? else { return Ok(()) };
        let recalled = recall(self.bus.as_ref(), Stream::Raw, &remembered).await.map_err(WriteError::Bus)?;
        if recalled == Recall::Repaired {
            telemetry::raw_repaired(&self.lane, remembered.position.sequence);
            self.spool.remember(&self.lane, &Remembered::default()).await?;
        }
        Ok(())
    }

    /// Behind the newest entry that RAW has, where the spool still has it; else from the spool's beginning: it ends
    /// where it was trimmed, and what RAW has is passed over by its origin.
    async fn reader(&self, newest: Option<&Origin>) -> Result<Box<dyn Reader>, SpoolError> {
        let journal = self.spool.journal();
        let info = journal.info(Stream::Raw).await?;
        let output = OutputLane::raw(&self.lane);
        let last = journal.last(Stream::Raw, output.filter()).await?;
        let covered = last.filter(|last| {
            let origin = origin_of(last);
            newest.is_some_and(|newest| origin.is_some_and(|origin| place(&origin) <= place(newest)))
        });
        let begin = self.progress.published_of(self.index).max(info.first.saturating_sub(1));
        let after = covered.map_or(begin, |last| last.sequence);
        self.progress.published(self.index, after);
        Ok(journal.read(Stream::Raw, output.filter(), after).await?)
    }

    /// The next entry; none if there are and will be no others.
    async fn next(&self, reader: &mut dyn Reader) -> Result<Option<Message>, SpoolError> {
        tokio::select! {
            biased;
            message = reader.next() => Ok(Some(message?)),
            () = self.last_words.cancelled() => Ok(reader.try_next().await?),
        }
    }
}

async fn write(writer: &mut FencedWriter, origin: &Origin, message: &Message) -> Result<(), WriteError> {
    let mut headers = message.headers.as_ref().clone();
    let books = std::mem::take(&mut headers.books);
    // A position of the spool: its epoch stands for the stream's incarnation.
    let covers = Position { incarnation: origin.epoch_ms, sequence: message.sequence, id: headers.id.clone() };
    let part = Part { subject: message.subject.clone(), headers, body: message.body.clone(), decoded: None };
    writer.write(covers, vec![part], books).await
}
