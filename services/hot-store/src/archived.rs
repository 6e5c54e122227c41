//! Events as the archive has them, back in the form they are filed in.
//!
//! A large data file is read in lots of messages: first the positions alone, to cut the lots, then the rows of each. The rows
//! of a message in a file become a segment of their own: they are not all of the message where it has events of several
//! days, and its number among the parts of its RAW message is not in the archive. A row that was filed before the gap
//! as well is there twice then, and readers show an event once.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use atalaya_archive::{DataFile, TableSnapshot, day_name};
use atalaya_bus::Gap;
use atalaya_hot::FiledMessage;
use atalaya_model::Class;
use atalaya_schema::{EVT_PARTITION, EVT_SEQ, EventBatch, arrow_schema, col, text_value};
use futures::TryStreamExt;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::data_file::FileReader;

/// Rows read from a file at once, before the message that goes beyond.
pub const MAX_REFILL_ROWS: u64 = 16_384;

/// How far the clocks of bus and archive may be apart, milliseconds.
const CLOCKS_MS: i64 = 60_000;

const RAW_REF: &str = "raw_ref";

/// Which rows: those of a partition of EVT whose sequence is in the gap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The partition.
    pub(crate) partition: u16,
    /// The stream's incarnation, which is when it was created, microseconds since 1970.
    pub(crate) incarnation: u64,
    /// The sequences.
    pub(crate) gap: Gap,
}

impl Wanted {
    fn has(&self, partition: i32, sequence: i64) -> bool {
        partition == i32::from(self.partition)
            && u64::try_from(sequence).is_ok_and(|sequence| (self.gap.from..=self.gap.to).contains(&sequence))
    }

    /// Whether a file may hold such a row. One that is older than the stream holds rows of another one.
    fn may_be_in(&self, file: &DataFile) -> bool {
        let created_ms = i64::try_from(self.incarnation / 1_000).unwrap_or(i64::MAX);
        let overlaps = |column, from: i64, to: i64| {
            file.range(column).is_none_or(|range| {
                let int = |bound: &Option<atalaya_archive::Bound>| bound.as_ref().and_then(|bound| bound.as_int());
                int(&range.min).is_none_or(|min| min <= to) && int(&range.max).is_none_or(|max| max >= from)
            })
        };
        let sequence = |sequence| i64::try_from(sequence).unwrap_or(i64::MAX);
        let partition = i64::from(self.partition);
        file.modified_ms >= created_ms.saturating_sub(CLOCKS_MS)
            && overlaps(EVT_PARTITION, partition, partition)
            && overlaps(EVT_SEQ, sequence(self.gap.from), sequence(self.gap.to))
    }
}

/// The files of a table that may hold such rows.
pub(crate) fn files(snapshot: &TableSnapshot, wanted: &Wanted) -> Vec<Arc<DataFile>> {
    snapshot.files.iter().filter(|file| wanted.may_be_in(file)).cloned().collect()
}

/// Cuts what a file holds into lots: parts of the gap with about [`MAX_REFILL_ROWS`] rows each. A small file is one.
///
/// # Errors
/// If the file cannot be read.
pub(crate) async fn lots(
    store: Arc<dyn ObjectStore>,
    file: Arc<DataFile>,
    wanted: Wanted,
) -> anyhow::Result<Vec<Wanted>> {
    if file.rows <= MAX_REFILL_ROWS {
        return Ok(vec![wanted]);
    }
    let reader = open(store, file).await?;
    let positions = ProjectionMask::columns(reader.parquet_schema(), [EVT_PARTITION, EVT_SEQ]);
    let mut batches = reader.with_projection(positions).build()?;
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    while let Some(batch) = batches.try_next().await? {
        let (partitions, sequences) = positions_of(&batch)?;
        for (partition, sequence) in partitions.iter().zip(sequences) {
            if let (Some(partition), Some(sequence)) = (partition, sequence)
                && wanted.has(partition, sequence)
            {
                *rows.entry(sequence.cast_unsigned()).or_default() += 1;
            }
        }
    }
    Ok(cut(&rows).into_iter().map(|gap| Wanted { gap, ..wanted }).collect())
}

/// Parts of about [`MAX_REFILL_ROWS`] rows, from the rows of each message.
fn cut(rows: &BTreeMap<u64, u64>) -> Vec<Gap> {
    let (mut lots, mut in_lot): (Vec<Gap>, u64) = (Vec::new(), 0);
    for (&sequence, rows) in rows {
        match lots.last_mut().filter(|_| in_lot < MAX_REFILL_ROWS) {
            Some(lot) => lot.to = sequence,
            None => {
                in_lot = 0;
                lots.push(Gap { from: sequence, to: sequence });
            }
        }
        in_lot += rows;
    }
    lots
}

