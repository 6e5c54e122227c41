//! How a page of a lookup is read, the same for every adapter: exactly newest first.
//!
//! A lookup names entities; each is a stream of postings, newest first ([`Tables::postings`]). A walk opens the
//! postings in order of their newest row, a few at once, and stops when enough rows are newer than the next posting's
//! newest row. A row counts only if it is the tenant's, within the time range, and still holds what its posting says.

mod cache;
mod newest;
mod token;
mod walk;
mod wanted;

use std::sync::Arc;

use async_trait::async_trait;
use atalaya_model::{Class, EventId, Tenant};
use atalaya_schema::EventBatch;

use crate::cells::{Times, event_id, event_ids};
use crate::kinds::EntityKind;
pub use crate::network::Network;
use crate::posting::{Place, Posting, PostingKey};
use crate::rows::{Heading, RowDecoder, RowEncoder};
use crate::{Hit, HotError, Lookup, LookupKind, MAX_PAGE_ROWS, Page};
use cache::SegmentCache;
use newest::{KeptRow, hits};
pub(crate) use token::{Token, bind};
use walk::Walk;
use wanted::Wanted;

/// Whose postings: a tenant's, of one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Whose.
    pub tenant: Tenant,
    /// Of what.
    pub kind: EntityKind,
    /// Of which.
    pub value: String,
}

/// Where a stream of postings goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// With the newest posting whose newest row is not later than this, microseconds since 1970.
    From(i64),
    /// After this posting.
    After(PostingKey),
}

/// An indicator as it is stored.
pub struct StoredIndicator {
    /// Its row, as the plan wrote it.
    pub row: Vec<u8>,
}

/// What an adapter reads.
#[async_trait]
pub trait Tables: Send + Sync {
    /// Postings of an entity in the order of their keys, from a cursor on, down to `from_us`; at most `limit`, fewer
    /// only at the end.
    async fn postings(
        &self,
        entity: &Entity,
        cursor: Cursor,
        from_us: i64,
        limit: usize,
    ) -> Result<Vec<Posting>, HotError>;

    /// A segment's rows; none if it is not there.
    async fn segment(&self, place: Place) -> Result<Option<Arc<EventBatch>>, HotError>;

    /// The addresses seen in a network, as rows hold them; at most `limit`.
    async fn addresses(
        &self,
        tenant: &Tenant,
        kind: EntityKind,
        network: Network,
        limit: usize,
    ) -> Result<Vec<String>, HotError>;

    /// Segments that may hold an event of a tenant, newest received first, after one; at most `limit`, fewer only at
    /// the end.
    async fn holders(
        &self,
        tenant: &Tenant,
        event: EventId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, HotError>;

    /// What is known of an indicator; at most `limit`.
    async fn indicators(&self, tenant: &Tenant, value: &str, limit: usize) -> Result<Vec<StoredIndicator>, HotError>;
}

/// Bytes of decoded segments kept.
const CACHE_BYTES: usize = 16 << 20;

/// Segments that may hold an event, asked for at once.
const HOLDERS_AT_ONCE: usize = 64;

/// Rows kept of one indicator value at most.
const MAX_INDICATORS: usize = 10_000;

/// Where a page stops although there is more: it is short then, and its token leads on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a page's rows at most, unless one row alone has more.
    pub(crate) page_bytes: usize,
    /// Postings opened for one page at most.
    pub(crate) postings: usize,
}

const LIMITS: Limits = Limits { page_bytes: 16 << 20, postings: 10_000 };

/// Reads pages over an adapter's tables.
pub struct Lookups<T> {
    tables: T,
    pub(crate) limits: Limits,
    cache: SegmentCache,
}

impl<T: Tables> Lookups<T> {
    /// Lookups over these tables.
    pub fn new(tables: T) -> Self {
        Self { tables, limits: LIMITS, cache: SegmentCache::new(CACHE_BYTES) }
    }

