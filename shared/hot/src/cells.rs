//! Typed views of a batch's columns.

use arrow::array::{Array, AsArray, BinaryArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use atalaya_schema::col;

/// A Text or Keyword column.
#[derive(Clone, Copy)]
pub(crate) enum TextColumn<'a> {
    /// Keys and the values they stand for.
    Keyword(&'a Int32Array, &'a StringArray),
    /// A text a row.
    Text(&'a StringArray),
}

impl<'a> TextColumn<'a> {
    /// A view of an array; none if it holds no text.
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        if let Some(text) = array.as_string_opt::<i32>() {
            return Some(Self::Text(text));
        }
        let dictionary = array.as_dictionary_opt::<Int32Type>()?;
        Some(Self::Keyword(dictionary.keys(), dictionary.values().as_string_opt::<i32>()?))
    }

    /// The text in a row; none for null.
    pub(crate) fn value(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Keyword(keys, values) => {
                let key = usize::try_from(keys.is_valid(row).then(|| keys.value(row))?).ok()?;
                values.is_valid(key).then(|| values.value(key))
            }
            Self::Text(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}

/// The event times of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Times<'a> {
    times: Option<&'a TimestampMicrosecondArray>,
    received_us: i64,
}

impl<'a> Times<'a> {
    /// A row without a time counts as of when it was received, so that nothing is out of reach.
    pub(crate) fn of(batch: &'a RecordBatch, received_us: i64) -> Self {
        Self { times: batch.column(col::TIME).as_primitive_opt::<TimestampMicrosecondType>(), received_us }
    }

    /// The time of a row, microseconds since 1970.
    pub(crate) fn at(&self, row: usize) -> i64 {
        self.times.filter(|times| times.is_valid(row)).map_or(self.received_us, |times| times.value(row))
    }
}

/// The event ids of a batch; none if the column is of another type.
pub(crate) fn event_ids(batch: &RecordBatch) -> Option<&BinaryArray> {
    batch.column(col::EVENT_ID).as_binary_opt::<i32>()
}

/// An event id as a key of order; zeros where a row has none.
pub(crate) fn event_id(ids: Option<&BinaryArray>, row: usize) -> [u8; 16] {
    ids.filter(|ids| ids.is_valid(row)).and_then(|ids| ids.value(row).try_into().ok()).unwrap_or_default()
}
