//! Values of events as texts: every test, group and sentence sees them in this one form.

use std::borrow::Cow;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use atalaya_model::Class;
use atalaya_schema::{ColumnType, col, columns, text_value, write_time};

use crate::sigma::{Form, Part, Source};

/// Calls `each` with a value's text in a row; for a list with each element's, for no value not at all.
pub(crate) fn each_text(class: Class, rows: &RecordBatch, source: &Source, row: usize, each: &mut dyn FnMut(&str)) {
    match source {
        Source::Column(index) => column_texts(rows.column(*index), row, each),
        Source::Joined(parts) => {
            let mut text = String::new();
            if join(rows, parts, row, &mut text) {
                each(&text);
            }
        }
        Source::Unmapped(key) => {
            if let Some(value) = unmapped(rows).and_then(|map| entry(map, key, row)) {
                each(value);
            }
        }
        Source::AnyText => {
            for index in text_columns(class) {
                column_texts(rows.column(index), row, each);
            }
            if let Some(map) = unmapped(rows) {
                entries(map, row).filter_map(|(_, value)| value).for_each(each);
            }
        }
    }
}

/// A value's text in a row; a list's elements with spaces between. None for no value.
pub(crate) fn text_at(class: Class, rows: &RecordBatch, source: &Source, row: usize) -> Option<String> {
    let mut whole: Option<String> = None;
    each_text(class, rows, source, row, &mut |text| match &mut whole {
        Some(whole) => {
            whole.push(' ');
            whole.push_str(text);
        }
        None => whole = Some(text.to_owned()),
    });
    whole
}

/// Columns that a keyword without a field is looked for in: texts of the event itself, not what we say of it.
pub(crate) fn text_columns(class: Class) -> impl Iterator<Item = usize> {
    let is_text = |kind| matches!(kind, ColumnType::Text | ColumnType::Keyword | ColumnType::TextList);
    let of = columns(class).iter().enumerate();
    of.filter(move |(index, column)| *index >= col::MESSAGE && is_text(column.kind)).map(|(index, _)| index)
}

fn column_texts(array: &ArrayRef, row: usize, each: &mut dyn FnMut(&str)) {
    if let Some(text) = text_value(array, row) {
        return each(text);
    }
    if let DataType::List(_) = array.data_type() {
        if array.is_valid(row) {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len()).for_each(|at| column_texts(&elements, at, each));
        }
        return;
    }
    let mut text = String::new();
    if write_scalar(array, row, &mut text) {
        each(&text);
    }
}

/// Writes a number, truth value, time or id as text; false for no value or another type.
pub(crate) fn write_scalar(array: &dyn Array, row: usize, text: &mut String) -> bool {
    if array.is_null(row) {
        return false;
    }
    text.clear();
    let written = match array.data_type() {
        DataType::Int32 => write!(text, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(text, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => write!(text, "{}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => write!(text, "{}", array.as_boolean().value(row)),
        DataType::Binary => array.as_binary::<i32>().value(row).iter().try_for_each(|byte| write!(text, "{byte:02x}")),
        DataType::Timestamp(..) => {
            write_time(array.as_primitive::<TimestampMicrosecondType>().value(row), text);
            Ok(())
        }
        _ => return false,
    };
    written.is_ok()
}

/// The bits of a number, truth value or time: what tells two of them in one column apart.
pub(crate) fn scalar_bits(array: &dyn Array, row: usize) -> Option<u64> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Int32 => Some(i64::from(array.as_primitive::<Int32Type>().value(row)).cast_unsigned()),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row).cast_unsigned()),
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Boolean => Some(u64::from(array.as_boolean().value(row))),
        DataType::Timestamp(..) => Some(array.as_primitive::<TimestampMicrosecondType>().value(row).cast_unsigned()),
        _ => None,
    }
}

/// Writes columns one after the other; false if none of them has a value.
pub(crate) fn join(rows: &RecordBatch, parts: &[Part], row: usize, text: &mut String) -> bool {
    text.clear();
    let mut any = false;
    for part in parts {
        column_texts(rows.column(part.column), row, &mut |value| {
            let value = match part.form {
                Form::Whole => Some(Cow::Borrowed(value)),
                Form::Extension => extension(value).map(Cow::Borrowed),
                Form::Decoded => Some(decoded(value)),
            };
            if let Some(value) = value {
                text.push_str(&part.before);
                text.push_str(&value);
                any = true;
            }
        });
    }
    any
}

fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    name.rsplit_once('.').map(|(_, extension)| extension)
}

/// Percent-encoding is undone twice, for what is decoded twice on its way into an application.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let once = decode(text.replace('+', " ").as_bytes());
    let twice = if once.contains(&b'%') { decode(&once) } else { once };
    Cow::Owned(String::from_utf8_lossy(&twice).into_owned())
}

fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (mut plain, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

/// The map of fields without a column.
pub(crate) fn unmapped(rows: &RecordBatch) -> Option<&MapArray> {
    rows.column(col::UNMAPPED).as_map_opt()
}

/// The entries of a row: key and value.
pub(crate) fn entries(map: &MapArray, row: usize) -> impl Iterator<Item = (&str, Option<&str>)> {
    let offsets = map.value_offsets();
    let range = offsets[row] as usize..offsets[row + 1] as usize;
    let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
    let range = if map.is_valid(row) { range } else { 0..0 };
    range.map(move |at| (keys.value(at), values.is_valid(at).then(|| values.value(at))))
}

fn entry<'m>(map: &'m MapArray, key: &str, row: usize) -> Option<&'m str> {
    entries(map, row).find(|(name, _)| *name == key).and_then(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_decoded_as_applications_do() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a+b%20c", "a b c"),
            ("%27%2527", "''"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A9%FF", "é\u{fffd}"),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
        assert_eq!(extension("/a.b/file.EXE"), Some("EXE"));
        assert_eq!(extension("/a.b/file"), None);
    }
}
