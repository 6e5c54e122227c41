//! Sliding windows of one group: how many events, or how many different values, within one timespan.
//!
//! A window ending at `e` holds what came in `(e − span, e]`. Events may come in any order; each arrival is judged at its
//! own time and at every later one that its window reaches.

use serde::{Deserialize, Serialize};

/// Different event times a group keeps; beyond, times are merged (see [`Times`]).
pub const MAX_TIMES: usize = 1_024;

/// Different values a group keeps within its horizon; beyond, the one not seen for longest is forgotten, so that a count
/// stops there. Twice the largest threshold a rule may name.
pub const MAX_VALUES: usize = 2_048;

/// Merged times are first kept in slices of a span's 64th, at the coarsest of its 8th.
const FINEST_SLICES: i64 = 64;
const COARSEST_SLICES: i64 = 8;

/// Later judged times up to which each is counted on its own; beyond, all are counted in one pass over sorted times.
const MAX_SINGLE_JUDGEMENTS: usize = 16;

/// Windows that reached a threshold because of one arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Time of the first event of the earliest of them, or that window's beginning for a value seen since before.
    pub first_us: i64,
    /// End of the earliest of them.
    pub from_us: i64,
    /// End of the latest of them.
    pub to_us: i64,
    /// The largest count in any of them.
    pub count: u64,
    /// Events in the earliest of them.
    pub events: u64,
}

impl Crossing {
    fn join(crossing: Option<Self>, other: Self) -> Self {
        crossing.map_or(other, |before| Self { to_us: other.to_us, count: before.count.max(other.count), ..before })
    }
}

/// Event times, sorted. Exact up to [`MAX_TIMES`] different ones; then times are merged in slices of the span (a 64th,
/// and, if that is not enough, up to an 8th), each standing for its latest time; then the oldest are forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    entries: Vec<(i64, u32)>,
    /// First entry of the window that ends with the newest one, and the events in it.
    head: usize,
    sum: u64,
}

impl Times {
    /// An event came. Answers with the windows that now hold at least `min`, and how many events were forgotten.
    pub fn add(&mut self, time_us: i64, span_us: i64, min: u64) -> (Option<Crossing>, u64) {
        let crossing = match self.entries.last_mut() {
            Some((newest, _)) if time_us < *newest => self.insert(time_us, span_us, min),
            Some((newest, count)) if time_us == *newest => {
                *count += 1;
                self.newest_window(span_us, min)
            }
            _ => {
                push_small(&mut self.entries, (time_us, 1));
                self.newest_window(span_us, min)
            }
        };
        let forgotten = if self.entries.len() > MAX_TIMES { self.merge(span_us) } else { 0 };
        (crossing, forgotten)
    }

    fn newest_window(&mut self, span_us: i64, min: u64) -> Option<Crossing> {
        self.sum += 1;
        let (newest_us, _) = *self.entries.last()?;
        while self.entries[self.head].0 <= newest_us - span_us {
            self.sum -= u64::from(self.entries[self.head].1);
            self.head += 1;
        }
        let (first_us, count) = (self.entries[self.head].0, self.sum);
        (count >= min).then_some(Crossing { first_us, from_us: newest_us, to_us: newest_us, count, events: count })
    }

    fn insert(&mut self, time_us: i64, span_us: i64, min: u64) -> Option<Crossing> {
        let at = self.entries.partition_point(|(time, _)| *time < time_us);
        let known = self.entries[at].0 == time_us;
        if known {
            self.entries[at].1 += 1;
        } else {
            self.entries.insert(at, (time_us, 1));
        }
        if self.entries.last().is_some_and(|(newest_us, _)| time_us > newest_us - span_us) {
            self.sum += 1;
        } else if !known {
            self.head += 1;
        }
        let mut low = self.entries.partition_point(|(time, _)| *time <= time_us - span_us);
        let mut count: u64 = self.entries[low..at].iter().map(|(_, count)| u64::from(*count)).sum();
        let mut crossing = None;
        for &(end_us, events) in self.entries[at..].iter().take_while(|(end_us, _)| *end_us < time_us + span_us) {
            count += u64::from(events);
            while self.entries[low].0 <= end_us - span_us {
                count -= u64::from(self.entries[low].1);
                low += 1;
            }
            if count >= min {
                let first_us = self.entries[low].0;
                let found = Crossing { first_us, from_us: end_us, to_us: end_us, count, events: count };
                crossing = Some(Crossing::join(crossing, found));
            }
        }
        crossing
    }

    fn merge(&mut self, span_us: i64) -> u64 {
        let mut slices = FINEST_SLICES;
        while self.entries.len() > MAX_TIMES / 2 && slices >= COARSEST_SLICES {
            let slice_us = (span_us / slices).max(1);
            self.entries.dedup_by(|later, earlier| {
                let same = later.0.div_euclid(slice_us) == earlier.0.div_euclid(slice_us);
                if same {
                    *earlier = (later.0, earlier.1.saturating_add(later.1));
                }
                same
            });
            slices /= 2;
        }
        let surplus = self.entries.len().saturating_sub(MAX_TIMES / 2);
        let forgotten = self.entries.drain(..surplus).map(|(_, count)| u64::from(count)).sum();
        self.recount(span_us);
        forgotten
    }

