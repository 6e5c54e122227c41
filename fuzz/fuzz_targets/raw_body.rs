//! The body of a RAW message: what is read is what it says, and nothing is read beyond its limits.

#![no_main]

use atalaya_proto::raw::{MAX_BLOCK_BYTES, RawBody};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(raw) = RawBody::decode(body) else { return };
    assert_eq!(raw.records().len(), raw.header.records as usize);
    assert!(raw.records().map(<[u8]>::len).sum::<usize>() <= MAX_BLOCK_BYTES);
    (0..raw.len()).for_each(|record| drop(raw.line_of(record)));
});
