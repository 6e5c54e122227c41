use std::sync::Arc;

use atalaya_bus::{Headers, Subject};
use atalaya_model::{Alert, AlertId, AlertState, Counts, LedgerKey, Level};
use atalaya_proto::dlq_v1::{Parked, ParkedRecords};
use atalaya_proto::raw::Block;
use atalaya_proto::raw_v1::RawHeader;
use bytes::Bytes;

use super::*;
use crate::ledger::ParkedFold;
use crate::ledger::domains::PAST;

pub(crate) fn key(source: &str, domain: &str) -> LedgerKey {
    LedgerKey { source: source.into(), tenant: "acme".into(), domain: domain.into() }
}

pub(crate) fn books(source: &str, domain: &str, counts: Counts) -> Books {
    let mut books = Books::default();
    books.add(&key(source, domain), counts);
    books
}

fn message(stream: Stream, subject: &str, sequence: Sequence, headers: Headers, body: Bytes) -> Message {
    let subject = Subject::new(subject).unwrap();
    Message { stream, subject, sequence, headers: Arc::new(headers), body, decoded: None }
}

fn covers(sequence: Sequence) -> Option<Position> {
    Some(Position { incarnation: 1, sequence, id: String::new() })
}

pub(crate) fn records(lane: &str, sequence: Sequence, domain: &str, received: u64) -> Message {
    let books = books("dns", domain, Counts { received, ..Counts::default() });
    let headers = Headers { books, domain: domain.into(), ..Headers::default() };
    message(Stream::Raw, &format!("raw.{lane}.dns"), sequence, headers, Bytes::new())
}

pub(crate) fn input(lane: &str, sequence: Sequence, domain: &str, entry: Entry, named: u32) -> Message {
    let header = RawHeader { entry: entry.into(), domain_inputs: named, ..RawHeader::default() };
    let headers = Headers { kind: Kind::Input, domain: domain.into(), ..Headers::default() };
    message(Stream::Raw, &format!("raw.{lane}.dns"), sequence, headers, Block::default().encode(header))
}

pub(crate) fn events(place: (u16, &str), sequence: Sequence, raw: Sequence, domain: &str, counts: Counts) -> Message {
    let (partition, lane) = place;
    let books = books("dns", domain, counts);
    let headers = Headers { books, domain: domain.into(), covers: covers(raw), end: true, ..Headers::default() };
    let subject = format!("evt.{partition}.{lane}.dns_activity");
    message(Stream::Evt, &subject, sequence, headers, Bytes::new())
}

pub(crate) fn mark(lane: &str, sequence: Sequence, raw: Sequence) -> Message {
    let headers = Headers { kind: Kind::Mark, covers: covers(raw), end: true, ..Headers::default() };
    message(Stream::Evt, &format!("evt.0.{lane}.mark"), sequence, headers, Bytes::new())
}

pub(crate) fn alerts(partition: u16, sequence: Sequence, evt: Sequence, domain: &str, opened: u64) -> Message {
    let alert = |number: u64| Alert {
        id: AlertId::of("test", &[&number.to_le_bytes()]),
        version: 1,
        state: if number < opened { AlertState::Opened } else { AlertState::Closed },
        tenant: "acme".parse().unwrap(),
        domain: domain.into(),
        rule_id: "scan".into(),
        rule_rev: String::new(),
        rule_author: String::new(),
        title: "Port scan".into(),
        level: Level::High,
        group_key: String::new(),
        entities: Vec::new(),
        time_us: 0,
        window_start_us: 0,
        window_end_us: 0,
        received_time_us: 0,
        event_count: 1,
        evidence: Vec::new(),
        attack_ids: Vec::new(),
        observed: 2.0,
        threshold: 1.0,
        message: String::new(),
        retroactive: false,
    };
    let body = Alerts { alerts: (0..=opened).map(|number| (&alert(number)).into()).collect() };
    let books = books("alerts", domain, Counts { alerts: opened, ..Counts::default() });
    let headers = Headers { books, covers: covers(evt), end: true, ..Headers::default() };
    message(Stream::Alert, &format!("alert.{partition}"), sequence, headers, body.encode_to_vec().into())
}

pub(crate) fn alert_mark(partition: u16, sequence: Sequence, evt: Sequence) -> Message {
    let headers = Headers { kind: Kind::Mark, covers: covers(evt), end: true, ..Headers::default() };
    message(Stream::Alert, &format!("alert.{partition}"), sequence, headers, Bytes::new())
}

fn parked(sequence: Sequence, offset: u64, ordinals: &[u32]) -> Message {
    let record = |&record: &u32| Parked {
        raw_id: format!("c1-0.1.{offset}"),
        record,
        tenant: "acme".into(),
        domain: "live".into(),
        reason: "bad_json".into(),
        ..Parked::default()
    };
    let body = ParkedRecords { records: ordinals.iter().map(record).collect() };
    message(Stream::Dlq, "dlq.normalizer.c1-0", sequence, Headers::default(), body.encode_to_vec().into())
}

pub(crate) fn take<F: Fold>(fold: &mut F, messages: &[Message]) {
    for message in messages {
        let position = Position { incarnation: 1, sequence: message.sequence, id: String::new() };
        fold.take(message, position).unwrap();
    }
}

