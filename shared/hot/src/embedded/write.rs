//! Filing messages: everything of a call in one batch of the database.

use std::time::Duration;

use fjall::OwnedWriteBatch;

use super::Store;
use super::generations::Generation;
use super::keys::{ids_prefix, put_entity, put_place, put_posting_key, put_tenant, put_value, segment_key};
use crate::plan::{Entry, IndicatorEntry, Planner, Sheet};
use crate::posting::{Place, PostingKey, SegmentId};
use crate::{Filed, FiledMessage, HotError};

/// Bytes in memtables beyond which filing waits until they are written out.
const MAX_MEMTABLE_BYTES: u64 = 64 << 20;

/// Memtables waiting to be written out beyond which filing waits.
const MAX_WAITING_FLUSHES: usize = 8;

/// How long filing waits before it looks again.
const THROTTLE: Duration = Duration::from_millis(5);

/// The body's version, and what stands before it in a segment: version, partition, sequence.
const SEGMENT_VERSION: u8 = 1;
const SEGMENT_HEADER_BYTES: usize = 1 + 2 + 8;

/// A batch of the database as the sheet a plan is written on.
struct BatchSheet<'a> {
    store: &'a Store,
    generation: &'a Generation,
    batch: OwnedWriteBatch,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Store {
    pub(super) fn file(&self, messages: &[FiledMessage], now_us: i64) -> Result<Vec<Filed>, HotError> {
        self.throttle()?;
        let mut planner = Planner::default();
        let mut batch = self.database.batch();
        let mut filed = Vec::with_capacity(messages.len());
        for message in messages {
            let rows = message.batch.rows.num_rows() as u64;
            if self.generations.is_expired(message.received_time_us, now_us) {
                filed.push(Filed { rows: 0, expired: rows });
                continue;
            }
            let generation = self.generations.of(&self.database, message.received_time_us)?;
            let mut sheet =
                BatchSheet { store: self, generation: &generation, batch, key: Vec::new(), value: Vec::new() };
            sheet.segment(message);
            planner.plan(message, &mut sheet)?;
            batch = sheet.batch;
            filed.push(Filed { rows, expired: 0 });
        }
        batch.commit()?;
        Ok(filed)
    }

    /// Waits while the database has more in memory than it should: it slows the hot store and nothing else.
    fn throttle(&self) -> Result<(), HotError> {
        let mut waited = false;
        loop {
            let full = self.database.write_buffer_size() > MAX_MEMTABLE_BYTES;
            let flushes = self.database.outstanding_flushes();
            if full && flushes == 0 {
                // Many small memtables: none is large enough to be written out by itself.
                for generation in self.generations.all() {
                    generation.seal()?;
                }
            } else if !full && flushes <= MAX_WAITING_FLUSHES {
                return Ok(());
            }
            if !waited {
                tracing::debug!(flushes, full, "hot store waits for its tables to be written out");
                waited = true;
            }
            std::thread::sleep(THROTTLE);
        }
    }
}

impl BatchSheet<'_> {
    fn segment(&mut self, message: &FiledMessage) {
        let place = Place {
            partition: message.partition,
            received_us: message.received_time_us,
            segment: SegmentId::of(&message.id),
        };
        let mut value = Vec::with_capacity(SEGMENT_HEADER_BYTES + message.body.len());
        value.push(SEGMENT_VERSION);
        value.extend_from_slice(&message.partition.to_be_bytes());
        value.extend_from_slice(&message.sequence.to_be_bytes());
        value.extend_from_slice(&message.body);
        self.batch.insert(&self.generation.segments, segment_key(&place), value);
    }
}

/// The body in a stored segment.
pub(super) fn body_of(segment: &[u8]) -> Option<&[u8]> {
    segment.get(SEGMENT_HEADER_BYTES..).filter(|_| segment.first() == Some(&SEGMENT_VERSION))
}

impl Sheet for BatchSheet<'_> {
    fn posting(&mut self, entry: &Entry<'_>) {
        self.key.clear();
        self.value.clear();
        put_entity(entry.tenant, entry.kind, entry.value, &mut self.key);
        let posting = PostingKey {
            max_time: std::cmp::Reverse(entry.posting.max_time_us),
            class: entry.class,
            segment: entry.posting.place.segment,
        };
        put_posting_key(&posting, &mut self.key);
        entry.posting.encode(&mut self.value);
        self.batch.insert(&self.generation.postings, self.key.as_slice(), self.value.as_slice());
    }

    fn ids(&mut self, tenant: &str, place: &Place, bucket: u8, fragments: &[u8]) {
        let mut key = ids_prefix(tenant, bucket);
        put_place(place, &mut key);
        self.value.clear();
        self.value.extend_from_slice(&place.partition.to_be_bytes());
        self.value.extend_from_slice(fragments);
        self.batch.insert(&self.generation.ids, key, self.value.as_slice());
    }

    fn indicator(&mut self, entry: &IndicatorEntry<'_>) {
        self.key.clear();
        put_tenant(entry.tenant, &mut self.key);
        put_value(entry.value, &mut self.key);
        self.key.extend_from_slice(&entry.type_id.to_be_bytes());
        put_value(entry.source, &mut self.key);
        self.key.extend_from_slice(&entry.event_id);
        self.batch.insert(&self.store.indicators, self.key.as_slice(), entry.row);
    }
}
