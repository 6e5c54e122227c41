//! What the builders build reads back, and a bus in a life without faults is the bus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};

use anyhow::Result;
use atalaya_bus::conformance::{self, Limits};
use atalaya_bus::journal::Options;
use atalaya_bus::{Bus, Kind};
use atalaya_model::{LaneId, Tenant};
use atalaya_proto::raw::RawBody;
use atalaya_proto::raw_v1::Entry;
use atalaya_schema::EventBatch;
use atalaya_testkit::{
    FaultBus, Faults, Life, RawBuilder, TestBus, dns_batch, event_part, lines, shared_data, zeek_conn, zeek_dns,
};

#[tokio::test]
async fn a_life_without_faults_changes_nothing() -> Result<()> {
    let tests = Mutex::new(Vec::new());
    let new_bus = async |limits: Limits| {
        let Limits { max_bytes, partitions } = limits;
        let test = TestBus::with(&Options { max_bytes, partitions, sync: false, ..Options::default() })?;
        let bus = FaultBus::new(test.bus(), Life::new(1, Faults::NONE));
        tests.lock().unwrap().push(test);
        Ok(bus as Arc<dyn Bus>)
    };
    conformance::suite(new_bus).await
}

#[test]
fn raw_messages_read_back() -> Result<()> {
    let lane: LaneId = "c1-0".parse().unwrap();
    let mut raw = RawBuilder::zeek(&lane, "sensor", "dns");
    let open = raw.control(Entry::Open, 5)?;
    let records =
        [zeek_dns(1, 1_000_000, "10.0.0.1", "example.org"), zeek_conn(2, 2_000_000, "10.0.0.1", "10.0.0.2", 22)];
    let first = raw.records(&records, 6)?;
    let second = raw.records(&records, 7)?;
    assert_eq!((open.headers.kind, open.subject.as_str()), (Kind::Input, "raw.c1-0.sensor"));
    let body = RawBody::decode(&first.body)?;
    let found: Vec<_> = body.records().map(|record| String::from_utf8_lossy(record).into_owned()).collect();
    assert_eq!(found, records);
    assert_eq!((body.header.offset, body.header.first_line, first.headers.rows), (1, 1, 2));
    assert_eq!(RawBody::decode(&second.body)?.line_of(1), 4);
    assert_eq!(second.headers.id, "c1-0.1.2");
    Ok(())
}

#[test]
fn event_messages_read_back() -> Result<()> {
    let (lane, tenant): (LaneId, Tenant) = ("c1-0".parse().unwrap(), "acme".parse()?);
    let batch = dns_batch(&tenant, 0..250, 1_000_000)?;
    let part = event_part(&lane, &tenant, 16, "m", batch)?;
    let read = EventBatch::decode(&part.body)?;
    assert_eq!((read.rows.num_rows(), read.runs.len(), read.runs[0].tenant.as_str()), (250, 1, "acme"));
    assert_eq!(part.headers.min_time_us, Some(1_000_000));
    assert_eq!(part.headers.max_time_us, Some(250_000_000));
    Ok(())
}

#[test]
fn sample_data_is_found() -> Result<()> {
    let first = lines(&shared_data("zeek/dns.json.gz")?)?;
    assert_eq!(first.len(), 53_615);
    let missing = shared_data("zeek/none.gz").unwrap_err().to_string();
    assert!(missing.contains("is missing"), "{missing}");
    Ok(())
}
