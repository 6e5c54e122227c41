//! What the archive's tests share: rows to append, rows read back, and a store that fails on demand.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

pub mod dying;
pub mod faulty;
pub mod place;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use atalaya_archive::{Archive, Covered, Feed, Scope, StoredBatch};
use atalaya_model::{Class, EventId};
use atalaya_schema::{EventBatch, Rows, col};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub const CLASS: Class = Class::DnsActivity;
pub const HOUR_US: i64 = 3_600_000_000;
pub const START_US: i64 = 1_795_500_000_000_000;

pub fn scope(partition: u16) -> Scope {
    Scope { feed: Feed::Evt, incarnation: 7, partition }
}

/// A message with `rows` rows of two tenants, half an hour apart.
pub fn message(partition: u16, sequence: u64, rows: u32) -> StoredBatch {
    let mut builder = Rows::new(CLASS);
    for row in 0..rows {
        builder.begin();
        let id = EventId::of("test", &[&partition.to_le_bytes(), &sequence.to_le_bytes(), &row.to_le_bytes()]);
        builder.id(col::EVENT_ID, id.as_bytes());
        builder.text(col::TENANT, if row % 3 == 0 { "globex" } else { "acme" });
        builder.time(col::TIME, START_US + i64::from(rows - row) * HOUR_US / 2);
        builder.text(col::dns::QUERY, &format!("host{}.example.com", row % 10));
        builder.text(col::dns::SRC_IP, &format!("10.0.0.{}", row % 200));
        builder.int32(col::dns::SRC_PORT, 40_000 + i32::try_from(row).unwrap());
        builder.int64(col::dns::RTT_US, i64::from(row) * 1_000_003);
        builder.texts(col::dns::ANSWERS, ["192.0.2.1", "192.0.2.2"].into_iter());
        builder.unmapped("row", &row.to_string());
        builder.end();
    }
    let events = Arc::new(EventBatch::new(CLASS, builder.finish()).unwrap());
    StoredBatch { scope: scope(partition), sequence, events }
}

pub fn covered(partition: u16, sequence: u64) -> Covered {
    Covered { scope: scope(partition), sequence }
}

/// Every row in the table, as stored.
pub async fn read(archive: &Archive) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    let Some(snapshot) = archive.snapshot(CLASS).await.unwrap() else { return batches };
    for file in snapshot.files.iter() {
        let body = archive.store().get(&file.path).await.unwrap().bytes().await.unwrap();
        assert_eq!(body.len() as u64, file.bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(body).unwrap().build().unwrap();
        let of_file: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(of_file.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, file.rows);
        batches.extend(of_file);
    }
    batches
}

/// (partition, sequence, event id) of every row, sorted.
pub async fn identities(archive: &Archive) -> Vec<(i32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    for batch in read(archive).await {
        let ids = batch.column_by_name("event_id").unwrap().as_binary::<i32>().clone();
        let partitions = batch.column_by_name("evt_partition").unwrap().as_primitive::<Int32Type>().clone();
        let sequences = batch.column_by_name("evt_seq").unwrap().as_primitive::<Int64Type>().clone();
        found.extend(
            (0..batch.num_rows()).map(|row| (partitions.value(row), sequences.value(row), ids.value(row).to_vec())),
        );
    }
    found.sort();
    found
}

/// The same of messages that were appended.
pub fn expected(messages: &[StoredBatch]) -> Vec<(i32, i64, Vec<u8>)> {
    let mut expected = Vec::new();
    for message in messages {
        let ids = message.events.rows.column(col::EVENT_ID).as_binary::<i32>();
        let (partition, sequence) = (i32::from(message.scope.partition), i64::try_from(message.sequence).unwrap());
        expected.extend(ids.iter().map(|id| (partition, sequence, id.unwrap().to_vec())));
    }
    expected.sort();
    expected
}

/// Data files in the store, whether a commit names them or not.
pub async fn stored_files(store: &dyn ObjectStore) -> Vec<Path> {
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    let data = all.into_iter().map(|object| object.location);
    data.filter(|path| !path.as_ref().contains("_delta_log") && path.as_ref().ends_with(".parquet")).collect()
}