fn folded<F: Fold>(messages: &[Message]) -> F {
    let mut fold = F::default();
    take(&mut fold, messages);
    fold
}

/// Stored after any message and taken up again, a fold ends as if nothing had been.
fn check_restarts<F: Fold + PartialEq + std::fmt::Debug>(messages: &[Message]) -> F {
    let whole: F = folded(messages);
    for at in 0..=messages.len() {
        let stored = serde_json::to_vec(&folded::<F>(&messages[..at])).unwrap();
        let mut again: F = serde_json::from_slice(&stored).unwrap();
        assert_eq!(again.position().sequence, at.checked_sub(1).map_or(0, |last| messages[last].sequence));
        take(&mut again, &messages[at..]);
        assert_eq!(again, whole, "{at}");
    }
    whole
}

#[test]
fn raw_tells_of_records_and_inputs() {
    let raw: RawFold = check_restarts(&[
        input("c1-0", 1, "r1", Entry::Open, 2),
        records("c1-0", 2, "r1", 10),
        records("c1-1", 3, "live", 5),
        input("c1-1", 4, "r1", Entry::Open, 2),
        input("c1-1", 5, "r1", Entry::Heartbeat, 0),
        input("c1-1", 6, "r1", Entry::Close, 0),
        input("c1-0", 9, "r1", Entry::Close, 0),
    ]);
    let inputs = &raw.inputs["r1"];
    assert_eq!((inputs.named, inputs.opened, inputs.closed), (2, 2, 2));
    assert_eq!(inputs.newest, BTreeMap::from([("c1-0".to_owned(), 9), ("c1-1".to_owned(), 6)]));
    assert_eq!(raw.books.total(|key| key.domain == "r1").received, 10);
    assert!(!raw.inputs.contains_key("live"));
}

#[test]
fn evt_tells_what_is_covered() {
    let counts = Counts { events: 7, normalized: 7, ..Counts::default() };
    let half = |message: Message| {
        let headers = Headers { end: false, ..message.headers.as_ref().clone() };
        Message { headers: Arc::new(headers), ..message }
    };
    let evt: EvtFold = check_restarts(&[
        events((3, "c1-0"), 1, 4, "r1", counts),
        half(events((4, "c1-0"), 2, 5, "r1", counts)),
        mark("c1-1", 3, 8),
    ]);
    assert_eq!(evt.covered, BTreeMap::from([("c1-0".to_owned(), 4), ("c1-1".to_owned(), 8)]));
    assert_eq!(evt.of_domain["r1"], BTreeMap::from([(3, 1), (4, 2)]));
    assert_eq!(evt.newest, BTreeMap::from([(0, 3), (3, 1), (4, 2)]));
    assert_eq!(evt.books.total(|_| true).events, 14);
}

#[test]
fn alert_tells_of_rules_and_passes_actions_over() {
    let action = message(Stream::Alert, "action.acme", 3, Headers::default(), Bytes::from_static(b"x"));
    let alert: AlertFold =
        check_restarts(&[alerts(3, 1, 10, "r1", 2), alert_mark(3, 2, 12), action, alerts(4, 4, 13, "live", 1)]);
    assert_eq!(alert.covered, BTreeMap::from([(3, 12), (4, 13)]));
    assert_eq!(alert.by_rule.by_name(|row| row.domain == "r1"), BTreeMap::from([("Port scan", 2)]));
    assert_eq!((alert.of_domain["r1"][&3], alert.position().sequence), (1, 4));
}

#[test]
fn parked_records_count_once() {
    let fold: ParkedFold = check_restarts(&[
        parked(1, 4, &[0, 2]),
        parked(2, 4, &[2, 3]),
        parked(3, 5, &[0]),
        parked(4, 4, &[0, 2, 3]),
        parked(5, 5, &[0, 1]),
    ]);
    assert_eq!(fold.by_reason.by_name(|_| true), BTreeMap::from([("bad_json", 5)]));
}

#[test]
fn old_domains_are_summed_up() {
    let number = MAX_DOMAINS as u64 + 3;
    let messages: Vec<_> = (1..=number)
        .flat_map(|at| {
            let domain = format!("r{at}");
            [input("c1-0", 2 * at, &domain, Entry::Open, 1), records("c1-0", 2 * at + 1, &domain, 10)]
        })
        .chain([records("c1-0", 9_999, "live", 1)])
        .collect();
    let raw: RawFold = folded(&messages);
    assert_eq!(raw.books.total(|key| key.domain == PAST).received, 30);
    assert_eq!(raw.books.total(|_| true).received, number * 10 + 1);
    assert_eq!((raw.books.iter().count(), raw.inputs.len()), (MAX_DOMAINS + 2, MAX_DOMAINS));
    assert!(!raw.domains.knows("r3") && raw.domains.knows("r4") && raw.domains.knows("live"));
}

#[test]
fn what_cannot_be_read_is_said_and_counted() {
    let mut fold = RawFold::default();
    let mut broken = input("c1-0", 1, "r1", Entry::Open, 1);
    broken.body = Bytes::from_static(&[0xff; 8]);
    let position = Position { incarnation: 1, sequence: 1, id: String::new() };
    assert!(fold.take(&broken, position).is_err());
    assert_eq!(fold.position().sequence, 1);
}
