//! Records pushed over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::time::Duration;

use atalaya_model::LIVE_DOMAIN;
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::ingest_v1::{Format, PushRequest, PushResponse};
use atalaya_proto::raw_v1::Entry;
use bytes::Bytes;
use support::{READER, Rig, Running, SENSOR, bearing};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

struct Sender {
    requests: mpsc::Sender<PushRequest>,
    answers: Streaming<PushResponse>,
}

fn batch(sequence: u64, range: std::ops::Range<u32>) -> PushRequest {
    PushRequest {
        producer: "sensor-1".into(),
        sequence,
        format: Format::JsonLines.into(),
        records: range.map(|n| Bytes::from(format!("{{\"n\":{n}}}"))).collect(),
        ..PushRequest::default()
    }
}

async fn connect(client: &mut IngestClient<Channel>, secret: &str, first: PushRequest) -> Result<Sender, Status> {
    let (requests, receiver) = mpsc::channel(64);
    requests.send(first).await.unwrap();
    let answers = client.push(bearing(ReceiverStream::new(receiver), secret)).await?.into_inner();
    Ok(Sender { requests, answers })
}

async fn sender(running: &Running, first: PushRequest) -> Sender {
    connect(&mut running.client().await, SENSOR, first).await.unwrap()
}

impl Sender {
    async fn answer(&mut self) -> Result<(u64, u64, u64), Status> {
        let answer = self.answers.message().await?.expect("the stream ended without an answer");
        Ok((answer.sequence, answer.accepted, answer.known))
    }

