//! The worker on a real journal: every record leaves once, whatever crashes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use atalaya_bus::{Bus, ChainCheck, FencedWriter, Floors, Kind, LeaseMs, OutputLane, Position, Stream};
use atalaya_chassis::Shutdown;
use atalaya_model::{Books, LaneId, SHARED, partition_of};
use atalaya_normalizer::{Assets, Config, Deps, run};
use atalaya_proto::dlq_v1::ParkedRecords;
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::{batch_of, col, text_value};
use atalaya_testkit::{FaultBus, Faults, Life, RawBuilder, TestBus, zeek_dns};
use bytes::Bytes;
use prost::Message;

use crate::common::RECEIVED_US;

pub(crate) const ROUNDS: usize = 12;
const RECORDS: usize = 40;
/// Records of a round that cannot be read.
pub(crate) const BROKEN: usize = 3;
const PARTITIONS: u16 = 16;

pub(crate) fn lane() -> LaneId {
    "c1-0".parse().unwrap()
}

pub(crate) fn config() -> Config {
    let assets = |tenant: &str, network: &str| Assets {
        tenant: tenant.parse().unwrap(),
        networks: vec![network.to_owned()],
        domains: Vec::new(),
    };
    Config {
        lease_ms: LeaseMs::SHORTEST,
        assets: vec![assets("acme", "10.1.0.0/16"), assets("globex", "10.2.0.0/16")],
        ..Config::default()
    }
}

pub(crate) fn deps(bus: Arc<dyn Bus>) -> Deps {
    Deps { bus, enrichment: config().enrichment().unwrap() }
}

/// A collector's lane, written round by round.
pub(crate) struct Lane {
    writer: FencedWriter,
    builder: RawBuilder,
    written: u64,
}

impl Lane {
    pub(crate) async fn open(bus: &Arc<dyn Bus>) -> Self {
        let lanes = bus.bucket("lanes").await.unwrap();
        lanes.put("c1-0", Bytes::from_static(b"{}"), 0, None).await.unwrap();
        let writer = FencedWriter::resume(Arc::clone(bus), OutputLane::raw(&lane())).await.unwrap();
        Self { writer, builder: RawBuilder::zeek(&lane(), "dns", "dns"), written: 0 }
    }

    async fn write(&mut self, part: atalaya_bus::Part) {
        self.written += 1;
        let position = Position { incarnation: 1, sequence: self.written, id: self.written.to_string() };
        self.writer.write(position, vec![part], Books::default()).await.unwrap();
    }

    /// Open, records of two owners and nobody with broken ones among them, nothing, heartbeat and close.
    pub(crate) async fn round(&mut self, round: usize) {
        self.builder.header.tenant = if round.is_multiple_of(2) { SHARED.to_owned() } else { "acme".to_owned() };
        let time = |at: usize| RECEIVED_US - 1_000_000 + at as i64;
        let mut records: Vec<_> = (0..RECORDS)
            .map(|at| zeek_dns(at as u64, time(at), &format!("10.{}.0.{at}", at % 4), "www.example.com"))
            .collect();
        (0..BROKEN).for_each(|at| records[at * 7] = "{broken".to_owned());
        for entry in [Entry::Open, Entry::Heartbeat, Entry::Close] {
            let control = self.builder.control(entry, RECEIVED_US).unwrap();
            self.write(control).await;
            let part = if entry == Entry::Open {
                self.builder.records(&records, RECEIVED_US).unwrap()
            } else {
                self.builder.control(Entry::Mark, RECEIVED_US).unwrap()
            };
            self.write(part).await;
        }
    }
}

