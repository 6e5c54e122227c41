//! Lanes of writers that never give up, and what must be there when they are through.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{
    Bus, ChainCheck, FencedWriter, Headers, Message, OutputLane, Part, Position, Reader, Stream, Subject, WriteError,
};
use atalaya_model::{Books, LaneId};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::filter;

/// Partitions the lanes write to.
const PARTITIONS: u64 = 4;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn lane(number: usize) -> LaneId {
    format!("c1-{number}").parse().unwrap()
}

pub(crate) fn position(sequence: u64) -> Position {
    Position { incarnation: 1, sequence, id: String::new() }
}

/// The output of a position: one to three parts, without those that are stored.
pub(crate) fn parts(lane: &LaneId, sequence: u64, stored: u64, bytes: usize) -> Vec<Part> {
    let part = |part: u64| Part {
        subject: Subject::new(&format!("evt.{}.{lane}.dns_activity", (sequence + part) % PARTITIONS)).unwrap(),
        headers: Headers { id: format!("{sequence}.{part}"), ..Headers::default() },
        body: Bytes::from(vec![u8::try_from(sequence % 251).unwrap(); bytes]),
        decoded: None,
    };
    (stored..1 + sequence % 3).map(part).collect()
}

pub(crate) async fn resume(bus: &Arc<dyn Bus>, lane: &LaneId) -> FencedWriter {
    loop {
        match FencedWriter::resume(Arc::clone(bus), OutputLane::evt(lane)).await {
            Ok(writer) => return writer,
            Err(WriteError::Bus(_)) => {}
            Err(error) => panic!("{lane}: {error}"),
        }
    }
}

/// Writes up to a position, starting again from the last output whenever the bus does not answer.
pub(crate) async fn write_lane(bus: Arc<dyn Bus>, lane: LaneId, upto: u64, bytes: usize, pause: Duration) {
    let mut writer = resume(&bus, &lane).await;
    loop {
        let sequence = writer.position().map_or(1, |position| position.sequence + 1);
        if sequence > upto {
            return;
        }
        let stored = writer.unfinished().map_or(0, |unfinished| unfinished.stored.len() as u64);
        let parts = parts(&lane, sequence, stored, bytes);
        match writer.write(position(sequence), parts, Books::default()).await {
            Ok(()) => tokio::time::sleep(pause).await,
            Err(WriteError::Bus(_)) => writer = resume(&bus, &lane).await,
            Err(error) => panic!("{lane} at {sequence}: {error}"),
        }
    }
}

/// Starts so many lanes.
pub(crate) fn write_lanes(bus: &Arc<dyn Bus>, lanes: usize, upto: u64, bytes: usize, pause: Duration) -> JoinSet<()> {
    (0..lanes).map(|number| write_lane(Arc::clone(bus), lane(number), upto, bytes, pause)).collect()
}

/// Reads until every lane's last position came, and checks that each message came once, in order, without a hole.
pub(crate) async fn read_lanes(reader: &mut dyn Reader, lanes: usize, upto: u64) -> Vec<Message> {
    let (mut chains, mut messages) = (ChainCheck::new(0), Vec::<Message>::new());
    let mut next: HashMap<String, (u64, u64)> = (0..lanes).map(|number| (lane(number).to_string(), (1, 0))).collect();
    while next.values().any(|&(sequence, _)| sequence <= upto) {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await.expect("nothing came").unwrap();
        chains.check(&message).unwrap();
        assert!(messages.last().is_none_or(|last| last.sequence < message.sequence));
        let (sequence, part) = next.get_mut(message.subject.token(2).unwrap()).unwrap();
        assert_eq!(message.headers.id, format!("{sequence}.{part}"), "{message:?}");
        assert_eq!(message.headers.end, *part == *sequence % 3);
        *part += 1;
        if message.headers.end {
            (*sequence, *part) = (*sequence + 1, 0);
        }
        messages.push(message);
    }
    messages
}

/// Checks what is stored from the start.
pub(crate) async fn check_lanes(bus: &dyn Bus, lanes: usize, upto: u64) {
    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    let messages = read_lanes(reader.as_mut(), lanes, upto).await;
    assert_eq!(bus.info(Stream::Evt).await.unwrap().messages, messages.len() as u64);
}
