//! What the writer remembers of the directory: which rows stand there, and how full the shards are.
//!
//! A stream's shards are filled one after the other, so that no partition grows without end. A shard is in the
//! directory before a row is in the shard, and is never taken out before its rows are over: readers find every row,
//! whatever other writers did or forgot.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::retention::Retention;
use super::sheet::{Classes, Group, Stream};
use crate::kinds::EntityKind;

/// Shards of a stream at most; the last one takes the rest.
const MAX_SHARDS: i32 = 256;

/// A stream of which this writer filed this share of a shard is busy: where an earlier writer stopped is asked then.
const BUSY_SHARE: u64 = 16;

/// Streams remembered; one that is forgotten is told again.
const MAX_STREAMS: usize = 400_000;

/// The writer's memory.
pub(super) struct Directory {
    retention: Option<Retention>,
    shard_bytes: u64,
    streams: Mutex<Recent>,
}

/// The streams used last, in two halves: the older one goes when the newer one is full.
#[derive(Default)]
struct Recent {
    newer: HashMap<u128, Known>,
    older: HashMap<u128, Known>,
}

#[derive(Clone, Copy)]
struct Known {
    shard: i32,
    shard_bytes: u64,
    told: Option<Told>,
    /// Whether the shards of earlier writers were asked for.
    asked: bool,
    classes: Classes,
    postings: u64,
    rows: u64,
    first_us: i64,
    last_us: i64,
}

/// What the directory is known to say.
#[derive(Clone, Copy)]
struct Told {
    shard: i32,
    rows: u64,
    classes: Classes,
    /// Until then what is filed is over before the directory's row is, microseconds since 1970.
    until_us: i64,
}

/// Where rows of a stream go, and what the directory has to say before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    id: u128,
    /// The shard.
    pub(super) shard: i32,
    /// The row of the directory to write first; none if it stands.
    pub(super) tell: Option<Seen>,
    /// Classes of events that the entity's profile has to name first.
    pub(super) classes: Classes,
    /// Whether [`Directory::resume`] has to be told which shards there are.
    pub(super) ask: bool,
}

/// What the directory says of a stream: hints, but for its being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Times of the oldest and newest event, microseconds since 1970.
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    /// Postings and events, as many as this writer knows of.
    pub(super) postings: u64,
    pub(super) rows: u64,
}

impl Directory {
    /// Remembers nothing yet.
    pub(super) fn new(retention: Option<Retention>, shard_bytes: u64) -> Self {
        Self { retention, shard_bytes, streams: Mutex::default() }
    }

    /// Places rows of a stream.
    pub(super) fn place(&self, stream: &Stream, group: &Group, now_us: i64) -> Placed {
        if stream.kind == EntityKind::Raw as i8 {
            // Found by its id alone.
            return Placed { id: 0, shard: 0, tell: None, classes: Classes::default(), ask: false };
        }
        let id = id_of(stream);
        let mut streams = self.streams();
        let known = streams.entry(id);
        if known.shard_bytes > 0 && known.shard_bytes + group.bytes > self.shard_bytes {
            known.shard = (known.shard + 1).min(MAX_SHARDS - 1);
            known.shard_bytes = 0;
        }
        known.shard_bytes += group.bytes;
        known.postings += group.rows.len() as u64;
        known.rows += group.events;
        known.first_us = known.first_us.min(group.first_us);
        known.last_us = known.last_us.max(group.last_us);
        known.classes = known.classes.with(group.classes);
        let told = known.told.filter(|told| now_us <= told.until_us);
        let classes = known.classes.without(told.map(|told| told.classes).unwrap_or_default());
        let stands =
            told.is_some_and(|told| told.shard == known.shard && known.rows < told.rows.saturating_mul(2).max(1));
        let Known { first_us, last_us, postings, rows, .. } = *known;
        let tell = (!stands).then_some(Seen { first_us, last_us, postings, rows });
        let ask = !known.asked && known.shard_bytes > self.shard_bytes / BUSY_SHARE;
        Placed { id, shard: known.shard, tell, classes, ask }
    }

    /// Goes on where an earlier writer stopped, if it came further.
    pub(super) fn resume(&self, placed: &Placed, last_shard: i32) {
        let mut streams = self.streams();
        let known = streams.entry(placed.id);
        known.asked = true;
        if last_shard > known.shard {
            (known.shard, known.shard_bytes) = (last_shard, 0);
        }
    }

