//! Every mapping has a sample and the rows expected of it, beside it. `ATALAYA_BLESS=1` writes the expected rows anew.

use std::path::{Path, PathBuf};

use atalaya_proto::raw_v1::RawHeader;
use serde_json::Value;

use crate::common::{Row, header, rows, run, split};

/// Columns that come from the message, not from the mapping.
const OF_THE_MESSAGE: [&str; 6] = ["event_id", "raw_ref", "ingest_time", "tenant", "source", "class_uid"];

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))
}

fn rows_of(kind: &str, sample: &Path) -> Vec<Row> {
    let log = std::fs::read(sample).unwrap();
    let (context, records) = split(&log);
    let header = RawHeader { context, input_name: sample.display().to_string(), ..header(kind) };
    let normalized = run(header, records);
    assert_eq!(normalized.parked, [], "{}", sample.display());
    let mut rows = rows(&normalized);
    rows.iter_mut().for_each(|row| OF_THE_MESSAGE.iter().for_each(|column| drop(row.shift_remove(*column))));
    rows
}

fn expected_of(path: &Path, found: &[Row]) -> Vec<Row> {
    if std::env::var_os("ATALAYA_BLESS").is_some() {
        let lines: Vec<_> = found.iter().map(|row| Value::Object(row.clone()).to_string() + "\n").collect();
        std::fs::write(path, lines.concat()).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_mapping_gives_its_golden_rows() {
    let mut samples = 0;
    for kind in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap()) {
        let kind_name = kind.file_name().into_string().unwrap();
        for file in std::fs::read_dir(kind.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let Some((log, _)) = name.split_once(".sample.") else { continue };
            samples += 1;
            let found = rows_of(&kind_name, &file);
            assert!(!found.is_empty(), "{name}");
            let expected = expected_of(&kind.path().join(format!("{log}.expected.jsonl")), &found);
            assert_eq!(found, expected, "{kind_name}/{name}");
        }
    }
    assert!(samples > 0);
}

#[test]
fn every_mapping_has_a_sample() {
    for kind in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(&kind).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let Some(stem) = name.strip_suffix(".yaml").filter(|stem| *stem != "kind") else { continue };
            let has = |ending: &str| kind.join(format!("{stem}.sample.{ending}")).exists();
            assert!(has("json") || has("log"), "{}", file.display());
        }
    }
}
