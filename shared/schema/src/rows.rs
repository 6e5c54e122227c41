//! Filling Arrow columns row by row.

mod builder;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use atalaya_model::Class;

use crate::{arrow_schema, col, columns};
use builder::Builder;

/// Keys and values of `unmapped` in one row, bytes; what goes beyond is left out and counted under [`TRUNCATED`].
pub const MAX_UNMAPPED_BYTES: usize = 8 << 10;

/// The key of `unmapped` that counts the entries left out of a row.
pub const TRUNCATED: &str = "_truncated";

/// Variable-length bytes one batch may take; values beyond are left null. Far above any message's size.
const MAX_TEXT_BYTES: usize = 1 << 30;

/// A batch being filled: `begin`, set columns by index, `end`; what was not set is null.
///
/// The first value of a column within a row stands, later ones are ignored: a record that repeats a field cannot
/// overwrite what the platform set before. A value of another type than the column's is a mistake of the caller: it is
/// ignored, and asserted against in debug builds. Nothing is allocated per row.
pub struct Rows {
    class: Class,
    schema: SchemaRef,
    builders: Vec<Builder>,
    /// Rows already in each builder; the missing ones are filled with nulls when the next value comes, or at the end.
    filled: Vec<usize>,
    /// Rows ended, discarded ones included.
    rows: usize,
    open: bool,
    discarded: Vec<usize>,
    text_bytes: usize,
    unmapped_entries: usize,
    unmapped_bytes: usize,
    truncated: u64,
}

impl Rows {
    /// An empty batch of a class.
    #[must_use]
    pub fn new(class: Class) -> Self {
        let builders: Vec<_> = columns(class).iter().map(|column| Builder::new(column.kind)).collect();
        Self {
            class,
            schema: arrow_schema(class),
            filled: vec![0; builders.len()],
            builders,
            rows: 0,
            open: false,
            discarded: Vec::new(),
            text_bytes: 0,
            unmapped_entries: 0,
            unmapped_bytes: 0,
            truncated: 0,
        }
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Begins a row; one that was begun and not ended is discarded.
    pub fn begin(&mut self) {
        if self.open {
            self.discard();
        }
        self.open = true;
        self.unmapped_entries = 0;
        self.unmapped_bytes = 0;
        self.truncated = 0;
    }

    /// Ends the row.
    pub fn end(&mut self) {
        if !self.open {
            return;
        }
        self.end_unmapped();
        self.open = false;
        self.rows += 1;
    }

    /// Takes the begun row back: it will not be in the batch.
    pub fn discard(&mut self) {
        if self.open {
            self.discarded.push(self.rows);
            self.end();
        }
    }

    /// Rows ended and not discarded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows - self.discarded.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of text and other variable-length values so far, each counted as often as it was set.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Whether the begun row has a value in this column.
    #[must_use]
    pub fn is_set(&self, col: usize) -> bool {
        self.open && (self.filled.get(col).is_some_and(|&filled| filled > self.rows) || self.has_unmapped(col))
    }

    fn has_unmapped(&self, col: usize) -> bool {
        col == col::UNMAPPED && (self.unmapped_entries > 0 || self.truncated > 0)
    }

    /// The builder of a column that still lacks this row's value, filled up to it.
    fn place(&mut self, col: usize) -> Option<&mut Builder> {
        let filled = self.filled.get_mut(col)?;
        if !self.open || *filled > self.rows {
            return None;
        }
        let builder = self.builders.get_mut(col)?;
        if *filled < self.rows {
            builder.append_nulls(self.rows - *filled);
        }
        *filled = self.rows + 1;
        Some(builder)
    }

    fn place_bytes(&mut self, col: usize, bytes: usize) -> Option<&mut Builder> {
        if bytes > MAX_TEXT_BYTES - self.text_bytes {
            return None;
        }
        self.text_bytes += bytes;
        self.place(col)
    }

    /// Sets a text or keyword.
    pub fn text(&mut self, col: usize, value: &str) {
        match self.place_bytes(col, value.len()) {
            Some(Builder::Keyword(builder)) => builder.append(value),
            Some(Builder::Text(builder)) => builder.append_value(value),
            other => Builder::refuse(other, "text"),
        }
    }

    /// Sets a 32-bit integer.
    pub fn int32(&mut self, col: usize, value: i32) {
        match self.place(col) {
            Some(Builder::Int32(builder)) => builder.append_value(value),
            other => Builder::refuse(other, "int32"),
        }
    }

    /// Sets a 64-bit integer.
    pub fn int64(&mut self, col: usize, value: i64) {
        match self.place(col) {
            Some(Builder::Int64(builder)) => builder.append_value(value),
            other => Builder::refuse(other, "int64"),
        }
    }

    /// Sets a float; one that is not finite stays null.
    pub fn float64(&mut self, col: usize, value: f64) {
        match self.place(col) {
            Some(Builder::Float64(builder)) => builder.append_option(Some(value).filter(|value| value.is_finite())),
            other => Builder::refuse(other, "float64"),
        }
    }

    /// Sets a truth value.
    pub fn bool(&mut self, col: usize, value: bool) {
        match self.place(col) {
            Some(Builder::Bool(builder)) => builder.append_value(value),
            other => Builder::refuse(other, "bool"),
        }
    }

    /// Sets a time, microseconds since 1970.
    pub fn time(&mut self, col: usize, us: i64) {
        match self.place(col) {
            Some(Builder::Time(builder)) => builder.append_value(us),
            other => Builder::refuse(other, "time"),
        }
    }

    /// Sets an id.
    pub fn id(&mut self, col: usize, id: &[u8; 16]) {
        match self.place_bytes(col, id.len()) {
            Some(Builder::Id(builder)) => builder.append_value(id),
            other => Builder::refuse(other, "id"),
        }
    }

    /// Sets a list of texts.
    pub fn texts<'a>(&mut self, col: usize, values: impl Iterator<Item = &'a str>) {
        let left = MAX_TEXT_BYTES - self.text_bytes;
        let mut bytes = 0;
        match self.place(col) {
            Some(Builder::Texts(builder)) => {
                let fitting = values.take_while(|value| {
                    bytes += value.len();
                    bytes <= left
                });
                fitting.for_each(|value| builder.values().append_value(value));
                builder.append(true);
            }
            other => Builder::refuse(other, "list of text"),
        }
        self.text_bytes += bytes.min(left);
    }

