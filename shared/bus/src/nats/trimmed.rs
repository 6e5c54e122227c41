//! What was trimmed: the server forgets it, a reader must not.
//!
//! A trim writes down what it is about to remove, waits for [`GRACE`], and only then removes it. So a reader that looked
//! less than that ago knows of everything that can be gone by now, and need not look for every message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::bucket::NatsBucket;
use super::link::Link;
use super::streams;
use crate::{Bucket, BucketError, BusError, Filter, Sequence, Stream, now_us};

/// The bucket this stands in. Buckets of the port begin with a letter or a digit.
pub(super) const BUCKET: &str = "_trimmed";

/// Pause between writing down and removing.
const GRACE: Duration = Duration::from_millis(300);

/// How long what a reader saw counts: shorter than [`GRACE`], for clocks that do not run alike.
const FRESH: Duration = Duration::from_millis(200);

/// Subjects written down one by one at most. Of the others only the newest trimmed one is known.
const MAX_SUBJECTS: usize = 4_096;

/// Tries to write what somebody else writes, too.
const TRIES: u32 = 8;

/// From where on a stream is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Below {
    below: Sequence,
}

/// The newest trimmed message of each subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subjects {
    /// A message of any subject up to here may have been trimmed.
    #[serde(default)]
    any: Sequence,
    #[serde(default)]
    subjects: BTreeMap<String, Sequence>,
}