    fn recount(&mut self, span_us: i64) {
        let newest_us = self.entries.last().map_or(0, |(newest_us, _)| *newest_us);
        self.head = self.entries.partition_point(|(time, _)| *time <= newest_us - span_us);
        self.sum = self.entries[self.head..].iter().map(|(_, count)| u64::from(*count)).sum();
    }

    /// Forgets what no window can hold any more.
    pub fn prune(&mut self, before_us: i64, span_us: i64) {
        let past = self.entries.partition_point(|(time, _)| *time <= before_us);
        if past > 0 {
            self.entries.drain(..past);
            self.recount(span_us);
        }
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Events kept.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.entries.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

/// Values with the times they were seen, each as runs: times less than a span apart are one run, and a window that
/// reaches into a run holds the value. So no time between first and last is needed, and counting stays exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    value: u64,
    first_us: i64,
    last_us: i64,
    events: u32,
}

impl Run {
    /// Whether the window that ends at `end_us` holds the value.
    fn is_in(&self, end_us: i64, span_us: i64) -> bool {
        self.first_us <= end_us && end_us < self.last_us + span_us
    }
}

impl Values {
    /// A value came. Answers as [`Times::add`]; windows are judged at this time and at later ones where a value came
    /// that had not been seen for a span. `horizon_us` is the time before which nothing counts any more.
    pub fn add(
        &mut self,
        time_us: i64,
        value: u64,
        span_us: i64,
        min: u64,
        horizon_us: i64,
    ) -> (Option<Crossing>, u64) {
        let mut run = Run { value, first_us: time_us, last_us: time_us, events: 1 };
        self.runs.retain(|other| {
            let touches =
                other.value == value && time_us < other.last_us + span_us && other.first_us < time_us + span_us;
            if touches {
                run.first_us = run.first_us.min(other.first_us);
                run.last_us = run.last_us.max(other.last_us);
                run.events = run.events.saturating_add(other.events);
            }
            !touches
        });
        push_small(&mut self.runs, run);
        let forgotten = if self.runs.len() > MAX_VALUES { self.forget(horizon_us) } else { 0 };
        (self.judge(time_us, span_us, min), forgotten)
    }

    fn judge(&self, time_us: i64, span_us: i64, min: u64) -> Option<Crossing> {
        if (self.runs.len() as u64) < min {
            return None;
        }
        let later =
            self.runs.iter().map(|run| run.first_us).filter(|&first| first > time_us && first < time_us + span_us);
        let mut ends: Vec<i64> = std::iter::once(time_us).chain(later).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut crossing = None;
        for (end_us, count) in self.counts(&ends, span_us).into_iter().filter(|(_, count)| *count >= min) {
            let found = Crossing { first_us: end_us, from_us: end_us, to_us: end_us, count, events: 0 };
            crossing = Some(Crossing::join(crossing, found));
        }
        crossing.map(|crossing| self.describe(crossing, span_us))
    }

    /// How many values the windows with these ends hold; the ends are sorted.
    fn counts(&self, ends: &[i64], span_us: i64) -> Vec<(i64, u64)> {
        if ends.len() <= MAX_SINGLE_JUDGEMENTS {
            let count = |end_us| self.runs.iter().filter(|run| run.is_in(end_us, span_us)).count() as u64;
            return ends.iter().map(|&end_us| (end_us, count(end_us))).collect();
        }
        let sorted = |time: fn(&Run) -> i64| {
            let mut times: Vec<i64> = self.runs.iter().map(time).collect();
            times.sort_unstable();
            times
        };
        let (firsts, lasts) = (sorted(|run| run.first_us), sorted(|run| run.last_us));
        let (mut begun, mut over) = (0, 0);
        let count = |&end_us: &i64| {
            begun += firsts[begun..].iter().take_while(|first| **first <= end_us).count();
            over += lasts[over..].iter().take_while(|last| **last + span_us <= end_us).count();
            (end_us, (begun - over) as u64)
        };
        ends.iter().map(count).collect()
    }

    fn describe(&self, crossing: Crossing, span_us: i64) -> Crossing {
        let runs = self.runs.iter().filter(|run| run.is_in(crossing.from_us, span_us));
        let (first_us, events) = runs.fold((crossing.from_us, 0), |(first_us, events), run| {
            (first_us.min(run.first_us), events + u64::from(run.events))
        });
        Crossing { first_us: first_us.max(crossing.from_us - span_us + 1), events, ..crossing }
    }

    fn forget(&mut self, horizon_us: i64) -> u64 {
        self.prune(horizon_us);
        if self.runs.len() <= MAX_VALUES {
            return 0;
        }
        let oldest = self.runs.iter().enumerate().min_by_key(|(_, run)| (run.last_us, run.value)).map(|(at, _)| at);
        oldest.map_or(0, |at| u64::from(self.runs.remove(at).events))
    }

    /// Forgets what no window can hold any more.
    pub fn prune(&mut self, before_us: i64) {
        self.runs.retain(|run| run.last_us > before_us);
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Events kept.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.events)).sum()
    }
}

/// Most groups see one event: the first element takes no more room than it needs.
pub(super) fn push_small<T>(vec: &mut Vec<T>, element: T) {
    if vec.capacity() == 0 {
        vec.reserve_exact(1);
    }
    vec.push(element);
}

#[cfg(test)]
pub(super) mod tests;
