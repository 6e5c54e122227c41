//! What a world is fed with.

use atalaya_bus::Part;
use atalaya_model::LaneId;
use atalaya_proto::raw_v1::Entry;
use atalaya_testkit::{RawBuilder, zeek_conn, zeek_dns};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Tenants; each has a lane.
pub(crate) const TENANTS: [&str; 2] = ["acme", "globex"];

/// The backfill, with an input in each lane.
pub(crate) const BACKFILL: &str = "replay-1";

/// When the first record happened, and was received: 2026-11-01.
const BEGIN_US: i64 = 1_793_491_200_000_000;

const SECOND_US: i64 = 1_000_000;

/// Records of one message at most.
const MAX_RECORDS: u64 = 30;

/// One record in so many is broken.
const BROKEN_ONE_IN: u32 = 25;

/// Names a tunnel asks for, ports a scan tries: more than the built-in rules' thresholds.
const ATTACK_RECORDS: u64 = 130;

/// What no mapping can read.
const BROKEN: [&str; 3] = ["{\"ts\": 1793491200.5, \"uid\": \"C1\"", "no JSON at all", "[1, 2]"];

/// One lane's messages.
pub(crate) struct LaneInput {
    /// Its name.
    pub(crate) lane: LaneId,
    /// In order; given out again to each life of what feeds them.
    messages: Vec<(atalaya_bus::Subject, atalaya_bus::Headers, bytes::Bytes)>,
}

/// All lanes' messages.
pub(crate) struct Input {
    /// One per tenant.
    pub(crate) lanes: Vec<LaneInput>,
    /// Records that can be read.
    pub(crate) good: u64,
    /// Records that cannot.
    pub(crate) broken: u64,
}

impl LaneInput {
    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// One of them, ready to be written.
    pub(crate) fn part(&self, index: usize) -> Part {
        let (subject, headers, body) = self.messages[index].clone();
        Part { subject, headers, body, decoded: None }
    }

    /// The bodies in order.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &bytes::Bytes> {
        self.messages.iter().map(|(.., body)| body)
    }
}

/// The one who makes it up.
struct Author {
    random: SmallRng,
    builder: RawBuilder,
    messages: Vec<(atalaya_bus::Subject, atalaya_bus::Headers, bytes::Bytes)>,
    clock_us: i64,
    records: u64,
    good: u64,
    broken: u64,
}

/// An ordered arrival: number, log, domain.
type Arrival<'a> = (u64, &'a str, &'a str);

impl Input {
    /// A world's input.
    pub(crate) fn new(seed: u64) -> anyhow::Result<Self> {
        let mut input = Self { lanes: Vec::new(), good: 0, broken: 0 };
        for (number, tenant) in TENANTS.into_iter().enumerate() {
            let lane: LaneId = format!("c1-{number}").parse().map_err(anyhow::Error::msg)?;
            let mut builder = RawBuilder::zeek(&lane, &format!("zeek-{tenant}"), "dns");
            builder.header.tenant = tenant.to_owned();
            let random = SmallRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64));
            let (messages, clock_us) = (Vec::new(), BEGIN_US);
            let mut author = Author { random, builder, messages, clock_us, records: 0, good: 0, broken: 0 };
            author.write()?;
            input.good += author.good;
            input.broken += author.broken;
            input.lanes.push(LaneInput { lane, messages: author.messages });
        }
        Ok(input)
    }
}

impl Author {
    fn write(&mut self) -> anyhow::Result<()> {
        let (dns, conn, backfill) = ((1, "dns", "live"), (2, "conn", "live"), (3, "conn", BACKFILL));
        for arrival in [dns, conn, backfill] {
            self.control(arrival, Entry::Open)?;
        }
        for round in 0..4 {
            self.background(dns)?;
            self.background(conn)?;
            self.attack(if round % 2 == 0 { dns } else { conn }, round / 2)?;
            self.attack(backfill, round)?;
            self.control(dns, Entry::Heartbeat)?;
        }
        for arrival in [dns, backfill, conn] {
            self.control(arrival, Entry::Close)?;
        }
        Ok(())
    }

    fn set(&mut self, (number, log, domain): Arrival<'_>) {
        let header = &mut self.builder.header;
        header.input = number;
        header.input_name = format!("/logs/{number}/{log}.log");
        header.context = log.as_bytes().to_vec();
        header.domain = domain.to_owned();
        header.domain_inputs = if domain == BACKFILL { TENANTS.len() as u32 } else { 0 };
    }

    fn control(&mut self, arrival: Arrival<'_>, entry: Entry) -> anyhow::Result<()> {
        self.set(arrival);
        self.clock_us += SECOND_US;
        let part = self.builder.control(entry, self.clock_us)?;
        self.keep(part);
        Ok(())
    }

    /// Some messages of records of no interest, some of them broken.
    fn background(&mut self, arrival: Arrival<'_>) -> anyhow::Result<()> {
        for _ in 0..self.random.random_range(1..=3) {
            let count = self.random.random_range(1..=MAX_RECORDS);
            let records: Vec<String> = (0..count).map(|_| self.record(arrival.1)).collect();
            self.records(arrival, &records)?;
        }
        Ok(())
    }

    fn record(&mut self, log: &str) -> String {
        self.clock_us += self.random.random_range(0..SECOND_US);
        self.records += 1;
        if self.random.random_ratio(1, BROKEN_ONE_IN) {
            self.broken += 1;
            return BROKEN[self.random.random_range(0..BROKEN.len())].to_owned();
        }
        self.good += 1;
        let source = format!("10.0.0.{}", self.random.random_range(1..20));
        match log {
            "dns" => zeek_dns(self.records, self.clock_us, &source, "www.example.com"),
            _ => zeek_conn(self.records, self.clock_us, &source, "192.0.2.80", 443),
        }
    }

    /// A tunnel through DNS, or a port scan; another source each time.
    fn attack(&mut self, arrival: Arrival<'_>, number: u64) -> anyhow::Result<()> {
        let source = format!("10.0.9.{}", number + 1);
        let cut = self.random.random_range(1..ATTACK_RECORDS) as usize;
        let records: Vec<String> = (0..ATTACK_RECORDS).map(|n| self.attack_record(arrival.1, &source, n)).collect();
        self.good += ATTACK_RECORDS;
        self.records(arrival, &records[..cut])?;
        self.records(arrival, &records[cut..])
    }

    fn attack_record(&mut self, log: &str, source: &str, n: u64) -> String {
        self.clock_us += SECOND_US / 10;
        self.records += 1;
        match log {
            "dns" => zeek_dns(self.records, self.clock_us, source, &format!("{:048x}.t.example.org", self.records)),
            _ => zeek_conn(self.records, self.clock_us, source, "192.0.2.99", 2_000 + n as u16),
        }
    }

    fn records(&mut self, arrival: Arrival<'_>, records: &[String]) -> anyhow::Result<()> {
        self.set(arrival);
        let part = self.builder.records(records, self.clock_us)?;
        self.keep(part);
        Ok(())
    }

    fn keep(&mut self, part: Part) {
        self.messages.push((part.subject, part.headers, part.body));
    }
}
