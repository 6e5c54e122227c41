//! The walk from the newest posting down, until a page is full.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use atalaya_model::Class;
use atalaya_schema::EventBatch;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Cursor, Entity, Lookups, Tables, Token, Wanted};
use crate::cells::{Times, event_id, event_ids};
use crate::posting::{Positions, Posting};
use crate::rows::RowDecoder;
use crate::{Hit, HotError, Lookup, Page};

/// Postings opened at once: one at first, then twice as many each time.
const MAX_AT_ONCE: usize = 8;

/// Postings read ahead of one stream: a few at first, then twice as many each time.
const FIRST_CHUNK: usize = 4;
const MAX_CHUNK: usize = 256;

/// Streams of postings read at once.
const STREAMS_AT_ONCE: usize = 8;

/// Postings opened for one page; beyond, the page is short.
const MAX_POSTINGS: usize = 10_000;

pub(super) struct Walk<'a, T> {
    lookups: &'a Lookups<T>,
    lookup: &'a Lookup,
    wanted: Wanted,
    token: Token,
    streams: Vec<Postings>,
    /// The newest rows so far, one more than the page has; by time and id, so that a row filed twice is one.
    found: BTreeMap<(Reverse<i64>, [u8; 16]), Found>,
    /// Newest row of the postings whose rows were left out of `found`.
    left_out_us: i64,
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

struct Found {
    class: Class,
    batch: Arc<RecordBatch>,
    row: usize,
    posting_us: i64,
}

/// Rows of a batch that belong to a posting.
struct Opened {
    class: Class,
    batch: Arc<RecordBatch>,
    rows: Vec<usize>,
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
        let found = BTreeMap::new();
        Ok(Self { lookups, lookup, wanted, token, streams, found, left_out_us: i64::MIN, opened: 0 })
    }

    pub(super) async fn page(mut self) -> Result<Page, HotError> {
        let mut at_once = 1;
        loop {
            self.fill().await?;
            let Some(bound_us) = self.streams.iter().filter_map(Postings::head_us).max() else {
                return Ok(self.finish(None));
            };
            let full = self.found.len() > self.lookup.limit;
            if full && self.found.last_key_value().is_some_and(|((time_us, _), _)| time_us.0 > bound_us) {
                return Ok(self.finish(Some(bound_us)));
            }
            if self.opened >= MAX_POSTINGS && bound_us.saturating_add(1) < self.token.time_us {
                return Ok(self.finish(Some(bound_us)));
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
        let (lookup, token, tables) = (self.lookup, self.token, &self.lookups.tables);
        let idle = self.streams.iter_mut().filter(|stream| stream.ready.is_empty() && !stream.ended);
        let fills = stream::iter(idle.map(|stream| stream.fill(tables, lookup, token)));
        fills.buffer_unordered(STREAMS_AT_ONCE).try_collect().await
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
        let far: Vec<_> = postings.into_iter().filter(|posting| !inline.read(tenant, posting)).collect();
        let segments = stream::iter(far.into_iter().map(|posting| async move {
            let batch = self.lookups.segment(posting.place).await?;
            Ok::<_, HotError>(batch.and_then(|batch| opened(&batch, self.lookup, &posting)))
        }));
        let segments: Vec<_> = segments.buffer_unordered(MAX_AT_ONCE).try_collect().await?;
        Ok(segments.into_iter().flatten().chain(inline.finish()).collect())
    }

    /// Takes the rows that are asked for and were not shown yet.
    fn offer(&mut self, opened: &Opened) {
        let times = Times::of(&opened.batch, opened.received_us);
        let ids = event_ids(&opened.batch);
        let check = self.wanted.check(opened.class, &opened.batch);
        for &row in &opened.rows {
            let (time_us, id) = (times.at(row), event_id(ids, row));
            let wanted = self.lookup.from_us.is_none_or(|from_us| time_us >= from_us)
                && self.lookup.to_us.is_none_or(|to_us| time_us < to_us)
                && self.token.is_before(time_us, &id)
                && check(row);
            if !wanted {
                continue;
            }
            let batch = Arc::clone(&opened.batch);
            let found = Found { class: opened.class, batch, row, posting_us: opened.posting_us };
            self.found.entry((Reverse(time_us), id)).or_insert(found);
            if self.found.len() > self.lookup.limit + 1
                && let Some((_, left_out)) = self.found.pop_last()
            {
                self.left_out_us = self.left_out_us.max(left_out.posting_us);
            }
        }
    }

    /// The page: rows newer than the bound, up to the limit. Without a bound nothing is left to read.
    fn finish(mut self, bound_us: Option<i64>) -> Page {
        let mut rows = Vec::with_capacity(self.lookup.limit.min(self.found.len()));
        let mut last = None;
        while rows.len() < self.lookup.limit
            && let Some(entry) = self.found.first_entry()
            && bound_us.is_none_or(|bound_us| entry.key().0.0 > bound_us)
        {
            let ((Reverse(time_us), id), found) = entry.remove_entry();
            last = Some((time_us, id));
            rows.push(Hit { class: found.class, time_us, batch: found.batch, row: found.row });
        }
        if bound_us.is_none() && self.found.is_empty() {
            return Page { rows, next: None };
        }
        let short = rows.len() < self.lookup.limit;
        let (time_us, id) = match (bound_us, last) {
            (Some(bound_us), _) if short => (bound_us.saturating_add(1), [u8::MAX; 16]),
            (_, Some(last)) => last,
            (_, None) => (self.token.time_us, self.token.id),
        };
        let unseen = self.found.values().map(|found| found.posting_us);
        let resume_us = unseen.chain(bound_us).fold(self.left_out_us, i64::max);
        Page { rows, next: Some(Token { resume_us, time_us, id }.encode(self.lookup)) }
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
    read: Vec<(Class, Range<usize>, i64, i64)>,
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
        self.read.push((class, before..rows, posting.max_time_us, posting.place.received_us));
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
            let within = |row: &u32| row.checked_sub(run.first).filter(|row| *row < run.rows).map(|row| row as usize);
            rows.iter().filter_map(within).collect()
        }
        Positions::Bucket => {
            let times = Times::of(&slice, posting.place.received_us);
            let in_bucket = |row: &usize| (posting.min_time_us..=posting.max_time_us).contains(&times.at(*row));
            (0..slice.num_rows()).filter(in_bucket).collect()
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
