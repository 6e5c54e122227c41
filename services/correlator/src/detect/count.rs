//! Counting the matching rows of a batch.

use std::ops::Range;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use atalaya_model::EventId;
use atalaya_schema::{EventBatch, col};

use super::group::Occurrence;
use super::rows::RowValues;
use super::state::TenantState;
use super::{Compiled, Limits};
use crate::engine::Bitmap;

/// Event times of a batch. A time that is not believed moves no watermark, and its event counts at a time that is.
pub(crate) struct Times {
    times: Vec<Option<i64>>,
    /// The largest time that is believed.
    pub(crate) newest_us: Option<i64>,
}

impl Times {
    pub(crate) fn new(rows: &RecordBatch) -> Self {
        let times = rows.column(col::TIME).as_primitive_opt::<TimestampMicrosecondType>();
        let quality = rows.column(col::TIME_QUALITY);
        let believed = |row: usize| times.filter(|times| times.is_valid(row) && quality.is_null(row));
        let times: Vec<_> = (0..rows.num_rows()).map(|row| believed(row).map(|times| times.value(row))).collect();
        let newest_us = times.iter().copied().flatten().max();
        Self { times, newest_us }
    }

    /// How many of some rows come after the watermark has passed them.
    pub(crate) fn late(&self, rows: Range<usize>, watermark_us: i64) -> u64 {
        self.times[rows].iter().flatten().filter(|&&time_us| time_us < watermark_us).count() as u64
    }
}

/// A batch, its matches, and where its rows count.
pub(crate) struct Counting<'b> {
    pub(crate) compiled: &'b Compiled,
    pub(crate) limits: &'b Limits,
    pub(crate) batch: &'b EventBatch,
    pub(crate) matches: &'b [(usize, Bitmap)],
    pub(crate) times: &'b Times,
    /// Stands in for times that are not believed, microseconds since 1970.
    pub(crate) stand_in_us: i64,
    pub(crate) received_us: i64,
    values: RowValues<'b>,
    ids: Option<&'b BinaryArray>,
}

impl<'b> Counting<'b> {
    pub(crate) fn new(
        compiled: &'b Compiled,
        limits: &'b Limits,
        batch: &'b EventBatch,
        matches: &'b [(usize, Bitmap)],
        times: &'b Times,
    ) -> Self {
        let ids = batch.rows.column(col::EVENT_ID).as_binary_opt::<i32>();
        let values = RowValues::new(batch);
        Self { compiled, limits, batch, matches, times, stand_in_us: 0, received_us: 0, values, ids }
    }

    /// Counts the matching rows of a tenant. Answers with how many events were forgotten because of a limit.
    pub(crate) fn count(&mut self, rows: Range<usize>, tenant: &mut TenantState) -> u64 {
        let mut forgotten = 0;
        let tracks = &self.compiled.tracks;
        for (matched, set) in self.matches {
            for binding in tracks.bindings(*matched, self.batch.class) {
                let Some(policy) = tracks.policy(binding.rule) else { continue };
                for row in set.rows(rows.clone()) {
                    let key = self.values.group(&binding.key, row);
                    let value = self.values.value(binding.value.as_ref(), row);
                    let (Some(key), Some(value)) = (key, value) else { continue };
                    let event = self.occurrence(row, value, tenant.watermark_us);
                    let state = tenant.rules.entry(binding.rule).or_default();
                    let detail = || self.values.detail(binding, row);
                    forgotten += state.add(policy, key, &event, self.limits.groups_per_rule, detail);
                }
            }
        }
        forgotten
    }

    fn occurrence(&self, row: usize, value: u64, watermark_us: i64) -> Occurrence {
        let id = self.ids.filter(|ids| ids.is_valid(row)).and_then(|ids| EventId::from_slice(ids.value(row)));
        let id = id.unwrap_or(EventId::from_bytes([0; 16]));
        let time_us = self.times.times[row].unwrap_or(self.stand_in_us);
        Occurrence { time_us, id, value, received_us: self.received_us, watermark_us }
    }
}
