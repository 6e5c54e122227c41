//! What messages become: rows, gathered by the partition they stand in.

use std::collections::HashMap;
use std::net::IpAddr;

use atalaya_model::Class;
use bytes::Bytes;

use super::retention::Retention;
use crate::kinds::{DAY_US, EntityKind, HOUR_US};
use crate::plan::{Entry, IndicatorEntry, Planner, Sheet};
use crate::posting::{Place, SegmentId};
use crate::{Filed, FiledMessage, HotError};

/// Longer values are filed under their first bytes and a hash; rows are checked by the whole value.
const MAX_VALUE_BYTES: usize = 256;

/// Bytes of a longer value that are kept; with its hash it is longer than any value that stands for itself.
const KEPT_VALUE_BYTES: usize = 240;

/// Segments of a partition of EVT and an hour of reception are spread over so many partitions of Cassandra: at
/// 100,000 events/s each has 20 MB.
const SEGMENT_SHARDS: u8 = 128;

/// Bytes that a row takes beside its value, about.
const ROW_BYTES: usize = 48;

/// Where event ids stand in the directory: no kind of entity has this number.
pub(super) const EVENT_IDS: i8 = 0;

/// Rows that are read as one, newest first: of an entity in a bucket of time, or of a bucket of event ids in a day.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    pub(super) tenant: String,
    /// An [`EntityKind`], or [`EVENT_IDS`].
    pub(super) kind: i8,
    pub(super) value: String,
    /// Days or hours since 1970.
    pub(super) bucket: i64,
}

/// A posting, or a segment's event ids.
pub(super) struct StreamRow {
    /// The posting's newest time, or when the segment was received, microseconds since 1970.
    pub(super) time_us: i64,
    pub(super) class: i32,
    pub(super) segment: SegmentId,
    pub(super) value: Vec<u8>,
    /// Time to live, seconds; 0 for ever.
    pub(super) live_s: i32,
}

/// The rows of a stream.
pub(super) struct Group {
    pub(super) rows: Vec<StreamRow>,
    pub(super) bytes: u64,
    /// Events the rows stand for.
    pub(super) events: u64,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) classes: Classes,
}

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes(u16);

const _: () = assert!(Class::ALL.len() <= 16);

impl Classes {
    /// One class.
    pub(super) const fn of(class: Class) -> Self {
        Self(1 << class as u16)
    }

    /// These and others.
    pub(super) const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These but others.
    pub(super) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there is none.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub(super) fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.0 & Self::of(*class).0 != 0)
    }
}

impl Default for Group {
    fn default() -> Self {
        let (first_us, last_us) = (i64::MAX, i64::MIN);
        Self { rows: Vec::new(), bytes: 0, events: 0, first_us, last_us, classes: Classes::default() }
    }
}

/// A message's body.
pub(super) struct Body {
    pub(super) place: Place,
    pub(super) seq: i64,
    pub(super) class: i32,
    pub(super) body: Bytes,
    pub(super) live_s: i32,
}

/// An indicator.
pub(super) struct Indicator {
    pub(super) tenant: String,
    pub(super) value: String,
    pub(super) type_id: i32,
    pub(super) source: String,
    pub(super) event_id: [u8; 16],
    pub(super) row: Vec<u8>,
}

/// Everything that is written of some messages.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) bodies: Vec<Body>,
    pub(super) streams: HashMap<Stream, Group>,
    pub(super) indicators: Vec<Indicator>,
    pub(super) filed: Vec<Filed>,
    live_s: i32,
}

impl Rows {
    /// The rows of messages; what is over already is counted.
    pub(super) fn of(messages: &[FiledMessage], retention: Option<Retention>, now_us: i64) -> Result<Self, HotError> {
        let mut planner = Planner::default();
        let mut rows = Self::default();
        for message in messages {
            let live_s = match retention {
                None => Some(0),
                Some(retention) => retention.live_s(message.received_time_us, now_us),
            };
            let Some(live_s) = live_s else {
                rows.filed.push(Filed { rows: 0, expired: message.batch.rows.num_rows() as u64 });
                continue;
            };
            rows.live_s = live_s;
            rows.bodies.push(Body {
                place: Place {
                    partition: message.partition,
                    received_us: message.received_time_us,
                    segment: SegmentId::of(&message.id),
                },
                seq: message.sequence.cast_signed(),
                class: message.batch.class.uid(),
                body: message.body.clone(),
                live_s,
            });
            let filed = planner.plan(message, &mut rows)?;
            rows.filed.push(Filed { rows: filed, expired: 0 });
        }
        Ok(rows)
    }

