//! The walk from the newest posting down, until a page is full.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use atalaya_model::Class;
use atalaya_schema::EventBatch;
use futures::{StreamExt, TryStreamExt, stream};

use super::newest::{KeptRow, Newest, hits};
use super::{Cursor, Entity, Lookups, Tables, Token, Wanted};
use crate::cells::{Times, event_id, event_ids};
use crate::posting::{Positions, Posting};
use crate::rows::{Heading, RowDecoder, RowEncoder};
use crate::{HotError, Lookup, Page};

/// Postings opened at once: one at first, then twice as many each time.
const MAX_AT_ONCE: usize = 8;

/// Postings read ahead of one stream: a few at first, then twice as many each time.
const FIRST_CHUNK: usize = 4;
const MAX_CHUNK: usize = 256;

/// Streams of postings read at once.
const STREAMS_AT_ONCE: usize = 8;

pub(super) struct Walk<'a, T> {
    lookups: &'a Lookups<T>,
    lookup: &'a Lookup,
    wanted: Wanted,
    token: Token,
    streams: Vec<Postings>,
    newest: Newest,
    opened: usize,
}

/// One entity's postings, newest first.
struct Postings {
    entity: Entity,
    ready: VecDeque<Posting>,
    cursor: Cursor,
    chunk: usize,
    ended: bool,
}

/// Rows of a batch that belong to a posting.
struct Opened {
    class: Class,
    batch: Arc<RecordBatch>,
    rows: Vec<u32>,
    posting_us: i64,
    received_us: i64,
}

impl<'a, T: Tables> Walk<'a, T> {
    pub(super) fn new(lookups: &'a Lookups<T>, lookup: &'a Lookup, wanted: Wanted) -> Result<Self, HotError> {
        let token = Token::of(lookup)?;
        let newest_us = lookup.to_us.map_or(i64::MAX, |to_us| to_us.saturating_sub(1)).min(token.time_us);
        let streams = wanted.entities.iter().map(|entity| Postings {
            entity: entity.clone(),
            ready: VecDeque::new(),
            cursor: Cursor::From(bucket_end(newest_us, entity.kind.bucket_us()).min(token.resume_us)),
            chunk: FIRST_CHUNK,
            ended: false,
        });
        let streams = streams.collect();
        Ok(Self {
            lookups,
            lookup,
            wanted,
            token,
            streams,
            newest: Newest::new(lookup.limit, lookups.limits.page_bytes),
            opened: 0,
        })
    }

    pub(super) async fn page(mut self) -> Result<Page, HotError> {
        let mut at_once = 1;
        loop {
            self.fill().await?;
            let Some(bound_us) = self.streams.iter().filter_map(Postings::head_us).max() else {
                return self.finish(None);
            };
            if self.newest.is_full(bound_us) {
                return self.finish(Some(bound_us));
            }
            if self.opened >= self.lookups.limits.postings && bound_us.saturating_add(1) < self.token.time_us {
                return self.finish(Some(bound_us));
            }
            let postings = self.take(at_once);
            at_once = (2 * at_once).min(MAX_AT_ONCE);
            self.opened += postings.len();
            for opened in self.open(postings).await? {
                self.offer(&opened);
            }
        }
    }

    /// Reads on in every stream that has nothing ready.
    async fn fill(&mut self) -> Result<(), HotError> {
        let mut fills = Vec::new();
        for stream in &mut self.streams {
            if stream.ready.is_empty() && !stream.ended {
                fills.push(stream.fill(&self.lookups.tables, self.lookup, self.token));
            }
        }
        stream::iter(fills).buffer_unordered(STREAMS_AT_ONCE).try_collect().await
    }

    /// The next postings over all streams, newest first.
    fn take(&mut self, count: usize) -> Vec<Posting> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let newest = self.streams.iter_mut().max_by_key(|stream| stream.head_us());
            let Some(stream) = newest else { break };
            let Some(posting) = stream.ready.pop_front() else { break };
            taken.push(posting);
            if stream.ready.is_empty() && !stream.ended {
                break;
            }
        }
        taken
    }

    /// The rows of postings: those held inline, and those of segments.
    async fn open(&self, postings: Vec<Posting>) -> Result<Vec<Opened>, HotError> {
        let mut inline = Inline::default();
        let tenant = self.lookup.tenant.as_str();
        let mut segments = Vec::new();
        for posting in postings {
            if !inline.read(tenant, &posting) {
                segments.push(self.open_segment(posting));
            }
        }
        let segments: Vec<_> = stream::iter(segments).buffer_unordered(MAX_AT_ONCE).try_collect().await?;
        Ok(segments.into_iter().flatten().chain(inline.finish()).collect())
    }

    async fn open_segment(&self, posting: Posting) -> Result<Option<Opened>, HotError> {
        let batch = self.lookups.segment(posting.place).await?;
        Ok(batch.and_then(|batch| opened(&batch, self.lookup, &posting)))
    }

    /// Takes the rows that are asked for and were not shown yet.
    fn offer(&mut self, opened: &Opened) {
        let times = Times::of(&opened.batch, opened.received_us);
        let ids = event_ids(&opened.batch);
        let check = self.wanted.check(opened.class, &opened.batch);
        let encoder = RowEncoder::new(opened.class, &opened.batch, Heading::Bitmap);
        for &row in &opened.rows {
            let at = row as usize;
            let (time_us, id) = (times.at(at), event_id(ids, at));
            let wanted = self.lookup.from_us.is_none_or(|from_us| time_us >= from_us)
                && self.lookup.to_us.is_none_or(|to_us| time_us < to_us)
                && self.token.is_before(time_us, &id)
                && check(at);
            if !wanted {
                continue;
            }
            let row = || KeptRow { class: opened.class, time_us, row: encoder.plain(row) };
            self.newest.offer((Reverse(time_us), id), opened.posting_us, row);
        }
    }

    /// The page: rows newer than the bound, up to the limit. Without a bound nothing is left to read.
    fn finish(mut self, bound_us: Option<i64>) -> Result<Page, HotError> {
        let (rows, last) = self.newest.take(bound_us);
        let short = rows.len() < self.newest.limit();
        let rows = hits(self.lookup.tenant.as_str(), rows)?;
        if bound_us.is_none() && self.newest.is_empty() {
            return Ok(Page { rows, next: None });
        }
        let (time_us, id) = match (bound_us, last) {
            (Some(bound_us), _) if short => (bound_us.saturating_add(1), [u8::MAX; 16]),
            (_, Some((Reverse(time_us), id))) => (time_us, id),
            (_, None) => (self.token.time_us, self.token.id),
        };
        let resume_us = self.newest.unseen_us().max(bound_us.unwrap_or(i64::MIN));
        Ok(Page { rows, next: Some(Token { resume_us, time_us, id }.encode(self.lookup)) })
    }
}