impl Subjects {
    /// A message that is to be removed.
    pub(super) fn add(&mut self, subject: &str, sequence: Sequence) {
        match self.subjects.get_mut(subject) {
            Some(newest) => *newest = sequence.max(*newest),
            None => {
                self.subjects.insert(subject.to_owned(), sequence);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.any = self.any.max(other.any);
        other.subjects.iter().for_each(|(subject, &sequence)| self.add(subject, sequence));
        if self.subjects.len() > MAX_SUBJECTS {
            let mut sequences: Vec<_> = self.subjects.values().copied().collect();
            sequences.sort_unstable();
            self.any = self.any.max(sequences[self.subjects.len() - MAX_SUBJECTS / 2]);
        }
        let any = self.any;
        self.subjects.retain(|_, sequence| *sequence > any);
    }

    fn newest(&self, filter: &Filter) -> Sequence {
        let under = self.subjects.iter().filter(|(subject, _)| filter.matches_text(subject));
        under.map(|(_, &sequence)| sequence).max().unwrap_or(0).max(self.any)
    }
}

/// How far a stream was trimmed.
#[derive(Clone, Copy, Debug)]
struct Floor {
    /// From here on it is complete.
    below: Sequence,
    /// Up to before here messages were removed by somebody who wrote nothing down.
    unrecorded: Sequence,
}

/// When a floor was asked for, by both clocks: one stands still while the machine sleeps, the other may be set.
struct Look {
    at: Instant,
    wall_us: i64,
    floor: Floor,
}

impl Look {
    fn is_fresh(&self) -> bool {
        let wall = u64::try_from(now_us() - self.wall_us).map_or(Duration::MAX, Duration::from_micros);
        self.at.elapsed() < FRESH && wall < FRESH
    }
}

/// What was trimmed, of every stream.
pub(super) struct TrimLog {
    link: Arc<Link>,
    bucket: NatsBucket,
    looks: Mutex<[Option<Look>; Stream::ALL.len()]>,
}

fn below_key(stream: Stream) -> String {
    format!("{stream}.below")
}

fn subjects_key(stream: Stream) -> String {
    format!("{stream}.subjects")
}

fn io(error: impl std::fmt::Display) -> BusError {
    BusError::Io(error.to_string())
}

impl TrimLog {
    pub(super) fn new(link: Arc<Link>) -> Self {
        let bucket = NatsBucket::new(Arc::clone(&link), BUCKET);
        Self { link, bucket, looks: Mutex::new([None, None, None, None]) }
    }

    /// From where on a stream is complete, as written down.
    pub(super) async fn below(&self, stream: Stream) -> Result<Sequence, BusError> {
        let (below, _) = self.entry::<Below>(&below_key(stream)).await?;
        Ok(below.below.max(1))
    }

    /// How far a stream was trimmed. Whatever a message that is at hand now has skipped is covered.
    async fn floor(&self, stream: Stream) -> Result<Floor, BusError> {
        let fresh = |look: &Option<Look>| look.as_ref().filter(|look| look.is_fresh()).map(|look| look.floor);
        let known = fresh(&self.looks.lock().unwrap_or_else(PoisonError::into_inner)[stream as usize]);
        if let Some(floor) = known {
            return Ok(floor);
        }
        let (at, wall_us) = (Instant::now(), now_us());
        // What the stream lacks first, then what is written down: the other way round a trim in between would seem
        // to have written nothing.
        let info = streams::info(&self.link, stream.name()).await?;
        let first = info.map_or(0, |info| info.state.first_sequence);
        let below = self.below(stream).await?;
        let floor = Floor { below: below.max(first), unrecorded: if first > below { first } else { 0 } };
        let look = Some(Look { at, wall_us, floor });
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)[stream as usize] = look;
        Ok(floor)
    }

    /// Whether a reader at a position under a filter missed something that was trimmed. `cleared` is the caller's memory:
    /// below it, for this position or an older one, nothing was missed.
    pub(super) async fn check(
        &self,
        stream: Stream,
        filter: &Filter,
        position: Sequence,
        cleared: &mut Sequence,
    ) -> Result<(), BusError> {
        let floor = self.floor(stream).await?;
        if position + 1 >= floor.below || *cleared >= floor.below {
            return Ok(());
        }
        let (subjects, _) = self.entry::<Subjects>(&subjects_key(stream)).await?;
        if subjects.newest(filter).max(floor.unrecorded.saturating_sub(1)) > position {
            return Err(BusError::Gap { stream, expected: position + 1, found: floor.below });
        }
        *cleared = floor.below;
        Ok(())
    }

    /// Writes down what is to be removed below a sequence, and waits until every reader must know. `first` is the
    /// stream's first message: what is gone before it and not written down is taken for anything.
    pub(super) async fn record(
        &self,
        stream: Stream,
        first: Sequence,
        below: Sequence,
        mut gone: Subjects,
    ) -> Result<(), BusError> {
        if first > self.below(stream).await? {
            gone.any = first - 1;
        }
        self.update(&subjects_key(stream), |subjects: &mut Subjects| subjects.merge(&gone)).await?;
        self.update(&below_key(stream), |known: &mut Below| known.below = known.below.max(below)).await?;
        tokio::time::sleep(GRACE).await;
        Ok(())
    }

    async fn update<T>(&self, key: &str, change: impl Fn(&mut T)) -> Result<(), BusError>
    where
        T: Default + Clone + PartialEq + Serialize + for<'a> Deserialize<'a>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let (found, revision) = self.entry::<T>(key).await?;
            let mut wanted = found.clone();
            change(&mut wanted);
            if wanted == found {
                return Ok(());
            }
            let value = Bytes::from(serde_json::to_vec(&wanted).map_err(io)?);
            match self.bucket.put(key, value, revision, None).await {
                Ok(_) => return Ok(()),
                // Somebody else's, or ours whose answer was lost: look again.
                Err(BucketError::Conflict { .. } | BucketError::Io(_)) if tries < TRIES => {}
                Err(error) => return Err(io(error)),
            }
        }
    }

    async fn entry<T: Default + for<'a> Deserialize<'a>>(&self, key: &str) -> Result<(T, u64), BusError> {
        match self.bucket.get(key).await.map_err(io)? {
            Some(entry) => Ok((serde_json::from_slice(&entry.value).map_err(io)?, entry.revision)),
            None => Ok((T::default(), 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    #[test]
    fn the_newest_of_each_subject_is_known() {
        let mut gone = Subjects::default();
        for (subject, sequence) in [("evt.0.a.x", 5), ("evt.1.a.x", 3), ("evt.0.a.x", 4)] {
            gone.add(subject, sequence);
        }
        let mut all = Subjects::default();
        all.merge(&gone);
        let newest = |text| all.newest(&filter(text));
        assert_eq!((newest("evt.0.>"), newest("evt.1.>"), newest("evt.2.>"), newest(">")), (5, 3, 0, 5));
    }

    #[test]
    fn many_subjects_make_it_coarse_and_never_wrong() {
        let mut all = Subjects::default();
        for sequence in 1..=20_000 {
            let mut gone = Subjects::default();
            gone.add(&format!("raw.l{}.x", sequence % 9_000), sequence);
            all.merge(&gone);
        }
        assert!(all.subjects.len() <= MAX_SUBJECTS);
        assert_eq!(all.newest(&filter("raw.l2000.x")), 20_000);
        let idle = all.newest(&filter("raw.none.x"));
        assert!(idle < 20_000 - 1_000 && idle > 0, "{idle}");
        assert!(all.newest(&filter("raw.l3000.x")) >= 12_000);
    }
}
