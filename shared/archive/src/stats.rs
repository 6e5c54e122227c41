//! What the log says of a file's columns: smallest and largest values, and how many are missing.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field, Schema};
use jiff::Timestamp;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

use crate::layout::STATISTICS;

/// A column's values in a file. A bound may lie beyond the real value, never short of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnRange {
    /// The column's name.
    pub column: &'static str,
    /// Rows without a value.
    pub nulls: Option<u64>,
    /// At most the smallest value.
    pub min: Option<Bound>,
    /// At least the largest value.
    pub max: Option<Bound>,
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// A number, or a time in microseconds since 1970.
    Int(i64),
    /// A text.
    Text(Box<str>),
}

impl Bound {
    /// The number.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Text(_) => None,
        }
    }

    /// The text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Int(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

/// The ranges of a file that was just written.
pub(crate) fn of_file(schema: &Schema, metadata: &ParquetMetaData) -> Vec<ColumnRange> {
    let ranges = STATISTICS.iter().filter_map(|&column| {
        let groups = metadata.row_groups().iter();
        groups
            .map(|group| of_column(column, group))
            .reduce(widen)?
            .filter(|_| schema.column_with_name(column).is_some())
    });
    ranges.collect()
}

fn of_column(column: &'static str, group: &RowGroupMetaData) -> Option<ColumnRange> {
    let chunk = group.columns().iter().find(|chunk| chunk.column_path().parts() == [column])?;
    let statistics = chunk.statistics()?;
    let text = |bytes: Option<&[u8]>| bytes.and_then(|b| std::str::from_utf8(b).ok()).map(|t| Bound::Text(t.into()));
    let (min, max) = match statistics {
        Statistics::Int32(values) => (
            values.min_opt().map(|&value| Bound::Int(value.into())),
            values.max_opt().map(|&value| Bound::Int(value.into())),
        ),
        Statistics::Int64(values) => {
            (values.min_opt().map(|&value| Bound::Int(value)), values.max_opt().map(|&value| Bound::Int(value)))
        }
        Statistics::ByteArray(_) => (text(statistics.min_bytes_opt()), text(statistics.max_bytes_opt())),
        _ => (None, None),
    };
    Some(ColumnRange { column, nulls: statistics.null_count_opt(), min, max })
}

/// The range of two row groups: a bound that one of them lacks although it has values is unknown.
fn widen(one: Option<ColumnRange>, other: Option<ColumnRange>) -> Option<ColumnRange> {
    let (one, other) = (one?, other?);
    Some(ColumnRange {
        column: one.column,
        nulls: one.nulls.zip(other.nulls).map(|(a, b)| a + b),
        min: one.min.zip(other.min).map(|(a, b)| a.min(b)),
        max: one.max.zip(other.max).map(|(a, b)| a.max(b)),
    })
}

/// The statistics as they stand in the log.
pub(crate) fn to_json(rows: u64, ranges: &[ColumnRange], schema: &Schema) -> String {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for range in ranges {
        let Some((_, field)) = schema.column_with_name(range.column) else { continue };
        let put = |map: &mut Map<String, Value>, bound: &Option<Bound>| {
            if let Some(value) = bound.as_ref().and_then(|bound| bound_json(bound, field)) {
                map.insert(range.column.to_owned(), value);
            }
        };
        put(&mut min, &range.min);
        put(&mut max, &range.max);
        if let Some(count) = range.nulls {
            nulls.insert(range.column.to_owned(), count.into());
        }
    }
    json!({"numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls}).to_string()
}

fn bound_json(bound: &Bound, field: &Field) -> Option<Value> {
    match (bound, field.data_type()) {
        (Bound::Int(us), DataType::Timestamp(..)) => {
            Timestamp::from_microsecond(*us).ok().map(|time| format!("{time:.6}").into())
        }
        (Bound::Int(value), _) => Some((*value).into()),
        (Bound::Text(text), _) => Some(text.as_ref().into()),
    }
}

/// Reads the statistics in the log, whoever wrote them: rows and ranges.
pub(crate) fn from_json(text: &str, schema: &Schema) -> Option<(u64, Vec<ColumnRange>)> {
    let stats: Value = serde_json::from_str(text).ok()?;
    let rows = stats.get("numRecords")?.as_u64()?;
    let ranges = STATISTICS.iter().filter_map(|&column| {
        let (_, field) = schema.column_with_name(column)?;
        let at = |part: &str| stats.get(part).and_then(|values| values.get(column));
        let (min, max) = (at("minValues").and_then(|v| parse(v, field)), at("maxValues").and_then(|v| parse(v, field)));
        let nulls = at("nullCount").and_then(Value::as_u64);
        Some(ColumnRange { column, nulls, min, max: max.map(|max| above(max, field)) })
    });
    Some((rows, ranges.collect()))
}

fn parse(value: &Value, field: &Field) -> Option<Bound> {
    match field.data_type() {
        DataType::Timestamp(..) => {
            let text = value.as_str()?;
            let zoned =
                if text.ends_with('Z') || text.contains('+') { Cow::from(text) } else { format!("{text}Z").into() };
            zoned.parse::<Timestamp>().ok().map(|time| Bound::Int(time.as_microsecond()))
        }
        DataType::Int32 | DataType::Int64 => value.as_i64().map(Bound::Int),
        DataType::Utf8 => value.as_str().map(|text| Bound::Text(text.into())),
        _ => None,
    }
}

/// Other writers cut times to milliseconds: the largest value may be up to one above.
fn above(max: Bound, field: &Field) -> Bound {
    match (max, field.data_type()) {
        (Bound::Int(us), DataType::Timestamp(..)) if us % 1_000 == 0 => Bound::Int(us.saturating_add(999)),
        (max, _) => max,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn schema() -> Schema {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Schema::new(vec![
            Field::new("tenant", DataType::Utf8, false),
            Field::new("time", time, false),
            Field::new("evt_seq", DataType::Int64, true),
        ])
    }

    #[test]
    fn ranges_read_back() {
        let text = |text: &str| Some(Bound::Text(text.into()));
        let ranges = vec![
            ColumnRange { column: "tenant", nulls: Some(0), min: text("acme"), max: text("globex") },
            ColumnRange { column: "time", nulls: Some(0), min: Some(Bound::Int(5)), max: Some(Bound::Int(1_000_001)) },
            ColumnRange { column: "evt_seq", nulls: Some(3), min: Some(Bound::Int(-1)), max: None },
        ];
        let json = to_json(7, &ranges, &schema());
        assert!(json.contains("1970-01-01T00:00:00.000005Z"), "{json}");
        assert_eq!(from_json(&json, &schema()), Some((7, ranges)));
    }

    #[test]
    fn what_others_wrote_is_read_with_care() {
        let json = r#"{"numRecords":1,"maxValues":{"time":"2026-11-24T00:00:00.123Z","evt_seq":"x"}}"#;
        let (rows, ranges) = from_json(json, &schema()).unwrap();
        assert_eq!((rows, ranges[1].max.clone()), (1, Some(Bound::Int(1_795_478_400_123_999))));
        assert_eq!((&ranges[0].max, &ranges[2].max), (&None, &None));
        assert_eq!(from_json("no json", &schema()), None);
        assert_eq!(from_json("{}", &schema()), None);
    }
}
