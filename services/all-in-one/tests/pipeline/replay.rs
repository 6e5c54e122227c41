//! What is taken in is there once, and the books say so.

use crate::atalaya::{Atalaya, shared};

const DNS_RECORDS: u64 = 53_615;

fn of(report: &std::collections::BTreeMap<String, serde_json::Value>, name: &str) -> u64 {
    report[name].as_u64().unwrap()
}

#[test]
fn a_log_is_taken_in_once_in_either_format() {
    for name in ["zeek/dns.json.gz", "zeek/dns.log.gz"] {
        let atalaya = Atalaya::new();
        let first = atalaya.replay(&[&shared(name)]);
        assert_eq!(of(&first, "received"), DNS_RECORDS, "{name}");
        assert_eq!(of(&first, "archived") + of(&first, "parked"), DNS_RECORDS, "{name}");
        assert_eq!((of(&first, "known"), of(&first, "hot")), (0, of(&first, "archived")), "{name}");
        let again = atalaya.replay(&[&shared(name)]);
        assert_eq!((of(&again, "received"), of(&again, "known")), (DNS_RECORDS, DNS_RECORDS), "{name}");
        assert_eq!((of(&again, "archived"), of(&again, "hot"), of(&again, "alerts")), (0, 0, 0), "{name}");
        let rows = atalaya.rows(&["sql", "select count(*) n from dns_activity", "--format", "json"]);
        assert_eq!(rows[0]["n"], DNS_RECORDS, "{name}");
    }
}

#[test]
fn every_log_of_an_intrusion_is_taken_in() {
    let directory = shared("zeek-apt29");
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().lines().count() as u64;
    let logs = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let records: u64 =
        logs.filter(|path| path.extension().is_some_and(|ending| ending == "log")).map(|path| lines(&path)).sum();
    let atalaya = Atalaya::new();
    let report = atalaya.replay(&[&format!("{directory}/*.log")]);
    assert_eq!((of(&report, "received"), of(&report, "archived")), (records, records));
    assert_eq!(of(&report, "parked"), 0);
}

#[test]
fn broken_lines_are_parked_with_line_and_reason() {
    let atalaya = Atalaya::new();
    let path = atalaya.path("dns.log");
    let good = |second: u32| {
        format!(
            "{{\"_path\":\"dns\",\"ts\":{second}.5,\"uid\":\"C{second}\",\"id.orig_h\":\"10.0.0.1\",\"id.orig_p\":5353,\"id.resp_h\":\"10.0.0.2\",\"id.resp_p\":53,\"query\":\"a.example\"}}"
        )
    };
    let lines = [
        good(1_700_000_000),
        "{\"broken\":".to_owned(),
        good(1_700_000_001),
        "no json at all".to_owned(),
        good(1_700_000_002),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let report = atalaya.replay(&[path.to_str().unwrap()]);
    assert_eq!((of(&report, "received"), of(&report, "archived"), of(&report, "parked")), (5, 3, 2));
    let reasons = report["parked_by_reason"].as_object().unwrap();
    assert_eq!(reasons.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 2, "{reasons:?}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_stays() {
    let atalaya = Atalaya::new();
    let (good, cut) = (shared("zeek/ssh.json.gz"), atalaya.path("cut.json.gz"));
    let whole = std::fs::read(shared("zeek/dns.json.gz")).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let output = atalaya.run(&["replay", &good, cut.to_str().unwrap(), "--source", "zeek", "--json"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cut.json.gz"), "{error}");
    let rows = atalaya.rows(&["sql", "select count(*) n from authentication", "--format", "json"]);
    assert!(rows[0]["n"].as_u64().unwrap() > 0);
    let missing = atalaya.run(&["replay", "/nowhere/x.log", "--source", "zeek"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere/x.log"));
}
