//! Streams and disks that are full, readers that are overtaken, streams that are not as configured.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::nats::{MaxBytes, Nats, Options};
use atalaya_bus::{AppendError, Bus, BusError, Floor, Floors, Position, Sequence, Stream, TrimReader, Trimmer};
use atalaya_model::Books;
use atalaya_servers::{NatsOptions, NatsServer};
use bytes::Bytes;
use tempfile::TempDir;

use crate::lanes::{lane, resume, write_lane};
use crate::{connect, fence, fill, filter, options, outgoing, server};

const SOON: Duration = Duration::from_secs(60);

fn refusal(found: Result<Nats, BusError>) -> String {
    match found {
        Err(error @ BusError::Mismatch(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("taken as it is"),
    }
}

#[tokio::test]
async fn streams_are_checked_and_changed_only_when_asked() {
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let first = connect(&server).await;
    connect(&server).await;
    let larger = Options { max_bytes: MaxBytes::each(100 << 20), ..options() };
    let refused = refusal(Nats::connect(&server.url(), &larger).await);
    assert!(refused.contains("max_bytes") && refused.contains("atalaya bus apply"), "{refused}");
    assert_eq!(first.info(Stream::Raw).await.unwrap().max_bytes, 64 << 20);
    let changes = Nats::apply(&server.url(), &larger).await.unwrap();
    assert_eq!(changes.len(), Stream::ALL.len(), "{changes:?}");
    assert_eq!(Nats::apply(&server.url(), &larger).await.unwrap(), Vec::<String>::new());
    let bus = Nats::connect(&server.url(), &larger).await.unwrap();
    assert_eq!(bus.info(Stream::Raw).await.unwrap().max_bytes, 100 << 20);

    bus.bucket("cursors").await.unwrap();
    let jetstream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut bucket = jetstream.get_stream("KV_cursors").await.unwrap().cached_info().config.clone();
    bucket.max_messages_per_subject = 5;
    jetstream.update_stream(bucket).await.unwrap();
    let again = Nats::connect(&server.url(), &larger).await.unwrap();
    let refused = again.bucket("cursors").await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("max_msgs_per_subject: found 5, wanted 1"), "{refused}");
    let changes = Nats::apply(&server.url(), &larger).await.unwrap();
    assert_eq!(changes, ["KV_cursors: max_msgs_per_subject: found 5, wanted 1"]);
    again.bucket("cursors").await.unwrap();

    fill(&bus, &fence(Stream::Evt, "evt.0.a.x", "evt.*.a.>"), 0, 1, 10).await;
    let split = Options { partitions: 8, ..larger };
    let refused = refusal(Nats::connect(&server.url(), &split).await);
    assert!(refused.contains("partitions"), "{refused}");
    let fixed = Nats::apply(&server.url(), &split).await;
    assert!(matches!(fixed, Err(BusError::Mismatch(_))), "{fixed:?}");
}

#[tokio::test]
async fn a_url_opens_it() {
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let bus = atalaya_bus::open(&server.url()).await.unwrap();
    assert_eq!(bus.info(Stream::Evt).await.unwrap().partitions, 16);
    let away = atalaya_bus::open("nats://127.0.0.1:1?first_connect_seconds=1").await.map(|_| ()).unwrap_err();
    assert!(away.to_string().contains("127.0.0.1:1"), "{away}");
    for wrong in ["http://127.0.0.1", "nats:127.0.0.1"] {
        let error = atalaya_bus::open(wrong).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, BusError::Url(_)), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let directory = TempDir::new().unwrap();
    let server =
        NatsServer::start(directory.path(), &NatsOptions { max_payload: 1 << 20, ..NatsOptions::default() }).unwrap();
    let bus = connect(&server).await;
    let fence = fence(Stream::Raw, "raw.a.x", "raw.a.>");
    let refused = bus.append(&fence, 0, outgoing("1", 2 << 20)).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    let mut wide = outgoing("1", 10);
    wide.headers.source = "x".repeat(40_000);
    let refused = bus.append(&fence, 0, wide.clone()).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    wide.headers.source = "x".repeat(30_000);
    bus.append(&fence, 0, wide).await.unwrap();
    assert!(bus.append(&fence, 1, outgoing("2", 1_000_000)).await.is_ok());
    let mut reader = bus.read(Stream::Raw, &filter(">"), 1).await.unwrap();
    assert_eq!(reader.next().await.unwrap().body.len(), 1_000_000);
}

#[tokio::test]
async fn a_disk_too_small_is_said_at_the_start() {
    let directory = TempDir::new().unwrap();
    let small = NatsOptions { max_file_store: 100 << 20, ..NatsOptions::default() };
    let server = NatsServer::start(directory.path(), &small).unwrap();
    let error = Nats::connect(&server.url(), &options()).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("EVT") && error.contains("storage"), "{error}");
}

async fn set_floor(bus: &dyn Bus, reader: &str, sequence: Sequence) {
    let incarnation = bus.info(Stream::Evt).await.unwrap().incarnation;
    let position = Position { incarnation, sequence, id: String::new() };
    for partition in ["0", "1", "2", "3"] {
        let mut entry = Floors::open(bus).await.unwrap().hold(Stream::Evt, reader, partition).await.unwrap();
        entry.set(Floor { position: position.clone(), books: Books::default() }).await.unwrap();
    }
}