    async fn send(&mut self, request: PushRequest) -> Result<(u64, u64, u64), Status> {
        self.requests.send(request).await.unwrap();
        self.answer().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_admitted_once_whatever_happens() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut first = sender(&running, batch(1, 0..3)).await;
    assert_eq!(first.answer().await.unwrap(), (1, 3, 0));
    assert_eq!(first.send(batch(1, 0..3)).await.unwrap(), (1, 0, 3));
    assert_eq!(first.send(batch(2, 3..5)).await.unwrap(), (2, 2, 0));
    // A newer stream takes the word; the older one is told.
    let mut second = sender(&running, batch(2, 3..5)).await;
    assert_eq!(second.answer().await.unwrap(), (2, 0, 2));
    assert_eq!(first.answer().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(second.send(batch(3, 5..6)).await.unwrap(), (3, 1, 0));
    running.crash().await;
    let running = rig.start().await;
    let mut third = sender(&running, batch(3, 5..6)).await;
    assert_eq!(third.answer().await.unwrap(), (3, 0, 1));
    assert_eq!(third.send(batch(4, 6..8)).await.unwrap(), (4, 2, 0));
    running.stop().await;
    let running = rig.start().await;
    let raw = running.raw().await;
    let expected: Vec<_> = (0..8).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(raw.records(), expected);
    let counts = raw.counts(LIVE_DOMAIN);
    assert_eq!((counts.received, counts.known), (14, 6));
    let inputs = raw.inputs(LIVE_DOMAIN);
    assert_eq!(inputs.len(), 3);
    for (name, entries) in inputs {
        assert_eq!(
            (name.as_str(), entries.first(), entries.last()),
            ("sensor-1", Some(&Entry::Open), Some(&Entry::Close))
        );
    }
    // The tenant is the token's.
    assert!(raw.0.iter().all(|(body, _)| body.header.tenant == "acme" && body.header.source == "json_lines"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_batches_and_long_records() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut request = batch(1, 0..2_500);
    request.records.insert(1_200, Bytes::from("x".repeat((1 << 20) + 1)));
    let mut sender = sender(&running, request).await;
    let answer = sender.answers.message().await.unwrap().unwrap();
    assert_eq!((answer.accepted, answer.known, answer.dropped), (2_500, 0, 1));
    assert!(answer.reason.contains("record 1201 of 1048577 bytes"), "{}", answer.reason);
    let raw = running.until(|raw| (raw.records().len() == 2_500).then(|| raw.counts(LIVE_DOMAIN))).await;
    assert_eq!((raw.received, raw.dropped), (2_501, 1));
    assert!(running.raw().await.0.iter().all(|(body, _)| body.len() <= 1_000));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_batches_share_messages() {
    let rig = Rig::new();
    let running = rig.start().await;
    let Sender { requests, mut answers } = sender(&running, batch(1, 0..1)).await;
    let sending = tokio::spawn(async move {
        for n in 1..5_000 {
            requests.send(batch(u64::from(n) + 1, n..n + 1)).await.unwrap();
        }
    });
    for sequence in 1..=5_000 {
        assert_eq!(answers.message().await.unwrap().unwrap().sequence, sequence);
    }
    sending.await.unwrap();
    let messages = running.until(|raw| (raw.records().len() == 5_000).then_some(raw.0.len())).await;
    assert!(messages < 2_500, "{messages} messages");
    assert_eq!(answers.message().await.unwrap(), None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_streams_are_refused() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut client = running.client().await;
    for (secret, code) in [("wrong", Code::Unauthenticated), (READER, Code::PermissionDenied)] {
        assert_eq!(connect(&mut client, secret, batch(1, 0..1)).await.err().unwrap().code(), code);
    }
    let refusal = async |first: PushRequest| sender(&running, first).await.answer().await.unwrap_err();
    let gap = refusal(batch(2, 0..1)).await;
    assert_eq!((gap.code(), gap.message()), (Code::OutOfRange, "sequence 2: 1 was expected"));
    for wrong in [
        PushRequest { producer: String::new(), ..batch(1, 0..1) },
        PushRequest { format: 0, ..batch(1, 0..1) },
        PushRequest { source: "a b".into(), ..batch(1, 0..1) },
        PushRequest { sequence: 0, ..batch(1, 0..1) },
        batch(1, 0..10_001),
    ] {
        assert_eq!(refusal(wrong).await.code(), Code::InvalidArgument);
    }
    let mut sender = sender(&running, batch(1, 0..2)).await;
    assert_eq!(sender.answer().await.unwrap(), (1, 2, 0));
    assert_eq!(sender.send(batch(7, 2..3)).await.unwrap_err().message(), "sequence 7: 2 was expected");
    assert_eq!(running.until(|raw| (!raw.records().is_empty()).then(|| raw.records().len())).await, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_says_that_it_is_alive() {
    let rig = Rig::new();
    let running = rig.start().await;
    let zeek = PushRequest {
        format: Format::ZeekJson.into(),
        log_name: "dns".into(),
        source: "edge".into(),
        ..batch(1, 0..1)
    };
    let mut sender = sender(&running, zeek).await;
    assert_eq!(sender.answer().await.unwrap(), (1, 1, 0));
    let alive = |raw: &support::Raw| raw.inputs(LIVE_DOMAIN).iter().any(|(_, said)| said.contains(&Entry::Heartbeat));
    running.until(|raw| alive(raw).then_some(())).await;
    let raw = running.raw().await;
    let (body, message) = raw.0.iter().find(|(body, _)| !body.is_empty()).unwrap();
    assert_eq!((body.header.context.as_slice(), body.header.kind.as_str()), (b"dns".as_slice(), "zeek"));
    assert_eq!(message.subject.token(2), Some("edge"));
    // A drain ends the stream; what comes later belongs to the next run.
    let stopping = tokio::spawn(running.stop());
    assert_eq!(sender.answer().await.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(10), stopping).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_open() {
    let rig = Rig::new();
    let running = rig.start().await;
    let channel = Channel::from_shared(format!("http://{}", running.address)).unwrap().connect().await.unwrap();
    let service = "atalaya.ingest.v1.Ingest".to_owned();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let answer = health.check(tonic_health::pb::HealthCheckRequest { service: service.clone() }).await.unwrap();
    assert_eq!(answer.into_inner().status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_response::MessageResponse};
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|found| found.name == service), "{list:?}");
    running.stop().await;
}
