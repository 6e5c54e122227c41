//! The spool: a journal of the collector's own that holds what was taken in until RAW has it.
//!
//! An entry is a finished RAW message. What is remembered of it (admission, open inputs) is written in the same commit.
//! An entry's origin is (lane, epoch, offset); the epoch is the spool's creation time, and a new one begins when the
//! spool turns out to end below what RAW holds already, as a restored copy does.

use std::sync::Arc;

use atalaya_bus::journal::Journal;
use atalaya_bus::repair::Remembered;
use atalaya_bus::{Bucket, BucketError, Bus, BusError, Message, OutputLane, Stream};
use atalaya_model::{LaneId, Origin};
use bytes::Bytes;

/// Bucket: how far files were admitted, `<anchor>.<input>` → a continuation.
pub(crate) const ADMITTED: &str = "admitted";

/// Bucket: how far producers were admitted.
pub(crate) const PRODUCERS: &str = "producers";

/// Bucket: files as they stood when they had been read to their end.
pub(crate) const FILES: &str = "files";

/// Bucket: what the spool says of itself, and under `raw.<lane>` where RAW had each lane when the spool let it go.
const SPOOL: &str = "spool";
const IN_RAW: &str = "raw.";

/// Lanes of a collector at most.
pub const MAX_LANES: usize = 64;

/// Why the spool cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It takes nothing any more.
    #[error("the spool is closed")]
    Closed,
    /// It belongs to another collector.
    #[error("the spool belongs to collector '{found}', not '{wanted}': set collector.id back, or move the spool away")]
    Foreign {
        /// Whose it is.
        found: String,
        /// Who asks.
        wanted: String,
    },
    /// It cannot be read or written.
    #[error("spool: {0}")]
    Bus(#[from] BusError),
    /// One of its buckets cannot be read or written.
    #[error("spool: {0}")]
    Bucket(#[from] BucketError),
}

/// The open spool. Cheap to clone.
#[derive(Clone)]
pub struct Spool {
    journal: Arc<Journal>,
    epoch_ms: u64,
}

/// Where a lane of the spool ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneEnd {
    /// Sequence of the newest entry; 0 for none.
    pub(crate) sequence: u64,
    /// The newest entry.
    pub(crate) origin: Option<Origin>,
}

/// Makes the spool the collector's own, and names its lanes: as many as are configured, or as there were before.
///
/// # Errors
/// If it is another collector's, or cannot be read.
pub(crate) async fn claim(journal: &Journal, collector: &str, lanes: usize) -> Result<Vec<LaneId>, SpoolError> {
    let bucket = journal.bucket(SPOOL).await?;
    let owner = own(bucket.as_ref(), "collector", collector.as_bytes()).await?;
    if owner != collector.as_bytes() {
        let found = String::from_utf8_lossy(&owner).into_owned();
        return Err(SpoolError::Foreign { found, wanted: collector.to_owned() });
    }
    let before = bucket.get("lanes").await?;
    let known = before.as_ref().and_then(|entry| number(&entry.value));
    let count = known.unwrap_or_default().max(lanes as u64).min(MAX_LANES as u64);
    if known != Some(count) {
        let value = Bytes::copy_from_slice(&count.to_le_bytes());
        bucket.put("lanes", value, before.map_or(0, |entry| entry.revision), None).await?;
    }
    let lane = |n: u64| format!("{collector}-{n}").parse().map_err(|error| BusError::Io(error).into());
    (0..count).map(lane).collect()
}

/// The entry, written if it is not there.
async fn own(bucket: &dyn Bucket, key: &str, new: &[u8]) -> Result<Bytes, SpoolError> {
    if let Some(entry) = bucket.get(key).await? {
        return Ok(entry.value);
    }
    let value = Bytes::copy_from_slice(new);
    bucket.put(key, value.clone(), 0, None).await?;
    Ok(value)
}

fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

