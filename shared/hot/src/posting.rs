//! Postings: which rows of a segment belong to an entity, and how that is written down.

use atalaya_model::Class;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use crate::HotError;

const SEGMENT_ID_BYTES: usize = 12;

/// The identity of a segment: a hash of its message id, so that a message written again is the same segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId([u8; SEGMENT_ID_BYTES]);

impl SegmentId {
    /// The segment of a message: the first 12 bytes of BLAKE3 over its id.
    #[must_use]
    pub fn of(message_id: &str) -> Self {
        let mut id = [0; SEGMENT_ID_BYTES];
        id.copy_from_slice(&blake3::hash(message_id.as_bytes()).as_bytes()[..SEGMENT_ID_BYTES]);
        Self(id)
    }

    /// The id in a slice of exactly 12 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 12 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SEGMENT_ID_BYTES] {
        &self.0
    }
}

/// Where a segment's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The partition of EVT it came from.
    pub partition: u16,
    /// When its records were received, microseconds since 1970.
    pub received_us: i64,
    /// Which one.
    pub segment: SegmentId,
}

/// Which rows of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Every row of the tenant in the posting's bucket.
    Bucket,
    /// These, in order, counted from the segment's first row.
    Rows(Vec<u32>),
}

/// One posting of an entity: its rows of one segment in one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Time of its newest row, microseconds since 1970.
    pub max_time_us: i64,
    /// The segment's class.
    pub class: Class,
    /// Where the segment is.
    pub place: Place,
    /// Time of its oldest row, microseconds since 1970.
    pub min_time_us: i64,
    /// How many rows.
    pub rows: u32,
    /// Which rows.
    pub positions: Positions,
    /// The rows themselves where they are few, compact, one lz4 block.
    pub inline: Option<Vec<u8>>,
}

/// What orders the postings of an entity: newest first, then by class and segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostingKey {
    /// Negated time order: the newest is the smallest.
    pub max_time: std::cmp::Reverse<i64>,
    /// The class.
    pub class: Class,
    /// The segment.
    pub segment: SegmentId,
}

impl Posting {
    /// Its place among the postings of its entity.
    #[must_use]
    pub const fn key(&self) -> PostingKey {
        PostingKey { max_time: std::cmp::Reverse(self.max_time_us), class: self.class, segment: self.place.segment }
    }
}

/// What a posting's value says beside its key; borrowed from the planner's buffers.
pub struct PostingValue<'a> {
    /// Where the segment is.
    pub place: Place,
    /// Time of its newest row, microseconds since 1970.
    pub max_time_us: i64,
    /// Time of its oldest row, microseconds since 1970.
    pub min_time_us: i64,
    /// How many rows.
    pub rows: u32,
    /// [`encode_positions`] of its rows; empty for every row of the bucket.
    pub positions: &'a [u8],
    /// The rows themselves; empty if they are not here.
    pub inline: &'a [u8],
}

impl PostingValue<'_> {
    /// Appends the stored form: varints of rows, span, received time after the newest row, partition and length of the
    /// positions, then positions, then inline rows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let numbers = [
            u64::from(self.rows),
            self.max_time_us.wrapping_sub(self.min_time_us).cast_unsigned(),
            zigzag(self.place.received_us.wrapping_sub(self.max_time_us)),
            u64::from(self.place.partition),
            self.positions.len() as u64,
        ];
        let length: usize = numbers.iter().map(|&number| encoded_len_varint(number)).sum();
        out.reserve(length + self.positions.len() + self.inline.len());
        for number in numbers {
            encode_varint(number, out);
        }
        out.extend_from_slice(self.positions);
        out.extend_from_slice(self.inline);
    }
}

impl Posting {
    /// Reads the stored form of a posting with this key.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(key: PostingKey, mut value: &[u8]) -> Result<Self, HotError> {
        let damaged = || HotError::Damaged { what: "a posting".to_owned(), reason: "it is cut off".to_owned() };
        let mut number = || decode_varint(&mut value).map_err(|_| damaged());
        let max_time_us = key.max_time.0;
        let rows = u32::try_from(number()?).map_err(|_| damaged())?;
        let min_time_us = max_time_us.wrapping_sub(number()?.cast_signed());
        let received_us = max_time_us.wrapping_add(unzigzag(number()?));
        let partition = u16::try_from(number()?).map_err(|_| damaged())?;
        let length = usize::try_from(number()?).map_err(|_| damaged())?;
        let (positions, inline) = value.split_at_checked(length).ok_or_else(damaged)?;
        let positions = match positions {
            [] => Positions::Bucket,
            positions => Positions::Rows(decode_positions(positions, rows).ok_or_else(damaged)?),
        };
        Ok(Self {
            max_time_us,
            class: key.class,
            place: Place { partition, received_us, segment: key.segment },
            min_time_us,
            rows,
            positions,
            inline: (!inline.is_empty()).then(|| inline.to_vec()),
        })
    }
}

/// Appends row numbers in rising order: the first as it is, then the steps, as varints.
pub fn encode_positions(rows: &[u32], out: &mut Vec<u8>) {
    let mut before = 0;
    for &row in rows {
        encode_varint(u64::from(row - before), out);
        before = row;
    }
}

fn decode_positions(mut bytes: &[u8], rows: u32) -> Option<Vec<u32>> {
    let mut positions = Vec::with_capacity(bytes.len().min(rows as usize));
    let mut before = 0_u32;
    while !bytes.is_empty() {
        before = before.checked_add(u32::try_from(decode_varint(&mut bytes).ok()?).ok()?)?;
        positions.push(before);
    }
    (positions.len() == rows as usize).then_some(positions)
}

/// Small numbers of either sign as small unsigned ones.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The number [`zigzag`] was given.
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn postings_read_back(
            max in any::<i64>(), span in 0..i64::MAX, received in any::<i64>(), partition in any::<u16>(),
            rows in prop::collection::btree_set(any::<u32>(), 1..50), inline in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let place = Place { partition, received_us: received, segment: SegmentId::of("m") };
            let rows: Vec<u32> = rows.into_iter().collect();
            let mut positions = Vec::new();
            encode_positions(&rows, &mut positions);
            let key = PostingKey { max_time: std::cmp::Reverse(max), class: Class::DnsActivity, segment: place.segment };
            let min = max.wrapping_sub(span);
            let count = u32::try_from(rows.len()).unwrap();
            let value = PostingValue {
                place, max_time_us: max, min_time_us: min, rows: count, positions: &positions, inline: &inline,
            };
            let mut stored = Vec::new();
            value.encode(&mut stored);
            let read = Posting::decode(key, &stored).unwrap();
            prop_assert_eq!((read.key(), read.place, read.min_time_us), (key, place, min));
            prop_assert_eq!((read.positions, read.inline), (Positions::Rows(rows), (!inline.is_empty()).then_some(inline)));
        }

        #[test]
        fn damaged_postings_are_errors_or_postings(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let key = PostingKey { max_time: std::cmp::Reverse(0), class: Class::BaseEvent, segment: SegmentId::of("m") };
            let _ = Posting::decode(key, &bytes);
        }
    }
}
