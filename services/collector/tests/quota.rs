//! A tenant beyond its quota is slowed, then refused; no other notices. Over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::ops::Range;
use std::time::{Duration, Instant};

use atalaya_model::{LIVE_DOMAIN, Quotas, Rate};
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::ingest_v1::{Format, PushRequest, PushResponse};
use bytes::Bytes;
use support::{OTHER_SENSOR, Rig, SENSOR, bearing};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// How long a test waits for what nothing holds back.
const PATIENCE: Duration = Duration::from_secs(20);

fn rate(per_s: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_s: per_s.try_into().unwrap(), burst: burst.try_into().ok() })
}

fn rig(quotas: Quotas, quota_hold_ms: u64) -> Rig {
    Rig { quotas, quota_hold_ms, ..Rig::new() }
}

fn batch(producer: &str, sequence: u64, range: Range<u32>) -> PushRequest {
    PushRequest {
        producer: producer.into(),
        sequence,
        format: Format::JsonLines.into(),
        records: range.map(|n| Bytes::from(format!("{{\"n\":{n}}}"))).collect(),
        ..PushRequest::default()
    }
}

async fn push(
    mut client: IngestClient<Channel>,
    secret: &str,
    batches: Vec<PushRequest>,
) -> (mpsc::Sender<PushRequest>, Streaming<PushResponse>) {
    let (requests, receiver) = mpsc::channel(batches.len().max(1));
    for batch in batches {
        requests.try_send(batch).unwrap();
    }
    let answers = client.push(bearing(ReceiverStream::new(receiver), secret)).await.unwrap();
    (requests, answers.into_inner())
}

/// The answers of so many batches.
async fn answers(answers: &mut Streaming<PushResponse>, count: usize) -> Result<u64, Status> {
    let mut accepted = 0;
    for _ in 0..count {
        accepted += answers.message().await?.expect("the stream ended without an answer").accepted;
    }
    Ok(accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_beyond_its_quota_is_slowed_and_loses_nothing() {
    let rig = rig(Quotas { records: rate(200, 100), bytes: None }, 30_000);
    let running = rig.start().await;
    let begun = Instant::now();
    // Two streams share what the tenant has: 600 records in 12 batches, 100 at once, 200 a second.
    let mut streams = Vec::new();
    for producer in ["a", "b"] {
        let batches = (0..6).map(|n| batch(producer, u64::from(n) + 1, n * 50..n * 50 + 50)).collect();
        streams.push(push(running.client().await, SENSOR, batches).await);
    }
    // Another tenant's batches are answered meanwhile, each as soon as it is on disk.
    let (requests, mut others) = push(running.client().await, OTHER_SENSOR, Vec::new()).await;
    for n in 0..20 {
        requests.send(batch("c", u64::from(n) + 1, n * 100..n * 100 + 100)).await.unwrap();
        assert_eq!(answers(&mut others, 1).await.unwrap(), 100);
    }
    let other = begun.elapsed();
    for (_, stream) in &mut streams {
        assert_eq!(answers(stream, 6).await.unwrap(), 300);
    }
    let slowed = begun.elapsed();
    assert!(slowed >= Duration::from_millis(2_500), "600 records in {slowed:?}");
    assert!(other < slowed, "2,000 records of another tenant took {other:?}, the slowed one's {slowed:?}");
    let counts = running.until(|raw| (raw.records().len() == 2_600).then(|| raw.counts(LIVE_DOMAIN))).await;
    assert_eq!((counts.received, counts.known, counts.dropped), (2_600, 0, 0));
    running.stop().await;
}

/// HTTP/2 counts what a sender has under way for the connection, too: held streams must leave the others their part.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_on_one_connection_do_not_slow_each_other() {
    let rig = rig(Quotas { records: None, bytes: rate(100_000, 100_000) }, 60_000);
    let running = rig.start().await;
    let client = running.client().await;
    let mut held = Vec::new();
    for stream in 0..8 {
        let producer = format!("p{stream}");
        let record = Bytes::from(vec![b'x'; 100_000]);
        let batches = (1..=20).map(|n| PushRequest { records: vec![record.clone()], ..batch(&producer, n, 0..0) });
        held.push(push(client.clone(), SENSOR, batches.collect()).await);
    }
    // Enough for the held ones to have sent all they may.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let record = Bytes::from(vec![b'y'; 100_000]);
    let batches = (1..=20).map(|n| PushRequest { records: vec![record.clone()], ..batch("other", n, 0..0) });
    let (_requests, mut others) = push(client.clone(), OTHER_SENSOR, batches.collect()).await;
    let accepted = tokio::time::timeout(PATIENCE, answers(&mut others, 20)).await;
    assert_eq!(accepted.expect("held back by another tenant").unwrap(), 20);
    drop(held);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_too_long_is_refused_with_what_to_change() {
    let rig = rig(Quotas { records: rate(10, 10), bytes: None }, 300);
    let running = rig.start().await;
    let batches = vec![batch("a", 1, 0..10), batch("a", 2, 10..20)];
    let (_requests, mut stream) = push(running.client().await, SENSOR, batches).await;
    assert_eq!(answers(&mut stream, 1).await.unwrap(), 10);
    let refused = answers(&mut stream, 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    for part in ["'acme'", "10 records a second (burst 10)", "300ms", "tenants/acme.yaml", "collector.quotas"] {
        assert!(refused.message().contains(part), "{part}: {}", refused.message());
    }
    // It was not taken in, and is when it comes again in time.
    let deadline = Instant::now() + PATIENCE;
    let again = loop {
        let (_requests, mut stream) = push(running.client().await, SENSOR, vec![batch("a", 2, 10..20)]).await;
        match answers(&mut stream, 1).await {
            Ok(accepted) => break accepted,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
        assert!(Instant::now() < deadline, "refused for ever");
    };
    assert_eq!(again, 10);
    let expected: Vec<_> = (0..20).map(|n| format!("{{\"n\":{n}}}")).collect();
    running.until(|raw| (raw.records() == expected).then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_stream_gives_way_to_a_newer_one_and_to_a_drain() {
    let rig = rig(Quotas { records: rate(1, 10), bytes: None }, 600_000);
    let running = rig.start().await;
    let batches = vec![batch("a", 1, 0..10), batch("a", 2, 10..1_000)];
    let (_requests, mut older) = push(running.client().await, SENSOR, batches).await;
    assert_eq!(answers(&mut older, 1).await.unwrap(), 10);
    let (_requests, mut newer) = push(running.client().await, SENSOR, vec![batch("a", 2, 10..1_000)]).await;
    let end = tokio::time::timeout(PATIENCE, answers(&mut older, 1)).await.expect("the older one goes on");
    assert_eq!(end.unwrap_err().code(), Code::Aborted);
    let stopping = tokio::spawn(running.stop());
    let end = tokio::time::timeout(PATIENCE, answers(&mut newer, 1)).await.expect("the newer one goes on");
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(PATIENCE, stopping).await.expect("the drain waits for a quota").unwrap();
}