impl Postings {
    fn head_us(&self) -> Option<i64> {
        self.ready.front().map(|posting| posting.max_time_us)
    }

    /// Reads on until something is ready or the stream ends; what cannot hold a row asked for is passed over.
    async fn fill(&mut self, tables: &impl Tables, lookup: &Lookup, token: Token) -> Result<(), HotError> {
        let from_us = lookup.from_us.unwrap_or(i64::MIN);
        while self.ready.is_empty() && !self.ended {
            let postings = tables.postings(&self.entity, self.cursor, from_us, self.chunk).await?;
            self.ended = postings.len() < self.chunk;
            self.chunk = (2 * self.chunk).min(MAX_CHUNK);
            if let Some(last) = postings.last() {
                self.cursor = Cursor::After(last.key());
            }
            let wanted = |posting: &Posting| {
                posting.min_time_us <= token.time_us && lookup.to_us.is_none_or(|to_us| posting.min_time_us < to_us)
            };
            self.ready.extend(postings.into_iter().filter(wanted));
        }
        Ok(())
    }
}

/// Rows that postings hold themselves, gathered in one batch per class.
#[derive(Default)]
struct Inline {
    decoders: Vec<(Class, RowDecoder)>,
    read: Vec<(Class, Range<u32>, i64, i64)>,
}

impl Inline {
    /// Reads a posting's own rows; false if it has none, or none this program can read: the segment has them too.
    fn read(&mut self, tenant: &str, posting: &Posting) -> bool {
        let Some(block) = &posting.inline else { return false };
        let class = posting.class;
        let at = self.decoders.iter().position(|(of, _)| *of == class).unwrap_or_else(|| {
            self.decoders.push((class, RowDecoder::new(class)));
            self.decoders.len() - 1
        });
        let decoder = &mut self.decoders[at].1;
        let before = decoder.len();
        let Ok(rows) = decoder.read(tenant, block) else { return false };
        let at = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
        self.read.push((class, at(before)..at(rows), posting.max_time_us, posting.place.received_us));
        true
    }

    fn finish(self) -> impl Iterator<Item = Opened> {
        let batches: Vec<_> =
            self.decoders.into_iter().map(|(class, decoder)| (class, Arc::new(decoder.finish()))).collect();
        self.read.into_iter().filter_map(move |(class, rows, posting_us, received_us)| {
            let batch = batches.iter().find(|(of, _)| *of == class).map(|(_, batch)| Arc::clone(batch))?;
            Some(Opened { class, batch, rows: rows.collect(), posting_us, received_us })
        })
    }
}

/// The rows of a posting in its segment: the tenant's slice, and positions within it.
fn opened(batch: &EventBatch, lookup: &Lookup, posting: &Posting) -> Option<Opened> {
    let run = batch.runs.iter().find(|run| run.tenant == lookup.tenant)?;
    let slice = batch.rows.slice(run.first as usize, run.rows as usize);
    let rows = match &posting.positions {
        Positions::Rows(rows) => {
            let within = |row: &u32| row.checked_sub(run.first).filter(|row| *row < run.rows);
            rows.iter().filter_map(within).collect()
        }
        Positions::Bucket => {
            let times = Times::of(&slice, posting.place.received_us);
            let in_bucket = |row: &u32| (posting.min_time_us..=posting.max_time_us).contains(&times.at(*row as usize));
            (0..run.rows).filter(in_bucket).collect()
        }
    };
    Some(Opened {
        class: batch.class,
        batch: Arc::new(slice),
        rows,
        posting_us: posting.max_time_us,
        received_us: posting.place.received_us,
    })
}

/// The last microsecond of the bucket that holds a time.
fn bucket_end(time_us: i64, bucket_us: i64) -> i64 {
    let next = time_us.div_euclid(bucket_us).checked_add(1).and_then(|next| next.checked_mul(bucket_us));
    next.map_or(i64::MAX, |next| next - 1)
}
