//! What the log says of files, in the form DataFusion prunes and sorts by.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use atalaya_archive::{Bound, DAY, DataFile, POLICY};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};

/// The files of a table, to be pruned as a whole.
pub(crate) struct FileStatistics<'a> {
    pub(crate) files: &'a [Arc<DataFile>],
    pub(crate) schema: &'a SchemaRef,
}

/// The partition values of a file, in the order of the partition columns.
pub(crate) fn partition_values(file: &DataFile) -> Vec<ScalarValue> {
    vec![ScalarValue::Date32(file.day), ScalarValue::Utf8View(file.policy.as_deref().map(str::to_owned))]
}

fn scalar(bound: &Bound, kind: &DataType) -> Option<ScalarValue> {
    match (bound, kind) {
        (Bound::Int(us), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*us), zone.clone()))
        }
        (Bound::Int(value), DataType::Int64) => Some(ScalarValue::Int64(Some(*value))),
        (Bound::Int(value), DataType::Int32) => i32::try_from(*value).ok().map(|value| ScalarValue::Int32(Some(value))),
        (Bound::Text(text), DataType::Utf8View) => Some(ScalarValue::Utf8View(Some(text.to_string()))),
        _ => None,
    }
}

impl FileStatistics<'_> {
    /// One value per file, null where it is not known; none if no file knows it.
    fn bounds(&self, column: &Column, pick: fn(&DataFile, &str) -> Option<Bound>) -> Option<ArrayRef> {
        let (_, field) = self.schema.column_with_name(column.name())?;
        let kind = field.data_type();
        let of_file = |file: &Arc<DataFile>| match column.name() {
            DAY => Some(ScalarValue::Date32(file.day)),
            POLICY => partition_values(file).pop(),
            name => pick(file, name).and_then(|bound| scalar(&bound, kind)),
        };
        let values: Vec<_> = self.files.iter().map(of_file).collect();
        if values.iter().all(Option::is_none) {
            return None;
        }
        let unknown = ScalarValue::try_from(kind).ok()?;
        ScalarValue::iter_to_array(values.into_iter().map(|value| value.unwrap_or_else(|| unknown.clone()))).ok()
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |file, name| file.range(name)?.min.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |file, name| file.range(name)?.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts = self.files.iter().map(|file| file.range(column.name()).and_then(|range| range.nulls));
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// What is known of one file's columns, without the partition columns. Bounds may lie beyond the real values.
pub(crate) fn of_file(file: &DataFile, file_schema: &SchemaRef) -> Statistics {
    let columns = file_schema.fields().iter().map(|field| {
        let mut column = ColumnStatistics::new_unknown();
        if let Some(range) = file.range(field.name()) {
            let bound = |bound: &Option<Bound>| {
                let value = bound.as_ref().and_then(|bound| scalar(bound, field.data_type()));
                value.map_or(Precision::Absent, Precision::Inexact)
            };
            column.min_value = bound(&range.min);
            column.max_value = bound(&range.max);
            column.null_count = range.nulls.map_or(Precision::Absent, |count| Precision::Exact(count_of(count)));
        }
        column
    });
    Statistics {
        num_rows: Precision::Exact(count_of(file.rows)),
        total_byte_size: Precision::Absent,
        column_statistics: columns.collect(),
    }
}

/// What is known of a scan of these files as a whole: its size, roughly.
pub(crate) fn of_scan(files: &[Arc<DataFile>], table_schema: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(table_schema);
    statistics.num_rows = Precision::Inexact(count_of(files.iter().map(|file| file.rows).sum()));
    statistics.total_byte_size = Precision::Inexact(count_of(files.iter().map(|file| file.bytes).sum()));
    statistics
}

fn count_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
