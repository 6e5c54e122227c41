//! The body of an EVT message, version 1:
//!
//! | part | what |
//! |---|---|
//! | varint | length of the preamble in bytes |
//! | preamble | protobuf: version, class, rows, the runs of tenants, XXH3-64 of the block |
//! | block | one lz4 block with its size prepended, over an uncompressed Arrow IPC stream of one batch |
//!
//! Columns without a value are left out of the stream and come back as nulls, by name: a row mostly uses a part of its
//! columns, and a column added later is null in what was written before. Nothing is parsed unless the checksum fits.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, new_null_array};
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use atalaya_model::Class;
use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::{BatchError, EventBatch, TenantRun, arrow_schema, column_index};

/// The version of the body this code writes; a reader that meets a newer one stops its partition with an alarm.
pub const BODY_VERSION: u32 = 1;

/// Preamble of a body at most, bytes.
pub const MAX_PREAMBLE_BYTES: usize = 1 << 20;

/// Arrow stream of a body at most, bytes, uncompressed.
pub const MAX_STREAM_BYTES: usize = 64 << 20;

/// lz4 cannot make more than this out of one byte.
const MAX_LZ4_RATIO: usize = 255;

/// Arrow buffers start at multiples of this many bytes, so that they need not be copied on arrival.
const ALIGNMENT_BYTES: usize = 8;

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by newer code.
    #[error("an EVT body of version {0}, this program reads up to {BODY_VERSION}: upgrade readers before writers")]
    Newer(u32),
    /// A column this code does not know: written by newer code.
    #[error("the EVT body has a column '{0}' unknown to this program: upgrade readers before writers")]
    UnknownColumn(String),
    /// Larger than anything this code writes.
    #[error("the EVT body's {what} has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Cut off or changed on its way.
    #[error("the EVT body is damaged: {0}")]
    Damaged(String),
    /// The rows are not what the preamble says.
    #[error("the EVT body is damaged: {0}")]
    Rows(#[from] BatchError),
}

#[derive(Clone, PartialEq, Message)]
struct Preamble {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int32, tag = "2")]
    class_uid: i32,
    #[prost(uint32, tag = "3")]
    rows: u32,
    #[prost(message, repeated, tag = "4")]
    runs: Vec<Run>,
    #[prost(fixed64, tag = "5")]
    block_xxh3: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Run {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(uint32, tag = "3")]
    rows: u32,
}

fn damaged(reason: impl Into<String>) -> CodecError {
    CodecError::Damaged(reason.into())
}

impl EventBatch {
    /// The body of an EVT message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let stream = write_stream(&self.rows);
        debug_assert!(stream.is_ok(), "rows of a known schema are written to memory: {stream:?}");
        let block = lz4_flex::block::compress_prepend_size(&stream.unwrap_or_default());
        let runs = self.runs.iter().map(|run| Run {
            tenant: run.tenant.as_str().to_owned(),
            first: run.first,
            rows: run.rows,
        });
        let preamble = Preamble {
            version: BODY_VERSION,
            class_uid: self.class.uid(),
            rows: self.runs.last().map_or(0, |run| run.first + run.rows),
            runs: runs.collect(),
            block_xxh3: xxh3_64(&block),
        };
        let mut body = preamble.encode_length_delimited_to_vec();
        body.extend_from_slice(&block);
        Bytes::from(body)
    }

    /// Reads the body of an EVT message.
    ///
    /// # Errors
    /// If it is damaged, too large, or written by newer code.
    pub fn decode(body: &[u8]) -> Result<Self, CodecError> {
        let (preamble, block) = read_preamble(body)?;
        let class = Class::from_uid(preamble.class_uid)
            .ok_or_else(|| damaged(format!("there is no class {}", preamble.class_uid)))?;
        let rows = read_stream(class, decompress(block)?)?;
        let runs = crate::batch::runs(&rows)?;
        let announced = preamble.runs.iter().map(|run| (run.tenant.as_str(), run.first, run.rows));
        if rows.num_rows() != preamble.rows as usize
            || !announced.eq(runs.iter().map(|run| (run.tenant.as_str(), run.first, run.rows)))
            || !runs.is_sorted_by(|left, right| left.tenant < right.tenant)
        {
            return Err(damaged("the rows are not those of the preamble"));
        }
        Ok(Self { class, rows, runs })
    }
}

