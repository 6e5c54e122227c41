//! SQL and lookups against independent counts over the same file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::atalaya::{Atalaya, records, shared};

const ADDRESS: &str = "10.47.1.100";
const BY_DOMAIN: &str = "select query, count(*) n from dns_activity group by 1 order by n desc, query limit 10";

/// The ten most frequent names, counted without any of our code.
fn expected_names(records: &[Value]) -> Vec<(Option<String>, u64)> {
    let mut counts = BTreeMap::<Option<String>, u64>::new();
    for record in records {
        *counts.entry(record.get("query").and_then(Value::as_str).map(str::to_lowercase)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Nulls last, as SQL has them in ascending order.
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.is_none().cmp(&b.0.is_none())).then(a.0.cmp(&b.0)));
    counts.truncate(10);
    counts
}

fn uids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn both_stores_answer_exactly_with_and_without_a_running_instance() {
    let atalaya = Atalaya::new();
    atalaya.replay(&[&shared("zeek/dns.json.gz")]);
    let records = records("zeek/dns.json.gz");
    let names = expected_names(&records);
    let is_there = |record: &&Value| [&record["id.orig_h"], &record["id.resp_h"]].iter().any(|side| **side == ADDRESS);
    let with_address = records.iter().filter(is_there).count();
    let check = |atalaya: &Atalaya| {
        let rows = atalaya.rows(&["sql", BY_DOMAIN, "--format", "json"]);
        let found = rows
            .iter()
            .map(|row| (row.get("query").and_then(Value::as_str).map(str::to_lowercase), row["n"].as_u64().unwrap()));
        assert_eq!(found.collect::<Vec<_>>(), names);
        let rows = atalaya.rows(&["lookup", "ip", ADDRESS, "--limit", "100000", "--format", "json"]);
        assert_eq!((rows.len(), uids(&rows).len()), (with_address, with_address));
        let times: Vec<_> = rows.iter().map(|row| row["time"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "not newest first");
    };
    check(&atalaya);
    let running = atalaya.start(&atalaya.config(&[]));
    check(&atalaya);
    assert!(running.stop());
}

#[test]
fn the_issues_own_statement_agrees_with_a_count_by_registered_domain() {
    let atalaya = Atalaya::new();
    atalaya.replay(&[&shared("zeek/dns.json.gz")]);
    let by_name = atalaya.rows(&[
        "sql",
        "select query, query_domain, count(*) n from dns_activity group by 1, 2",
        "--format",
        "json",
    ]);
    let mut counts = BTreeMap::<Option<&str>, u64>::new();
    for row in &by_name {
        let (name, domain) =
            (row.get("query").and_then(Value::as_str), row.get("query_domain").and_then(Value::as_str));
        let inside = domain.is_none_or(|domain| name.is_some_and(|name| name.ends_with(domain)));
        assert!(inside, "{name:?} is not below {domain:?}");
        *counts.entry(domain).or_default() += row["n"].as_u64().unwrap();
    }
    let sql = "select query_domain, count(*) n from dns_activity group by 1 order by n desc limit 10";
    for row in atalaya.rows(&["sql", sql, "--format", "json"]) {
        assert_eq!(row["n"].as_u64().unwrap(), counts[&row.get("query_domain").and_then(Value::as_str)]);
    }
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let atalaya = Atalaya::new();
    atalaya.output(&["replay", &shared("zeek/ssh.json.gz"), "--source", "zeek", "--tenant", "acme"]);
    let count = |tenant: &str| {
        let rows =
            atalaya.rows(&["sql", "select count(*) n from authentication", "--format", "json", "--tenant", tenant]);
        rows[0]["n"].as_u64().unwrap()
    };
    assert!(count("acme") > 0);
    assert_eq!((count("default"), count("globex")), (0, 0));
}
