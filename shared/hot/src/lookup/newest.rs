//! The newest rows so far, copied out of their segments: small, the tenant's own, and nothing else held on to.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use atalaya_model::Class;

use crate::rows::RowDecoder;
use crate::{Hit, HotError};

/// A row of a page, as [`crate::rows`] writes it.
pub(super) struct KeptRow {
    pub(super) class: Class,
    pub(super) time_us: i64,
    pub(super) row: Vec<u8>,
}

/// What orders rows: newest first, then by event id.
pub(super) type RowKey = (Reverse<i64>, [u8; 16]);

/// The newest rows so far, one more than the page has; a row that was filed twice is one.
pub(super) struct Newest {
    rows: BTreeMap<RowKey, (KeptRow, i64)>,
    bytes: usize,
    max_bytes: usize,
    limit: usize,
    left_out_us: i64,
}

impl Newest {
    /// For a page of `limit` rows, or fewer where they are large.
    pub(super) fn new(limit: usize, max_bytes: usize) -> Self {
        Self { rows: BTreeMap::new(), bytes: 0, max_bytes, limit, left_out_us: i64::MIN }
    }

    /// Rows of the page at most, as it stands.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the page, and the row that shows there is another one, are newer than everything unread.
    pub(super) fn is_full(&self, bound_us: i64) -> bool {
        self.rows.len() > self.limit && self.rows.last_key_value().is_some_and(|(key, _)| key.0.0 > bound_us)
    }

    /// Takes a row if it is among the newest; `posting_us` is the newest time of its posting.
    pub(super) fn offer(&mut self, key: RowKey, posting_us: i64, row: impl FnOnce() -> KeptRow) {
        if self.rows.len() > self.limit && self.rows.last_key_value().is_some_and(|(last, _)| *last < key) {
            self.left_out_us = self.left_out_us.max(posting_us);
            return;
        }
        let Entry::Vacant(place) = self.rows.entry(key) else { return };
        let row = row();
        self.bytes += row.row.len();
        place.insert((row, posting_us));
        if self.bytes > self.max_bytes {
            self.limit = self.limit.min(self.rows.len().saturating_sub(2)).max(1);
        }
        while self.rows.len() > self.limit + 1
            && let Some((_, (row, posting_us))) = self.rows.pop_last()
        {
            self.bytes -= row.row.len();
            self.left_out_us = self.left_out_us.max(posting_us);
        }
    }

    /// Takes out the rows of the page: newer than the bound, up to the limit; and the key of the last one.
    pub(super) fn take(&mut self, bound_us: Option<i64>) -> (Vec<KeptRow>, Option<RowKey>) {
        let mut page = Vec::with_capacity(self.limit.min(self.rows.len()));
        let mut last = None;
        while page.len() < self.limit
            && let Some(entry) = self.rows.first_entry()
            && bound_us.is_none_or(|bound_us| entry.key().0.0 > bound_us)
        {
            let (key, (row, _)) = entry.remove_entry();
            last = Some(key);
            page.push(row);
        }
        (page, last)
    }

    /// The newest time of the postings that hold rows not taken.
    pub(super) fn unseen_us(&self) -> i64 {
        self.rows.values().map(|(_, posting_us)| *posting_us).fold(self.left_out_us, i64::max)
    }
}

/// The rows as hits, in order: one batch per class.
pub(super) fn hits(tenant: &str, rows: Vec<KeptRow>) -> Result<Vec<Hit>, HotError> {
    let mut decoders: Vec<(Class, RowDecoder)> = Vec::new();
    let mut places = Vec::with_capacity(rows.len());
    for kept in rows {
        let at = decoders.iter().position(|(class, _)| *class == kept.class).unwrap_or_else(|| {
            decoders.push((kept.class, RowDecoder::new(kept.class)));
            decoders.len() - 1
        });
        let rows = decoders[at].1.read(tenant, &kept.row).map_err(|error| HotError::Damaged {
            what: format!("a row of {}", kept.class.name()),
            reason: error.to_string(),
        })?;
        places.push((at, kept.time_us, rows - 1));
    }
    let batches: Vec<_> = decoders.into_iter().map(|(class, decoder)| (class, Arc::new(decoder.finish()))).collect();
    let hit = |(at, time_us, row): (usize, i64, usize)| {
        let (class, batch) = &batches[at];
        Hit { class: *class, time_us, batch: Arc::clone(batch), row }
    };
    Ok(places.into_iter().map(hit).collect())
}
