//! Rows that the archive holds already, by their event ids: for logs that were written again after a repair.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use atalaya_model::Class;
use atalaya_schema::{EventBatch, col};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::layout::day_of;
use crate::{Archive, ArchiveError, DataFile, StoredBatch, TableSnapshot};

const EVENT_ID: &str = "event_id";
const INGEST_TIME: &str = "ingest_time";

/// Files read at a time.
const PARALLEL_FILES: usize = 4;

type Id = [u8; 16];
type Ids = HashSet<Id>;

/// Where rows with the same event ids can be: the same event has the same times, however often it is written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reach {
    days: BTreeSet<i32>,
    /// When the rows were received, microseconds since 1970: smallest and largest.
    received_us: Option<(i64, i64)>,
}

impl Reach {
    fn add(&mut self, events: &EventBatch) {
        let Some((min, max)) = received(events) else { return };
        let (low, high) = self.received_us.unwrap_or((min, max));
        self.received_us = Some((low.min(min), high.max(max)));
        let times = events.rows.column(col::TIME).as_primitive::<TimestampMicrosecondType>();
        self.days.extend(times.values().iter().map(|time_us| day_of(*time_us)));
    }

    fn meets(&self, file: &DataFile) -> bool {
        let Some((low, high)) = self.received_us else { return false };
        let range = file.range(INGEST_TIME);
        let bound = |bound: Option<&crate::Bound>| bound.and_then(crate::Bound::as_int);
        file.day.is_none_or(|day| self.days.contains(&day))
            && bound(range.and_then(|range| range.min.as_ref())).is_none_or(|min| min <= high)
            && bound(range.and_then(|range| range.max.as_ref())).is_none_or(|max| max >= low)
    }
}

/// When the rows were received: smallest and largest.
fn received(events: &EventBatch) -> Option<(i64, i64)> {
    let times = events.rows.column(col::INGEST_TIME).as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((arrow::compute::min(times)?, arrow::compute::max(times)?))
}

impl Archive {
    /// Leaves out the rows of a class that its table holds already, by their event ids. Only messages with a row
    /// received before a time are looked at, the others stay as they are. Answers with how many rows were left out, too.
    ///
    /// # Errors
    /// If the store does not answer, or a file cannot be read.
    pub async fn without_held(
        &self,
        class: Class,
        mut batches: Vec<StoredBatch>,
        before_us: i64,
    ) -> Result<(Vec<StoredBatch>, u64), ArchiveError> {
        let concerned = |batch: &StoredBatch| received(&batch.events).is_some_and(|(min, _)| min < before_us);
        let mut reach = Reach::default();
        batches.iter().filter(|batch| concerned(batch)).for_each(|batch| reach.add(&batch.events));
        if reach.received_us.is_none() {
            return Ok((batches, 0));
        }
        let Some(snapshot) = self.snapshot(class).await? else { return Ok((batches, 0)) };
        let held = self.ids(&snapshot, &reach).await?;
        let error = |reason: String| ArchiveError::Encode { table: class.name(), reason };
        let mut dropped = 0;
        for batch in batches.iter_mut().filter(|batch| concerned(batch)) {
            let before = batch.events.rows.num_rows();
            let rows = without(&batch.events.rows, &held).map_err(|reason| error(reason.to_string()))?;
            if rows.num_rows() < before {
                dropped += (before - rows.num_rows()) as u64;
                let events = EventBatch::new(class, rows).map_err(|reason| error(reason.to_string()))?;
                batch.events = Arc::new(events);
            }
        }
        Ok((batches, dropped))
    }

    async fn ids(&self, snapshot: &TableSnapshot, reach: &Reach) -> Result<Ids, ArchiveError> {
        let table = snapshot.class.name();
        let files: Vec<_> = snapshot.files.iter().filter(|file| reach.meets(file)).cloned().collect();
        let read = files.into_iter().map(|file| async move {
            let body = self.root.store.get(&file.path).await?.bytes().await?;
            let ids = tokio::task::spawn_blocking(move || ids_of(body)).await.map_err(|error| error.to_string());
            let ids = ids.and_then(|ids| ids.map_err(|error| error.to_string()));
            ids.map_err(|reason| ArchiveError::Encode { table, reason: format!("{}: {reason}", file.path) })
        });
        let found: Vec<Ids> = stream::iter(read).buffer_unordered(PARALLEL_FILES).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// The event ids of a Parquet file.
fn ids_of(body: Bytes) -> parquet::errors::Result<Ids> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(body)?;
    let columns = ProjectionMask::columns(reader.parquet_schema(), [EVENT_ID]);
    let mut ids = Ids::new();
    for batch in reader.with_projection(columns).build()? {
        let batch = batch?;
        if let Some(column) = batch.column(0).as_binary_opt::<i32>() {
            ids.extend(column.iter().flatten().filter_map(|id| Id::try_from(id).ok()));
        }
    }
    Ok(ids)
}

fn without(rows: &RecordBatch, held: &Ids) -> Result<RecordBatch, ArrowError> {
    let ids = rows.column(col::EVENT_ID).as_binary::<i32>();
    let is_held = |id: Option<&[u8]>| id.and_then(|id| Id::try_from(id).ok()).is_some_and(|id| held.contains(&id));
    let new: BooleanArray = ids.iter().map(|id| Some(!is_held(id))).collect();
    filter_record_batch(rows, &new)
}
