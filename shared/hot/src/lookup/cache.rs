//! Decoded segments, the newest used kept, bounded in bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use atalaya_schema::EventBatch;

use crate::posting::SegmentId;

pub(super) struct SegmentCache {
    max_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    segments: HashMap<SegmentId, Slot>,
    bytes: usize,
    uses: u64,
}

struct Slot {
    batch: Arc<EventBatch>,
    bytes: usize,
    used: u64,
}

impl SegmentCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }

    pub(super) fn get(&self, segment: &SegmentId) -> Option<Arc<EventBatch>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let used = kept.uses;
        let slot = kept.segments.get_mut(segment)?;
        slot.used = used;
        Some(Arc::clone(&slot.batch))
    }

    pub(super) fn put(&self, segment: SegmentId, batch: &Arc<EventBatch>) {
        let bytes = batch.rows.get_array_memory_size();
        if bytes > self.max_bytes {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let slot = Slot { batch: Arc::clone(batch), bytes, used: kept.uses };
        if let Some(before) = kept.segments.insert(segment, slot) {
            kept.bytes -= before.bytes;
        }
        kept.bytes += bytes;
        while kept.bytes > self.max_bytes {
            let oldest = kept.segments.iter().min_by_key(|(_, slot)| slot.used).map(|(segment, _)| *segment);
            let Some(removed) = oldest.and_then(|oldest| kept.segments.remove(&oldest)) else { break };
            kept.bytes -= removed.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use atalaya_model::Class;
    use atalaya_schema::{Rows, col};

    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut rows = Rows::new(Class::BaseEvent);
        rows.begin();
        rows.text(col::TENANT, "acme");
        rows.end();
        let batch = Arc::new(EventBatch::new(Class::BaseEvent, rows.finish()).unwrap());
        let bytes = batch.rows.get_array_memory_size();
        let cache = SegmentCache::new(2 * bytes);
        let [a, b, c] = ["a", "b", "c"].map(SegmentId::of);
        cache.put(a, &batch);
        cache.put(b, &batch);
        assert!(cache.get(&a).is_some());
        cache.put(c, &batch);
        assert!(cache.get(&a).is_some() && cache.get(&b).is_none() && cache.get(&c).is_some());
        SegmentCache::new(bytes - 1).put(a, &batch);
    }
}
