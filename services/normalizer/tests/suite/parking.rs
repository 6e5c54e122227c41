//! Records that cannot be read are parked with line and reason; the others go on.

use atalaya_proto::raw_v1::RawHeader;

use crate::common::{header, rows, run};

const GOOD: &[u8] = br#"{"_path":"dns","ts":1521911720.865716,"id.orig_h":"10.0.0.1","query":"a.example.com"}"#;

const TSV: &[u8] =
    b"#separator \\x09\n#path\tdns\n#fields\tts\tid.orig_h\tid.orig_p\tquery\n#types\ttime\taddr\tport\tstring\n";

fn check(header: RawHeader, records: &[(&[u8], Option<&str>)]) {
    let line = header.first_line;
    let normalized = run(header, records.iter().map(|(record, _)| *record));
    let expected: Vec<_> = (line..).zip(records).filter_map(|(line, (_, reason))| Some((line, (*reason)?))).collect();
    let found: Vec<_> = normalized.parked.iter().map(|parked| (parked.line, parked.reason.as_str())).collect();
    assert_eq!(found, expected);
    for parked in &normalized.parked {
        let (record, _) = records[parked.record as usize];
        assert_eq!(parked.payload, record);
        assert!(!parked.detail.is_empty() && parked.raw_id == "c1-0.1700000000000.7", "{parked:?}");
    }
}

#[test]
fn broken_json_is_parked() {
    check(
        RawHeader { first_line: 41, ..header("zeek") },
        &[
            (GOOD, None),
            (br#"{"_path":"dns","ts":15219"#, Some("bad_json")),
            (b"[1,2]", Some("not_an_object")),
            (b"hello", Some("bad_json")),
            (br#"{"_path":"dns","id.orig_h":"10.0.0.1"}"#, Some("missing_time")),
            (br#"{"_path":"dns","ts":"yesterday"}"#, Some("bad_time")),
            (br#"{"_path":"dns","ts":true}"#, Some("bad_time")),
            (br#"{"_path":"dns","ts":1,"id.orig_h":"10.0.0.256"}"#, Some("bad_value")),
            (br#"{"_path":"dns","ts":1,"id.orig_p":65536}"#, Some("bad_value")),
            (br#"{"_path":"dns","ts":1,"TTLs":["x"]}"#, Some("bad_value")),
            (b"{\"_path\":\"dns\",\"ts\":1,\"query\":\"\xff\"}", Some("bad_utf8")),
            (GOOD, None),
        ],
    );
}

#[test]
fn broken_lines_are_parked() {
    check(
        RawHeader { context: TSV.into(), first_line: 5, ..header("zeek") },
        &[
            (b"1521911720.865716\t10.0.0.1\t53\ta", None),
            (b"1521911720.865716\t10.0.0.1", Some("bad_field_count")),
            (b"1521911720.865716\t10.0.0.1\t53\ta\tb", Some("bad_field_count")),
            (b"x\t10.0.0.1\t53\ta", Some("bad_time")),
            (b"-\t10.0.0.1\t53\ta", Some("missing_time")),
            (b"1521911720.865716\tnowhere\t53\ta", Some("bad_value")),
            (b"1521911720.865716\t10.0.0.1\tport\ta", Some("bad_value")),
            (b"1521911720.865716\t10.0.0.1\t53\t\xfe", Some("bad_utf8")),
            (b"1521911720.865716\t-\t-\t-", None),
        ],
    );
}

#[test]
fn what_no_reader_fits_is_parked() {
    check(header("carrier_pigeon"), &[(GOOD, Some("unknown_kind"))]);
    check(header("zeek"), &[(b"1521911720.865716\t10.0.0.1\t53\ta", Some("no_header"))]);
    check(
        RawHeader { context: b"#separator \\x09\n".as_slice().into(), ..header("zeek") },
        &[(b"1\t2", Some("bad_header"))],
    );
    check(header("ocsf"), &[(br#"{"class_uid":4001}"#, Some("missing_time")), (b"{", Some("bad_json"))]);
}

#[test]
fn long_records_are_parked_and_cut() {
    let record = vec![b' '; atalaya_normalizer::MAX_RECORD_BYTES + 1];
    let normalized = run(header("zeek"), [record.as_slice()]);
    assert_eq!(normalized.parked[0].reason, "too_large");
    assert_eq!(normalized.parked[0].payload.len(), atalaya_normalizer::park::MAX_PAYLOAD_BYTES);
}

#[test]
fn blank_lines_and_comments_are_dropped() {
    let header = RawHeader { context: TSV.into(), ..header("zeek") };
    let normalized = run(header, [b"".as_slice(), b" \r", b"#close\t2024-01-01"]);
    assert_eq!((normalized.counts.dropped, normalized.events.len()), (3, 0));
}

#[test]
fn a_fault_takes_its_own_row_back_and_no_other() {
    let bad = br#"{"_path":"dns","ts":2,"query":"b.example.com","id.orig_p":"x"}"#.as_slice();
    let found = rows(&run(header("zeek"), [bad, GOOD, bad, GOOD, bad]));
    let names: Vec<_> = found.iter().map(|row| row["query"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.example.com"; 2]);
}

#[test]
fn times_that_are_not_believed_are_kept_and_marked() {
    let at = |ts: &str| format!(r#"{{"_path":"dns","ts":{ts}}}"#);
    let mut records: Vec<_> = (0..9).map(|second| at(&format!("1521911720.{second}"))).collect();
    records.push(at("86400"));
    records.push(at("4000000000"));
    let found = rows(&run(header("zeek"), records.iter().map(String::as_bytes)));
    let marks: Vec<_> = found.iter().filter_map(|row| row.get("time_quality")).collect();
    assert_eq!(marks, ["far", "ahead"]);
    assert_eq!(found[9]["time"], "1970-01-02T00:00:00.000000Z");
    let line = rows(&run(header("json_lines"), [br#"{"message":"hello","level":7}"#.as_slice()]));
    assert_eq!((&line[0]["time_quality"], &line[0]["message"]), (&"received".into(), &"hello".into()));
    assert_eq!(line[0]["time"], line[0]["ingest_time"]);
}
