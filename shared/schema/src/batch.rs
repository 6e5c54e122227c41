//! The rows of one EVT message, and what is done with them.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use atalaya_model::{Class, ParseTenantError, Tenant};
use bytes::Bytes;

use crate::keyword::KeywordBuilder;
use crate::{CodecError, arrow_schema, col, stored_schema};

/// Rows of one EVT message at most.
pub const MAX_ROWS_PER_MESSAGE: usize = 1_000;

/// Bytes of one EVT message's body at most; a single row may be larger.
pub const MAX_BODY_BYTES: usize = 128 << 10;

/// Rows of a batch that are not an event batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The columns are not those of the class.
    #[error("the columns are not those of {0}")]
    Schema(&'static str),
    /// A row without a tenant.
    #[error("row {0} has no tenant")]
    NoTenant(usize),
    /// A tenant's name that is none.
    #[error(transparent)]
    Tenant(#[from] ParseTenantError),
    /// More rows than can be counted.
    #[error("{0} rows are too many for one batch")]
    Rows(usize),
    /// Arrow refused.
    #[error("rows cannot be put together: {0}")]
    Arrow(#[from] ArrowError),
}

/// The rows of one tenant within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRun {
    /// Whose.
    pub tenant: Tenant,
    /// The first row.
    pub first: u32,
    /// How many rows.
    pub rows: u32,
}

/// Rows of one class, sorted by tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBatch {
    /// The class.
    pub class: Class,
    /// The rows in [`arrow_schema`]'s columns, sorted by tenant.
    pub rows: RecordBatch,
    /// The rows of each tenant, by tenant.
    pub runs: Vec<TenantRun>,
}

impl EventBatch {
    /// A batch of these rows; they are sorted by tenant, within a tenant their order stays.
    ///
    /// # Errors
    /// If the columns are not those of the class, or a row has no valid tenant.
    pub fn new(class: Class, rows: RecordBatch) -> Result<Self, BatchError> {
        let schema = arrow_schema(class);
        if !Arc::ptr_eq(&rows.schema(), &schema) && rows.schema() != schema {
            return Err(BatchError::Schema(class.name()));
        }
        let rows = sort_by_tenant(rows)?;
        let runs = runs(&rows)?;
        Ok(Self { class, rows, runs })
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// One tenant's rows, without copying.
    #[must_use]
    pub fn slice(&self, tenant: &str) -> Option<RecordBatch> {
        let at = self.runs.binary_search_by(|run| run.tenant.as_str().cmp(tenant)).ok()?;
        let run = &self.runs[at];
        Some(self.rows.slice(run.first as usize, run.rows as usize))
    }

    /// The smallest and largest event time, microseconds since 1970; none without a row that has one.
    #[must_use]
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let times = self.rows.column(col::TIME).as_primitive_opt::<TimestampMicrosecondType>()?;
        Some((arrow::compute::min(times)?, arrow::compute::max(times)?))
    }

    /// Batches of at most `max_rows` rows whose bodies have at most `max_bytes` bytes, in order, each with its body.
    /// A single row is never cut, however large. Each batch has only the dictionary values it uses.
    ///
    /// # Errors
    /// If Arrow refuses to cut.
    pub fn split(self, max_rows: usize, max_bytes: usize) -> Result<Vec<(Self, Bytes)>, BatchError> {
        let (rows, max_rows) = (self.rows.num_rows(), max_rows.max(1));
        let mut parts = Vec::with_capacity(rows.div_ceil(max_rows));
        for first in (0..rows).step_by(max_rows) {
            self.part(first, max_rows.min(rows - first))?.halve(max_bytes, &mut parts)?;
        }
        Ok(parts)
    }

    fn halve(self, max_bytes: usize, parts: &mut Vec<(Self, Bytes)>) -> Result<(), BatchError> {
        let (rows, body) = (self.rows.num_rows(), self.encode());
        if rows <= 1 || body.len() <= max_bytes {
            parts.push((self, body));
            return Ok(());
        }
        self.part(0, rows / 2)?.halve(max_bytes, parts)?;
        self.part(rows / 2, rows - rows / 2)?.halve(max_bytes, parts)
    }

    fn part(&self, first: usize, rows: usize) -> Result<Self, BatchError> {
        if rows == self.rows.num_rows() {
            return Ok(self.clone());
        }
        Self::new(self.class, concat(&[self.rows.slice(first, rows)])?)
    }
}

/// The rows of several batches with the same columns, in order. A dictionary of the result has each value once and
/// none that no row uses, so that keys can be compared instead of texts.
///
/// # Errors
/// If there is no batch, or the columns differ.
pub fn concat(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let Some(first) = batches.first() else {
        return Err(ArrowError::InvalidArgumentError("no batch to concatenate".to_owned()));
    };
    if let Some(other) = batches.iter().find(|batch| batch.schema() != first.schema()) {
        let (left, right) = (first.schema(), other.schema());
        return Err(ArrowError::SchemaError(format!("cannot concatenate {left} and {right}")));
    }
    let columns = (0..first.num_columns()).map(|index| {
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        match &arrays[..] {
            arrays if arrays[0].as_dictionary_opt::<Int32Type>().is_some() => concat_keywords(arrays),
            [_] => Ok(Arc::clone(first.column(index))),
            arrays => arrow::compute::concat(arrays),
        }
    });
    RecordBatch::try_new(first.schema(), columns.collect::<Result<_, _>>()?)
}

