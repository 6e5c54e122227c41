//! Rows waiting for a flush, and how far each partition has been read. Pure: time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_archive::{Scope, StoredBatch};
use atalaya_bus::Position;
use atalaya_model::{Books, Class};
use atalaya_schema::EventBatch;

use crate::Config;

/// A message as the archive sees it.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Where it stands.
    pub(crate) position: Position,
    /// What is archived with it.
    pub(crate) books: Books,
    /// Its rows, if it has any.
    pub(crate) events: Option<Arc<EventBatch>>,
    /// Whether it is the end of a backfill's input.
    pub(crate) closes: bool,
}

/// How far a partition was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// The last message.
    pub(crate) position: Position,
    /// What is archived with the messages since the last flush.
    pub(crate) books: Books,
}

/// What is flushed at once.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    /// Rows by table.
    pub(crate) batches: BTreeMap<Class, Vec<StoredBatch>>,
    /// Positions after it.
    pub(crate) progress: BTreeMap<Scope, Progress>,
    /// Rows.
    pub(crate) rows: usize,
    /// Bytes in memory.
    pub(crate) bytes: usize,
}

/// The lot being gathered.
#[derive(Debug)]
pub(crate) struct Buffer {
    lot: Lot,
    due_ms: Option<u64>,
    flush_ms: u64,
    close_linger_ms: u64,
    max_rows: usize,
    max_bytes: usize,
}

impl Buffer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            lot: Lot::default(),
            due_ms: None,
            flush_ms: config.flush_ms,
            close_linger_ms: config.close_linger_ms,
            max_rows: config.flush_rows,
            max_bytes: config.flush_bytes,
        }
    }

    /// Adds a partition's next message.
    pub(crate) fn add(&mut self, now_ms: u64, scope: Scope, taken: Taken) {
        let wait = if taken.closes { self.close_linger_ms.min(self.flush_ms) } else { self.flush_ms };
        let due = now_ms.saturating_add(wait);
        self.due_ms = Some(self.due_ms.map_or(due, |earlier| earlier.min(due)));
        if let Some(events) = taken.events.filter(|events| !events.is_empty()) {
            self.lot.rows += events.rows.num_rows();
            self.lot.bytes += events.rows.get_array_memory_size();
            let batch = StoredBatch { scope, sequence: taken.position.sequence, events };
            self.lot.batches.entry(batch.events.class).or_default().push(batch);
        }
        let progress = self.lot.progress.entry(scope).or_default();
        progress.position = taken.position;
        progress.books.merge(&taken.books);
    }

    /// When it must be flushed; none while it is empty.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Whether nothing more should be read into it.
    pub(crate) fn is_full(&self) -> bool {
        self.lot.rows >= self.max_rows || self.lot.bytes >= self.max_bytes
    }

    /// Leaves out a partition that is read again from its floor.
    pub(crate) fn forget(&mut self, scope: &Scope) {
        if self.lot.progress.remove(scope).is_none() {
            return;
        }
        self.lot.batches.retain(|_, batches| {
            batches.retain(|batch| batch.scope != *scope);
            !batches.is_empty()
        });
        let left = || self.lot.batches.values().flatten().map(|batch| &batch.events.rows);
        (self.lot.rows, self.lot.bytes) =
            left().fold((0, 0), |(rows, bytes), r| (rows + r.num_rows(), bytes + r.get_array_memory_size()));
        if self.lot.progress.is_empty() {
            self.due_ms = None;
        }
    }

    /// What was gathered; the buffer is empty afterwards.
    pub(crate) fn take(&mut self) -> Lot {
        self.due_ms = None;
        std::mem::take(&mut self.lot)
    }
}

#[cfg(test)]
mod tests;
