//! Events, and EVT messages of them.

use std::sync::Arc;

use anyhow::Result;
use atalaya_bus::{Headers, Part, Subject};
use atalaya_model::{Books, Class, Counts, EventId, LIVE_DOMAIN, LaneId, LedgerKey, Tenant, partition_of};
use atalaya_schema::{EventBatch, Rows, col};

/// DNS events of one tenant: one a second from a time on, from 100 addresses and for 1,000 names. Ids are made of tenant
/// and number.
///
/// # Errors
/// If a number is too large for a time.
pub fn dns_batch(tenant: &Tenant, numbers: std::ops::Range<u64>, time_us: i64) -> Result<EventBatch> {
    let class = Class::DnsActivity;
    let mut rows = Rows::new(class);
    for n in numbers {
        let id = EventId::of("testkit", &[tenant.as_str().as_bytes(), &n.to_le_bytes()]);
        rows.begin();
        rows.id(col::EVENT_ID, id.as_bytes());
        rows.text(col::TENANT, tenant.as_str());
        rows.time(col::TIME, time_us + i64::try_from(n)? * 1_000_000);
        rows.time(col::INGEST_TIME, time_us);
        rows.int32(col::CLASS_UID, class.uid());
        rows.text(col::SOURCE, "testkit");
        rows.text(col::dns::SRC_IP, &format!("10.0.{}.{}", n % 2, n % 100 + 1));
        rows.text(col::dns::QUERY, &format!("host{}.example.net", n % 1_000));
        rows.text(col::dns::QUERY_DOMAIN, "example.net");
        rows.end();
    }
    Ok(EventBatch::new(class, rows.finish())?)
}

/// An EVT message of one tenant's events, as a lane's normalizer writes it into the tenant's partition.
///
/// # Errors
/// If the batch cannot be encoded.
pub fn event_part(lane: &LaneId, tenant: &Tenant, partitions: u16, id: &str, batch: EventBatch) -> Result<Part> {
    let partition = partition_of(tenant.as_str(), 0, partitions);
    let events = batch.rows.num_rows() as u64;
    let mut books = Books::default();
    let key = LedgerKey { source: "testkit".into(), tenant: tenant.to_string(), domain: LIVE_DOMAIN.into() };
    books.add(&key, Counts { events, ..Counts::default() });
    let range = batch.time_range();
    let headers = Headers {
        id: id.to_owned(),
        books,
        min_time_us: range.map(|(min, _)| min),
        max_time_us: range.map(|(_, max)| max),
        source: "testkit".to_owned(),
        domain: LIVE_DOMAIN.to_owned(),
        rows: u32::try_from(events)?,
        ..Headers::default()
    };
    let subject = Subject::new(&format!("evt.{partition}.{lane}.{}", batch.class.name()))?;
    Ok(Part { subject, headers, body: batch.encode(), decoded: Some(Arc::new(batch)) })
}