fn concat_keywords(arrays: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
    let mut builder = KeywordBuilder::new();
    for array in arrays {
        let (array, texts) = keywords(*array)
            .ok_or_else(|| ArrowError::SchemaError(format!("{} is no keyword column", array.data_type())))?;
        let mut keys: Vec<Option<i32>> = vec![None; texts.len()];
        for key in array.keys() {
            let Some(key) = key.map(|key| key as usize).filter(|&key| texts.is_valid(key)) else {
                builder.append_nulls(1);
                continue;
            };
            keys[key] = keys[key].or_else(|| builder.intern(texts.value(key)));
            match keys[key] {
                Some(key) => builder.append_key(key),
                None => builder.append_nulls(1),
            }
        }
    }
    Ok(builder.finish())
}

/// A dictionary of text: keys, and the texts they stand for.
pub(crate) fn keywords(array: &dyn Array) -> Option<(&DictionaryArray<Int32Type>, &StringArray)> {
    let array = array.as_dictionary_opt::<Int32Type>()?;
    Some((array, array.values().as_string_opt::<i32>()?))
}

/// The tenants by name, and for each row which of them it belongs to.
fn tenants(rows: &RecordBatch) -> Result<(Vec<&str>, Vec<u32>), BatchError> {
    let Some((array, texts)) = keywords(rows.column(col::TENANT)) else {
        return Err(BatchError::NoTenant(0));
    };
    let mut names: Vec<_> = texts.iter().flatten().collect();
    names.sort_unstable();
    names.dedup();
    let ranks: Vec<_> = texts.iter().map(|text| names.binary_search(&text?).ok().map(|rank| rank as u32)).collect();
    let rank = |(row, key): (usize, Option<i32>)| {
        key.and_then(|key| ranks.get(key as usize).copied().flatten()).ok_or(BatchError::NoTenant(row))
    };
    let of_rows = array.keys().iter().enumerate().map(rank).collect::<Result<Vec<_>, _>>()?;
    Ok((names, of_rows))
}

fn sort_by_tenant(rows: RecordBatch) -> Result<RecordBatch, BatchError> {
    let (_, of_rows) = tenants(&rows)?;
    if of_rows.is_sorted() {
        return Ok(rows);
    }
    let count = u32::try_from(of_rows.len()).map_err(|_| BatchError::Rows(of_rows.len()))?;
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by_key(|&row| of_rows[row as usize]);
    Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
}

/// The runs of rows that are sorted by tenant.
pub(crate) fn runs(rows: &RecordBatch) -> Result<Vec<TenantRun>, BatchError> {
    let (names, of_rows) = tenants(rows)?;
    let count = |rows: usize| u32::try_from(rows).map_err(|_| BatchError::Rows(rows));
    let mut first = 0;
    let mut runs = Vec::new();
    for run in of_rows.chunk_by(|left, right| left == right) {
        let tenant = names[run[0] as usize].parse()?;
        runs.push(TenantRun { tenant, first: count(first)?, rows: count(run.len())? });
        first += run.len();
    }
    Ok(runs)
}

/// The rows in [`stored_schema`]: dictionaries unpacked, and where each row stood on the bus.
///
/// # Errors
/// If Arrow refuses.
pub fn to_stored(batch: &EventBatch, partition: u16, sequence: u64) -> Result<RecordBatch, BatchError> {
    let rows = batch.rows.num_rows();
    let sequence = i64::try_from(sequence)
        .map_err(|_| ArrowError::InvalidArgumentError(format!("sequence {sequence} is beyond 63 bits")))?;
    let unpacked = batch.rows.columns().iter().map(|array| match keywords(array) {
        Some(_) => cast(array, &DataType::Utf8),
        None => Ok(Arc::clone(array)),
    });
    let mut columns = unpacked.collect::<Result<Vec<_>, _>>()?;
    columns.push(Arc::new(Int32Array::from(vec![i32::from(partition); rows])));
    columns.push(Arc::new(Int64Array::from(vec![sequence; rows])));
    Ok(RecordBatch::try_new(stored_schema(batch.class), columns)?)
}

/// The batch of a message: the one its writer handed on, or else its body decoded.
///
/// # Errors
/// If the body must be decoded and cannot be.
pub fn batch_of(decoded: Option<&Arc<dyn Any + Send + Sync>>, body: &[u8]) -> Result<Arc<EventBatch>, CodecError> {
    match decoded.and_then(|decoded| Arc::clone(decoded).downcast().ok()) {
        Some(batch) => Ok(batch),
        None => EventBatch::decode(body).map(Arc::new),
    }
}

#[cfg(test)]
mod tests;
