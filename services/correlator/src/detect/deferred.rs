//! Windows of conditions that more events can make untrue: judged once, when the watermark has passed their end.
//!
//! The first event of a group opens a window of one timespan; the first event after it opens the next.

use atalaya_model::EventId;
use serde::{Deserialize, Serialize};

use super::window::MAX_VALUES;
use crate::sigma::Bounds;

/// An event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// When it happened, microseconds since 1970.
    pub time_us: i64,
    /// Hash of the value that is counted; the same for all where events are counted.
    pub value: u64,
    /// Its id.
    pub id: EventId,
    /// When it was received, microseconds since 1970.
    pub received_us: i64,
}

/// A window that was judged and met the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its events in order of time; never empty.
    pub events: Vec<Waiting>,
    /// What was counted.
    pub count: u64,
}

/// The events of one group that wait, in order of time; at most [`MAX_VALUES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    waiting: Vec<Waiting>,
}

impl Deferred {
    /// An event came. Answers with how many were left out because too many wait.
    pub fn add(&mut self, event: Waiting) -> u64 {
        if self.waiting.len() >= MAX_VALUES {
            return 1;
        }
        let at = self.waiting.partition_point(|other| (other.time_us, other.id) <= (event.time_us, event.id));
        self.waiting.insert(at, event);
        0
    }

    /// Judges the windows that are over; those that meet the condition.
    pub fn judge(&mut self, watermark_us: i64, span_us: i64, bounds: &Bounds, values: bool) -> Vec<Judged> {
        let mut judged = Vec::new();
        while let Some(end_us) = self.next_end_us(span_us).filter(|&end_us| end_us <= watermark_us) {
            let length = self.waiting.partition_point(|event| event.time_us < end_us);
            let events: Vec<Waiting> = self.waiting.drain(..length.max(1)).collect();
            let count = if values { distinct(&events) } else { events.len() as u64 };
            if bounds.hold(count) {
                judged.push(Judged { events, count });
            }
        }
        judged
    }

    /// When the next window ends.
    #[must_use]
    pub fn next_end_us(&self, span_us: i64) -> Option<i64> {
        self.waiting.first().map(|event| event.time_us.saturating_add(span_us))
    }

    /// Events that wait.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.waiting.len() as u64
    }
}

fn distinct(events: &[Waiting]) -> u64 {
    let mut values: Vec<u64> = events.iter().map(|event| event.value).collect();
    values.sort_unstable();
    values.dedup();
    values.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_us: i64, value: u64) -> Waiting {
        Waiting {
            time_us,
            value,
            id: EventId::of("test", &[&time_us.to_le_bytes(), &value.to_le_bytes()]),
            received_us: 0,
        }
    }

    #[test]
    fn windows_are_judged_once_they_are_over() {
        let bounds = Bounds { min: 1, max: Some(2), not: Vec::new(), written: 3 };
        let mut deferred = Deferred::default();
        for (time_us, value) in [(25, 1), (10, 1), (12, 1), (11, 2), (19, 1), (40, 3)] {
            assert_eq!(deferred.add(event(time_us, value)), 0);
        }
        assert_eq!(deferred.judge(19, 10, &bounds, false), []);
        // 10 to 19 holds four events of two values; 25 stands alone.
        assert_eq!(deferred.clone().judge(35, 10, &bounds, false).len(), 1);
        let judged = deferred.judge(35, 10, &bounds, true);
        let found: Vec<_> = judged.iter().map(|judged| (judged.events[0].time_us, judged.count)).collect();
        assert_eq!(found, [(10, 2), (25, 1)]);
        assert_eq!(deferred.next_end_us(10), Some(50));
        assert_eq!(deferred.judge(i64::MAX, 10, &bounds, false).len(), 1);
        assert_eq!(deferred.weight(), 0);
    }
}
