//! Tables as the first version left them are read, value by value, and appended to exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches};
use atalaya_archive::{Archive, Covered, Feed, Scope, StoredBatch, TableSnapshot, day_name};
use atalaya_model::Class;
use atalaya_schema::{EventBatch, to_stored, value_json};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

/// The tables of every class after one append by version 1. They may never change.
const TABLES: &str = "tables-v1.tar.gz";

const SCOPE: Scope = Scope { feed: Feed::Evt, incarnation: 1_795_500_000_000_001, partition: 14 };

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name)
}

/// The rows that `shared/schema` keeps of version 1: two tenants, every column filled.
fn events(class: Class) -> Arc<EventBatch> {
    let name = format!("../schema/tests/golden/evt-v1-{}.bin", class.name());
    let body = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name));
    Arc::new(EventBatch::decode(&body.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap())
}

/// A class's rows as the message of a sequence.
async fn append(archive: &Archive, class: Class, sequence: u64) -> (u64, u64) {
    let batch = StoredBatch { scope: SCOPE, sequence, events: events(class) };
    let committed = archive.append(class, &[batch], &[Covered { scope: SCOPE, sequence }]).await.unwrap();
    (committed.version, committed.rows)
}

fn open(directory: &Path) -> Archive {
    Archive::open(&format!("file:{}", directory.join("archive").display())).unwrap()
}

/// Packs the directory, or unpacks into it.
fn tar(mode: &str, directory: &Path) {
    let mut tar = Command::new("tar");
    tar.arg(mode).arg(path(TABLES)).arg("-C").arg(directory).arg("archive");
    if mode == "-czf" {
        tar.args(["--owner=0", "--group=0"]);
    }
    assert!(tar.status().unwrap().success());
}

/// Writes the tables if they are missing, with today's code.
#[tokio::test]
#[ignore = "run by hand when a version gets files of its own"]
async fn write_what_is_missing() {
    if path(TABLES).exists() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let archive = open(directory.path());
    for (class, sequence) in Class::ALL.into_iter().zip(1..) {
        append(&archive, class, sequence).await;
    }
    tar("-czf", directory.path());
}

/// Every row of a version, file by file.
async fn rows(archive: &Archive, snapshot: &TableSnapshot) -> Vec<RecordBatch> {
    let mut rows = Vec::new();
    for file in snapshot.files.iter() {
        let body = archive.store().get(&file.path).await.unwrap().bytes().await.unwrap();
        assert_eq!(body.len() as u64, file.bytes, "{}", file.path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(body).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        rows.push(concat_batches(&batches[0].schema(), &batches).unwrap());
    }
    rows
}

/// That a file holds the rows of a class as the message of a sequence, and nothing else.
fn check(class: Class, sequence: u64, found: &RecordBatch) {
    let expected = to_stored(&events(class), SCOPE.partition, sequence).unwrap();
    let mut compared = 0;
    for (field, column) in expected.schema().fields().iter().zip(expected.columns()) {
        let what = format!("{}.{}", class.name(), field.name());
        let Some(found) = found.column_by_name(field.name()) else {
            // A column added since.
            assert_eq!(column.null_count(), column.len(), "{what}");
            continue;
        };
        let plain = |column: &ArrayRef| cast(column, found.data_type()).unwrap_or_else(|_| Arc::clone(column));
        for row in 0..expected.num_rows() {
            let expected = value_json(&plain(column), row);
            assert_eq!(value_json(found, row), expected, "{what} of row {row}");
            compared += usize::from(expected.is_some());
        }
    }
    assert_eq!(found.num_rows(), expected.num_rows());
    assert!(compared > 20, "{}: {compared} values compared", class.name());
}

#[tokio::test]
async fn tables_of_the_first_version_are_read_and_go_on() {
    let directory = TempDir::new().unwrap();
    tar("-xzf", directory.path());
    let archive = open(directory.path());
    for (class, sequence) in Class::ALL.into_iter().zip(1..) {
        let snapshot = archive.snapshot(class).await.unwrap().unwrap();
        assert_eq!((snapshot.version, snapshot.rows(), snapshot.files.len()), (1, 2, 1), "{}", class.name());
        assert_eq!((snapshot.positions.len(), snapshot.position(&SCOPE)), (1, Some(sequence)), "{}", class.name());
        let file = &snapshot.files[0];
        assert_eq!((file.day.map(day_name).as_deref(), file.policy.as_deref()), (Some("2018-03-24"), Some("standard")));
        assert_eq!(file.time_range(), events(class).time_range(), "{}", class.name());
        assert!(file.range("tenant").is_some_and(|range| range.min < range.max), "{:?}", file.range("tenant"));
        check(class, sequence, &rows(&archive, &snapshot).await[0]);

        // What the position covers is not appended again; what comes next is, and stands beside it.
        assert_eq!(append(&archive, class, sequence).await, (1, 0), "{}", class.name());
        assert_eq!(append(&archive, class, sequence + 1).await, (2, 2), "{}", class.name());
        let snapshot = open(directory.path()).snapshot(class).await.unwrap().unwrap();
        assert_eq!((snapshot.version, snapshot.position(&SCOPE)), (2, Some(sequence + 1)));
        let mut files = rows(&archive, &snapshot).await;
        files.sort_by_key(|rows| {
            value_json(rows.column_by_name("evt_seq").unwrap(), 0).and_then(|value| value.as_i64())
        });
        assert_eq!(files.len(), 2, "{}", class.name());
        check(class, sequence, &files[0]);
        check(class, sequence + 1, &files[1]);
    }
}
