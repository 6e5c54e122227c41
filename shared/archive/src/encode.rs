//! Rows of many messages → one Parquet file per day, sorted by tenant and time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use atalaya_model::Class;
use atalaya_schema::col;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::layout::{BLOOM, UNIQUE, day_of};
use crate::stats::{self, ColumnRange};
use crate::{ArchiveError, StoredBatch};

/// Rows put together at a time: bounds the memory beside the rows themselves.
const CHUNK_ROWS: usize = 65_536;

/// zstd: 3 is where more effort stops paying.
const ZSTD_LEVEL: i32 = 3;

/// How often a Bloom filter may say yes although the value is not there; filters are folded to this.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// A file that is not stored yet.
pub(crate) struct Encoded {
    /// The day of every row, in days since 1970.
    pub(crate) day: i32,
    /// The Parquet file.
    pub(crate) body: Bytes,
    /// Rows.
    pub(crate) rows: u64,
    /// What its columns hold.
    pub(crate) ranges: Vec<ColumnRange>,
}

/// Where a row goes and where it comes from; the order of the fields is the order of the files and rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    day: i32,
    tenant: u32,
    time_us: i64,
    batch: u32,
    row: u32,
}

/// Writes the rows as one file per day. CPU-bound: for a blocking thread.
///
/// # Errors
/// If Arrow or Parquet refuse the rows.
pub(crate) fn encode(class: Class, batches: &[StoredBatch]) -> Result<Vec<Encoded>, ArchiveError> {
    let error = |reason: String| ArchiveError::Encode { table: class.name(), reason };
    let places = places(batches);
    let schema = file_schema(class);
    let mut files = Vec::new();
    for places in places.chunk_by(|a, b| a.day == b.day) {
        let file = encode_file(&schema, batches, places).map_err(|e| error(e.to_string()))?;
        files.push(file);
    }
    Ok(files)
}

fn encode_file(schema: &SchemaRef, batches: &[StoredBatch], places: &[Place]) -> parquet::errors::Result<Encoded> {
    let options =
        ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties(schema, places.len())?);
    let mut body = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut body, Arc::clone(schema), options)?;
    for chunk in places.chunks(CHUNK_ROWS) {
        writer.write(&gather(schema, batches, chunk)?)?;
    }
    let metadata = writer.close()?;
    Ok(Encoded {
        day: places.first().map_or(0, |place| place.day),
        rows: places.len() as u64,
        ranges: stats::of_file(schema, &metadata),
        body: body.into(),
    })
}

/// Every row's place, in order.
fn places(batches: &[StoredBatch]) -> Vec<Place> {
    let tenants: BTreeSet<&str> =
        batches.iter().flat_map(|batch| &batch.events.runs).map(|run| run.tenant.as_str()).collect();
    let ranks: BTreeMap<&str, u32> = tenants.into_iter().zip(0..).collect();
    let mut places = Vec::with_capacity(batches.iter().map(|batch| batch.events.rows.num_rows()).sum());
    for (batch, at) in batches.iter().zip(0..) {
        let times = batch.events.rows.column(col::TIME).as_primitive::<TimestampMicrosecondType>();
        for run in &batch.events.runs {
            let tenant = ranks.get(run.tenant.as_str()).copied().unwrap_or_default();
            places.extend((run.first..run.first + run.rows).map(|row| {
                let time_us = times.value(row as usize);
                Place { day: day_of(time_us), tenant, time_us, batch: at, row }
            }));
        }
    }
    places.sort_unstable();
    places
}

/// The columns as they are written: those on the bus, then the position. Parquet stores dictionaries as plain text.
fn file_schema(class: Class) -> SchemaRef {
    let (bus, stored) = (atalaya_schema::arrow_schema(class), atalaya_schema::stored_schema(class));
    let position = stored.fields().iter().skip(bus.fields().len());
    Arc::new(Schema::new(bus.fields().iter().chain(position).cloned().collect::<Vec<_>>()))
}

fn gather(schema: &SchemaRef, batches: &[StoredBatch], places: &[Place]) -> Result<RecordBatch, ArrowError> {
    let indices: Vec<_> = places.iter().map(|place| (place.batch as usize, place.row as usize)).collect();
    let of_batch = |place: &Place| &batches[place.batch as usize];
    let last = schema.fields().len() - 1;
    let columns = schema.fields().iter().enumerate().map(|(at, field)| -> Result<ArrayRef, ArrowError> {
        if at == last {
            let sequence = |place| i64::try_from(of_batch(place).sequence).unwrap_or(i64::MAX);
            return Ok(Arc::new(Int64Array::from_iter_values(places.iter().map(sequence))));
        }
        if at + 1 == last {
            let partition = |place| i32::from(of_batch(place).scope.partition);
            return Ok(Arc::new(Int32Array::from_iter_values(places.iter().map(partition))));
        }
        let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.events.rows.column(at).as_ref()).collect();
        if parts.iter().all(|part| part.null_count() == part.len()) {
            return Ok(new_null_array(field.data_type(), places.len()));
        }
        interleave(&parts, &indices)
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

fn properties(schema: &Schema, rows: usize) -> parquet::errors::Result<WriterProperties> {
    let path = |name: &str| ColumnPath::from(name);
    let sorted = [col::TENANT, col::TIME].map(|column| SortingColumn {
        column_idx: i32::try_from(column).unwrap_or_default(),
        descending: false,
        nulls_first: false,
    });
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorted.to_vec()));
    for name in UNIQUE {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    properties = properties
        .set_column_compression(path("event_id"), Compression::UNCOMPRESSED)
        .set_column_encoding(path("raw_ref"), Encoding::DELTA_BYTE_ARRAY);
    for name in ["time", "ingest_time", "evt_seq"] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in BLOOM.into_iter().filter(|name| schema.column_with_name(name).is_some()) {
        properties = properties
            .set_column_bloom_filter_enabled(path(name), true)
            .set_column_bloom_filter_fpp(path(name), BLOOM_FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(path(name), rows.max(1) as u64);
    }
    Ok(properties.build())
}
