//! Reading events: postings bucket by bucket, segments, event ids and indicators.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use atalaya_model::{Class, EventId, Tenant};
use atalaya_schema::EventBatch;
use futures::{TryStreamExt, stream};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::PagingState;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::Store;
use super::sheet::{EVENT_IDS, bucket_of, cut, key_value, segment_bucket};
use super::write::BODY_FORMAT;
use crate::HotError;
use crate::kinds::{DAY_US, EntityKind};
use crate::lookup::{Cursor, Entity, StoredIndicator};
use crate::plan::{ID_FRAGMENT_BYTES, id_parts};
use crate::posting::{Place, Posting, PostingKey, SegmentId};

/// Buckets read at once: one at first, then twice as many each time.
const MAX_BUCKETS_AT_ONCE: usize = 8;

/// Rows of the directory read at once.
const DIRECTORY_ROWS: usize = 500;

/// The buckets of a stream, newest first, each with its shards.
type Buckets = Vec<(i64, Vec<i32>)>;

fn damaged(what: &str, reason: impl std::fmt::Display) -> HotError {
    HotError::Damaged { what: what.to_owned(), reason: reason.to_string() }
}

/// The rows of a page.
pub(super) fn rows<'a, R: DeserializeRow<'a, 'a>>(
    page: &'a QueryRowsResult,
    table: &'static str,
) -> Result<Vec<R>, HotError> {
    let rows = page.rows::<R>().map_err(|error| damaged(table, error))?;
    rows.collect::<Result<_, _>>().map_err(|error| damaged(table, error))
}

impl Store {
    /// Reads rows, page by page of as many as are wanted, until it is enough.
    pub(super) async fn read(
        &self,
        statement: &PreparedStatement,
        key: &(impl SerializeRow + Sync),
        wanted: usize,
        mut each: impl FnMut(&QueryRowsResult) -> Result<ControlFlow<()>, HotError> + Send,
    ) -> Result<(), HotError> {
        let mut statement = statement.clone();
        statement.set_page_size(i32::try_from(wanted).unwrap_or(i32::MAX).clamp(1, self.page_rows));
        let (session, statement) = (&self.link.session, &statement);
        let mut state = PagingState::start();
        loop {
            let page = || session.execute_single_page(statement, key, state.clone());
            let (answer, next) = self.link.ask(&self.link.reads, page).await?;
            let answer = answer.into_rows_result().map_err(|error| damaged("an answer", error))?;
            if each(&answer)?.is_break() {
                return Ok(());
            }
            match next.into_paging_control_flow() {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(next) => state = next,
            }
        }
    }

    pub(super) async fn read_postings(
        &self,
        entity: &Entity,
        cursor: Cursor,
        from_us: i64,
        limit: usize,
    ) -> Result<Vec<Posting>, HotError> {
        let newest_us = match cursor {
            Cursor::From(newest_us) => newest_us,
            Cursor::After(posting) => posting.max_time.0,
        };
        let slice = Slice { entity, value: key_value(entity.kind, &entity.value), newest_us, cursor, from_us };
        if entity.kind == EntityKind::Raw {
            return self.read_slice(&slice, 0, 0, limit).await;
        }
        let range = (bucket_of(entity.kind, newest_us), bucket_of(entity.kind, from_us));
        let mut walk = self.buckets(&entity.tenant, entity.kind as i8, slice.value.clone(), range);
        let mut postings: Vec<Posting> = Vec::new();
        while postings.len() < limit {
            let buckets = walk.next().await?;
            if buckets.is_empty() {
                break;
            }
            let mut reads = stream::FuturesOrdered::new();
            for (bucket, shards) in buckets {
                reads.push_back(self.read_bucket(&slice, bucket, shards, limit));
            }
            while let Some(found) = reads.try_next().await? {
                postings.extend(found);
            }
        }
        postings.truncate(limit);
        Ok(postings)
    }

    /// Postings of a bucket over its shards. A message filed again after a shard was full stands in two.
    async fn read_bucket(
        &self,
        slice: &Slice<'_>,
        bucket: i64,
        shards: Vec<i32>,
        limit: usize,
    ) -> Result<Vec<Posting>, HotError> {
        let mut reads = stream::FuturesUnordered::new();
        for &shard in &shards {
            reads.push(self.read_slice(slice, bucket, shard, limit));
        }
        let mut postings = Vec::new();
        while let Some(found) = reads.try_next().await? {
            postings.extend(found);
        }
        if shards.len() > 1 {
            postings.sort_unstable_by_key(Posting::key);
            postings.dedup_by_key(|posting| posting.key());
            postings.truncate(limit);
        }
        Ok(postings)
    }

