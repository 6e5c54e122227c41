//! What is filed of a message: postings per entity and bucket of time, the places of its event ids, its indicators.
//!
//! A function of the message alone, so that filing it again writes the same rows. A Cassandra writer derives its entity
//! directory from the same postings: each names its entity, its bucket's day, and how many rows of which span.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use atalaya_model::Class;
use atalaya_schema::{EventBatch, TenantRun, col};

use crate::cells::{TextColumn, Times, event_id, event_ids};
use crate::group::Groups;
use crate::kinds::{EntityKind, filings};
use crate::posting::{Place, PostingValue, SegmentId, encode_positions};
use crate::rows::{Heading, RowEncoder};
use crate::{FiledMessage, HotError};

/// A posting holds its rows themselves if they are so few.
pub const INLINE_ROWS: usize = 4;

/// Of a message's rows, one in this many is held by postings at most: rows that are all rare would be stored once per
/// kind.
pub const INLINE_SHARE: usize = 8;

/// Rows that postings of a message may hold however small it is.
const MIN_INLINE_ROWS: usize = 8;

/// Event ids are filed by their first bits in so many buckets a tenant.
pub const ID_BUCKETS: u8 = 64;

/// Bytes of an event id that stand in its bucket: with the bucket's bits, one wrong segment in 2³⁰ is looked at.
pub const ID_FRAGMENT_BYTES: usize = 3;

/// One posting to write.
pub struct Entry<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// Of what.
    pub kind: EntityKind,
    /// Of which; empty for [`EntityKind::Tenant`].
    pub value: &'a str,
    /// The segment's class.
    pub class: Class,
    /// Which rows.
    pub posting: PostingValue<'a>,
}

/// An indicator to keep as a row.
pub struct IndicatorEntry<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// The OCSF type of the value.
    pub type_id: i32,
    /// The value.
    pub value: &'a str,
    /// The source that says so.
    pub source: &'a str,
    /// The event's id.
    pub event_id: [u8; 16],
    /// The row itself.
    pub row: &'a [u8],
}

/// Where a plan is written.
pub trait Sheet {
    /// Adds a posting.
    fn posting(&mut self, entry: &Entry<'_>);

    /// Adds the ids of a tenant in a segment that fall into a bucket: [`ID_FRAGMENT_BYTES`] each.
    fn ids(&mut self, tenant: &str, place: &Place, bucket: u8, fragments: &[u8]);

    /// Adds an indicator.
    fn indicator(&mut self, entry: &IndicatorEntry<'_>);
}

/// Bucket and fragment of an event id.
#[must_use]
pub fn id_parts(id: &[u8; 16]) -> (u8, [u8; ID_FRAGMENT_BYTES]) {
    (id[0] % ID_BUCKETS, [id[1], id[2], id[3]])
}

/// Plans message after message; its buffers are used again.
#[derive(Default)]
pub struct Planner {
    groups: Groups,
    by_bucket: Vec<(i64, u32)>,
    bucket_rows: Vec<u32>,
    ids: Vec<(u8, [u8; ID_FRAGMENT_BYTES])>,
    fragments: Vec<u8>,
    buffers: Buffers,
}

#[derive(Default)]
struct Buffers {
    positions: Vec<u8>,
    inline: Vec<u8>,
}

/// What the postings of one message have in common.
struct Segment<'a> {
    batch: &'a EventBatch,
    raw_id: &'a str,
    place: Place,
    times: Times<'a>,
    inline_left: usize,
    encoder: Option<RowEncoder<'a>>,
}

impl Planner {
    /// Writes what is filed of a message; answers with its number of rows.
    ///
    /// # Errors
    /// If the batch has not the columns of its class.
    pub fn plan(&mut self, message: &FiledMessage, sheet: &mut impl Sheet) -> Result<u64, HotError> {
        let batch = message.batch.as_ref();
        let received_us = message.received_time_us;
        let rows = batch.rows.num_rows();
        let mut segment = Segment {
            batch,
            raw_id: &message.raw_id,
            place: Place { partition: message.partition, received_us, segment: SegmentId::of(&message.id) },
            times: Times::of(&batch.rows, received_us),
            inline_left: (rows / INLINE_SHARE).max(MIN_INLINE_ROWS),
            encoder: None,
        };
        for run in &batch.runs {
            self.plan_run(&mut segment, run, sheet)?;
        }
        Ok(rows as u64)
    }

    fn plan_run(&mut self, segment: &mut Segment<'_>, run: &TenantRun, sheet: &mut impl Sheet) -> Result<(), HotError> {
        let rows = run.first..run.first + run.rows;
        let tenant = run.tenant.as_str();
        self.plan_whole(segment, tenant, EntityKind::Tenant, rows.clone(), sheet);
        self.plan_whole(segment, tenant, EntityKind::Raw, rows.clone(), sheet);
        for filing in filings(segment.batch.class) {
            let column = text_column(segment.batch, filing.column)?;
            self.groups.fill(column, rows.clone());
            for group in self.groups.iter() {
                let value = column.value(group[0] as usize).unwrap_or_default();
                if value.is_empty() {
                    continue;
                }
                let bucket_us = filing.kind.bucket_us();
                let (buffers, bucket_rows) = (&mut self.buffers, &mut self.bucket_rows);
                each_bucket(group, segment.times, bucket_us, &mut self.by_bucket, bucket_rows, |rows| {
                    sheet.posting(&segment.entry(tenant, filing.kind, value, rows, buffers));
                });
            }
        }
        self.plan_ids(segment, tenant, rows.clone(), sheet);
        if segment.batch.class == Class::OsintInventoryInfo {
            plan_indicators(segment.batch, tenant, rows, sheet)?;
        }
        Ok(())
    }

