//! Messages to normalise, and rows to compare.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use atalaya_normalizer::{Enrichment, Mappings, Normalized, Ownership, normalize};
use atalaya_proto::raw::{Block, RawBody};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::row_json;
use bytes::Bytes;
use serde_json::{Map, Value};

pub(crate) const PARTITIONS: u16 = 16;

/// 2024-05-02: after all samples.
pub(crate) const RECEIVED_US: i64 = 1_714_608_000_000_000;

pub(crate) type Row = Map<String, Value>;

pub(crate) fn mappings() -> Arc<Mappings> {
    static MAPPINGS: OnceLock<Arc<Mappings>> = OnceLock::new();
    Arc::clone(MAPPINGS.get_or_init(|| Arc::new(Mappings::built_in().unwrap())))
}

pub(crate) fn header(kind: &str) -> RawHeader {
    RawHeader {
        collector_lane: "c1-0".into(),
        epoch_ms: 1_700_000_000_000,
        offset: 7,
        entry: Entry::Records.into(),
        source: "test".into(),
        kind: kind.into(),
        tenant: "default".into(),
        domain: "replay-1".into(),
        received_time_us: RECEIVED_US,
        first_line: 1,
        ..RawHeader::default()
    }
}

pub(crate) fn encode<'a>(header: RawHeader, records: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut block = Block::default();
    records.into_iter().for_each(|record| block.push(record));
    block.encode(header)
}

pub(crate) fn run<'a>(header: RawHeader, records: impl IntoIterator<Item = &'a [u8]>) -> Normalized {
    run_owned(header, records, Ownership::default())
}

pub(crate) fn run_owned<'a>(
    header: RawHeader,
    records: impl IntoIterator<Item = &'a [u8]>,
    ownership: Ownership,
) -> Normalized {
    let raw = RawBody::decode(&encode(header, records)).unwrap();
    let count = raw.len() as u64;
    let normalized = normalize(&raw, &mappings(), &Arc::new(Enrichment { ownership }), PARTITIONS).unwrap();
    let counts = normalized.counts;
    assert_eq!(counts.normalized + counts.parked + counts.dropped, count);
    assert_eq!(counts.parked as usize, normalized.parked.len());
    normalized
}

/// Every row, by the ordinal of its record.
pub(crate) fn rows(normalized: &Normalized) -> Vec<Row> {
    let mut rows: Vec<_> = normalized
        .events
        .iter()
        .flat_map(|events| (0..events.events.rows.num_rows()).map(|row| row_json(&events.events.rows, row)))
        .collect();
    rows.sort_by_key(ordinal);
    rows
}

fn ordinal(row: &Row) -> usize {
    row["raw_ref"].as_str().unwrap().rsplit('#').next().unwrap().parse().unwrap()
}

/// A file of the shared sample data, decompressed.
pub(crate) fn shared(path: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(path);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: these tests need the shared sample data", path.display()));
    if path.extension().is_some_and(|ending| ending == "gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        plain
    } else {
        bytes
    }
}

/// A log's header, and its records.
pub(crate) fn split(log: &[u8]) -> (Vec<u8>, Vec<&[u8]>) {
    let (mut header, mut records) = (Vec::new(), Vec::new());
    for line in log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        if line.starts_with(b"#") {
            header.extend_from_slice(line);
            header.push(b'\n');
        } else {
            records.push(line);
        }
    }
    (header, records)
}