    async fn read_slice(
        &self,
        slice: &Slice<'_>,
        bucket: i64,
        shard: i32,
        limit: usize,
    ) -> Result<Vec<Posting>, HotError> {
        let mut postings = Vec::with_capacity(limit);
        let after = match slice.cursor {
            Cursor::From(_) => None,
            Cursor::After(posting) => Some(posting),
        };
        let take = |page: &QueryRowsResult| {
            for (max_time_us, class, segment, posting) in rows::<(i64, i32, &[u8], &[u8])>(page, "a posting")? {
                let segment = SegmentId::from_slice(segment).ok_or_else(|| damaged("a posting", "its segment"))?;
                let class = Class::from_uid(class).ok_or_else(|| damaged("a posting", "its class"))?;
                let key = PostingKey { max_time: std::cmp::Reverse(max_time_us), class, segment };
                // Those at the very time of the cursor come again.
                if after.is_some_and(|after| key <= after) {
                    continue;
                }
                postings.push(Posting::decode(key, posting)?);
                if postings.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        let (tenant, value) = (slice.entity.tenant.as_str(), slice.value.as_str());
        let (newest_us, from_us) = (slice.newest_us, slice.from_us);
        let wanted = limit + usize::from(after.is_some());
        match slice.entity.kind {
            EntityKind::Tenant => {
                self.read(&self.gets.by_hour, &(tenant, bucket, shard, newest_us, from_us), wanted, take).await?;
            }
            EntityKind::Raw => {
                self.read(&self.gets.by_raw, &(tenant, value, newest_us, from_us), wanted, take).await?;
            }
            kind => {
                let key = (tenant, kind as i8, value, bucket, shard, newest_us, from_us);
                self.read(&self.gets.postings, &key, wanted, take).await?;
            }
        }
        Ok(postings)
    }

    pub(super) async fn read_segment(&self, place: &Place) -> Result<Option<Arc<EventBatch>>, HotError> {
        let (hour, shard) = segment_bucket(place);
        let what = || format!("a segment of partition {} received at {} µs", place.partition, place.received_us);
        let mut body = None;
        let take = |page: &QueryRowsResult| {
            for (_, format, stored) in rows::<(i32, i32, &[u8])>(page, "a segment")? {
                if format != BODY_FORMAT {
                    return Err(damaged(&what(), format!("it is of format {format}")));
                }
                let batch = EventBatch::decode(stored).map_err(|error| damaged(&what(), error))?;
                body = Some(Arc::new(batch));
            }
            Ok(ControlFlow::Continue(()))
        };
        let key = (i32::from(place.partition), hour, shard, place.segment.as_bytes().as_slice());
        self.read(&self.gets.segment, &key, 1, take).await?;
        Ok(body)
    }

    pub(super) async fn read_holders(
        &self,
        tenant: &Tenant,
        event: EventId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, HotError> {
        let (id_bucket, fragment) = id_parts(event.as_bytes());
        let newest_us = after.map_or(i64::MAX, |place| place.received_us);
        let range = (newest_us.div_euclid(DAY_US), i64::MIN.div_euclid(DAY_US));
        let mut walk = self.buckets(tenant, EVENT_IDS, id_bucket.to_string(), range);
        let order = |place: &Place| (std::cmp::Reverse(place.received_us), place.segment);
        let mut places: Vec<Place> = Vec::new();
        while places.len() < limit {
            let buckets = walk.next().await?;
            if buckets.is_empty() {
                break;
            }
            let mut reads = stream::FuturesUnordered::new();
            for (day, shards) in &buckets {
                for &shard in shards {
                    let key = (tenant.as_str(), i32::from(id_bucket), *day, shard, newest_us);
                    reads.push(self.read_ids(key, fragment));
                }
            }
            while let Some(found) = reads.try_next().await? {
                places.extend(found);
            }
            places.retain(|place| after.as_ref().is_none_or(|after| order(place) > order(after)));
        }
        places.sort_unstable_by_key(order);
        places.dedup();
        places.truncate(limit);
        Ok(places)
    }

    /// Segments of a bucket of ids that hold a fragment.
    async fn read_ids(
        &self,
        key: (&str, i32, i64, i32, i64),
        fragment: [u8; ID_FRAGMENT_BYTES],
    ) -> Result<Vec<Place>, HotError> {
        let mut places = Vec::new();
        let take = |page: &QueryRowsResult| {
            for (received_us, segment, ids) in rows::<(i64, &[u8], &[u8])>(page, "an event's place")? {
                let cut_off = || damaged("an event's place", "it is cut off");
                let (partition, fragments) = ids.split_first_chunk().ok_or_else(cut_off)?;
                if fragments.chunks_exact(ID_FRAGMENT_BYTES).any(|held| held == fragment) {
                    let segment = SegmentId::from_slice(segment).ok_or_else(cut_off)?;
                    places.push(Place { partition: u16::from_be_bytes(*partition), received_us, segment });
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.ids, &key, usize::MAX, take).await?;
        Ok(places)
    }

    pub(super) async fn read_indicators(
        &self,
        tenant: &Tenant,
        value: &str,
        limit: usize,
    ) -> Result<Vec<StoredIndicator>, HotError> {
        let mut found = Vec::new();
        let take = |page: &QueryRowsResult| {
            for (row,) in rows::<(&[u8],)>(page, "an indicator")? {
                found.push(StoredIndicator { row: row.to_vec() });
                if found.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.indicators, &(tenant.as_str(), cut(value)), limit, take).await?;
        Ok(found)
    }

    /// The day on which an entity was seen last, by class of its events.
    pub(super) async fn read_profile(&self, key: &(&str, i8, String)) -> Result<BTreeMap<String, i64>, HotError> {
        let mut seen = BTreeMap::new();
        let take = |page: &QueryRowsResult| {
            for (_, item, last_day) in rows::<(&str, &str, i64)>(page, "a profile")? {
                seen.insert(item.to_owned(), last_day);
            }
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.profile, key, usize::MAX, take).await?;
        Ok(seen)
    }

    /// A walk over the buckets that the directory names, from the newest to the oldest.
    fn buckets<'a>(&'a self, tenant: &'a Tenant, kind: i8, value: String, range: (i64, i64)) -> BucketWalk<'a> {
        BucketWalk { store: self, tenant, kind, value, newest: range.0, oldest: range.1, ready: Vec::new(), width: 1 }
    }
}

/// Postings of an entity that are asked for.
struct Slice<'a> {
    entity: &'a Entity,
    value: String,
    newest_us: i64,
    cursor: Cursor,
    from_us: i64,
}

/// Goes through the buckets of a stream: one at first, then twice as many at a time.
struct BucketWalk<'a> {
    store: &'a Store,
    tenant: &'a Tenant,
    kind: i8,
    value: String,
    /// The newest bucket that was not read from the directory yet; below the oldest one at the end.
    newest: i64,
    oldest: i64,
    /// Buckets read from the directory, the newest last.
    ready: Buckets,
    width: usize,
}

impl BucketWalk<'_> {
    /// The next buckets; none at the end.
    async fn next(&mut self) -> Result<Buckets, HotError> {
        while self.ready.is_empty() && self.newest >= self.oldest {
            self.fill().await?;
        }
        let rest = self.ready.len().saturating_sub(self.width);
        self.width = (2 * self.width).min(MAX_BUCKETS_AT_ONCE);
        let mut buckets = self.ready.split_off(rest);
        buckets.reverse();
        Ok(buckets)
    }

    /// Reads on in the directory. The last bucket of a full answer may have further shards: it is read again.
    async fn fill(&mut self) -> Result<(), HotError> {
        let mut buckets: BTreeMap<i64, Vec<i32>> = BTreeMap::new();
        let mut count = 0;
        let take = |page: &QueryRowsResult| {
            for (bucket, shard) in rows::<(i64, i32)>(page, "the directory")? {
                buckets.entry(bucket).or_default().push(shard);
                count += 1;
            }
            // One bucket alone is read to its end.
            let enough = count >= DIRECTORY_ROWS && buckets.len() > 1;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let key = (self.tenant.as_str(), self.kind, self.value.as_str(), self.newest, self.oldest);
        self.store.read(&self.store.gets.directory, &key, DIRECTORY_ROWS, take).await?;
        let cut_off = if count >= DIRECTORY_ROWS && buckets.len() > 1 { buckets.pop_first() } else { None };
        self.newest = match &cut_off {
            Some((bucket, _)) => *bucket,
            None => self.oldest.saturating_sub(1),
        };
        self.ready = buckets.into_iter().collect();
        Ok(())
    }
}
