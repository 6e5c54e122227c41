//! Other engines read the tables while they are written: delta-rs from Python, and DuckDB.
#![allow(clippy::unwrap_used, reason = "a test fails so")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use atalaya_archive::{Archive, StoredBatch, day_of};
use atalaya_schema::col;
use common::{CLASS, covered, message};
use serde_json::Value;

const PACKAGES: [&str; 3] = ["deltalake==1.6.6", "duckdb==1.5.5", "duckdb-extension-delta==1.5.5"];

/// What each engine finds in the table.
fn read(packages: &Path, table: &Path, condition: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.py");
    let output = Command::new("python3").env("PYTHONPATH", packages).arg(script).arg(table).arg(condition).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn expect(found: &[Value], messages: &[StoredBatch], wanted: impl Fn(i64) -> bool) {
    let mut expected = serde_json::Map::new();
    let (mut rows, mut sequences, mut ports, mut rtt) = (0u64, 0, 0, 0);
    let (mut queries, mut days) = (BTreeSet::new(), BTreeSet::new());
    for message in messages {
        let batch = &message.events.rows;
        let times = batch.column(col::TIME).as_primitive::<TimestampMicrosecondType>();
        let query = arrow::compute::cast(batch.column(col::dns::QUERY), &arrow::datatypes::DataType::Utf8).unwrap();
        for row in (0..batch.num_rows()).filter(|&row| wanted(times.value(row))) {
            rows += 1;
            sequences += message.sequence;
            ports += batch.column(col::dns::SRC_PORT).as_primitive::<Int32Type>().value(row);
            rtt += batch.column(col::dns::RTT_US).as_primitive::<Int64Type>().value(row);
            days.insert(day_of(times.value(row)));
            queries.insert(query.as_string::<i32>().value(row).to_owned());
        }
    }
    expected.insert("rows".into(), rows.into());
    expected.insert("ids".into(), rows.into());
    expected.insert("sequences".into(), sequences.into());
    expected.insert("queries".into(), queries.len().into());
    expected.insert("days".into(), days.len().into());
    expected.insert("first_tenant".into(), "acme".into());
    expected.insert("last_tenant".into(), "globex".into());
    expected.insert("policy".into(), "standard".into());
    expected.insert("ports".into(), ports.into());
    expected.insert("rtt".into(), rtt.into());
    assert_eq!(found.len(), 2);
    for engine in found {
        for (name, value) in &expected {
            assert_eq!(engine.get(name), Some(value), "{name} by {}: {engine}", engine["engine"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_rs_and_duckdb_find_the_same_rows_while_more_are_written() {
    let packages = atalaya_servers::python(&PACKAGES).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let archive = Archive::open(&format!("file:{}", directory.path().display())).unwrap();
    let table = directory.path().join(CLASS.name());
    let mut messages = Vec::new();
    for sequence in 1..=25 {
        messages.push(message(0, sequence, 40));
        let covered = [covered(0, sequence)];
        archive.append(CLASS, &messages[messages.len() - 1..], &covered).await.unwrap();
        if sequence == 3 {
            expect(&read(&packages, &table, ""), &messages, |_| true);
        }
    }
    let found = read(&packages, &table, "");
    expect(&found, &messages, |_| true);
    assert_eq!(found[0]["version"], 25);
    assert_eq!(found[0]["transactions"], 25, "the position is there for everybody");
    let total: u64 = messages.iter().map(|message| message.events.rows.num_rows() as u64).sum();
    for engine in &found {
        assert_eq!((&engine["answers"], &engine["rows_named"]), (&(2 * total).into(), &total.into()), "{engine}");
    }
    let day = "2026-11-25";
    let noon = "where day = '2026-11-25' and time >= '2026-11-25 00:00:00+00'";
    let of_day = read(&packages, &table, noon);
    expect(&of_day, &messages, |time_us| atalaya_archive::day_name(day_of(time_us)) == day);
}
