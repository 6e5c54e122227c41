use proptest::prelude::*;

use super::*;
use crate::{Rows, col, sample};

/// Bodies as version 1 wrote them. They may never change; a new version gets files of its own.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/evt-v1");

fn bodies_with(change: impl Fn(&mut Preamble, &mut Vec<u8>)) -> Vec<u8> {
    let body = sample::batch(Class::DnsActivity, &["a", "b"]).encode();
    let (mut preamble, block) = read_preamble(&body).unwrap();
    let mut block = block.to_vec();
    change(&mut preamble, &mut block);
    let mut body = preamble.encode_length_delimited_to_vec();
    body.extend_from_slice(&block);
    body
}

fn refused(change: impl Fn(&mut Preamble, &mut Vec<u8>)) -> CodecError {
    EventBatch::decode(&bodies_with(change)).unwrap_err()
}

#[test]
fn batches_come_back() {
    for class in Class::ALL {
        let batch = sample::batch(class, &["b", "a", "b"]);
        let body = batch.encode();
        assert_eq!(EventBatch::decode(&body).unwrap(), batch, "{}", class.name());
        assert_eq!(read_runs(&body).unwrap(), batch.runs);
    }
}

#[test]
fn columns_without_a_value_come_back_as_nulls() {
    let mut rows = Rows::new(Class::NetworkActivity);
    rows.begin();
    rows.text(col::TENANT, "a");
    rows.end();
    let batch = EventBatch::new(Class::NetworkActivity, rows.finish()).unwrap();
    let body = batch.encode();
    assert_eq!(EventBatch::decode(&body).unwrap(), batch);
    assert!(body.len() < 600, "{} bytes for a row of one column", body.len());
}

/// The golden bodies were written by the first version; `UPDATE_GOLDEN=1` writes those that are missing.
#[test]
fn golden_bodies_are_read() {
    for class in Class::ALL {
        let batch = sample::batch(class, &["globex", "acme"]);
        let path = format!("{GOLDEN}-{}.bin", class.name());
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !std::path::Path::new(&path).exists() {
            std::fs::write(&path, batch.encode()).unwrap();
        }
        let body = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let read = EventBatch::decode(&body).unwrap();
        for (field, (read, expected)) in
            arrow_schema(class).fields().iter().zip(read.rows.columns().iter().zip(batch.rows.columns()))
        {
            // A column added since is null in what was written before.
            assert!(read == expected || read.null_count() == read.len(), "{}.{}", class.name(), field.name());
        }
        assert_eq!(read.runs, batch.runs);
    }
}

#[test]
fn newer_bodies_are_told_from_damaged_ones() {
    assert!(matches!(refused(|preamble, _| preamble.version = 2), CodecError::Newer(2)));
    assert!(matches!(refused(|preamble, _| preamble.version = 0), CodecError::Damaged(_)));
    assert!(matches!(refused(|preamble, _| preamble.class_uid = 4711), CodecError::Damaged(_)));
    assert!(
        matches!(refused(|preamble, _| preamble.class_uid = 4002), CodecError::UnknownColumn(name) if name == "query")
    );
    assert!(matches!(refused(|preamble, _| preamble.rows = 3), CodecError::Damaged(_)));
    assert!(matches!(refused(|preamble, _| preamble.runs[0].tenant = "c".to_owned()), CodecError::Damaged(_)));
    assert!(matches!(refused(|preamble, _| preamble.runs[1].first = 0), CodecError::Damaged(_)));
    assert!(matches!(refused(|preamble, _| drop(preamble.runs.pop())), CodecError::Damaged(_)));
    assert!(matches!(refused(|_, block| block[40] ^= 1), CodecError::Damaged(_)));
}

#[test]
fn sizes_are_bounded_before_anything_is_allocated() {
    let claim = |bytes: u32| {
        move |preamble: &mut Preamble, block: &mut Vec<u8>| {
            block[..4].copy_from_slice(&bytes.to_le_bytes());
            preamble.block_xxh3 = xxh3_64(block);
        }
    };
    assert!(matches!(refused(claim(u32::MAX)), CodecError::TooLarge { .. }));
    assert!(matches!(refused(claim(MAX_STREAM_BYTES as u32)), CodecError::Damaged(_)));
    assert!(matches!(refused(claim(0)), CodecError::Damaged(_)));
    let mut body = Vec::new();
    prost::encode_length_delimiter(MAX_PREAMBLE_BYTES + 1, &mut body).unwrap();
    assert!(matches!(EventBatch::decode(&body), Err(CodecError::TooLarge { .. })));
}

#[test]
fn rows_that_are_not_sorted_are_refused() {
    let mut batch = sample::batch(Class::DnsActivity, &["a", "b"]);
    batch.rows =
        arrow::compute::concat_batches(&batch.rows.schema(), [&batch.rows.slice(1, 1), &batch.rows.slice(0, 1)])
            .unwrap();
    batch.runs = crate::batch::runs(&batch.rows).unwrap();
    assert!(matches!(EventBatch::decode(&batch.encode()), Err(CodecError::Damaged(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(EventBatch::decode(&body).is_err());
    }

    #[test]
    fn truncated_bodies_are_refused(cut in 0.0..1.0f64) {
        let body = sample::batch(Class::DnsActivity, &["a", "b", "a"]).encode();
        let cut = (cut * body.len() as f64) as usize;
        prop_assert!(EventBatch::decode(&body[..cut]).is_err());
    }

    /// A changed body is refused, or says the same (a longer varint, for one).
    #[test]
    fn changed_bodies_never_say_something_else(at in any::<prop::sample::Index>(), bits in 1u8..) {
        let batch = sample::batch(Class::DnsActivity, &["a", "b", "a"]);
        let mut body = batch.encode().to_vec();
        let at = at.index(body.len());
        body[at] ^= bits;
        if let Ok(read) = EventBatch::decode(&body) {
            prop_assert_eq!(read, batch);
        }
    }
}