/// A stream of 2 MiB takes several times that, though one of two readers is dead: it can be rebuilt and is passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_reader_stops_nobody() {
    const POSITIONS: u64 = 60;
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let options = Options { max_bytes: MaxBytes::each(2 << 20), ..options() };
    let bus: Arc<dyn Bus> = Arc::new(Nats::connect(&server.url(), &options).await.unwrap());
    let lanes = bus.bucket("lanes").await.unwrap();
    lanes.put(lane(0).as_str(), Bytes::from_static(b"{}"), 0, None).await.unwrap();
    set_floor(bus.as_ref(), "hot", 3).await;
    let readers =
        [("archive", false), ("hot", true)].map(|(name, yields)| TrimReader { name: name.to_owned(), yields }).to_vec();
    let trimmer = Trimmer::open(Arc::clone(&bus), Stream::Evt, readers, 0).await.unwrap();
    let trimming = tokio::spawn(async move {
        loop {
            trimmer.step().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let writing = tokio::spawn(write_lane(Arc::clone(&bus), lane(0), POSITIONS, 100_000, Duration::ZERO));
    let mut live = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    let mut read = 0;
    while read < POSITIONS * 2 {
        let message = tokio::time::timeout(SOON, live.next()).await.expect("the writer stands still").unwrap();
        read += 1;
        assert_eq!(message.sequence, read);
        if read % 5 == 0 {
            set_floor(bus.as_ref(), "archive", read).await;
        }
    }
    writing.await.unwrap();
    trimming.abort();
    assert_eq!(resume(&bus, &lane(0)).await.position().unwrap().sequence, POSITIONS);
    let gaps = bus.bucket("gaps").await.unwrap().list("EVT.hot.").await.unwrap();
    assert!(!gaps.is_empty());
    let mut late = bus.read(Stream::Evt, &filter("evt.>"), 3).await.unwrap();
    let gap = tokio::time::timeout(SOON, late.next()).await.unwrap();
    assert!(matches!(gap, Err(BusError::Gap { expected: 4, .. })), "{gap:?}");
}

/// A reader that is slow gets what it was ahead of the trim with, in order, and then the gap: never a silent skip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overtaken_reader_is_told() {
    const MESSAGES: u64 = 1_500;
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let bus = connect(&server).await;
    let (a, b) = (fence(Stream::Raw, "raw.a.x", "raw.a.>"), fence(Stream::Raw, "raw.b.x", "raw.b.>"));
    let (mut last_a, mut last_b) = (0, 0);
    for _ in 0..MESSAGES / 2 {
        last_a = bus.append(&a, last_a, outgoing("a", 3_000)).await.unwrap();
        last_b = bus.append(&b, last_b, outgoing("b", 3_000)).await.unwrap();
    }
    let mut reader = bus.read(Stream::Raw, &filter("raw.a.>"), 0).await.unwrap();
    assert_eq!(reader.next().await.unwrap().sequence, 1);
    let kept = [filter("raw.a.>"), filter("raw.b.>")];
    assert_eq!(bus.trim(Stream::Raw, MESSAGES - 200, &kept).await.unwrap(), MESSAGES - 200);
    let mut expected = 3;
    let gap = loop {
        match tokio::time::timeout(SOON, reader.next()).await.unwrap() {
            Ok(message) => assert_eq!(message.sequence, expected),
            Err(error) => break error,
        }
        expected += 2;
        assert!(expected < MESSAGES - 200, "no gap");
    };
    // Everything between the last message and the gap may be of other lanes.
    let BusError::Gap { expected: missed, found, .. } = gap else { panic!("{gap}") };
    assert!(missed <= expected && missed + 1 >= expected && found == MESSAGES - 200, "{missed} {expected} {found}");
}

#[tokio::test]
async fn idle_lanes_hold_no_trim_back() {
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let bus = connect(&server).await;
    let (idle, busy) = (fence(Stream::Raw, "raw.i.x", "raw.i.>"), fence(Stream::Raw, "raw.b.x", "raw.b.>"));
    let last_idle = fill(&bus, &idle, 0, 3, 100).await;
    let mut last = 0;
    let kept = [filter("raw.i.>"), filter("raw.b.>")];
    for round in 1..=3 {
        last = fill(&bus, &busy, last, 300, 1_000).await;
        assert_eq!(bus.trim(Stream::Raw, last - 50, &kept).await.unwrap(), last - 50, "round {round}");
        let info = bus.info(Stream::Raw).await.unwrap();
        assert_eq!((info.messages, info.first, info.last), (52, last - 50, last));
        let found = bus.last(Stream::Raw, &filter("raw.i.>")).await.unwrap().unwrap();
        assert_eq!(found.sequence, last_idle);
    }
    assert!(bus.append(&idle, 0, outgoing("stale", 1)).await.is_err());
    let mut reader = bus.read(Stream::Raw, &filter("raw.i.>"), last_idle).await.unwrap();
    assert!(reader.try_next().await.unwrap().is_none());
    bus.append(&idle, last_idle, outgoing("4", 1)).await.unwrap();
    assert_eq!(reader.next().await.unwrap().headers.id, "4");
}
