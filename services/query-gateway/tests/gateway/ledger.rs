//! The ledger: folded over the streams, exact across restarts, and what a replay waits for.

use atalaya_bus::{Headers, Kind, OutputLane, Sequence, Stream};
use atalaya_model::{Books, Counts, LedgerKey};
use atalaya_proto::dlq_v1::{Parked, ParkedRecords};
use atalaya_proto::query_v1::status_client::StatusClient;
use atalaya_proto::query_v1::{StatusRequest, StatusResponse};
use atalaya_proto::raw::Block;
use atalaya_proto::raw_v1::{Entry, RawHeader};
use prost::Message;

use crate::world::{Door, Stage, World, alert, books, eventually, key};

/// The stages of one lane.
struct Line {
    raw: Stage,
    evt: Stage,
    alert: Stage,
    dlq: Stage,
}

impl Line {
    async fn new(world: &World) -> Self {
        let lane = "c1-0".parse().unwrap();
        Self {
            raw: Stage::new(world, OutputLane::raw(&lane)).await,
            evt: Stage::new(world, OutputLane::evt(&lane)).await,
            alert: Stage::new(world, OutputLane::alert(3)).await,
            dlq: Stage::new(world, OutputLane::dlq("normalizer", "c1-0")).await,
        }
    }

    async fn input(&mut self, domain: &str, entry: Entry, named: u32) -> (Sequence, Sequence) {
        let header = RawHeader { entry: entry.into(), domain_inputs: named, ..RawHeader::default() };
        let headers = Headers { kind: Kind::Input, domain: domain.into(), ..Headers::default() };
        let body = Block::default().encode(header).to_vec();
        let raw = self.raw.write("raw.c1-0.dns", None, headers.clone(), body.clone()).await;
        let evt = self.evt.write("evt.3.c1-0.input", Some(raw), headers, body).await;
        (raw, evt)
    }

    /// Records in, some of them parked; the rest as events out.
    async fn records(&mut self, key: &LedgerKey, received: u64, parked: u64) -> Sequence {
        let headers = |counts| Headers {
            books: books(key, counts),
            domain: key.domain.clone(),
            received_time_us: atalaya_bus::now_us(),
            ..Headers::default()
        };
        let raw = headers(Counts { received, ..Counts::default() });
        let raw = self.raw.write("raw.c1-0.dns", None, raw, Vec::new()).await;
        if parked > 0 {
            self.park(key, raw, parked).await;
        }
        let events = received - parked;
        let counts = Counts { normalized: events, parked, events, ..Counts::default() };
        self.evt.write("evt.3.c1-0.dns_activity", Some(raw), headers(counts), Vec::new()).await
    }

    async fn park(&mut self, key: &LedgerKey, raw: Sequence, parked: u64) {
        let record = |record| Parked {
            raw_id: format!("c1-0.1.{raw}"),
            record,
            tenant: key.tenant.clone(),
            domain: key.domain.clone(),
            reason: "bad_json".into(),
            ..Parked::default()
        };
        let body = ParkedRecords { records: (0..u32::try_from(parked).unwrap()).map(record).collect() };
        self.dlq.write("dlq.normalizer.c1-0", Some(raw), Headers::default(), body.encode_to_vec()).await;
    }
}

async fn status(door: Door, domain: &str) -> StatusResponse {
    let request = StatusRequest { domain: domain.into() };
    StatusClient::new(door).get(request).await.unwrap().into_inner()
}

