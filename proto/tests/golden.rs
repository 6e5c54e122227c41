//! Bodies as the first version wrote them are read, field by field; and what a newer one adds is passed over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use atalaya_model::{Action, ActionKind, Alert, AlertId, AlertState, EventId, Level};
use atalaya_proto::alert_v1;
use atalaya_proto::dlq_v1::{Parked, ParkedRecords};
use atalaya_proto::raw::{Block, RawBody};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use prost::Message;

/// A field no version knows, of a number none will have: 536870911, a text.
const UNKNOWN_FIELD: [u8; 9] = [0xfa, 0xff, 0xff, 0xff, 0x0f, 3, b'n', b'e', b'w'];

/// Records of the RAW body; line 9 of the input was none.
const RECORDS: [&[u8]; 3] = [br#"{"ts":1521911721.25,"query":"example.com"}"#, b"", b"\xff\x00 no text"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name)
}

/// What was written under a name. The files may never change; a new version gets files of its own.
fn kept(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Writes the files that are missing, with today's code.
#[test]
#[ignore = "run by hand when a version gets files of its own"]
fn write_what_is_missing() {
    let mut block = Block::default();
    RECORDS.iter().for_each(|record| block.push(record));
    let mut files = vec![
        ("raw-v1.bin".to_owned(), block.encode(header()).to_vec()),
        (
            "alerts-v1.bin".to_owned(),
            alert_v1::Alerts { alerts: alerts().iter().map(Into::into).collect() }.encode_to_vec(),
        ),
        ("parked-v1.bin".to_owned(), ParkedRecords { records: vec![parked()] }.encode_to_vec()),
    ];
    let actions = actions().into_iter().map(|(name, action)| (name, alert_v1::Action::from(&action).encode_to_vec()));
    files.extend(actions.map(|(name, body)| (format!("action-v1-{name}.bin"), body)));
    for (name, body) in files.into_iter().filter(|(name, _)| !path(name).exists()) {
        std::fs::write(path(&name), body).unwrap();
    }
}

/// Every field is named, and none has the value it would have if it were not there: a new field is a new line here.
fn header() -> RawHeader {
    RawHeader {
        collector_lane: "c1-0".into(),
        epoch_ms: 1_795_500_000_123,
        offset: 42,
        entry: Entry::Records.into(),
        source: "edge".into(),
        kind: "zeek".into(),
        tenant: "shared".into(),
        domain: "backfill-1795500000123-1".into(),
        received_time_us: 1_795_500_001_000_001,
        input: 17,
        input_name: "/logs/dns.log".into(),
        domain_inputs: 3,
        records: 3,
        first_line: 8,
        line_offsets: vec![0, 2, 3],
        context: b"#fields\tts\tquery".to_vec(),
        known: 5,
        lateness_us: 900_000_000,
        dropped: 1,
    }
}

fn alerts() -> [Alert; 2] {
    let event = |name: &str| EventId::of("golden", &[name.as_bytes()]);
    let opened = Alert {
        id: AlertId::from_slice(&[0xa1; 16]).unwrap(),
        version: 1,
        state: AlertState::Opened,
        tenant: "acme".parse().unwrap(),
        domain: "live".into(),
        rule_id: "network-port-scan".into(),
        rule_rev: "0f1e2d3c".into(),
        rule_author: "Jane Doe".into(),
        title: "Port scan".into(),
        level: Level::High,
        group_key: "src_ip=10.0.0.1,dst_ip=192.0.2.1".into(),
        entities: vec![("src_ip".into(), "10.0.0.1".into()), ("dst_ip".into(), "192.0.2.1".into())],
        time_us: 1_795_500_000_000_007,
        window_start_us: 1_795_499_990_000_001,
        window_end_us: 1_795_500_000_000_007,
        received_time_us: 1_795_500_001_000_001,
        event_count: 100,
        evidence: vec![event("first"), event("last")],
        attack_ids: vec!["T1046".into()],
        observed: 100.5,
        threshold: 100.0,
        message: "10.0.0.1 tried 100 ports — too many".into(),
        retroactive: true,
    };
    let closed =
        Alert { version: 3, state: AlertState::Closed, level: Level::Critical, retroactive: false, ..opened.clone() };
    [opened, closed]
}

fn actions() -> [(&'static str, Action); 5] {
    let action = |kind| Action {
        alert: AlertId::from_slice(&[0xa1; 16]).unwrap(),
        tenant: "acme".parse().unwrap(),
        kind,
        by: "soc".into(),
        at_us: 1_795_500_100_000_009,
    };
    [
        ("acknowledge", action(ActionKind::Acknowledge)),
        ("assign", action(ActionKind::Assign("ana".into()))),
        ("verdict", action(ActionKind::Verdict("false_positive".into()))),
        ("comment", action(ActionKind::Comment("a scanner of ours".into()))),
        ("close", action(ActionKind::Close)),
    ]
}

fn parked() -> Parked {
    Parked {
        raw_id: "c1-0.1795500000123.42".into(),
        record: 2,
        source: "edge".into(),
        kind: "zeek".into(),
        tenant: "shared".into(),
        domain: "live".into(),
        received_time_us: 1_795_500_001_000_001,
        input_name: "/logs/dns.log".into(),
        line: 11,
        reason: "bad_json".into(),
        detail: "no JSON at column 1".into(),
        payload: b"\xff\x00 no text".to_vec(),
        context: b"dns".to_vec(),
    }
}

/// The body, and the same with a field that no version knows behind it, are both read as expected.
fn check<T: PartialEq + Debug>(name: &str, read: impl Fn(&[u8]) -> T, expected: &T) {
    let body = kept(name);
    assert_eq!(&read(&body), expected, "{name}");
    assert_eq!(&read(&[body.as_slice(), &UNKNOWN_FIELD].concat()), expected, "{name} with a field of a newer version");
}

#[test]
fn raw_bodies_are_read() {
    let body = kept("raw-v1.bin");
    let expect = |body: &[u8]| {
        let read = RawBody::decode(body).unwrap();
        assert_eq!(read.header, header());
        assert_eq!(read.records().collect::<Vec<_>>(), RECORDS);
        assert_eq!([0, 1, 2].map(|record| read.line_of(record)), [8, 10, 11]);
    };
    expect(&body);
    let mut rest = body.as_slice();
    let length = prost::decode_length_delimiter(&mut rest).unwrap();
    let (head, block) = rest.split_at(length);
    let mut newer = Vec::new();
    prost::encode_length_delimiter(length + UNKNOWN_FIELD.len(), &mut newer).unwrap();
    expect(&[newer.as_slice(), head, &UNKNOWN_FIELD, block].concat());
}

#[test]
fn alert_bodies_are_read() {
    let read = |body: &[u8]| {
        let alerts = alert_v1::Alerts::decode(body).unwrap().alerts.into_iter();
        alerts.map(|alert| Alert::try_from(alert).unwrap()).collect::<Vec<_>>()
    };
    check("alerts-v1.bin", read, &alerts().to_vec());
}

#[test]
fn action_bodies_are_read() {
    for (name, action) in actions() {
        let read = |body: &[u8]| Action::try_from(alert_v1::Action::decode(body).unwrap()).unwrap();
        check(&format!("action-v1-{name}.bin"), read, &action);
    }
}

#[test]
fn parked_records_are_read() {
    check("parked-v1.bin", |body| ParkedRecords::decode(body).unwrap(), &ParkedRecords { records: vec![parked()] });
}

/// What a newer version means by a state or an action that this one does not know is not guessed.
#[test]
fn what_cannot_be_understood_is_refused() {
    let mut alert = alert_v1::Alert::from(&alerts()[0]);
    alert.state = 99;
    let refused = Alert::try_from(alert_v1::Alert::decode(alert.encode_to_vec().as_slice()).unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "alert: field state is missing or wrong");
    let mut action = alert_v1::Action::from(&actions()[0].1);
    action.kind = None;
    let body = [action.encode_to_vec().as_slice(), &UNKNOWN_FIELD].concat();
    let refused = Action::try_from(alert_v1::Action::decode(body.as_slice()).unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "action: field kind is missing or wrong");
}
