//! Zeek's tab-separated logs: a header that declares separators, names and types, then one line a record.

use atalaya_schema::seconds_to_us;

use super::Fault;
use crate::park::Reason;
use crate::record::{Record, Text, Value};

/// Columns of a log at most.
const MAX_COLUMNS: usize = super::json::MAX_FIELDS;

/// What a column holds, as far as reading goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar {
    Bool,
    Int,
    Float,
    Time,
    Interval,
    Text,
}

impl Scalar {
    fn of(name: &str) -> Self {
        match name {
            "bool" => Self::Bool,
            "int" | "count" | "counter" | "port" => Self::Int,
            "double" => Self::Float,
            "time" => Self::Time,
            "interval" => Self::Interval,
            _ => Self::Text,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "whole number",
            Self::Float => "number",
            Self::Time => "time",
            Self::Interval => "interval",
            Self::Text => "text",
        }
    }
}

#[derive(Debug)]
struct Column<'a> {
    name: &'a str,
    scalar: Scalar,
    list: bool,
}

/// The header of a log.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    separator: char,
    set_separator: &'a str,
    empty_field: &'a str,
    unset_field: &'a str,
    /// The log's name.
    pub(crate) path: Option<&'a str>,
    columns: Vec<Column<'a>>,
}

impl<'a> Header<'a> {
    /// Reads the header's lines.
    pub(crate) fn read(context: &'a [u8]) -> Result<Self, Fault> {
        let text = super::text(context).map_err(|fault| bad_header(format!("header: {}", fault.detail)))?;
        let mut header = Self {
            separator: '\t',
            set_separator: ",",
            empty_field: "(empty)",
            unset_field: "-",
            path: None,
            columns: Vec::new(),
        };
        let mut types = None;
        for line in text.lines() {
            if let Some(separator) = line.strip_prefix("#separator ") {
                header.separator = separator_of(separator)?;
                continue;
            }
            let Some((name, value)) = line.split_once(header.separator) else { continue };
            match name {
                "#set_separator" => header.set_separator = value,
                "#empty_field" => header.empty_field = value,
                "#unset_field" => header.unset_field = value,
                "#path" => header.path = Some(value),
                "#fields" => header.columns = value.split(header.separator).map(untyped).collect(),
                "#types" => types = Some(value),
                _ => {}
            }
        }
        header.type_columns(types)?;
        Ok(header)
    }

    fn type_columns(&mut self, types: Option<&'a str>) -> Result<(), Fault> {
        let columns = self.columns.len();
        if columns == 0 || columns > MAX_COLUMNS {
            return Err(bad_header(format!("#fields names {columns} columns; there are 1 to {MAX_COLUMNS}")));
        }
        let Some(types) = types else { return Ok(()) };
        let types: Vec<_> = types.split(self.separator).collect();
        if types.len() != columns {
            return Err(bad_header(format!("#fields names {columns} columns, #types {}", types.len())));
        }
        for (column, name) in self.columns.iter_mut().zip(types) {
            let item = name.strip_suffix(']').and_then(|name| name.split_once('[')).map(|(_, item)| item);
            column.list = item.is_some();
            column.scalar = Scalar::of(item.unwrap_or(name));
        }
        Ok(())
    }

    /// Reads a line's values.
    pub(crate) fn record(&self, line: &'a str, record: &mut Record<'a>, names: &[&'a str]) -> Result<(), Fault> {
        debug_assert_eq!(names.len(), self.columns.len());
        let escaped = line.contains('\\');
        let mut cells = line.split(self.separator);
        for (at, column) in self.columns.iter().enumerate() {
            let Some(cell) = cells.next() else {
                return Err(bad_count(self.columns.len(), at));
            };
            if cell == self.unset_field {
                continue;
            }
            let value = if column.list {
                self.list(column, cell, escaped, record)?
            } else if cell == self.empty_field {
                Value::Text(Text::Borrowed(""))
            } else {
                scalar(column, cell, escaped, record)?
            };
            record.fields.push((Text::Borrowed(names[at]), value));
        }
        match cells.count() {
            0 => Ok(()),
            more => Err(bad_count(self.columns.len(), self.columns.len() + more)),
        }
    }

    /// The columns' names.
    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.columns.iter().map(|column| column.name).collect()
    }

    fn list(
        &self,
        column: &Column<'a>,
        cell: &'a str,
        escaped: bool,
        record: &mut Record<'a>,
    ) -> Result<Value<'a>, Fault> {
        let start = record.list_start();
        if cell != self.empty_field {
            for item in cell.split(self.set_separator).filter(|&item| item != self.unset_field) {
                let item = scalar(column, item, escaped, record)?;
                record.push_item(item);
            }
        }
        Ok(record.list_since(start))
    }
}

fn untyped(name: &str) -> Column<'_> {
    Column { name, scalar: Scalar::Text, list: false }
}