fn sum(status: &StatusResponse, domain: &str) -> [u64; 6] {
    status.ledger.iter().filter(|row| row.domain == domain).fold([0; 6], |sum, row| {
        let row = [row.received, row.normalized, row.parked, row.events, row.archived, row.alerts];
        std::array::from_fn(|at| sum[at] + row[at])
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_exact_across_restarts() {
    let world = World::new().await;
    let mut line = Line::new(&world).await;
    let live = key("dns", "acme", "live");
    for round in 0..6 {
        let running = world.start().await;
        for _ in 0..20 {
            let evt = line.records(&live, 10, 1).await;
            line.alert.alerts(Some(evt), "live", &[alert(evt, "acme", "live")]).await;
        }
        let done = 20 * (round + 1);
        let found = status(running.as_operator(), "").await;
        assert_eq!(sum(&found, "live"), [10 * done, 9 * done, done, 9 * done, 0, done]);
        let by_name = |counts: &[atalaya_proto::query_v1::ReasonCount]| (counts[0].reason.clone(), counts[0].count);
        assert_eq!(by_name(&found.parked_by_reason), ("bad_json".into(), done));
        assert_eq!(by_name(&found.alerts_by_rule), ("Port scan".into(), done));
        assert!(found.rates[0].all_time > 0.0 && found.rates[0].source == "dns");
        assert_eq!((found.balanced, found.last_error.as_str(), found.alarms.len()), (false, "", 0));
        // Between two writes of the entries, or after one; without a word, or drained.
        match round % 3 {
            0 => running.kill(&world).await,
            1 => {
                tokio::time::sleep(std::time::Duration::from_millis(1_300)).await;
                running.kill(&world).await;
            }
            _ => running.drain().await,
        }
    }
    let running = world.start().await;
    let filed = Counts { archived: 1_080, hot: 1_000, expired: 80, ..Counts::default() };
    world.floor(Stream::Evt, "archive", 9, books(&live, filed)).await;
    let notified = Counts { notified: 119, silenced: 1, ..Counts::default() };
    world.floor(Stream::Alert, "notifier", 9, books(&key("alerts", "acme", "live"), notified)).await;
    assert!(status(running.as_operator(), "").await.balanced);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_its_own_books_only() {
    let world = World::new().await;
    let mut line = Line::new(&world).await;
    line.records(&key("dns", "acme", "live"), 10, 1).await;
    line.records(&key("dns", "globex", "live"), 20, 2).await;
    line.records(&key("dns", "shared", "live"), 30, 0).await;
    let running = world.start().await;
    let all = status(running.as_operator(), "").await;
    assert_eq!((sum(&all, "live")[0], all.streams.len(), all.ledger.len()), (60, 4, 3));
    assert!(all.readers.iter().all(|reader| reader.reader != "EVT hot"));
    let own = status(running.as_acme(), "").await;
    assert_eq!((sum(&own, "live")[0], own.parked_by_reason[0].count), (10, 1));
    assert!(own.streams.is_empty() && own.readers.is_empty() && own.ledger.iter().all(|row| row.tenant == "acme"));
    assert!(own.rates[0].all_time < all.rates[0].all_time);
    world.floor(Stream::Evt, "hot", 1, Books::default()).await;
    let lag = status(running.as_operator(), "").await.readers;
    let lag = lag.iter().find(|reader| reader.reader == "EVT hot").unwrap();
    assert_eq!((lag.partition, lag.sequence, lag.lag), (3, 1, 2));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_closed_when_everybody_has_passed_it() {
    let world = World::new().await;
    let running = world.start().await;
    let mut line = Line::new(&world).await;
    let (live, replay) = (key("dns", "acme", "live"), key("dns", "acme", "r1"));
    let open = |what: &'static str| {
        let door = running.as_operator();
        async move {
            let found = status(door, "r1").await;
            assert!(!found.domain_closed && found.last_error.contains(what), "{what}: {}", found.last_error);
        }
    };
    open("none of its inputs").await;
    line.input("r1", Entry::Open, 2).await;
    line.records(&replay, 10, 2).await;
    line.input("r1", Entry::Close, 0).await;
    open("of 2 inputs 1 were opened and 1 closed").await;
    line.input("r1", Entry::Open, 2).await;
    let (_, evt) = line.input("r1", Entry::Close, 0).await;
    line.records(&live, 5, 0).await;
    open("correlator has not passed it").await;
    let alerts = line.alert.alerts(Some(evt), "r1", &[alert(1, "acme", "r1")]).await;
    open("archive of EVT").await;
    world.floor(Stream::Evt, "archive", evt, books(&replay, Counts { archived: 8, ..Counts::default() })).await;
    open("hot of EVT").await;
    world.floor(Stream::Evt, "hot", evt, books(&replay, Counts { hot: 8, ..Counts::default() })).await;
    open("archive of ALERT").await;
    world.floor(Stream::Alert, "archive", alerts, Books::default()).await;
    world.floor(Stream::Alert, "hot", alerts, Books::default()).await;
    open("notifier of ALERT").await;
    world.floor(Stream::Alert, "notifier", alerts, Books::default()).await;
    open("0 records, 0 events to the archive, 0 to the hot store, 1 alerts").await;
    let notified = books(&key("alerts", "acme", "r1"), Counts { notified: 1, ..Counts::default() });
    world.floor(Stream::Alert, "notifier", alerts, notified).await;
    let found = status(running.as_operator(), "r1").await;
    assert!(found.domain_closed && found.balanced && found.last_error.is_empty(), "{found:?}");
    assert_eq!(sum(&found, "r1"), [10, 8, 2, 8, 8, 1]);
    assert!(found.ledger.iter().all(|row| row.domain == "r1"), "only the domain that was asked for");
    running.drain().await;
    let running = world.start().await;
    assert!(status(running.as_operator(), "r1").await.domain_closed, "after a restart too");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_reads_what_the_first_one_folds() {
    let world = World::new().await;
    let mut line = Line::new(&world).await;
    let first = world.start().await;
    line.records(&key("dns", "acme", "live"), 10, 0).await;
    eventually("the lease", || async { sum(&status(first.as_operator(), "").await, "live")[0] == 10 }).await;
    let second = world.start().await;
    eventually("the entries", || async { sum(&status(second.as_operator(), "").await, "live")[0] == 10 }).await;
    first.drain().await;
    line.records(&key("dns", "acme", "live"), 10, 0).await;
    eventually("the fold", || async { sum(&status(second.as_operator(), "").await, "live")[0] == 20 }).await;
    second.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_gone_are_an_alarm_and_no_end() {
    let world = World::new().await;
    let mut line = Line::new(&world).await;
    let live = key("dns", "acme", "live");
    for _ in 0..5 {
        line.records(&live, 10, 0).await;
    }
    world.bus.trim(Stream::Raw, 4, &[]).await.unwrap();
    let running = world.start().await;
    let found = status(running.as_operator(), "").await;
    assert_eq!(sum(&found, "live")[..2], [20, 50]);
    assert!(found.alarms[0].contains("RAW: messages 1 to 3 were gone"), "{:?}", found.alarms);
    assert_eq!(found.last_error, "");
    line.records(&live, 10, 0).await;
    assert_eq!(sum(&status(running.as_operator(), "").await, "live")[..2], [30, 60]);
    running.drain().await;
}
