//! Records of every kind of source: each leaves as an event, parked or dropped, whatever is in it.
//!
//! The first line names the kind, the second is the context (a TSV header has its lines joined by `\r`), the rest are records.

#![no_main]

use std::sync::{Arc, LazyLock};

use atalaya_normalizer::{Enrichment, Mappings, normalize};
use atalaya_proto::raw::{Block, MAX_RECORDS_PER_MESSAGE, RawBody};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use libfuzzer_sys::fuzz_target;

/// Partitions of EVT.
const PARTITIONS: u16 = 4;

static MAPPINGS: LazyLock<Arc<Mappings>> = LazyLock::new(|| Arc::new(Mappings::built_in().expect("built-in mappings")));

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let kind = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let context: Vec<u8> =
        lines.next().unwrap_or_default().iter().map(|&byte| if byte == b'\r' { b'\n' } else { byte }).collect();
    let mut block = Block::default();
    lines.take(MAX_RECORDS_PER_MESSAGE).for_each(|record| block.push(record));
    let records = u64::from(block.records());
    let header = RawHeader {
        collector_lane: "fuzz-0".to_owned(),
        epoch_ms: 1,
        offset: 1,
        entry: Entry::Records.into(),
        source: "fuzz".to_owned(),
        kind,
        tenant: "default".to_owned(),
        domain: "live".to_owned(),
        received_time_us: 1_700_000_000_000_000,
        context: context.into(),
        ..RawHeader::default()
    };
    let raw = RawBody::decode(&block.encode(header)).expect("what was encoded decodes");
    let normalized = normalize(&raw, &MAPPINGS, &Arc::new(Enrichment::default()), PARTITIONS).expect("records alone never fail");
    let counts = normalized.counts;
    assert_eq!(counts.normalized + counts.parked + counts.dropped, records, "the books balance");
    for events in &normalized.events {
        atalaya_schema::EventBatch::decode(&events.events.encode()).expect("events can be written and read");
    }
});