/// Waits until the floor tells that the lane is read to its end.
pub(crate) async fn done(bus: &Arc<dyn Bus>) {
    let floors = Floors::open(&**bus).await.unwrap();
    let last = bus.info(Stream::Raw).await.unwrap().last;
    loop {
        let all = floors.all(Stream::Raw).await.unwrap();
        if all.iter().any(|(reader, scope, floor)| {
            (reader.as_str(), scope.as_str(), floor.position.sequence) == ("normalizer", "c1-0", last)
        }) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn check(bus: &TestBus) {
    let rounds = ROUNDS as u64;
    let mut chain = ChainCheck::new(0);
    let mut books = Books::default();
    let (mut ids, mut refs) = (BTreeSet::new(), BTreeSet::new());
    let mut controls: BTreeMap<u16, Vec<(u64, Entry)>> = BTreeMap::new();
    for message in bus.all(Stream::Evt, "evt.>").await.unwrap() {
        chain.check(&message).unwrap();
        books.merge(&message.headers.books);
        let partition: u16 = message.subject.token(1).unwrap().parse().unwrap();
        match message.headers.kind {
            Kind::Data => {
                let batch = batch_of(message.decoded.as_ref(), &message.body).unwrap();
                assert!(batch.runs.iter().all(|run| partition_of(run.tenant.as_str(), 0, PARTITIONS) == partition));
                assert_eq!(message.headers.rows as usize, batch.rows.num_rows());
                assert_eq!(batch.time_range(), message.headers.min_time_us.zip(message.headers.max_time_us));
                for row in 0..batch.rows.num_rows() {
                    let id = batch.rows.column(col::EVENT_ID).as_binary::<i32>().value(row).to_vec();
                    assert!(ids.insert(id), "an event twice");
                    refs.insert(text_value(batch.rows.column(col::RAW_REF), row).unwrap().to_owned());
                }
            }
            Kind::Input => {
                let header = RawHeader::decode(message.body.as_ref()).unwrap();
                controls.entry(partition).or_default().push((header.offset, header.entry()));
            }
            Kind::Mark => {}
        }
    }
    let normalized = rounds * (RECORDS - BROKEN) as u64;
    assert_eq!((ids.len() as u64, refs.len() as u64), (normalized, normalized));
    let total = books.total(|key| key.source == "dns" && key.domain == "live");
    assert_eq!(total, books.total(|_| true));
    assert_eq!((total.normalized, total.events, total.parked), (normalized, normalized, rounds * BROKEN as u64));
    check_controls(&controls);
    check_parked(bus).await;
}

fn check_controls(controls: &BTreeMap<u16, Vec<(u64, Entry)>>) {
    assert_eq!(controls.len(), usize::from(PARTITIONS));
    for (partition, seen) in controls {
        assert!(seen.is_sorted_by(|(before, _), (after, _)| before < after), "controls in order, and once");
        let of_acme = *partition == partition_of("acme", 0, PARTITIONS);
        let rounds = if of_acme { ROUNDS } else { ROUNDS / 2 };
        assert_eq!(seen.len(), 3 * rounds, "partition {partition}");
        let kinds = [Entry::Open, Entry::Heartbeat, Entry::Close];
        assert!(seen.iter().zip(kinds.iter().cycle()).all(|((_, entry), expected)| entry == expected));
    }
}

async fn check_parked(bus: &TestBus) {
    let mut parked = BTreeSet::new();
    for message in bus.all(Stream::Dlq, "dlq.normalizer.c1-0").await.unwrap() {
        for record in ParkedRecords::decode(message.body.as_ref()).unwrap().records {
            assert_eq!((record.reason.as_str(), record.payload.as_slice()), ("bad_json", b"{broken".as_slice()));
            parked.insert((record.raw_id, record.record));
        }
    }
    assert_eq!(parked.len(), ROUNDS * BROKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_goes_on_where_it_was() {
    let test = TestBus::new().unwrap();
    let bus = test.bus();
    let mut lane = Lane::open(&bus).await;
    for round in 0..ROUNDS {
        lane.round(round).await;
        if round % 4 == 3 {
            let (trigger, shutdown) = Shutdown::new();
            let running = tokio::spawn(run(config(), deps(Arc::clone(&bus)), shutdown));
            tokio::time::timeout(Duration::from_secs(30), done(&bus)).await.unwrap();
            trigger.request();
            running.await.unwrap().unwrap();
        }
    }
    check(&test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_lost_answers_change_nothing() {
    const LIVES: u64 = 25;
    for seed in 1..=4_u64 {
        let test = TestBus::new().unwrap();
        let bus = test.bus();
        let mut lane = Lane::open(&bus).await;
        for round in 0..ROUNDS {
            lane.round(round).await;
        }
        for number in 0_u64.. {
            let faults = if number < LIVES { Faults::ROUGH } else { Faults::NONE };
            // A process that starts anew on a journal finds no lease.
            bus.bucket("leases").await.unwrap().delete("raw.c1-0").await.unwrap();
            let life = Life::new(seed << 32 | number, faults);
            let (_trigger, shutdown) = Shutdown::new();
            let process = life.run(run(config(), deps(FaultBus::new(Arc::clone(&bus), Arc::clone(&life))), shutdown));
            let finished = tokio::select! {
                _ = process => false,
                () = done(&bus) => true,
            };
            if finished {
                break;
            }
            assert!(number <= LIVES, "seed {seed}: an undisturbed life did not finish");
        }
        check(&test).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_normalizers_share_no_lane() {
    let test = TestBus::new().unwrap();
    let bus = test.bus();
    let mut lane = Lane::open(&bus).await;
    let (trigger, shutdown) = Shutdown::new();
    let normalizers: Vec<_> =
        (0..2).map(|_| tokio::spawn(run(config(), deps(Arc::clone(&bus)), shutdown.clone()))).collect();
    for round in 0..ROUNDS {
        lane.round(round).await;
    }
    tokio::time::timeout(Duration::from_secs(30), done(&bus)).await.unwrap();
    trigger.request();
    for normalizer in normalizers {
        normalizer.await.unwrap().unwrap();
    }
    check(&test).await;
}
