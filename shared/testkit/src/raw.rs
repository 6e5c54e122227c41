//! Records as sources give them, and RAW messages of them.

use anyhow::{Context, Result};
use atalaya_bus::{Headers, Kind, Part, Subject};
use atalaya_model::{Books, Counts, LIVE_DOMAIN, LaneId, LedgerKey, Origin};
use atalaya_proto::raw::Block;
use atalaya_proto::raw_v1::{Entry, RawHeader};
use serde_json::json;

/// Microseconds of a second.
const SECOND_US: f64 = 1_000_000.0;

/// A line of Zeek's `dns.log` in JSON: the n-th query, at a time.
#[must_use]
pub fn zeek_dns(n: u64, time_us: i64, source_ip: &str, query: &str) -> String {
    let line = json!({
        "ts": time_us as f64 / SECOND_US,
        "uid": format!("C{n:016x}"),
        "id.orig_h": source_ip,
        "id.orig_p": 1_024 + n % 60_000,
        "id.resp_h": "192.0.2.53",
        "id.resp_p": 53,
        "proto": "udp",
        "trans_id": n % 65_536,
        "query": query,
        "qclass": 1,
        "qclass_name": "C_INTERNET",
        "qtype": 1,
        "qtype_name": "A",
        "rcode": 0,
        "rcode_name": "NOERROR",
        "AA": false,
        "TC": false,
        "RD": true,
        "RA": true,
        "Z": 0,
        "answers": ["192.0.2.80"],
        "TTLs": [300.0],
        "rejected": false,
    });
    line.to_string()
}

/// A line of Zeek's `conn.log` in JSON: the n-th connection, at a time.
#[must_use]
pub fn zeek_conn(n: u64, time_us: i64, source_ip: &str, target_ip: &str, target_port: u16) -> String {
    let line = json!({
        "ts": time_us as f64 / SECOND_US,
        "uid": format!("C{n:016x}"),
        "id.orig_h": source_ip,
        "id.orig_p": 1_024 + n % 60_000,
        "id.resp_h": target_ip,
        "id.resp_p": target_port,
        "proto": "tcp",
        "duration": 0.25,
        "orig_bytes": 120,
        "resp_bytes": 480,
        "conn_state": "SF",
        "local_orig": true,
        "local_resp": false,
        "missed_bytes": 0,
        "history": "ShADadFf",
        "orig_pkts": 5,
        "orig_ip_bytes": 388,
        "resp_pkts": 4,
        "resp_ip_bytes": 692,
    });
    line.to_string()
}

/// Builds the RAW messages of one input of one lane, in order.
#[derive(Clone, Debug)]
pub struct RawBuilder {
    lane: LaneId,
    offset: u64,
    line: u64,
    /// What every message says; to be changed as a test needs it.
    pub header: RawHeader,
}

impl RawBuilder {
    /// A live source of Zeek JSON lines of a log, of tenant `default`.
    #[must_use]
    pub fn zeek(lane: &LaneId, source: &str, log: &str) -> Self {
        let header = RawHeader {
            collector_lane: lane.to_string(),
            epoch_ms: 1,
            source: source.to_owned(),
            kind: "zeek".to_owned(),
            tenant: "default".to_owned(),
            domain: LIVE_DOMAIN.to_owned(),
            input: 1,
            input_name: format!("/logs/{log}.log"),
            context: log.as_bytes().to_vec(),
            lateness_us: 900_000_000,
            ..RawHeader::default()
        };
        Self { lane: lane.clone(), offset: 0, line: 1, header }
    }

    /// The next message: these records, received at this time.
    ///
    /// # Errors
    /// If the source cannot stand in a subject.
    pub fn records<R: AsRef<[u8]>>(&mut self, records: &[R], received_time_us: i64) -> Result<Part> {
        let mut block = Block::default();
        records.iter().for_each(|record| block.push(record.as_ref()));
        let part = self.part(Entry::Records, block, received_time_us)?;
        self.line += records.len() as u64;
        Ok(part)
    }

    /// The next message: the input opens, is alive, or closes.
    ///
    /// # Errors
    /// If the source cannot stand in a subject.
    pub fn control(&mut self, entry: Entry, received_time_us: i64) -> Result<Part> {
        self.part(entry, Block::default(), received_time_us)
    }

    fn part(&mut self, entry: Entry, mut block: Block, received_time_us: i64) -> Result<Part> {
        let mut header = RawHeader { offset: self.offset, received_time_us, ..self.header.clone() };
        header.set_entry(entry);
        header.first_line = self.line;
        let origin = Origin { lane: self.lane.clone(), epoch_ms: header.epoch_ms, offset: self.offset };
        let records = block.records();
        let mut books = Books::default();
        if records > 0 {
            let (source, tenant, domain) = (header.source.clone(), header.tenant.clone(), header.domain.clone());
            let counts = Counts { received: records.into(), ..Counts::default() };
            books.add(&LedgerKey { source, tenant, domain }, counts);
        }
        let headers = Headers {
            id: origin.message_id(),
            kind: if entry == Entry::Records { Kind::Data } else { Kind::Input },
            books,
            received_time_us,
            source: header.source.clone(),
            domain: header.domain.clone(),
            input: header.input,
            rows: records,
            ..Headers::default()
        };
        let subject = Subject::new(&format!("raw.{}.{}", self.lane, header.source)).context("source")?;
        self.offset += 1;
        Ok(Part { subject, headers, body: block.encode(header), decoded: None })
    }
}
