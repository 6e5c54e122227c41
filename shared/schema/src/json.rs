//! Rows as JSON under our own column names.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use serde_json::{Map, Value};

use crate::batch::keywords;
use crate::format_time;

/// A row by column name; nulls are left out. Ids are hexadecimal, times RFC 3339 with microseconds, lists arrays.
#[must_use]
pub fn row_json(rows: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    columns.filter_map(|(field, column)| Some((field.name().clone(), value_json(column, row)?))).collect()
}

/// A text, whether it stands in a dictionary or not; none for null and for what is no text.
#[must_use]
pub fn text_value(column: &dyn Array, row: usize) -> Option<&str> {
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::Utf8View => Some(column.as_string_view().value(row)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row)),
        _ => {
            let (keys, texts) = keywords(column)?;
            let key = keys.key(row)?;
            (key < texts.len() && texts.is_valid(key)).then(|| texts.value(key))
        }
    }
}

/// A value as JSON; none for null.
#[must_use]
pub fn value_json(column: &dyn Array, row: usize) -> Option<Value> {
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) => {
            text_value(column, row).map(Value::from)
        }
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row).into()),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row).into()),
        DataType::Boolean => Some(column.as_boolean().value(row).into()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(format_time(column.as_primitive::<TimestampMicrosecondType>().value(row)).into())
        }
        DataType::Binary => Some(hex(column.as_binary::<i32>().value(row)).into()),
        DataType::List(_) => Some(list_json(&column.as_list::<i32>().value(row))),
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let pairs = (0..entries.len()).map(|entry| {
                let key = text_value(entries.column(0), entry).unwrap_or_default();
                (key.to_owned(), value_json(entries.column(1), entry).unwrap_or_default())
            });
            Some(Value::Object(pairs.collect()))
        }
        _ => array_value_to_string(column, row).ok().map(Value::from),
    }
}

fn list_json(list: &dyn Array) -> Value {
    (0..list.len()).map(|at| value_json(list, at).unwrap_or_default()).collect::<Vec<_>>().into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[digit as usize])).collect()
}

#[cfg(test)]
mod tests;
