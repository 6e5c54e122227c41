//! Real logs: twins in two formats give equal rows, and everything can be read.

use atalaya_proto::raw::MAX_RECORDS_PER_MESSAGE;

use crate::common::{Row, header, rows, run, shared, split};

/// Columns in which twins may differ.
const APART: [&str; 3] = ["event_id", "raw_ref", "ingest_time"];

fn rows_of(path: &str) -> Vec<Row> {
    let log = shared(path);
    let (context, records) = split(&log);
    let mut found = Vec::with_capacity(records.len());
    for records in records.chunks(MAX_RECORDS_PER_MESSAGE) {
        let header = atalaya_proto::raw_v1::RawHeader {
            context: context.clone(),
            input_name: format!("/logs/{path}"),
            ..header("zeek")
        };
        let normalized = run(header, records.iter().copied());
        assert_eq!(normalized.parked, [], "{path}");
        assert_eq!(normalized.counts.normalized as usize, records.len(), "{path}");
        found.extend(rows(&normalized));
    }
    found
}

fn check_twins(log: &str) {
    let (mut tsv, mut json) = (rows_of(&format!("zeek/{log}.log.gz")), rows_of(&format!("zeek/{log}.json.gz")));
    assert_eq!(tsv.len(), json.len());
    for row in tsv.iter_mut().chain(&mut json) {
        APART.iter().for_each(|column| drop(row.remove(*column)));
        assert_eq!(row["log_name"], log);
    }
    for (at, (tsv, json)) in tsv.iter().zip(&json).enumerate() {
        assert_eq!(tsv, json, "{log} record {at}");
    }
}

macro_rules! twins {
    ($($log:ident)+) => {$(
        #[test]
        fn $log() {
            check_twins(stringify!($log));
        }
    )+};
}

mod twins {
    use super::check_twins;

    twins! { dns kerberos notice ntlm rdp smtp ssh ssl syslog }
}

#[test]
fn an_intrusion_is_read_without_anything_parked() {
    for (log, class, count) in [
        ("conn", 4001, 134),
        ("conn-nashua", 4001, 479),
        ("dns", 4003, 32),
        ("http", 4002, 62),
        ("kerberos", 3002, 22),
        ("notice", 0, 1),
        ("ssl", 4001, 2),
        ("weird", 0, 6),
    ] {
        let rows = rows_of(&format!("zeek-apt29/{log}.log"));
        assert!(rows.iter().all(|row| row["class_uid"] == class && row.get("time_quality").is_none()), "{log}");
        assert_eq!(rows.len(), count, "{log}");
    }
}

#[test]
fn numbers_fit_those_counted_elsewhere() {
    let rows = rows_of("zeek/dns.log.gz");
    assert_eq!(rows.len(), 53_615);
    let first = serde_json::Value::Object(rows[0].clone());
    let expected = [
        ("time", "2018-03-24T17:15:20.865716Z"),
        ("src_ip", "10.47.1.100"),
        ("query", "ise.wrccdc.org"),
        ("query_domain", "wrccdc.org"),
        ("query_type", "A"),
        ("rcode", "NOERROR"),
        ("flags", "RD RA"),
        ("vendor", "Zeek"),
        ("parser_version", "zeek/dns@1"),
    ];
    for (column, value) in expected {
        assert_eq!(first[column], value);
    }
    assert_eq!((&first["src_port"], &first["rtt_us"]), (&41_772.into(), &870.into()));
    assert_eq!(first["ttls"], serde_json::json!([2230, 41830]));
    assert_eq!(first["unmapped"]["qclass_name"], "C_INTERNET");
    assert_eq!(first["unmapped"].get("qtype"), None);
    let names: std::collections::HashSet<_> = rows.iter().filter_map(|row| row.get("query")?.as_str()).collect();
    assert!((1_500..1_700).contains(&names.len()), "{}", names.len());
}
