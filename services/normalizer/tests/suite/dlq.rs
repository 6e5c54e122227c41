//! A DLQ that is away for a while, and one that is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atalaya_bus::journal::Options;
use atalaya_bus::{
    AppendError, Bucket, Bus, BusError, Fence, FencedWriter, Filter, Floors, Headers, Message, Outgoing, OutputLane,
    Part, Position, Reader, Sequence, Stream, StreamInfo,
};
use atalaya_chassis::Shutdown;
use atalaya_model::{Books, Counts};
use atalaya_normalizer::run;
use atalaya_testkit::TestBus;

use crate::worker::{BROKEN, Lane, ROUNDS, check, config, deps, done, lane};

const PATIENCE: Duration = Duration::from_secs(30);

/// A bus whose DLQ can be away.
struct AwayDlq {
    bus: Arc<dyn Bus>,
    away: AtomicBool,
}

impl AwayDlq {
    fn look(&self, stream: Stream) -> Result<(), BusError> {
        let away = stream == Stream::Dlq && self.away.load(Ordering::Relaxed);
        if away { Err(BusError::Io("the DLQ is away".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Bus for AwayDlq {
    async fn append(&self, fence: &Fence, expected: Sequence, message: Outgoing) -> Result<Sequence, AppendError> {
        self.look(fence.stream()).map_err(|error| AppendError::Unanswered(error.to_string()))?;
        self.bus.append(fence, expected, message).await
    }

    async fn last(&self, stream: Stream, filter: &Filter) -> Result<Option<Message>, BusError> {
        self.look(stream)?;
        self.bus.last(stream, filter).await
    }

    async fn get(&self, stream: Stream, sequence: Sequence) -> Result<Option<Message>, BusError> {
        self.look(stream)?;
        self.bus.get(stream, sequence).await
    }

    async fn read(&self, stream: Stream, filter: &Filter, after: Sequence) -> Result<Box<dyn Reader>, BusError> {
        self.look(stream)?;
        self.bus.read(stream, filter, after).await
    }

    async fn trim(&self, stream: Stream, before: Sequence, fences: &[Filter]) -> Result<Sequence, BusError> {
        self.look(stream)?;
        self.bus.trim(stream, before, fences).await
    }

    async fn info(&self, stream: Stream) -> Result<StreamInfo, BusError> {
        self.look(stream)?;
        self.bus.info(stream).await
    }

    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, BusError> {
        self.bus.bucket(name).await
    }
}

async fn counts(bus: &TestBus) -> Counts {
    let mut books = Books::default();
    for message in bus.all(Stream::Evt, "evt.>").await.unwrap() {
        books.merge(&message.headers.books);
    }
    books.total(|_| true)
}

/// Nothing is dropped and nothing is covered while the DLQ is away, in this life or the next; then everything is parked.
#[tokio::test(flavor = "multi_thread")]
async fn a_dlq_that_is_away_is_waited_for() {
    let test = TestBus::new().unwrap();
    let mut raw = Lane::open(&test.bus()).await;
    for round in 0..ROUNDS {
        raw.round(round).await;
    }
    let bus = Arc::new(AwayDlq { bus: test.bus(), away: AtomicBool::new(true) });
    for life in 0..2 {
        let (trigger, shutdown) = Shutdown::new();
        let running = tokio::spawn(run(config(), deps(Arc::clone(&bus) as Arc<dyn Bus>), shutdown));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Counts { normalized, parked, dropped, .. } = counts(&test).await;
        assert_eq!((normalized, parked, dropped), (0, 0, 0), "life {life}");
        let floors = Floors::open(test.bus().as_ref()).await.unwrap().all(Stream::Raw).await.unwrap();
        assert!(floors.iter().all(|(.., floor)| floor.position.sequence <= 1), "{floors:?}");
        if life == 1 {
            bus.away.store(false, Ordering::Relaxed);
            tokio::time::timeout(PATIENCE, done(&test.bus())).await.unwrap();
        }
        // A drain does not wait for the DLQ either.
        trigger.request();
        tokio::time::timeout(PATIENCE / 2, running).await.unwrap().unwrap().unwrap();
    }
    check(&test).await;
}

/// What a full DLQ does not take is dropped and counted, and the lane goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_dlq_does_not_take_is_counted() {
    let test = TestBus::with(&Options { sync: false, max_bytes: 4 << 20, ..Options::default() }).unwrap();
    let bus = test.bus();
    fill(&bus).await;
    let before = bus.info(Stream::Dlq).await.unwrap().messages;
    let mut raw = Lane::open(&bus).await;
    for round in 0..ROUNDS {
        raw.round(round).await;
    }
    let (trigger, shutdown) = Shutdown::new();
    let running = tokio::spawn(run(config(), deps(Arc::clone(&bus)), shutdown));
    tokio::time::timeout(PATIENCE, done(&bus)).await.unwrap();
    trigger.request();
    running.await.unwrap().unwrap();
    let Counts { parked, dropped, .. } = counts(&test).await;
    assert_eq!((parked, dropped), (0, (ROUNDS * BROKEN) as u64));
    assert_eq!(bus.info(Stream::Dlq).await.unwrap().messages, before);
}

/// Fills the DLQ to the share from which on nothing is parked.
async fn fill(bus: &Arc<dyn Bus>) {
    let output = OutputLane::dlq("other", lane().as_str());
    let mut writer = FencedWriter::resume(Arc::clone(bus), output.clone()).await.unwrap();
    for sequence in 1.. {
        let info = bus.info(Stream::Dlq).await.unwrap();
        if info.bytes * 100 >= info.max_bytes * 90 {
            return;
        }
        let random: Vec<u8> = (0..16 << 10).map(|at: u64| (((at ^ sequence) * 2_654_435_761) >> 13) as u8).collect();
        let headers = Headers { id: sequence.to_string(), ..Headers::default() };
        let part = Part { subject: output.mark().clone(), headers, body: random.into(), decoded: None };
        let covers = Position { incarnation: 1, sequence, id: sequence.to_string() };
        writer.write(covers, vec![part], Books::default()).await.unwrap();
    }
}
