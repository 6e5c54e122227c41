//! One record as its reader left it: keys and values that borrow from the record wherever they can.

use crate::time;

/// A stretch of [`Record`]'s copied text or of its list items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// Text: of the record itself, or copied because it had escapes or was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Text<'a> {
    /// As it stands in the record.
    Borrowed(&'a str),
    /// In [`Record`]'s copied text.
    Copied(Span),
}

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A span in microseconds, where the format says that it is one.
    Micros(i64),
    /// A time in microseconds since 1970, where the format says that it is one.
    Time(i64),
    /// Text.
    Text(Text<'a>),
    /// Items of [`Record`].
    List(Span),
}

/// A record's fields, in its own order; unset ones are not there.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    /// Key and value; a nested object's keys are joined by dots.
    pub(crate) fields: Vec<(Text<'a>, Value<'a>)>,
    items: Vec<Value<'a>>,
    copied: String,
}

impl<'a> Record<'a> {
    /// Forgets the fields, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.items.clear();
        self.copied.clear();
    }

    /// Appends to the copied text whatever `write` writes.
    pub(crate) fn copy(&mut self, write: impl FnOnce(&mut String)) -> Text<'a> {
        let start = offset(self.copied.len());
        write(&mut self.copied);
        Text::Copied(Span { start, end: offset(self.copied.len()) })
    }

    /// Where the next item goes.
    pub(crate) fn list_start(&self) -> usize {
        self.items.len()
    }

    /// Adds an item.
    pub(crate) fn push_item(&mut self, item: Value<'a>) {
        self.items.push(item);
    }

    /// The items since `start` as a list.
    pub(crate) fn list_since(&self, start: usize) -> Value<'a> {
        Value::List(Span { start: offset(start), end: offset(self.items.len()) })
    }

    /// The items of a list.
    pub(crate) fn items(&self, list: Span) -> &[Value<'a>] {
        &self.items[list.start as usize..list.end as usize]
    }

    /// The characters of a text.
    pub(crate) fn str(&self, text: Text<'a>) -> &str {
        match text {
            Text::Borrowed(text) => text,
            Text::Copied(span) => &self.copied[span.start as usize..span.end as usize],
        }
    }

    /// Appends a value as flat text: items joined by commas, numbers as short as they can be. `rounded` rounds
    /// numbers to six decimals, as formats do that write them so.
    pub(crate) fn push_flat(&self, value: Value<'a>, rounded: bool, out: &mut String) {
        match value {
            Value::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Value::Int(value) => time::push_signed(value, out),
            Value::Float(value) => push_float(value, rounded, out),
            Value::Micros(us) => time::push_seconds(us, out),
            Value::Time(us) => atalaya_schema::write_time(us, out),
            Value::Text(text) => out.push_str(self.str(text)),
            Value::List(list) => {
                for (at, &item) in self.items(list).iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.push_flat(item, rounded, out);
                }
            }
        }
    }
}

fn push_float(value: f64, rounded: bool, out: &mut String) {
    use std::fmt::Write;
    match atalaya_schema::seconds_f64_to_us(value).filter(|_| rounded) {
        Some(us) => time::push_seconds(us, out),
        None => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{value}");
        }
    }
}

/// Records are at most [`crate::MAX_RECORD_BYTES`] long, so every offset fits.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