    /// Postings without positions: every row of the tenant in the bucket.
    fn plan_whole(
        &mut self,
        segment: &Segment<'_>,
        tenant: &str,
        kind: EntityKind,
        rows: Range<u32>,
        sheet: &mut impl Sheet,
    ) {
        let value = if kind == EntityKind::Raw { segment.raw_id } else { "" };
        let bucket_us = kind.bucket_us();
        self.by_bucket.clear();
        self.by_bucket.extend(rows.map(|row| (segment.times.at(row as usize), row)));
        let bucket_of = |(time_us, _): &(i64, u32)| time_us.div_euclid(bucket_us);
        if !self.by_bucket.is_sorted_by_key(bucket_of) {
            self.by_bucket.sort_unstable_by_key(bucket_of);
        }
        for bucket in self.by_bucket.chunk_by(|a, b| bucket_of(a) == bucket_of(b)) {
            let times = || bucket.iter().map(|(time_us, _)| *time_us);
            let posting = PostingValue {
                place: segment.place,
                max_time_us: times().max().unwrap_or_default(),
                min_time_us: times().min().unwrap_or_default(),
                rows: u32::try_from(bucket.len()).unwrap_or(u32::MAX),
                positions: &[],
                inline: &[],
            };
            sheet.posting(&Entry { tenant, kind, value, class: segment.batch.class, posting });
        }
    }

    fn plan_ids(&mut self, segment: &Segment<'_>, tenant: &str, rows: Range<u32>, sheet: &mut impl Sheet) {
        let ids = event_ids(&segment.batch.rows);
        self.ids.clear();
        self.ids.extend(rows.map(|row| id_parts(&event_id(ids, row as usize))));
        self.ids.sort_unstable();
        for bucket in self.ids.chunk_by(|a, b| a.0 == b.0) {
            self.fragments.clear();
            bucket.iter().for_each(|(_, fragment)| self.fragments.extend_from_slice(fragment));
            sheet.ids(tenant, &segment.place, bucket[0].0, &self.fragments);
        }
    }
}

impl<'a> Segment<'a> {
    fn entry<'b>(
        &mut self,
        tenant: &'b str,
        kind: EntityKind,
        value: &'b str,
        rows: &[u32],
        buffers: &'b mut Buffers,
    ) -> Entry<'b> {
        let times = || rows.iter().map(|row| self.times.at(*row as usize));
        let (min_time_us, max_time_us) =
            times().fold((i64::MAX, i64::MIN), |(min, max), time_us| (min.min(time_us), max.max(time_us)));
        buffers.positions.clear();
        encode_positions(rows, &mut buffers.positions);
        buffers.inline.clear();
        if rows.len() <= INLINE_ROWS.min(self.inline_left) {
            self.inline_left -= rows.len();
            let batch: &'a EventBatch = self.batch;
            let encoder =
                self.encoder.get_or_insert_with(|| RowEncoder::new(batch.class, &batch.rows, Heading::Bitmap));
            encoder.encode(rows, &mut buffers.inline);
        }
        let posting = PostingValue {
            place: self.place,
            max_time_us,
            min_time_us,
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            positions: &buffers.positions,
            inline: &buffers.inline,
        };
        Entry { tenant, kind, value, class: self.batch.class, posting }
    }
}

/// Calls `each` with the rows of every bucket of time that a group has rows in.
fn each_bucket(
    group: &[u32],
    times: Times<'_>,
    bucket_us: i64,
    by_bucket: &mut Vec<(i64, u32)>,
    bucket_rows: &mut Vec<u32>,
    mut each: impl FnMut(&[u32]),
) {
    let bucket_of = |row: u32| times.at(row as usize).div_euclid(bucket_us);
    let first = bucket_of(group[0]);
    if group.iter().all(|row| bucket_of(*row) == first) {
        return each(group);
    }
    by_bucket.clear();
    by_bucket.extend(group.iter().map(|row| (bucket_of(*row), *row)));
    by_bucket.sort_unstable();
    for bucket in by_bucket.chunk_by(|a, b| a.0 == b.0) {
        bucket_rows.clear();
        bucket_rows.extend(bucket.iter().map(|(_, row)| *row));
        each(bucket_rows);
    }
}

fn plan_indicators(batch: &EventBatch, tenant: &str, rows: Range<u32>, sheet: &mut impl Sheet) -> Result<(), HotError> {
    let values = text_column(batch, col::osint::INDICATOR)?;
    let sources = text_column(batch, col::SOURCE)?;
    let types = batch.rows.column(col::osint::INDICATOR_TYPE_ID).as_primitive_opt::<Int32Type>();
    let ids = event_ids(&batch.rows);
    let mut encoder = RowEncoder::new(batch.class, &batch.rows, Heading::Names);
    let mut encoded = Vec::new();
    for row in rows {
        let Some(value) = values.value(row as usize).filter(|value| !value.is_empty()) else { continue };
        encoded.clear();
        encoder.encode(&[row], &mut encoded);
        let at = row as usize;
        sheet.indicator(&IndicatorEntry {
            tenant,
            type_id: types.filter(|types| types.is_valid(at)).map_or(0, |types| types.value(at)),
            value,
            source: sources.value(at).unwrap_or_default(),
            event_id: event_id(ids, at),
            row: &encoded,
        });
    }
    Ok(())
}

fn text_column(batch: &EventBatch, column: usize) -> Result<TextColumn<'_>, HotError> {
    TextColumn::of(batch.rows.column(column).as_ref()).ok_or_else(|| HotError::Damaged {
        what: format!("a batch of {}", batch.class.name()),
        reason: format!("column {} holds no text", atalaya_schema::columns(batch.class)[column].name),
    })
}