/// `\x09`, or the character itself.
fn separator_of(text: &str) -> Result<char, Fault> {
    let code = text.strip_prefix("\\x").and_then(|code| u8::from_str_radix(code, 16).ok());
    let literal = text.chars().next().filter(|first| first.is_ascii() && text.len() == 1);
    code.filter(u8::is_ascii)
        .map(char::from)
        .or(literal)
        .ok_or_else(|| bad_header(format!("#separator '{text}' is no single character")))
}

fn bad_header(detail: String) -> Fault {
    Fault::new(Reason::BadHeader, detail)
}

#[cold]
fn bad_count(expected: usize, found: usize) -> Fault {
    Fault::new(Reason::BadFieldCount, format!("{found} fields where the header names {expected}"))
}

fn scalar<'a>(column: &Column<'a>, cell: &'a str, escaped: bool, record: &mut Record<'a>) -> Result<Value<'a>, Fault> {
    let value = match column.scalar {
        Scalar::Text => Some(Value::Text(text(cell, escaped, record))),
        Scalar::Bool => match cell {
            "T" => Some(Value::Bool(true)),
            "F" => Some(Value::Bool(false)),
            _ => None,
        },
        Scalar::Int => cell.parse().ok().map(Value::Int),
        Scalar::Float => cell.parse().ok().map(Value::Float),
        Scalar::Time => seconds_to_us(cell).map(Value::Time),
        Scalar::Interval => seconds_to_us(cell).map(Value::Micros),
    };
    value.ok_or_else(|| {
        let reason = if column.scalar == Scalar::Time { Reason::BadTime } else { Reason::BadValue };
        let shown: String = cell.chars().take(MAX_SHOWN_CHARS).collect();
        Fault::new(reason, format!("column {}: '{shown}' is no {}", column.name, column.scalar.name()))
    })
}

/// Characters of a wrong value that a fault shows.
pub(crate) const MAX_SHOWN_CHARS: usize = 64;

fn text<'a>(cell: &'a str, escaped: bool, record: &mut Record<'a>) -> Text<'a> {
    if escaped && cell.contains('\\') { record.copy(|out| unescape(cell, out)) } else { Text::Borrowed(cell) }
}

/// Zeek writes `\\` for a backslash and `\xNN` for a byte; bytes that make no UTF-8 stay `\xNN`.
fn unescape(cell: &str, out: &mut String) {
    let mut bytes = Vec::with_capacity(cell.len());
    let mut rest = cell.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    push_lossless(&bytes, out);
}

fn push_lossless(bytes: &[u8], out: &mut String) {
    use std::fmt::Write;
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n\
        #fields\tts\tname\tn\tlist\tok\ttook\n#types\ttime\tstring\tcount\tvector[interval]\tbool\tinterval\n";

    fn read(line: &str) -> Result<Vec<(String, String)>, Fault> {
        let header = Header::read(HEADER)?;
        let mut record = Record::default();
        header.record(line, &mut record, &header.names())?;
        let flat = |&(key, value): &_| {
            let mut flat = String::new();
            record.push_flat(value, true, &mut flat);
            (record.str(key).to_owned(), flat)
        };
        Ok(record.fields.iter().map(flat).collect())
    }

    #[test]
    fn lines_are_read_by_their_header() {
        let fields = read("1.5\ta\\x09b\\\\c\\xff\t7\t1.000000,2.5\tT\t0.25").unwrap();
        let expected = [
            ("ts", "1970-01-01T00:00:01.500000Z"),
            ("name", "a\tb\\c\\xff"),
            ("n", "7"),
            ("list", "1,2.5"),
            ("ok", "true"),
            ("took", "0.25"),
        ];
        assert_eq!(fields, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn unset_is_absent_and_empty_is_empty() {
        let fields = read("-\t(empty)\t-\t(empty)\t-\t-").unwrap();
        assert_eq!(fields, [("name", ""), ("list", "")].map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn faults_name_column_and_count() {
        for (line, reason, part) in [
            ("1\t2", Reason::BadFieldCount, "2 fields where the header names 6"),
            ("1\ta\t1\t-\tT\t1\t8", Reason::BadFieldCount, "7 fields"),
            ("x\ta\t1\t-\tT\t1", Reason::BadTime, "column ts"),
            ("1\ta\tmany\t-\tT\t1", Reason::BadValue, "column n: 'many'"),
            ("1\ta\t1\t-\tyes\t1", Reason::BadValue, "column ok"),
        ] {
            let fault = read(line).unwrap_err();
            assert_eq!(fault.reason, reason, "{line}");
            assert!(fault.detail.contains(part), "{}", fault.detail);
        }
    }

    #[test]
    fn headers_are_checked() {
        for context in
            [b"".as_slice(), b"#fields\ta\tb\n#types\tstring\n", b"#separator ab\n#fields\ta", b"#fields\t\xff"]
        {
            assert_eq!(Header::read(context).unwrap_err().reason, Reason::BadHeader);
        }
    }
}