    /// Remembers that the directory says so since `now_us`, when its row was asked to be written.
    pub(super) fn told(&self, placed: &Placed, now_us: i64) {
        if placed.tell.is_none() && placed.classes.is_empty() {
            return;
        }
        let mut streams = self.streams();
        let known = streams.entry(placed.id);
        let before = known.told.filter(|told| now_us <= told.until_us);
        let classes = placed.classes.with(before.map(|told| told.classes).unwrap_or_default());
        known.told = match (placed.tell, before) {
            (Some(seen), _) => {
                let until_us = self.retention.map_or(i64::MAX, |retention| now_us.saturating_add(retention.slack_us()));
                Some(Told { shard: placed.shard, rows: seen.rows, classes, until_us })
            }
            (None, before) => before.map(|told| Told { classes, ..told }),
        };
    }

    fn streams(&self) -> MutexGuard<'_, Recent> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn entry(&mut self, id: u128) -> &mut Known {
        if self.newer.len() >= MAX_STREAMS / 2 && !self.newer.contains_key(&id) {
            self.older = std::mem::take(&mut self.newer);
        }
        let older = &mut self.older;
        self.newer.entry(id).or_insert_with(|| older.remove(&id).unwrap_or_default())
    }
}

impl Default for Known {
    fn default() -> Self {
        let (first_us, last_us) = (i64::MAX, i64::MIN);
        let classes = Classes::default();
        Self { shard: 0, shard_bytes: 0, told: None, asked: false, classes, postings: 0, rows: 0, first_us, last_us }
    }
}

/// A stream by a hash: its names would take the memory.
fn id_of(stream: &Stream) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for part in [stream.tenant.as_bytes(), &stream.kind.to_le_bytes(), &stream.bucket.to_le_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.update(stream.value.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(id)
}

#[cfg(test)]
mod tests {
    use atalaya_model::Class;

    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn stream(value: &str) -> Stream {
        Stream { tenant: "acme".to_owned(), kind: 3, value: value.to_owned(), bucket: 7 }
    }

    fn group(bytes: u64, events: u64) -> Group {
        Group { bytes, events, first_us: 5, last_us: 9, ..Group::default() }
    }

    #[test]
    fn a_row_is_told_until_it_is_known_to_stand() {
        let directory = Directory::new(Some(Retention::new(64 * HOUR_US)), 1_000);
        let place = |events, now_us| directory.place(&stream("a"), &group(10, events), now_us);
        assert!(place(1, 0).tell.is_some());
        let first = place(9, 0);
        assert_eq!(first.tell.map(|seen| (seen.rows, seen.first_us, seen.last_us)), Some((10, 5, 9)));
        directory.told(&first, 0);
        assert_eq!(place(5, 0).tell, None);
        assert_eq!(place(0, 2 * HOUR_US).tell, None);
        assert!(place(0, 2 * HOUR_US + 1).tell.is_some(), "its row would be over before what is filed");
        assert!(place(20, 0).tell.is_some(), "twice as many rows");
        assert!(directory.place(&stream("b"), &group(10, 1), 0).tell.is_some());
    }

    #[test]
    fn a_profile_is_told_of_every_class() {
        let directory = Directory::new(Some(Retention::new(64 * HOUR_US)), 1_000);
        let place = |classes: &[Class], now_us| {
            let classes = classes.iter().fold(Classes::default(), |all, class| all.with(Classes::of(*class)));
            directory.place(&stream("a"), &Group { classes, ..group(10, 0) }, now_us)
        };
        let classes = |placed: &Placed| placed.classes.iter().collect::<Vec<_>>();
        let first = place(&[Class::DnsActivity], 0);
        directory.told(&first, 0);
        let second = place(&[Class::DnsActivity, Class::HttpActivity], 0);
        assert_eq!((classes(&first), classes(&second)), (vec![Class::DnsActivity], vec![Class::HttpActivity]));
        directory.told(&second, 0);
        assert!(place(&[Class::HttpActivity], 0).classes.is_empty());
        let late = place(&[], 3 * HOUR_US);
        assert_eq!(classes(&late), [Class::HttpActivity, Class::DnsActivity], "before its rows are over");
    }

    #[test]
    fn full_shards_are_followed_by_new_ones() {
        let directory = Directory::new(None, 100);
        let mut shards = Vec::new();
        for _ in 0..7 {
            let placed = directory.place(&stream("a"), &group(40, 1), 0);
            assert!(shards.last().is_some_and(|last| *last == placed.shard) || placed.tell.is_some());
            directory.told(&placed, 0);
            shards.push(placed.shard);
        }
        assert_eq!(shards, [0, 0, 1, 1, 2, 2, 3]);
        let again = Directory::new(None, 100);
        let placed = again.place(&stream("a"), &group(40, 1), 0);
        assert!(placed.shard == 0 && placed.ask);
        again.resume(&placed, 3);
        let placed = again.place(&stream("a"), &group(40, 1), 0);
        assert!(placed.shard == 3 && !placed.ask && placed.tell.is_some());
        assert_eq!(directory.place(&stream("b"), &group(1_000, 1), 0).shard, 0);
    }
}