/// The messages of a lot.
///
/// # Errors
/// If the file cannot be read, or holds something else than events.
pub(crate) async fn messages(
    store: Arc<dyn ObjectStore>,
    class: Class,
    file: Arc<DataFile>,
    wanted: Wanted,
) -> anyhow::Result<Vec<FiledMessage>> {
    let day = file.day;
    let reader = open(store, file).await?;
    let positions = ProjectionMask::columns(reader.parquet_schema(), [EVT_PARTITION, EVT_SEQ]);
    let is_wanted = ArrowPredicateFn::new(positions, move |batch| {
        let (partitions, sequences) = positions_of(&batch)?;
        let has = |(partition, sequence): (Option<i32>, Option<i64>)| Some(wanted.has(partition?, sequence?));
        Ok(partitions.iter().zip(sequences).map(|row| Some(has(row).unwrap_or(false))).collect::<BooleanArray>())
    });
    let batches = reader.with_row_filter(RowFilter::new(vec![Box::new(is_wanted)])).build()?;
    let batches: Vec<_> = batches.try_collect().await?;
    let put_together = tokio::task::spawn_blocking(move || put_together(class, day, wanted.partition, &batches));
    put_together.await.context("putting messages together")?
}

async fn open(
    store: Arc<dyn ObjectStore>,
    file: Arc<DataFile>,
) -> anyhow::Result<ParquetRecordBatchStreamBuilder<FileReader>> {
    let path = file.path.clone();
    ParquetRecordBatchStreamBuilder::new(FileReader { store, file }).await.with_context(|| path.to_string())
}

type Positions<'a> = (&'a arrow::array::Int32Array, &'a arrow::array::Int64Array);

fn positions_of(batch: &RecordBatch) -> Result<Positions<'_>, ArrowError> {
    let column = |name: &str| batch.column_by_name(name);
    let partitions = column(EVT_PARTITION).and_then(|column| column.as_primitive_opt::<Int32Type>());
    let sequences = column(EVT_SEQ).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let missing = || ArrowError::SchemaError(format!("columns {EVT_PARTITION} and {EVT_SEQ} are not there"));
    partitions.zip(sequences).ok_or_else(missing)
}

/// The rows of each message. A row without a record behind it came through ALERT, whose sequences are others.
fn put_together(
    class: Class,
    day: Option<i32>,
    partition: u16,
    batches: &[RecordBatch],
) -> anyhow::Result<Vec<FiledMessage>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let rows = concat_batches(&first.schema(), batches)?;
    let records = rows.column_by_name(RAW_REF).context("column raw_ref is not there")?;
    let (_, sequences) = positions_of(&rows)?;
    let mut by_message: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, sequence) in sequences.iter().enumerate() {
        if let Some(sequence) = sequence.filter(|_| records.is_valid(row)) {
            by_message.entry(sequence).or_default().push(u32::try_from(row)?);
        }
    }
    let day = day_name(day.unwrap_or_default());
    let of_message = |(sequence, of_message): (i64, Vec<u32>)| {
        let rows = take_record_batch(&rows, &UInt32Array::from(of_message))?;
        let message = message(class, &day, partition, sequence.cast_unsigned(), &rows);
        message.with_context(|| format!("EVT {sequence} in {} of {day}", class.name()))
    };
    by_message.into_iter().map(of_message).collect()
}

fn message(class: Class, day: &str, partition: u16, sequence: u64, rows: &RecordBatch) -> anyhow::Result<FiledMessage> {
    let batch = EventBatch::new(class, on_the_bus(class, rows)?)?;
    let record = text_value(batch.rows.column(col::RAW_REF).as_ref(), 0).context("no raw_ref")?;
    let raw_id = record.rsplit_once('#').map_or(record, |(raw_id, _)| raw_id).to_owned();
    let received = batch.rows.column(col::INGEST_TIME).as_primitive::<TimestampMicrosecondType>();
    ensure!(received.is_valid(0), "no ingest_time");
    Ok(FiledMessage {
        partition,
        sequence,
        id: format!("{raw_id}/{partition}/{}/archived/{sequence}/{day}", class.name()),
        raw_id,
        received_time_us: received.value(0),
        body: batch.encode(),
        batch: Arc::new(batch),
    })
}

/// Rows of the archive in the columns of the bus; a column that was not known when they were written is empty.
fn on_the_bus(class: Class, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = arrow_schema(class);
    let column = |field: &Arc<arrow::datatypes::Field>| match rows.column_by_name(field.name()) {
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), rows.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}

#[cfg(test)]
mod tests;