    /// A page.
    ///
    /// # Errors
    /// If the value is none of the kind, the token is not of this lookup, or the tables cannot be read.
    pub async fn page(&self, lookup: &Lookup) -> Result<Page, HotError> {
        if !(1..=MAX_PAGE_ROWS).contains(&lookup.limit) {
            let reason = format!("a page has 1 to {MAX_PAGE_ROWS} rows, not {}", lookup.limit);
            return Err(HotError::Request(reason));
        }
        match lookup.kind {
            LookupKind::Event => self.event(lookup).await,
            LookupKind::Indicator => self.indicator(lookup).await,
            _ => {
                let wanted = Wanted::new(lookup, &self.tables).await?;
                Walk::new(self, lookup, wanted)?.page().await
            }
        }
    }

    /// A segment, decoded; the newest ones are kept.
    async fn segment(&self, place: Place) -> Result<Option<Arc<EventBatch>>, HotError> {
        if let Some(batch) = self.cache.get(&place.segment) {
            return Ok(Some(batch));
        }
        let batch = self.tables.segment(place).await?;
        if let Some(batch) = &batch {
            self.cache.put(place.segment, batch);
        }
        Ok(batch)
    }

    async fn event(&self, lookup: &Lookup) -> Result<Page, HotError> {
        let id: EventId = lookup.value.trim().parse().map_err(|error| HotError::Request(format!("{error}")))?;
        let mut after = None;
        loop {
            let holders = self.tables.holders(&lookup.tenant, id, after, HOLDERS_AT_ONCE).await?;
            for place in &holders {
                let Some(hit) = self.event_in(lookup, id, *place).await? else { continue };
                let in_range = lookup.from_us.is_none_or(|from_us| hit.time_us >= from_us)
                    && lookup.to_us.is_none_or(|to_us| hit.time_us < to_us);
                return Ok(Page { rows: if in_range { vec![hit] } else { Vec::new() }, next: None });
            }
            after = holders.last().copied();
            if holders.len() < HOLDERS_AT_ONCE {
                return Ok(Page::default());
            }
        }
    }

    async fn event_in(&self, lookup: &Lookup, id: EventId, place: Place) -> Result<Option<Hit>, HotError> {
        let Some(batch) = self.segment(place).await? else { return Ok(None) };
        let Some(slice) = batch.slice(lookup.tenant.as_str()) else { return Ok(None) };
        let ids = event_ids(&slice);
        let found = (0..slice.num_rows()).zip(0..).find(|(row, _)| event_id(ids, *row) == *id.as_bytes());
        let Some((row, number)) = found else { return Ok(None) };
        let time_us = Times::of(&slice, place.received_us).at(row);
        let encoded = RowEncoder::new(batch.class, &slice, Heading::Bitmap).plain(number);
        let kept = KeptRow { class: batch.class, time_us, row: encoded };
        Ok(hits(lookup.tenant.as_str(), vec![kept])?.pop())
    }

    async fn indicator(&self, lookup: &Lookup) -> Result<Page, HotError> {
        let stored = self.tables.indicators(&lookup.tenant, lookup.value.trim(), MAX_INDICATORS).await?;
        let mut decoder = RowDecoder::new(Class::OsintInventoryInfo);
        for indicator in &stored {
            let read = decoder.read(lookup.tenant.as_str(), &indicator.row);
            read.map_err(|error| HotError::Damaged { what: "an indicator".to_owned(), reason: error.to_string() })?;
        }
        let batch = Arc::new(decoder.finish());
        let (ids, times) = (event_ids(&batch), Times::of(&batch, 0));
        let token = Token::of(lookup)?;
        let mut rows: Vec<_> = (0..batch.num_rows()).map(|row| (times.at(row), event_id(ids, row), row)).collect();
        rows.retain(|(time_us, id, _)| {
            token.is_before(*time_us, id)
                && lookup.from_us.is_none_or(|from_us| *time_us >= from_us)
                && lookup.to_us.is_none_or(|to_us| *time_us < to_us)
        });
        rows.sort_unstable_by_key(|(time_us, id, _)| (std::cmp::Reverse(*time_us), *id));
        let more = rows.len() > lookup.limit;
        rows.truncate(lookup.limit);
        let last = rows.last().filter(|_| more);
        let next =
            last.map(|(time_us, id, _)| Token { resume_us: *time_us, time_us: *time_us, id: *id }.encode(lookup));
        let class = Class::OsintInventoryInfo;
        let hit = |(time_us, _, row)| Hit { class, time_us, batch: Arc::clone(&batch), row };
        Ok(Page { rows: rows.into_iter().map(hit).collect(), next })
    }
}
