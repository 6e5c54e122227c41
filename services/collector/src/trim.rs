//! How far each lane has come, and what the spool may let go: everything that RAW has.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atalaya_bus::repair::Remembered;
use atalaya_bus::{Bus, Filter, OutputLane, Position, Sequence, Stream};
use atalaya_model::LaneId;
use tokio::sync::Notify;

use crate::spool::{Spool, SpoolError};

/// Pause between two trims, milliseconds.
const TRIM_PAUSE_MS: u64 = 100;

/// Where a lane stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneProgress {
    /// Its newest entry.
    pub(crate) written: Sequence,
    /// Whether an entry is being written.
    pub(crate) writing: bool,
    /// The newest entry that RAW has.
    pub(crate) published: Sequence,
}

/// Where all lanes stand.
pub(crate) struct Progress {
    lanes: Mutex<Vec<LaneProgress>>,
    /// Where each lane's newest entry in RAW stands there, if that is not remembered yet.
    in_raw: Mutex<Vec<Option<Position>>>,
    moved: Notify,
}

impl Progress {
    pub(crate) fn new(lanes: Vec<LaneProgress>) -> Self {
        let in_raw = Mutex::new(vec![None; lanes.len()]);
        Self { lanes: Mutex::new(lanes), in_raw, moved: Notify::new() }
    }

    fn lane<T>(&self, index: usize, change: impl FnOnce(&mut LaneProgress) -> T) -> Option<T> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index).map(change)
    }

    /// An entry is going to be written.
    pub(crate) fn begin(&self, index: usize) {
        self.lane(index, |lane| lane.writing = true);
    }

    /// It is on disk.
    pub(crate) fn written(&self, index: usize, sequence: Sequence) {
        self.lane(index, |lane| (lane.written, lane.writing) = (sequence, false));
    }

    /// RAW has everything up to here.
    pub(crate) fn published(&self, index: usize, sequence: Sequence) {
        self.lane(index, |lane| lane.published = lane.published.max(sequence));
        self.moved.notify_one();
    }

    /// RAW has everything up to here, and the newest of it there.
    pub(crate) fn published_at(&self, index: usize, sequence: Sequence, position: Position) {
        if let Some(in_raw) = self.in_raw.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            *in_raw = Some(position);
        }
        self.published(index, sequence);
    }

    /// What is to be remembered before anything is let go.
    fn take_in_raw(&self) -> Vec<Option<Position>> {
        self.in_raw.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().map(Option::take).collect()
    }

    /// Up to where RAW is known to have a lane.
    pub(crate) fn published_of(&self, index: usize) -> Sequence {
        self.lane(index, |lane| lane.published).unwrap_or_default()
    }

    /// The first entry that must stay. Under one lock: what is written later than this look has a larger sequence.
    fn first_needed(&self) -> Sequence {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = lanes.iter().filter(|lane| lane.writing || lane.written > lane.published);
        let newest = lanes.iter().map(|lane| lane.published).max().unwrap_or_default();
        needed.map(|lane| lane.published).min().unwrap_or(newest) + 1
    }
}

/// Trims the spool as RAW fills, for ever. Where RAW has what is let go is remembered first: a RAW that lost it is
/// noticed so.
///
/// # Errors
/// If the spool fails.
pub(crate) async fn run(spool: Spool, lanes: Vec<LaneId>, progress: &Progress) -> Result<(), SpoolError> {
    let fences: Vec<Filter> = lanes.iter().map(|lane| OutputLane::raw(lane).filter().clone()).collect();
    let mut trimmed = 0;
    loop {
        progress.moved.notified().await;
        let before = progress.first_needed();
        if before > trimmed {
            for (lane, position) in lanes.iter().zip(progress.take_in_raw()) {
                if let Some(position) = position {
                    spool.remember(lane, &Remembered::now(position)).await?;
                }
            }
            spool.journal().trim(Stream::Raw, before, &fences).await?;
            trimmed = before;
        }
        tokio::time::sleep(Duration::from_millis(TRIM_PAUSE_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_that_is_unpublished_or_being_written() {
        let lane = |written, published| LaneProgress { written, writing: false, published };
        let progress = Progress::new(vec![lane(10, 10), lane(7, 4)]);
        assert_eq!(progress.first_needed(), 5);
        progress.published(1, 7);
        assert_eq!(progress.first_needed(), 11);
        progress.begin(1);
        assert_eq!(progress.first_needed(), 8);
        progress.written(1, 11);
        assert_eq!(progress.published_of(1), 7);
        progress.published(1, 11);
        assert_eq!(progress.first_needed(), 12);
    }
}