    fn add(&mut self, stream: Stream, row: StreamRow) -> &mut Group {
        let group = self.streams.entry(stream).or_default();
        group.bytes += (ROW_BYTES + row.value.len()) as u64;
        group.rows.push(row);
        group
    }
}

impl Sheet for Rows {
    fn posting(&mut self, entry: &Entry<'_>) {
        let posting = &entry.posting;
        let mut value = Vec::new();
        posting.encode(&mut value);
        let stream = Stream {
            tenant: entry.tenant.to_owned(),
            kind: entry.kind as i8,
            value: key_value(entry.kind, entry.value),
            bucket: bucket_of(entry.kind, posting.max_time_us),
        };
        let row = StreamRow {
            time_us: posting.max_time_us,
            class: entry.class.uid(),
            segment: posting.place.segment,
            value,
            live_s: self.live_s,
        };
        let group = self.add(stream, row);
        group.events += u64::from(posting.rows);
        group.first_us = group.first_us.min(posting.min_time_us);
        group.last_us = group.last_us.max(posting.max_time_us);
        group.classes = group.classes.with(Classes::of(entry.class));
    }

    fn ids(&mut self, tenant: &str, place: &Place, bucket: u8, fragments: &[u8]) {
        let stream = Stream {
            tenant: tenant.to_owned(),
            kind: EVENT_IDS,
            value: bucket.to_string(),
            bucket: place.received_us.div_euclid(DAY_US),
        };
        let row = StreamRow {
            time_us: place.received_us,
            class: 0,
            segment: place.segment,
            value: [place.partition.to_be_bytes().as_slice(), fragments].concat(),
            live_s: self.live_s,
        };
        let group = self.add(stream, row);
        group.first_us = group.first_us.min(place.received_us);
        group.last_us = group.last_us.max(place.received_us);
    }

    fn indicator(&mut self, entry: &IndicatorEntry<'_>) {
        self.indicators.push(Indicator {
            tenant: entry.tenant.to_owned(),
            value: cut(entry.value),
            type_id: entry.type_id,
            source: cut(entry.source),
            event_id: entry.event_id,
            row: entry.row.to_vec(),
        });
    }
}

/// The hour or day that a posting of a kind is filed under.
pub(super) fn bucket_of(kind: EntityKind, time_us: i64) -> i64 {
    // A RAW message has few segments: its postings stand together.
    if kind == EntityKind::Raw { 0 } else { time_us.div_euclid(kind.bucket_us()) }
}

/// The hour of reception, and the partition within, that a segment stands in.
pub(super) fn segment_bucket(place: &Place) -> (i64, i32) {
    let [first, ..] = *place.segment.as_bytes();
    (place.received_us.div_euclid(HOUR_US), i32::from(first % SEGMENT_SHARDS))
}

/// A value as it stands in keys: addresses in one form, and nothing too long.
pub(super) fn key_value(kind: EntityKind, value: &str) -> String {
    match value.parse::<IpAddr>() {
        Ok(address) if kind.is_address() => address.to_string(),
        _ => cut(value),
    }
}

/// A text that is not too long for a key: itself, or its beginning and a hash.
pub(super) fn cut(text: &str) -> String {
    if text.len() <= MAX_VALUE_BYTES {
        return text.to_owned();
    }
    let hash = blake3::hash(text.as_bytes());
    format!("{}{}", &text[..text.floor_char_boundary(KEPT_VALUE_BYTES)], &hash.to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_keys() {
        assert_eq!(key_value(EntityKind::SrcIp, "2001:DB8:0::1"), "2001:db8::1");
        assert_eq!(key_value(EntityKind::User, "2001:DB8:0::1"), "2001:DB8:0::1");
        let long = "é".repeat(200);
        let longer = long.clone() + "x";
        assert!(cut(&long).len() > MAX_VALUE_BYTES && cut(&long).len() < 280, "no value stands for itself so");
        assert_ne!(cut(&long), cut(&longer));
        assert_eq!(cut(&"x".repeat(256)), "x".repeat(256));
    }
}