    /// Sets a list of integers.
    pub fn int64s(&mut self, col: usize, values: impl Iterator<Item = i64>) {
        match self.place(col) {
            Some(Builder::Int64s(builder)) => {
                values.for_each(|value| builder.values().append_value(value));
                builder.append(true);
            }
            other => Builder::refuse(other, "list of int64"),
        }
    }

    /// Sets a list of ids.
    pub fn ids<'a>(&mut self, col: usize, values: impl Iterator<Item = &'a [u8; 16]>) {
        match self.place(col) {
            Some(Builder::Ids(builder)) => {
                values.for_each(|value| builder.values().append_value(value));
                builder.append(true);
            }
            other => Builder::refuse(other, "list of id"),
        }
    }

    /// Adds an original field that has no column. Beyond [`MAX_UNMAPPED_BYTES`] of the row it is only counted.
    pub fn unmapped(&mut self, key: &str, value: &str) {
        if !self.open {
            return;
        }
        if key == TRUNCATED {
            self.truncated += value.parse().unwrap_or(1);
            return;
        }
        let bytes = key.len() + value.len();
        if self.unmapped_bytes + bytes > MAX_UNMAPPED_BYTES || bytes > MAX_TEXT_BYTES - self.text_bytes {
            self.truncated += 1;
            return;
        }
        self.unmapped_entries += 1;
        self.unmapped_bytes += bytes;
        self.text_bytes += bytes;
        self.push_unmapped(key, value);
    }

    fn push_unmapped(&mut self, key: &str, value: &str) {
        let missing = self.rows - self.filled[col::UNMAPPED];
        let builder = &mut self.builders[col::UNMAPPED];
        if missing > 0 {
            builder.append_nulls(missing);
            self.filled[col::UNMAPPED] = self.rows;
        }
        if let Builder::Map(builder) = builder {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
    }

    fn end_unmapped(&mut self) {
        if self.truncated > 0 {
            let mut digits = [0; 20];
            self.push_unmapped(TRUNCATED, decimal(self.truncated, &mut digits));
        }
        if self.has_unmapped(col::UNMAPPED) {
            self.builders[col::UNMAPPED].close_map();
            self.filled[col::UNMAPPED] = self.rows + 1;
        }
    }

    /// The rows so far in [`arrow_schema`]'s columns, in the order they were ended; the next batch starts empty.
    pub fn finish(&mut self) -> RecordBatch {
        self.discard();
        let columns = self.finish_columns();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        debug_assert!(batch.is_ok(), "builders and schema come from one table: {batch:?}");
        let batch = batch.unwrap_or_else(|_| RecordBatch::new_empty(Arc::clone(&self.schema)));
        let batch = if self.discarded.is_empty() { batch } else { without(&batch, &self.discarded) };
        self.filled.fill(0);
        self.discarded.clear();
        self.rows = 0;
        self.text_bytes = 0;
        batch
    }

    fn finish_columns(&mut self) -> Vec<ArrayRef> {
        let rows = self.rows;
        self.builders
            .iter_mut()
            .zip(&self.filled)
            .map(|(builder, &filled)| {
                builder.append_nulls(rows - filled);
                builder.finish()
            })
            .collect()
    }
}

fn without(batch: &RecordBatch, discarded: &[usize]) -> RecordBatch {
    let mut keep = vec![true; batch.num_rows()];
    discarded.iter().for_each(|&row| keep[row] = false);
    let kept = filter_record_batch(batch, &BooleanArray::from(keep));
    kept.unwrap_or_else(|_| RecordBatch::new_empty(batch.schema()))
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&digits[at..]).unwrap_or("0");
        }
    }
}

#[cfg(test)]
mod tests;
