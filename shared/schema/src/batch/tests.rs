use arrow::array::AsArray;

use super::*;
use crate::{EVT_PARTITION, EVT_SEQ, Rows, row_json, sample};

const CLASS: Class = Class::DnsActivity;

fn text(rows: &RecordBatch, column: usize, row: usize) -> String {
    crate::text_value(rows.column(column), row).unwrap().to_owned()
}

fn queries(rows: &RecordBatch) -> Vec<String> {
    (0..rows.num_rows()).map(|row| text(rows, col::dns::QUERY, row)).collect()
}

#[test]
fn rows_are_sorted_by_tenant_and_keep_their_order_within() {
    let batch = sample::batch(CLASS, &["b", "a", "b", "c", "a"]);
    let runs: Vec<_> = batch.runs.iter().map(|run| (run.tenant.as_str(), run.first, run.rows)).collect();
    assert_eq!(runs, [("a", 0, 2), ("b", 2, 2), ("c", 4, 1)]);
    assert_eq!(queries(&batch.rows), ["query 1", "query 4", "query 0", "query 2", "query 3"]);
    assert_eq!(queries(&batch.slice("b").unwrap()), ["query 0", "query 2"]);
    assert_eq!(batch.slice("d"), None);
    assert_eq!(batch.time_range().map(|(first, last)| last - first), Some(4));
}

#[test]
fn an_empty_batch_is_one() {
    let batch = EventBatch::new(CLASS, Rows::new(CLASS).finish()).unwrap();
    assert!(batch.is_empty() && batch.runs.is_empty());
    assert_eq!(batch.time_range(), None);
    assert_eq!(EventBatch::decode(&batch.encode()).unwrap(), batch);
    assert!(batch.split(10, 10).unwrap().is_empty());
}

#[test]
fn rows_without_a_tenant_or_of_another_class_are_refused() {
    let mut rows = Rows::new(CLASS);
    rows.begin();
    rows.end();
    assert!(matches!(EventBatch::new(CLASS, rows.finish()), Err(BatchError::NoTenant(0))));
    let of_another = sample::rows(Class::HttpActivity, &["a"]);
    assert!(matches!(EventBatch::new(CLASS, of_another), Err(BatchError::Schema(_))));
    let shared = sample::rows(CLASS, &["shared"]);
    assert!(matches!(EventBatch::new(CLASS, shared), Err(BatchError::Tenant(_))));
}

#[test]
fn split_honours_rows_and_bytes_and_loses_nothing() {
    let tenants: Vec<_> = (0..250).map(|row| if row % 3 == 0 { "a" } else { "b" }).collect();
    let batch = sample::batch(CLASS, &tenants);
    let whole = queries(&batch.rows);
    let parts = batch.clone().split(100, 4_000).unwrap();
    assert!(parts.len() > 3);
    for (part, body) in &parts {
        assert!(part.rows.num_rows() <= 100 && (body.len() <= 4_000 || part.rows.num_rows() == 1));
        assert_eq!(&EventBatch::decode(body).unwrap(), part);
        let used = part.rows.column(col::dns::QUERY).as_any_dictionary().values().len();
        assert_eq!(used, part.rows.num_rows());
    }
    let parts: Vec<_> = parts.into_iter().map(|(part, _)| part.rows).collect();
    assert_eq!(queries(&concat(&parts).unwrap()), whole);
    assert_eq!(concat(&parts).unwrap(), batch.rows);
    assert_eq!(batch.split(0, 0).unwrap().len(), 250);
}

#[test]
fn concat_has_every_keyword_once() {
    for class in Class::ALL {
        let (left, right) = (sample::rows(class, &["a", "b"]), sample::rows(class, &["b", "a", "c"]));
        let both = concat(&[left.clone(), right.clone()]).unwrap();
        let tenants = both.column(col::TENANT).as_any_dictionary().values();
        assert_eq!(tenants.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b", "c"]);
        let expected = [&left, &right].into_iter().flat_map(|rows| (0..rows.num_rows()).map(|row| row_json(rows, row)));
        assert!(expected.eq((0..5).map(|row| row_json(&both, row))), "{}", class.name());
    }
    assert!(concat(&[]).is_err());
    assert!(concat(&[sample::rows(CLASS, &["a"]), sample::rows(Class::BaseEvent, &["a"])]).is_err());
}

#[test]
fn stored_rows_are_unpacked_and_know_their_place() {
    for class in Class::ALL {
        let batch = sample::batch(class, &["b", "a"]);
        let stored = to_stored(&batch, 7, 42).unwrap();
        assert_eq!(stored.schema(), stored_schema(class));
        for row in 0..2 {
            let mut json = row_json(&stored, row);
            assert_eq!(json.shift_remove(EVT_PARTITION), Some(7.into()));
            assert_eq!(json.shift_remove(EVT_SEQ), Some(42.into()));
            assert_eq!(json, row_json(&batch.rows, row));
        }
    }
    assert!(to_stored(&sample::batch(CLASS, &["a"]), 0, u64::MAX).is_err());
}

#[test]
fn a_decoded_batch_is_handed_on() {
    let batch = Arc::new(sample::batch(CLASS, &["a"]));
    let decoded: Arc<dyn Any + Send + Sync> = Arc::<EventBatch>::clone(&batch);
    assert!(Arc::ptr_eq(&batch_of(Some(&decoded), b"not read").unwrap(), &batch));
    let other: Arc<dyn Any + Send + Sync> = Arc::new(1);
    assert_eq!(batch_of(Some(&other), &batch.encode()).unwrap(), batch);
    assert_eq!(batch_of(None, &batch.encode()).unwrap(), batch);
    assert!(batch_of(None, b"").is_err());
}