impl Spool {
    /// Opens the spool with the epoch that follows from what RAW holds of each lane.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn open(
        journal: Arc<Journal>,
        ends: &[LaneEnd],
        written: &[Option<Origin>],
        now_ms: u64,
    ) -> Result<Self, SpoolError> {
        let created_ms = journal.info(Stream::Raw).await?.incarnation / 1_000;
        let bucket = journal.bucket(SPOOL).await?;
        let entry = bucket.get("epoch").await?;
        let current = entry.as_ref().and_then(|entry| number(&entry.value)).unwrap_or(created_ms);
        let epoch_ms = epoch(current, ends, written, now_ms);
        if entry.as_ref().and_then(|entry| number(&entry.value)) != Some(epoch_ms) {
            let value = Bytes::copy_from_slice(&epoch_ms.to_le_bytes());
            bucket.put("epoch", value, entry.map_or(0, |entry| entry.revision), None).await?;
        }
        Ok(Self { journal, epoch_ms })
    }

    /// The epoch of new entries.
    #[must_use]
    pub fn epoch_ms(&self) -> u64 {
        self.epoch_ms
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Remembers where the newest entry of a lane that the spool may let go stands in RAW.
    pub(crate) async fn remember(&self, lane: &LaneId, remembered: &Remembered) -> Result<(), SpoolError> {
        let bucket = self.journal.bucket(SPOOL).await?;
        let key = format!("{IN_RAW}{lane}");
        let revision = bucket.get(&key).await?.map_or(0, |entry| entry.revision);
        let value = serde_json::to_vec(remembered).map_err(|error| BusError::Io(error.to_string()))?;
        bucket.put(&key, value.into(), revision, None).await?;
        Ok(())
    }

    /// What is remembered of a lane in RAW.
    pub(crate) async fn remembered(&self, lane: &LaneId) -> Result<Option<Remembered>, SpoolError> {
        let found = in_raw(&self.journal).await?;
        Ok(found.into_iter().find(|(of, _)| of == lane).map(|(_, remembered)| remembered))
    }

    /// What is remembered under a key. An empty entry is one that was taken away.
    pub(crate) async fn note(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, SpoolError> {
        let entry = self.journal.bucket(bucket).await?.get(key).await?;
        Ok(entry.map(|entry| entry.value).filter(|value| !value.is_empty()))
    }

    /// Everything remembered under keys that begin so.
    pub(crate) async fn notes(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, Bytes)>, SpoolError> {
        let entries = self.journal.bucket(bucket).await?.list(prefix).await?;
        Ok(entries.into_iter().filter(|entry| !entry.value.is_empty()).map(|entry| (entry.key, entry.value)).collect())
    }

    /// Removes the empty entries that a run has left: a commit can only write.
    pub(crate) async fn sweep(&self, bucket: &str) -> Result<(), SpoolError> {
        let bucket = self.journal.bucket(bucket).await?;
        for entry in bucket.list("").await?.iter().filter(|entry| entry.value.is_empty()) {
            bucket.delete(&entry.key).await?;
        }
        Ok(())
    }
}

/// What a spool remembers of its lanes in RAW.
///
/// # Errors
/// If it cannot be read.
pub async fn in_raw(journal: &Journal) -> Result<Vec<(LaneId, Remembered)>, SpoolError> {
    let mut found = Vec::new();
    for entry in journal.bucket(SPOOL).await?.list(IN_RAW).await? {
        let remembered = serde_json::from_slice(&entry.value).map_err(|error| BusError::Io(error.to_string()))?;
        let lane = entry.key[IN_RAW.len()..].parse().map_err(BusError::Io)?;
        found.push((lane, remembered));
    }
    Ok(found)
}

/// What a spool holds of a lane that RAW lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Messages that the spool holds.
    pub messages: u64,
    /// Their records.
    pub records: u64,
    /// Messages between the newest one in RAW and the first of these: they are in neither. Not known where RAW has
    /// nothing of the lane.
    pub lost: u64,
}

/// Compares a lane of a spool with the newest message of it in RAW.
///
/// # Errors
/// If the spool cannot be read.
pub async fn unwritten(journal: &Journal, lane: &LaneId, newest: Option<&Message>) -> Result<Unwritten, SpoolError> {
    let newest = newest.and_then(|message| message.headers.covers.as_ref()).and_then(|at| Origin::parse(&at.id));
    let first = journal.info(Stream::Raw).await?.first;
    let filter = OutputLane::raw(lane).filter().clone();
    let mut reader = journal.read(Stream::Raw, &filter, first.saturating_sub(1)).await?;
    let mut found = Unwritten::default();
    while let Some(message) = reader.try_next().await? {
        let Some(origin) = origin_of(&message) else { continue };
        if newest.as_ref().is_some_and(|newest| place(&origin) <= place(newest)) {
            continue;
        }
        if found.messages == 0 {
            found.lost = newest.as_ref().map_or(0, |newest| missing(newest, &origin));
        }
        found.messages += 1;
        found.records += u64::from(message.headers.rows);
    }
    Ok(found)
}

/// Messages of a lane between two; 0 if the second is of a new epoch.
pub(crate) fn missing(before: &Origin, after: &Origin) -> u64 {
    let same = before.epoch_ms == after.epoch_ms;
    if same { after.offset.saturating_sub(before.offset + 1) } else { 0 }
}

/// Where a lane of a spool ends.
pub(crate) async fn lane_end(journal: &Journal, lane: &LaneId) -> Result<LaneEnd, SpoolError> {
    let newest = journal.last(Stream::Raw, OutputLane::raw(lane).filter()).await?;
    Ok(newest
        .map_or_else(LaneEnd::default, |message| LaneEnd { sequence: message.sequence, origin: origin_of(&message) }))
}

/// The origin of an entry.
pub(crate) fn origin_of(message: &Message) -> Option<Origin> {
    Origin::parse(&message.headers.id)
}

/// Order of the entries of one lane, over all epochs.
pub(crate) fn place(origin: &Origin) -> (u64, u64) {
    (origin.epoch_ms, origin.offset)
}

/// The epoch of new entries: the current one, unless RAW holds entries of a lane that the spool does not. Pure.
fn epoch(current: u64, ends: &[LaneEnd], written: &[Option<Origin>], now_ms: u64) -> u64 {
    let behind = ends.iter().zip(written).any(|(end, written)| {
        let end = end.origin.as_ref().map_or((current, 0), place);
        written.as_ref().is_some_and(|written| place(written) > end)
    });
    if !behind {
        return current;
    }
    let newest = written.iter().flatten().map(|origin| origin.epoch_ms).max().unwrap_or_default();
    now_ms.max(newest + 1).max(current + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(epoch_ms: u64, offset: u64) -> Option<Origin> {
        Some(Origin { lane: "c1-0".parse().unwrap(), epoch_ms, offset })
    }

    #[test]
    fn a_spool_that_went_back_begins_a_new_epoch() {
        let end = |origin| [LaneEnd { sequence: 9, origin }];
        assert_eq!(epoch(100, &end(origin(100, 7)), &[origin(100, 7)], 500), 100);
        assert_eq!(epoch(100, &end(origin(100, 7)), &[None], 500), 100);
        assert_eq!(epoch(100, &end(origin(100, 6)), &[origin(100, 7)], 500), 500);
        // Lost altogether, with a clock that went back.
        assert_eq!(epoch(90, &[LaneEnd::default()], &[origin(100, 7)], 80), 101);
        // Made anew later: its entries come after all that RAW has.
        assert_eq!(epoch(200, &[LaneEnd::default()], &[origin(100, 7)], 200), 200);
    }
}
