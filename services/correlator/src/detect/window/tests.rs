use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SPAN_US: i64 = 10;

/// What windows an arrival makes reach `min`, counted anew over all events.
pub(in crate::detect) fn naive_times(times: &[i64], time_us: i64, span_us: i64, min: u64) -> Option<Crossing> {
    let ends: BTreeSet<i64> = times.iter().copied().filter(|&end| end >= time_us && end < time_us + span_us).collect();
    let mut crossing = None;
    for end_us in ends {
        let held: Vec<i64> = times.iter().copied().filter(|&time| time > end_us - span_us && time <= end_us).collect();
        let (count, first_us) = (held.len() as u64, held.iter().copied().min().unwrap());
        if count >= min {
            let found = Crossing { first_us, from_us: end_us, to_us: end_us, count, events: count };
            crossing = Some(Crossing::join(crossing, found));
        }
    }
    crossing
}

/// The same for different values; events are not counted.
pub(in crate::detect) fn naive_values(seen: &[(i64, u64)], time_us: i64, span_us: i64, min: u64) -> Option<Crossing> {
    let before = |time: i64, value: u64| {
        seen.iter().filter(|&&(t, v)| v == value && t < time && t > time - span_us).map(|&(t, _)| t).max()
    };
    let fresh = seen.iter().filter(|&&(time, value)| before(time, value).is_none()).map(|&(time, _)| time);
    let later = fresh.filter(|&time| time > time_us && time < time_us + span_us);
    let ends: BTreeSet<i64> = later.chain([time_us]).collect();
    let mut crossing = None;
    for end_us in ends {
        let held = seen.iter().filter(|&&(time, _)| time > end_us - span_us && time <= end_us);
        let values: BTreeSet<u64> = held.clone().map(|&(_, value)| value).collect();
        let run_start = |&(mut time, value): &(i64, u64)| {
            while let Some(earlier) = before(time, value) {
                time = earlier;
            }
            time.max(end_us - span_us + 1)
        };
        let first_us = held.map(run_start).min().unwrap();
        if values.len() as u64 >= min {
            let found = Crossing { first_us, from_us: end_us, to_us: end_us, count: values.len() as u64, events: 0 };
            crossing = Some(Crossing::join(crossing, found));
        }
    }
    crossing
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn times_are_counted_as_over_all_events(times in prop::collection::vec(0..60_i64, 1..80), min in 1..6_u64) {
        let mut window = Times::default();
        for (at, &time_us) in times.iter().enumerate() {
            let (found, forgotten) = window.add(time_us, SPAN_US, min);
            prop_assert_eq!((found, forgotten), (naive_times(&times[..=at], time_us, SPAN_US, min), 0));
        }
        prop_assert_eq!(window.weight(), times.len() as u64);
    }

    #[test]
    fn values_are_counted_as_over_all_events(
        seen in prop::collection::vec((0..60_i64, 0..8_u64), 1..80),
        min in 1..6_u64,
    ) {
        let mut window = Values::default();
        for (at, &(time_us, value)) in seen.iter().enumerate() {
            let (found, forgotten) = window.add(time_us, value, SPAN_US, min, i64::MIN);
            let found = found.map(|crossing| Crossing { events: 0, ..crossing });
            prop_assert_eq!((found, forgotten), (naive_values(&seen[..=at], time_us, SPAN_US, min), 0));
        }
    }

    /// Many later windows at once take another way to the same counts.
    #[test]
    fn many_judgements_agree_with_few(firsts in prop::collection::vec(0..1_000_i64, 40..90)) {
        let mut window = Values::default();
        firsts.iter().enumerate().for_each(|(value, &time)| { let _ = window.add(time, value as u64, 500, 99, i64::MIN); });
        let ends: Vec<i64> = (0..1_200).step_by(7).collect();
        let singly: Vec<_> = ends.iter().flat_map(|&end| window.counts(&[end], 500)).collect();
        prop_assert_eq!(window.counts(&ends, 500), singly);
    }
}

#[test]
fn pruning_forgets_only_what_no_window_holds() {
    let mut times = Times::default();
    (0..30).for_each(|time| {
        let _ = times.add(time, SPAN_US, 100);
    });
    times.prune(19, SPAN_US);
    assert_eq!(times.weight(), 10);
    assert_eq!(times.add(30, SPAN_US, 10).0.unwrap().count, 10);
    times.prune(100, SPAN_US);
    assert!(times.is_empty());
    let mut values = Values::default();
    (0..30).for_each(|time| {
        let _ = values.add(time, time as u64, SPAN_US, 100, i64::MIN);
    });
    values.prune(19);
    assert_eq!(values.weight(), 10);
}

#[test]
fn a_flood_is_kept_small_and_counted_closely() {
    let (span_us, mut times, mut largest) = (10_000_000, Times::default(), 0);
    for event in 0..200_000_i64 {
        let (crossing, forgotten) = times.add(event * 1_000, span_us, 5_000);
        assert_eq!(forgotten, 0);
        largest = crossing.map_or(largest, |crossing| crossing.count.max(largest));
        assert!(times.entries.len() <= MAX_TIMES);
    }
    // 10,000 events fall into 10 s; merging is off by one slice of a 64th at most, an 8th under pressure.
    assert!((9_800..=11_300).contains(&largest), "{largest}");
}

#[test]
fn too_many_values_stop_the_count() {
    let mut values = Values::default();
    let mut forgotten = 0;
    for value in 0..5_000_u64 {
        forgotten += values.add(value as i64, value, 1_000_000, 10, i64::MIN).1;
    }
    assert_eq!((values.runs.len(), forgotten), (MAX_VALUES, 5_000 - MAX_VALUES as u64));
    let crossing = values.add(5_000, 1, 1_000_000, 10, i64::MIN).0.unwrap();
    assert_eq!(crossing.count, MAX_VALUES as u64);
}
