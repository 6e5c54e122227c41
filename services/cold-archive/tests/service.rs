//! The cold archive on a real bus and real tables.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails so")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_archive::{Covered, Feed, Scope, StoredBatch};
use atalaya_bus::{
    Fence, FencedWriter, Filter, Floor, Floors, Headers, Outgoing, OutputLane, Part, Position, Stream, Subject,
};
use atalaya_cold_archive::Config;
use atalaya_model::{Alert, AlertId, AlertState, Books, Class, Level};
use atalaya_proto::alert_v1::Alerts;
use atalaya_schema::batch_of;
use bytes::Bytes;
use common::{Lane, PARTITIONS, World, quick};
use prost::Message;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_archived_once_across_restarts() {
    let world = World::new();
    let (mut one, mut two) = (Lane::new(&world, "c1-0").await, Lane::new(&world, "c1-1").await);
    let service = world.start(quick());
    for round in 0..10 {
        one.events(Class::DnsActivity, &[0, 1, 2, 3], 20).await;
        two.events(Class::HttpActivity, &[round % PARTITIONS], 5).await;
        two.mark().await;
    }
    world.until_archived(850).await;
    service.drain().await;
    one.events(Class::DnsActivity, &[3], 7).await;
    let service = world.start(quick());
    world.until_archived(857).await;
    service.drain().await;
    assert_eq!(world.ids(Class::DnsActivity).await, one.sorted());
    assert_eq!(world.ids(Class::HttpActivity).await, two.sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_at_any_moment_lose_and_double_nothing() {
    let world = World::new();
    let mut lane = Lane::new(&world, "c1-0").await;
    for life in 0..25u64 {
        let service = world.start(Config { flush_ms: life % 7 * 10, ..quick() });
        for _ in 0..4 {
            lane.events(Class::DnsActivity, &[0, 1, 2, 3], 10).await;
            tokio::time::sleep(Duration::from_millis(life * 3 % 20)).await;
        }
        tokio::time::sleep(Duration::from_millis(life * 13 % 150)).await;
        service.kill().await;
    }
    let service = world.start(quick());
    world.until_archived(25 * 4 * 4 * 10).await;
    service.drain().await;
    assert_eq!(world.ids(Class::DnsActivity).await, lane.sorted());
}

/// A full stream waits for everybody but the hot store, which has what it missed from here.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_hot_store_holds_nobody_up() {
    const MAX_BYTES: u64 = 512 << 10;
    let world = World::small(MAX_BYTES);
    let mut lane = Lane::new(&world, "c1-0").await;
    world.bus.bucket("lanes").await.unwrap().put("c1-0", Bytes::from_static(b"{}"), 0, None).await.unwrap();
    let floors = Floors::open(world.bus.as_ref()).await.unwrap();
    let position = Position { incarnation: 1, sequence: u64::MAX, id: String::new() };
    let passed = Floor { position, books: Books::default() };
    for partition in 0..PARTITIONS {
        for reader in ["correlator", "ledger"] {
            let mut entry = floors.hold(Stream::Evt, reader, &partition.to_string()).await.unwrap();
            entry.set(passed.clone()).await.unwrap();
        }
    }
    let service = world.start(quick());
    let writing = async {
        for _ in 0..150 {
            lane.events(Class::DnsActivity, &[0, 1, 2, 3], 200).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), writing).await.expect("the stream waits for the hot store");
    world.until_archived(150 * 4 * 200).await;
    service.drain().await;
    let info = world.bus.info(Stream::Evt).await.unwrap();
    assert!(info.first > 1 && info.last * 200 * 16 > 2 * MAX_BYTES, "{info:?}");
    let gaps = world.bus.bucket("gaps").await.unwrap().list("").await.unwrap();
    let gaps: Vec<_> = gaps.into_iter().map(|entry| entry.key).collect();
    assert_eq!(gaps, ["EVT.hot.0", "EVT.hot.1", "EVT.hot.2", "EVT.hot.3"]);
    assert_eq!(world.ids(Class::DnsActivity).await, lane.sorted());
}

/// The table was committed, the floor was not moved: the rows are read again, dropped, and counted once.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_commit_and_floor_doubles_nothing() {
    let world = World::new();
    let mut lane = Lane::new(&world, "c1-0").await;
    lane.events(Class::DnsActivity, &[2], 30).await;
    let message = world.bus.last(Stream::Evt, &Filter::new("evt.2.>").unwrap()).await.unwrap().unwrap();
    let incarnation = world.bus.info(Stream::Evt).await.unwrap().incarnation;
    let scope = Scope { feed: Feed::Evt, incarnation, partition: 2 };
    let events = batch_of(message.decoded.as_ref(), &message.body).unwrap();
    let batch = StoredBatch { scope, sequence: message.sequence, events };
    let covered = Covered { scope, sequence: message.sequence };
    world.archive.append(Class::DnsActivity, &[batch], &[covered]).await.unwrap();
    lane.events(Class::DnsActivity, &[2], 3).await;
    let service = world.start(quick());
    world.until_archived(33).await;
    service.drain().await;
    assert_eq!(world.ids(Class::DnsActivity).await, lane.sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_them_share_and_take_over() {
    let world = World::new();
    let mut lane = Lane::new(&world, "c1-0").await;
    let (first, second) = (world.start(quick()), world.start(quick()));
    for _ in 0..5 {
        lane.events(Class::DnsActivity, &[0, 1, 2, 3], 10).await;
    }
    world.until_archived(200).await;
    first.kill().await;
    lane.events(Class::DnsActivity, &[0, 1, 2, 3], 10).await;
    world.until_archived(240).await;
    second.drain().await;
    assert_eq!(world.ids(Class::DnsActivity).await, lane.sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_backfill_is_archived_at_once() {
    let world = World::new();
    let service = world.start(Config { flush_ms: 8_000, ..quick() });
    let mut lane = Lane::new(&world, "c1-0").await;
    lane.events(Class::DnsActivity, &[1], 10).await;
    let started = Instant::now();
    lane.close(1, "replay-1").await;
    world.until_archived(10).await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    service.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_is_flushed_before_its_time_and_a_drain_flushes_the_rest() {
    let world = World::new();
    let service = world.start(Config { flush_ms: 8_000, flush_rows: 100, ..quick() });
    let mut lane = Lane::new(&world, "c1-0").await;
    let started = Instant::now();
    for _ in 0..21 {
        lane.events(Class::DnsActivity, &[1], 50).await;
    }
    while world.archived().await < 1_000 {
        assert!(started.elapsed() < Duration::from_secs(7), "{} archived", world.archived().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    service.drain().await;
    assert_eq!(world.archived().await, 1_050);
    assert_eq!(world.ids(Class::DnsActivity).await, lane.sorted());
}

fn alert(number: u32) -> Alert {
    Alert {
        id: AlertId::of("test", &[&(number / 2).to_le_bytes()]),
        version: number % 2 + 1,
        state: if number.is_multiple_of(2) { AlertState::Opened } else { AlertState::Closed },
        tenant: if number.is_multiple_of(3) { "globex" } else { "acme" }.parse().unwrap(),
        domain: "live".into(),
        rule_id: "r1".into(),
        rule_rev: "00".into(),
        rule_author: "somebody".into(),
        title: "a port scan".into(),
        level: Level::High,
        group_key: "src_ip=10.0.0.1".into(),
        entities: vec![("src_ip".into(), "10.0.0.1".into())],
        time_us: 1_795_500_000_000_000,
        window_start_us: 1_795_500_000_000_000,
        window_end_us: 1_795_500_060_000_000,
        received_time_us: 1_795_500_000_500_000,
        event_count: 100,
        evidence: vec![],
        attack_ids: vec!["T1046".into()],
        observed: 100.0,
        threshold: 50.0,
        message: "10.0.0.1 tried 100 ports".into(),
        retroactive: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_become_findings() {
    let world = World::new();
    let mut writer = FencedWriter::resume(Arc::clone(&world.bus), OutputLane::alert(1)).await.unwrap();
    for sequence in 1..=3u32 {
        let alerts = (0..4).map(|at| (&alert(sequence * 4 + at)).into()).collect();
        let headers = Headers { id: format!("a{sequence}"), rows: 4, ..Headers::default() };
        let subject = Subject::new("alert.1").unwrap();
        let body = Alerts { alerts }.encode_to_vec().into();
        let covers = Position { incarnation: 1, sequence: sequence.into(), id: format!("e{sequence}") };
        let part = Part { subject, headers, body, decoded: None };
        writer.write(covers, vec![part], Books::default()).await.unwrap();
    }
    let service = world.start(quick());
    let started = Instant::now();
    while world.ids(Class::DetectionFinding).await.len() < 12 {
        assert!(started.elapsed() < Duration::from_secs(20), "alerts are not archived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.drain().await;
    let ids = world.ids(Class::DetectionFinding).await;
    assert_eq!(ids.len(), 12);
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "every message about an incident is a row of its own");
    let floors = Floors::open(world.bus.as_ref()).await.unwrap().all(Stream::Alert).await.unwrap();
    let of_partition = floors.iter().find(|(reader, scope, _)| reader == "archive" && scope == "1").unwrap();
    assert_eq!(of_partition.2.position.sequence, writer.last());
}

/// A message with a hole before it, and one that cannot be read: their partitions stop, the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn damage_stops_one_partition_only() {
    let world = World::new();
    let mut lane = Lane::new(&world, "c1-0").await;
    lane.events(Class::DnsActivity, &[0, 1, 2], 10).await;
    for (partition, chain) in [(0, 77), (1, 0)] {
        let subject = Subject::new(&format!("evt.{partition}.c9-0.dns_activity")).unwrap();
        let fence = Fence::new(Stream::Evt, subject, Filter::new(&format!("evt.{partition}.c9-0.>")).unwrap()).unwrap();
        let headers = Headers { id: "x".into(), chain, end: true, ..Headers::default() };
        let message = Outgoing { headers, body: Bytes::from_static(b"no rows"), decoded: None };
        world.bus.append(&fence, 0, message).await.unwrap();
    }
    lane.events(Class::DnsActivity, &[0, 1, 2], 10).await;
    let service = world.start(quick());
    world.until_archived(40).await;
    service.drain().await;
    assert_eq!(world.ids(Class::DnsActivity).await.len(), 40, "what came before the damage is there");
}
