//! Generations: the keyspaces of what was received in one span of days, dropped as a whole when its retention is over.
//!
//! Received days, not days of events: a message belongs to one generation however wild its events' times are, so that a
//! batch opens one or two generations, never hundreds, and retention counts from the received time anyway.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use crate::HotError;
use crate::kinds::DAY_US;

/// Generations that retention is cut into at most: a lookup reads each, and rows go up to one part later than they must.
const MAX_GENERATIONS: i64 = 32;

/// Days of a generation where nothing is ever dropped.
const ENDLESS_DAYS: i64 = 128;

/// Memtable of the tables that grow with every message, bytes.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// Tables written out before they are merged: scattered keys cost least when many are merged at once.
const L0_TABLES: u8 = 8;

/// A table after merging, bytes: small ones keep each merge short, for the one thread also writes memtables out.
const TABLE_BYTES: u64 = 16 << 20;

/// A block, bytes.
const BLOCK_BYTES: u32 = 16 << 10;

/// Bodies of at least this many bytes stand in files of their own, which compaction leaves alone.
const MIN_BLOB_BYTES: u32 = 1 << 10;

/// The days a generation holds, as days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Days {
    first: i64,
    count: i64,
}

impl Days {
    /// The days that a received time falls into.
    pub(super) fn of(received_us: i64, retention_us: Option<i64>) -> Self {
        let count = retention_us.map_or(ENDLESS_DAYS, |retention_us| {
            let days = retention_us.div_euclid(DAY_US) + 1;
            (days + MAX_GENERATIONS - 1) / MAX_GENERATIONS
        });
        let day = received_us.div_euclid(DAY_US);
        Self { first: day.div_euclid(count) * count, count }
    }

    /// Whether a received time falls into these days.
    pub(super) fn contains(&self, received_us: i64) -> bool {
        (self.first..self.first + self.count).contains(&received_us.div_euclid(DAY_US))
    }

    /// Whether everything received in these days is over.
    pub(super) fn is_over(&self, retention_us: i64, now_us: i64) -> bool {
        let end_us = (self.first + self.count).saturating_mul(DAY_US);
        end_us.saturating_add(retention_us) <= now_us
    }

    fn keyspace(&self, table: &str) -> String {
        format!("{table}.{}.{}", self.first, self.count)
    }

    fn parse(keyspace: &str) -> Option<Self> {
        let mut parts = keyspace.strip_prefix(SEGMENTS)?.strip_prefix('.')?.split('.');
        let (first, count) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { first, count })
    }
}

const SEGMENTS: &str = "segments";
const POSTINGS: &str = "postings";
const IDS: &str = "ids";

/// The tables of one generation.
pub(super) struct Generation {
    /// Its days.
    pub(super) days: Days,
    /// Bodies by place.
    pub(super) segments: Keyspace,
    /// Postings by tenant, entity and time.
    pub(super) postings: Keyspace,
    /// Fragments of event ids by tenant, bucket and place.
    pub(super) ids: Keyspace,
}

impl Generation {
    fn open(database: &Database, days: Days) -> Result<Self, HotError> {
        let segments = || {
            let blobs =
                KvSeparationOptions::default().compression(CompressionType::None).separation_threshold(MIN_BLOB_BYTES);
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_compression_policy(CompressionPolicy::disabled())
                .with_kv_separation(Some(blobs))
        };
        Ok(Self {
            days,
            segments: database.keyspace(&days.keyspace(SEGMENTS), segments)?,
            postings: database.keyspace(&days.keyspace(POSTINGS), options)?,
            ids: database.keyspace(&days.keyspace(IDS), options)?,
        })
    }

    /// The segments last: a generation is known by them, so that dropping it can be taken up again.
    fn tables(&self) -> [&Keyspace; 3] {
        [&self.postings, &self.ids, &self.segments]
    }

    /// Writes the memtables out in the background.
    pub(super) fn seal(&self) -> Result<(), HotError> {
        for table in self.tables() {
            table.rotate_memtable()?;
        }
        Ok(())
    }
}

/// Tables that are only read in ranges: no filters, and blocks that hold some tens of postings.
fn options() -> KeyspaceCreateOptions {
    let leveled = Leveled::default().with_l0_threshold(L0_TABLES).with_table_target_size(TABLE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .filter_policy(FilterPolicy::disabled())
        .compaction_strategy(Arc::new(leveled))
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
}

/// The generations there are.
pub(super) struct Generations {
    retention_us: Option<i64>,
    open: RwLock<BTreeMap<Days, Arc<Generation>>>,
}

impl Generations {
    /// Opens what is there.
    pub(super) fn open(database: &Database, retention_us: Option<i64>) -> Result<Self, HotError> {
        let mut open = BTreeMap::new();
        for days in database.list_keyspace_names().iter().filter_map(|name| Days::parse(name)) {
            open.insert(days, Arc::new(Generation::open(database, days)?));
        }
        Ok(Self { retention_us, open: RwLock::new(open) })
    }

    /// All of them, the newest first.
    pub(super) fn all(&self) -> Vec<Arc<Generation>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().rev().cloned().collect()
    }

    /// Whether what was received then is over.
    pub(super) fn is_expired(&self, received_us: i64, now_us: i64) -> bool {
        self.retention_us.is_some_and(|retention_us| received_us.saturating_add(retention_us) <= now_us)
    }

    /// The generation to file in what was received then. A new one seals those before it.
    pub(super) fn of(&self, database: &Database, received_us: i64) -> Result<Arc<Generation>, HotError> {
        let days = Days::of(received_us, self.retention_us);
        let found = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&days).cloned();
        if let Some(generation) = found {
            return Ok(generation);
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(generation) = open.get(&days) {
            return Ok(Arc::clone(generation));
        }
        for before in open.values() {
            before.seal()?;
        }
        let generation = Arc::new(Generation::open(database, days)?);
        open.insert(days, Arc::clone(&generation));
        Ok(generation)
    }

    /// Drops the generations that are over; answers with how many.
    pub(super) fn expire(&self, database: &Database, now_us: i64) -> Result<usize, HotError> {
        let Some(retention_us) = self.retention_us else { return Ok(0) };
        let over: Vec<_> = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.extract_if(.., |days, _| days.is_over(retention_us, now_us))
                .map(|(_, generation)| generation)
                .collect()
        };
        for generation in &over {
            for table in generation.tables() {
                // Files vanish at once only if nothing is left in memory.
                table.rotate_memtable_and_wait()?;
                database.delete_keyspace(table.clone())?;
            }
        }
        Ok(over.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_cut_into_few_generations() {
        let now_us = 20_000 * DAY_US + 5;
        for retention_days in [1, 7, 30, 90, 365, 3_650] {
            let retention_us = retention_days * DAY_US;
            let oldest = Days::of(now_us - retention_us + 1, Some(retention_us));
            let newest = Days::of(now_us, Some(retention_us));
            assert_eq!(oldest.count, newest.count);
            assert!((newest.first - oldest.first) / newest.count <= MAX_GENERATIONS, "{retention_days} days");
            assert!(!oldest.is_over(retention_us, now_us));
            assert!(oldest.is_over(retention_us, now_us + newest.count * DAY_US));
        }
    }

    #[test]
    fn names_say_which_days() {
        for received_us in [0, -1, 20_000 * DAY_US] {
            let days = Days::of(received_us, None);
            assert!(days.contains(received_us));
            assert_eq!(Days::parse(&days.keyspace(SEGMENTS)), Some(days));
        }
        assert_eq!(Days::parse("alerts"), None);
    }
}
