//! The time shield: times that are not believed are kept and marked, so that no watermark follows them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringDictionaryBuilder};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use atalaya_schema::col;

use crate::time::DAY_US;

/// A time this far from its message's median is suspicious, microseconds.
pub const MAX_FROM_MEDIAN_US: i64 = DAY_US;

/// Where the times of a message are spread anyway, what counts as far grows with the median distance from the median.
pub const MAX_FROM_MEDIAN_SPREADS: i64 = 20;

/// In the live domain a time this close to the received time is believed whatever the median, microseconds.
pub const MAX_FROM_RECEIVED_US: i64 = DAY_US;

/// A time this far after the received time is never believed, microseconds.
pub const MAX_AHEAD_US: i64 = DAY_US;

/// Mark of a time far from the others of its message.
pub const FAR: &str = "far";

/// Mark of a time after the received time.
pub const AHEAD: &str = "ahead";

/// Mark of a received time that stands for a missing one.
pub const RECEIVED: &str = "received";

/// What the times of one message have in common.
#[derive(Debug)]
pub(crate) struct Shield {
    received_us: i64,
    live: bool,
    /// Median, and the distance from it that is still near; none while no time can be far.
    near: Option<(i64, i64)>,
}

impl Shield {
    /// A shield over the times that a message's records tell.
    pub(crate) fn new(times: &mut [i64], received_us: i64, live: bool) -> Self {
        let (min, max) = times.iter().fold((i64::MAX, i64::MIN), |(min, max), &us| (min.min(us), max.max(us)));
        let near = (max.saturating_sub(min) > MAX_FROM_MEDIAN_US).then(|| {
            let middle = median(times);
            times.iter_mut().for_each(|us| *us = us.saturating_sub(middle).saturating_abs());
            let spread = median(times);
            (middle, MAX_FROM_MEDIAN_US.max(spread.saturating_mul(MAX_FROM_MEDIAN_SPREADS)))
        });
        Self { received_us, live, near }
    }

    /// Why a time is not believed; none if it is.
    pub(crate) fn verdict(&self, us: i64) -> Option<&'static str> {
        if us.saturating_sub(self.received_us) > MAX_AHEAD_US {
            return Some(AHEAD);
        }
        let (median, near) = self.near?;
        let received = self.live && us.saturating_sub(self.received_us).saturating_abs() <= MAX_FROM_RECEIVED_US;
        (us.saturating_sub(median).saturating_abs() > near && !received).then_some(FAR)
    }
}

fn median(times: &mut [i64]) -> i64 {
    let middle = times.len() / 2;
    *times.select_nth_unstable(middle).1
}

/// Rows with marks in `time_quality`, by row.
///
/// # Errors
/// If the columns are not those of a class.
pub(crate) fn mark(rows: &RecordBatch, marks: &[(usize, &'static str)]) -> Result<RecordBatch, ArrowError> {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    let mut marks = marks.iter().peekable();
    for row in 0..rows.num_rows() {
        match marks.next_if(|(at, _)| *at == row) {
            Some((_, mark)) => builder.append_value(mark),
            None => builder.append_null(),
        }
    }
    let mut columns = rows.columns().to_vec();
    if let Some(column) = columns.get_mut(col::TIME_QUALITY) {
        *column = Arc::new(builder.finish()) as ArrayRef;
    }
    RecordBatch::try_new(rows.schema(), columns)
}

/// Smallest and largest time that is believed.
pub(crate) fn believed_range(rows: &RecordBatch) -> Option<(i64, i64)> {
    let times = rows.column(col::TIME).as_primitive_opt::<TimestampMicrosecondType>()?;
    let quality = rows.column(col::TIME_QUALITY);
    let believed = (0..rows.num_rows()).filter(|&row| quality.is_null(row) && times.is_valid(row));
    believed.map(|row| times.value(row)).fold(None, |range, us| match range {
        None => Some((us, us)),
        Some((min, max)) => Some((us.min(min), us.max(max))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    fn verdicts(times: &[i64], live: bool) -> Vec<Option<&'static str>> {
        let shield = Shield::new(&mut times.to_vec(), NOW, live);
        times.iter().map(|&us| shield.verdict(us)).collect()
    }

    #[test]
    fn times_close_together_are_believed() {
        for start in [NOW, NOW - 2_000 * DAY_US] {
            let times: Vec<_> = (0..100).map(|second| start + second * 1_000_000).collect();
            assert_eq!(verdicts(&times, true), vec![None; 100]);
        }
    }

    #[test]
    fn one_far_from_the_others_is_marked() {
        let old = NOW - 2_000 * DAY_US;
        let mut times: Vec<_> = (0..9).map(|second| old + second * 1_000_000).collect();
        times.push(0);
        times.push(NOW - 1);
        let mut expected = vec![None; 9];
        expected.extend([Some(FAR), Some(FAR)]);
        assert_eq!(verdicts(&times, false), expected);
        // Live, a time close to the received time is believed.
        expected[10] = None;
        assert_eq!(verdicts(&times, true), expected);
    }

    #[test]
    fn the_future_is_marked_even_alone() {
        assert_eq!(verdicts(&[NOW + 2 * DAY_US], true), [Some(AHEAD)]);
        assert_eq!(verdicts(&[NOW + 2 * DAY_US], false), [Some(AHEAD)]);
        assert_eq!(verdicts(&[], true), []);
    }

    #[test]
    fn a_sparse_log_is_believed() {
        let times: Vec<_> = (0..300).map(|day| NOW - day * DAY_US).collect();
        assert_eq!(verdicts(&times, false), vec![None; 300]);
    }
}