/// The runs of a body, without reading its rows.
///
/// # Errors
/// If the preamble is damaged or written by newer code.
pub fn read_runs(body: &[u8]) -> Result<Vec<TenantRun>, CodecError> {
    let (preamble, _) = read_preamble(body)?;
    let runs = preamble.runs.into_iter().map(|run| {
        let tenant = run.tenant.parse().map_err(BatchError::from)?;
        Ok(TenantRun { tenant, first: run.first, rows: run.rows })
    });
    runs.collect()
}

fn read_preamble(body: &[u8]) -> Result<(Preamble, &[u8]), CodecError> {
    let mut rest = body;
    let bytes = prost::decode_length_delimiter(&mut rest).map_err(|error| damaged(error.to_string()))?;
    if bytes > MAX_PREAMBLE_BYTES {
        return Err(CodecError::TooLarge { what: "preamble", bytes, limit: MAX_PREAMBLE_BYTES });
    }
    let (preamble, block) = rest.split_at_checked(bytes).ok_or_else(|| damaged("it ends within its preamble"))?;
    let preamble = Preamble::decode(preamble).map_err(|error| damaged(error.to_string()))?;
    match preamble.version {
        0 => Err(damaged("it has no version")),
        version if version > BODY_VERSION => Err(CodecError::Newer(version)),
        _ if xxh3_64(block) != preamble.block_xxh3 => Err(damaged("the checksum does not fit")),
        _ => Ok((preamble, block)),
    }
}

fn decompress(block: &[u8]) -> Result<Vec<u8>, CodecError> {
    let (bytes, block) = lz4_flex::block::uncompressed_size(block).map_err(|error| damaged(error.to_string()))?;
    if bytes > MAX_STREAM_BYTES {
        return Err(CodecError::TooLarge { what: "Arrow stream", bytes, limit: MAX_STREAM_BYTES });
    }
    if bytes / MAX_LZ4_RATIO > block.len() {
        return Err(damaged("its block is too short for its size"));
    }
    let stream = lz4_flex::block::decompress(block, bytes).map_err(|error| damaged(error.to_string()))?;
    if stream.len() == bytes { Ok(stream) } else { Err(damaged("its block is shorter than its size")) }
}

fn write_stream(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let count = rows.num_rows();
    let filled = (0..rows.num_columns()).filter(|&index| count == 0 || rows.column(index).null_count() < count);
    let rows = rows.project(&filled.collect::<Vec<_>>())?;
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options)?;
    writer.write(&rows)?;
    writer.into_inner()
}

fn read_stream(class: Class, stream: Vec<u8>) -> Result<RecordBatch, CodecError> {
    let mut stream = Buffer::from_vec(stream);
    let mut decoder = StreamDecoder::new();
    let rows = decoder
        .decode(&mut stream)
        .map_err(|error| damaged(error.to_string()))?
        .ok_or_else(|| damaged("it has no rows"))?;
    if decoder.decode(&mut stream).map_err(|error| damaged(error.to_string()))?.is_some() {
        return Err(damaged("it has a second batch"));
    }
    with_all_columns(class, &rows)
}

fn with_all_columns(class: Class, rows: &RecordBatch) -> Result<RecordBatch, CodecError> {
    let schema = arrow_schema(class);
    let mut columns = vec![None; schema.fields().len()];
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let index = column_index(class, field.name()).ok_or_else(|| CodecError::UnknownColumn(field.name().clone()))?;
        columns[index] = Some(Arc::clone(column));
    }
    let nulls = |(index, column): (usize, Option<_>)| {
        column.unwrap_or_else(|| new_null_array(schema.field(index).data_type(), rows.num_rows()))
    };
    let columns = columns.into_iter().enumerate().map(nulls).collect();
    RecordBatch::try_new(schema, columns).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests;
