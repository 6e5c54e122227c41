//! How a table lies in the store: its columns, its partitions, and which columns carry statistics and filters.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use atalaya_model::Class;
use jiff::Timestamp;
use jiff::civil::Date;

/// Partition column: the day of the event's time, UTC.
pub const DAY: &str = "day";

/// Partition column: the retention class.
pub const POLICY: &str = "policy";

/// The retention class of everything until tenants have policies of their own.
pub const STANDARD_POLICY: &str = "standard";

/// Columns whose smallest and largest value stand in the log for every file; those a class does not have are skipped.
pub const STATISTICS: [&str; 14] = [
    "tenant",
    "time",
    "ingest_time",
    "evt_partition",
    "evt_seq",
    "severity_id",
    "source",
    "log_name",
    "src_ip",
    "dst_ip",
    "query_domain",
    "user",
    "rule_id",
    "indicator",
];

/// Indicator-like columns: they get Bloom filters.
pub const BLOOM: [&str; 5] = ["src_ip", "dst_ip", "query", "query_domain", "user"];

/// Columns that never repeat: no dictionary, no statistics.
pub(crate) const UNIQUE: [&str; 2] = ["event_id", "raw_ref"];

const DAY_US: i64 = 86_400_000_000;

/// The columns of a class's table: as stored, then the partition columns.
#[must_use]
pub fn table_schema(class: Class) -> SchemaRef {
    let stored = atalaya_schema::stored_schema(class);
    let partitions = partition_fields().map(Arc::new);
    Arc::new(Schema::new(stored.fields().iter().cloned().chain(partitions).collect::<Vec<_>>()))
}

/// The partition columns, in order.
#[must_use]
pub fn partition_fields() -> [Field; 2] {
    [Field::new(DAY, DataType::Date32, true), Field::new(POLICY, DataType::Utf8, true)]
}

/// The day of a time, in days since 1970; times that no calendar holds go to its first or last day.
#[must_use]
pub fn day_of(time_us: i64) -> i32 {
    let first = Timestamp::MIN.as_microsecond().div_euclid(DAY_US) + 1;
    let last = Timestamp::MAX.as_microsecond().div_euclid(DAY_US) - 1;
    i32::try_from(time_us.div_euclid(DAY_US).clamp(first, last)).unwrap_or(0)
}

/// A day as it stands in paths: `2026-11-24`.
#[must_use]
pub fn day_name(day: i32) -> String {
    date(0, day).unwrap_or_default().to_string()
}

/// The day in a path's or log's text.
pub(crate) fn parse_day(text: &str) -> Option<i32> {
    let date: Date = text.parse().ok()?;
    Some(date.since(date_epoch()).ok()?.get_days())
}

fn date_epoch() -> Date {
    jiff::civil::date(1970, 1, 1)
}

fn date(epoch_day: i32, day: i32) -> Option<Date> {
    date_epoch().checked_add(jiff::Span::new().try_days(epoch_day + day).ok()?).ok()
}

/// The directory of a file inside its table.
pub(crate) fn directory(day: i32) -> String {
    format!("{DAY}={}/{POLICY}={STANDARD_POLICY}", day_name(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_and_read_back() {
        for (time_us, name) in
            [(0, "1970-01-01"), (-1, "1969-12-31"), (1_795_500_000_000_000, "2026-11-24"), (i64::MAX, "9999-12-29")]
        {
            let day = day_of(time_us);
            assert_eq!(day_name(day), name, "{time_us}");
            assert_eq!(parse_day(name), Some(day), "{name}");
        }
        assert!(day_name(day_of(i64::MIN)).len() > 4);
        assert_eq!(parse_day("yesterday"), None);
    }
}
