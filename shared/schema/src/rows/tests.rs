use arrow::array::{Array, AsArray};
use proptest::prelude::*;

use super::*;
use crate::{ColumnType, row_json, sample};

fn unmapped(batch: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let json = row_json(batch, row);
    let entries = json.get("unmapped").and_then(|entries| entries.as_object());
    entries.into_iter().flatten().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn every_column_of_every_class_is_filled() {
    for class in Class::ALL {
        let batch = sample::rows(class, &["a", "b", "a"]);
        assert_eq!(batch.num_rows(), 3, "{}", class.name());
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            assert_eq!(array.null_count(), 0, "{}.{}", class.name(), field.name());
        }
    }
}

#[test]
fn what_is_not_set_is_null_and_batches_start_empty() {
    let mut rows = Rows::new(Class::DnsActivity);
    for row in 0..5 {
        rows.begin();
        if row % 2 == 1 {
            rows.text(col::dns::QUERY, "example.org");
            rows.int32(col::dns::SRC_PORT, row);
        }
        rows.end();
    }
    assert_eq!(rows.len(), 5);
    let batch = rows.finish();
    let nulls: Vec<_> = (0..5).map(|row| batch.column(col::dns::QUERY).is_null(row)).collect();
    assert_eq!(nulls, [true, false, true, false, true]);
    assert_eq!(row_json(&batch, 3)["src_port"], 3);
    assert_eq!(batch.column(col::dns::ANSWERS).null_count(), 5);
    assert!(rows.is_empty());
    assert_eq!(rows.finish().num_rows(), 0);
}

#[test]
fn the_first_value_stands() {
    let mut rows = Rows::new(Class::DnsActivity);
    rows.text(col::TENANT, "outside of a row");
    rows.begin();
    assert!(!rows.is_set(col::TENANT));
    rows.text(col::TENANT, "first");
    rows.text(col::TENANT, "second");
    rows.text(usize::MAX, "no such column");
    assert!(rows.is_set(col::TENANT));
    rows.end();
    rows.end();
    assert_eq!(row_json(&rows.finish(), 0)["tenant"], "first");
}

#[test]
fn discarded_rows_leave_no_trace() {
    let mut rows = Rows::new(Class::HttpActivity);
    for row in 0..6 {
        rows.begin();
        rows.int32(col::http::STATUS, row);
        rows.unmapped("row", &row.to_string());
        if row % 3 == 0 { rows.discard() } else { rows.end() }
    }
    rows.begin();
    rows.int32(col::http::STATUS, 99);
    rows.begin();
    assert_eq!(rows.len(), 4);
    let batch = rows.finish();
    let statuses = batch.column(col::http::STATUS).as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!(statuses.values(), &[1, 2, 4, 5]);
    assert_eq!(unmapped(&batch, 3), [("row".to_owned(), "5".to_owned())]);
}

#[test]
fn unmapped_is_capped_and_counted_per_row() {
    let mut rows = Rows::new(Class::BaseEvent);
    rows.begin();
    rows.end();
    rows.begin();
    rows.unmapped("large", &"x".repeat(MAX_UNMAPPED_BYTES - 7));
    rows.unmapped("ab", "");
    rows.unmapped("a", "b");
    rows.unmapped(TRUNCATED, "3");
    rows.end();
    rows.begin();
    rows.unmapped("", "");
    rows.end();
    let batch = rows.finish();
    assert!(batch.column(col::UNMAPPED).is_null(0));
    let first = unmapped(&batch, 1);
    assert_eq!(first.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["large", "ab", TRUNCATED]);
    assert_eq!(first[2].1, "4");
    assert_eq!(unmapped(&batch, 2), [(String::new(), String::new())]);
}

#[test]
fn floats_that_are_no_number_stay_null() {
    let mut rows = Rows::new(Class::DnsActivity);
    rows.begin();
    rows.float64(col::dns::SRC_LAT, f64::NAN);
    rows.end();
    assert!(rows.finish().column(col::dns::SRC_LAT).is_null(0));
}

#[test]
fn keywords_of_a_batch_are_its_own() {
    let mut rows = Rows::new(Class::DnsActivity);
    for query in ["a", "b", "a"] {
        rows.begin();
        rows.text(col::dns::QUERY, query);
        rows.end();
    }
    rows.finish();
    rows.begin();
    rows.text(col::dns::QUERY, "c");
    rows.end();
    let batch = rows.finish();
    assert_eq!(batch.column(col::dns::QUERY).as_any_dictionary().values().len(), 1);
}

proptest! {
    /// Whatever is set in whatever order, the batch has the rows that were ended and passes Arrow's validation.
    #[test]
    fn any_use_gives_whole_rows(calls in prop::collection::vec((0usize..60, 0u8..4, ".{0,8}"), 0..200)) {
        let class = Class::NetworkActivity;
        let mut rows = Rows::new(class);
        let mut ended = 0;
        for (index, call, text) in calls {
            match call {
                0 => rows.begin(),
                1 => {
                    ended += usize::from(rows.open);
                    rows.end();
                }
                _ => match columns(class).get(index).map(|column| column.kind) {
                    Some(ColumnType::Text | ColumnType::Keyword) => rows.text(index, &text),
                    Some(ColumnType::Int32) => rows.int32(index, 7),
                    Some(ColumnType::Int64) => rows.int64(index, 7),
                    Some(ColumnType::TextMap) => rows.unmapped(&text, &text),
                    _ => {}
                },
            }
            prop_assert_eq!(rows.len(), ended);
        }
        let batch = rows.finish();
        prop_assert_eq!(batch.num_rows(), ended);
        for column in batch.columns() {
            column.to_data().validate_full().unwrap();
        }
    }
}
