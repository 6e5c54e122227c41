//! Conversions: from a field's value to what a column holds.

use std::collections::BTreeMap;

use atalaya_schema::{ColumnType, Rows, canonical_ip, seconds_f64_to_us, seconds_to_us};

use super::Constant;
use crate::domains;
use crate::record::{Record, Value};
use crate::time;

/// Highest port number.
const MAX_PORT: i64 = 65_535;

/// A column by index, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) col: usize,
    pub(crate) kind: ColumnType,
}

/// Memory used again for every value.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) text: String,
    pub(crate) more: String,
    /// The names of the flags that the record has set so far, spaces between.
    pub(crate) flags: String,
}

/// How a value becomes a column's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Convert {
    /// As it is.
    Text,
    /// In lower case.
    Lower,
    /// A domain name: lower case, without the last dot.
    Name,
    /// A host's name: as a domain name, without a port; nothing for an address.
    Host,
    /// The registered domain of a host's name.
    RegisteredDomain,
    /// An address in canonical text.
    Ip,
    /// A port.
    Port,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// A time.
    Time,
    /// Seconds, as microseconds.
    IntervalUs,
    /// The first item of a list.
    First,
    /// Every item as text.
    Texts,
    /// Every item as a whole number.
    Ints,
    /// What stands before the first or last separator; everything where there is none.
    Before(char, End),
    /// What stands after the first or last separator; nothing where there is none.
    After(char, End),
    /// A translation.
    Table(Table),
    /// Adds a name to a list of flags where the value is true.
    Flag(String),
}

/// Which separator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    First,
    Last,
}

/// Translations of texts, few enough to be compared one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    rows: Vec<(From, Constant)>,
    other: Option<Constant>,
}

#[derive(Clone, Debug, PartialEq)]
enum From {
    Text(String),
    /// Whole numbers, both ends included.
    Range(i64, i64),
}

impl From {
    fn new(text: &str) -> Self {
        let range = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        range.map_or_else(|| Self::Text(text.to_owned()), |(from, to)| Self::Range(from, to))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Text(from) => from == text,
            Self::Range(from, to) => text.parse().is_ok_and(|number| (*from..=*to).contains(&number)),
        }
    }
}

impl Table {
    /// A table of a mapping: texts, ranges of whole numbers such as `400-599`, and `_` for anything else.
    pub(crate) fn new(rows: &BTreeMap<String, Constant>) -> Self {
        let other = rows.get("_").cloned();
        let rows =
            rows.iter().filter(|(from, _)| *from != "_").map(|(from, to)| (From::new(from), to.clone())).collect();
        Self { rows, other }
    }

    fn get(&self, text: &str) -> Option<&Constant> {
        self.rows.iter().find(|(from, _)| from.matches(text)).map(|(_, to)| to).or(self.other.as_ref())
    }

    /// Every value it can give.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Constant> {
        self.rows.iter().map(|(_, to)| to).chain(&self.other)
    }
}

impl Convert {
    /// What a value has to be where it does not fit.
    fn name(&self) -> &'static str {
        match self {
            Self::Ip => "address",
            Self::Port => "port",
            Self::Int | Self::Ints => "whole number",
            Self::Bool | Self::Flag(_) => "truth value",
            Self::Time => "time",
            Self::IntervalUs => "interval",
            _ => "number",
        }
    }

    /// Sets the column, or leaves it unset where the value is empty.
    ///
    /// # Errors
    /// With the name of what the value should be.
    pub(crate) fn apply<'a>(
        &self,
        value: Value<'a>,
        to: Target,
        record: &Record<'a>,
        rows: &mut Rows,
        scratch: &mut Scratch,
    ) -> Result<(), &'static str> {
        let misfit = || self.name();
        match self {
            Self::Port => rows.int32(to.col, port(value, record).ok_or_else(misfit)?),
            Self::Int => set_int(int(value, record).ok_or_else(misfit)?, to, rows).ok_or_else(misfit)?,
            Self::Float => rows.float64(to.col, float(value, record).ok_or_else(misfit)?),
            Self::Bool => rows.bool(to.col, bool(value, record).ok_or_else(misfit)?),
            Self::Time => rows.time(to.col, time_us(value, record).ok_or_else(misfit)?),
            Self::IntervalUs => rows.int64(to.col, interval_us(value, record).ok_or_else(misfit)?),
            Self::Flag(name) => {
                if bool(value, record).ok_or_else(misfit)? {
                    push_flag(name, &mut scratch.flags);
                }
            }
            Self::Texts => texts(value, to, record, rows, scratch),
            Self::Ints => ints(value, to, record, rows).ok_or_else(misfit)?,
            Self::First => first(value, to, record, rows, scratch),
            _ => {
                let Scratch { text: buffer, more, .. } = scratch;
                let text = flat(value, record, buffer);
                self.apply_text(text, to, rows, more).ok_or_else(misfit)?;
            }
        }
        Ok(())
    }

    /// Conversions of text; none if it does not fit.
    fn apply_text(&self, text: &str, to: Target, rows: &mut Rows, buffer: &mut String) -> Option<()> {
        buffer.clear();
        let text = match self {
            Self::Lower => domains::lower(text, buffer),
            Self::Name => domains::name(text, buffer),
            Self::Host => domains::host(text, buffer).unwrap_or_default(),
            Self::RegisteredDomain => domains::host(text, buffer).and_then(domains::registered).unwrap_or_default(),
            Self::Ip if text.is_empty() => text,
            Self::Ip => canonical_ip(text, buffer)?,
            Self::Before(separator, end) => split(text, *separator, *end).map_or(text, |(before, _)| before),
            Self::After(separator, end) => split(text, *separator, *end).map_or("", |(_, after)| after),
            Self::Table(table) => {
                if let Some(constant) = table.get(text) {
                    set_constant(constant, to, rows);
                }
                return Some(());
            }
            _ => text,
        };
        if !text.is_empty() {
            rows.text(to.col, text);
        }
        Some(())
    }
}

fn split(text: &str, separator: char, end: End) -> Option<(&str, &str)> {
    match end {
        End::First => text.split_once(separator),
        End::Last => text.rsplit_once(separator),
    }
}

fn push_flag(name: &str, flags: &mut String) {
    if !flags.is_empty() {
        flags.push(' ');
    }
    flags.push_str(name);
}

/// A value as text: its own where it is text.
fn flat<'s, 'a>(value: Value<'a>, record: &'s Record<'a>, buffer: &'s mut String) -> &'s str {
    if let Value::Text(text) = value {
        return record.str(text);
    }
    buffer.clear();
    record.push_flat(value, true, buffer);
    buffer
}

fn set_int(number: i64, to: Target, rows: &mut Rows) -> Option<()> {
    match to.kind {
        ColumnType::Int32 => rows.int32(to.col, i32::try_from(number).ok()?),
        _ => rows.int64(to.col, number),
    }
    Some(())
}

/// Sets a column to a mapping's value; whether it fits was checked when the mapping was read.
pub(crate) fn set_constant(constant: &Constant, to: Target, rows: &mut Rows) {
    match constant {
        Constant::Int(number) => {
            set_int(*number, to, rows);
        }
        Constant::Text(text) => rows.text(to.col, text),
    }
}

fn int<'a>(value: Value<'a>, record: &Record<'a>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Float(number) => whole(number),
        Value::Micros(us) => (us % time::SECOND_US == 0).then_some(us / time::SECOND_US),
        Value::Text(text) => record.str(text).trim_ascii().parse().ok(),
        Value::Bool(_) | Value::Time(_) | Value::List(_) => None,
    }
}

fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9.0e15;
    #[allow(clippy::cast_possible_truncation, reason = "whole and within the limit")]
    (number.fract() == 0.0 && number.abs() < LIMIT).then_some(number as i64)
}

fn port<'a>(value: Value<'a>, record: &Record<'a>) -> Option<i32> {
    int(value, record).filter(|port| (0..=MAX_PORT).contains(port)).and_then(|port| i32::try_from(port).ok())
}

fn float<'a>(value: Value<'a>, record: &Record<'a>) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "the column is a float")]
        Value::Int(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        #[allow(clippy::cast_precision_loss, reason = "the column is a float")]
        Value::Micros(us) => Some(us as f64 / 1e6),
        Value::Text(text) => record.str(text).trim_ascii().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bool(_) | Value::Time(_) | Value::List(_) => None,
    }
}

fn bool<'a>(value: Value<'a>, record: &Record<'a>) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(value),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Text(text) => match record.str(text) {
            "T" | "true" => Some(true),
            "F" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A value as a time, microseconds since 1970.
pub(crate) fn time_us<'a>(value: Value<'a>, record: &Record<'a>) -> Option<i64> {
    match value {
        Value::Time(us) => time::bounded(us),
        #[allow(clippy::cast_precision_loss, reason = "what is too large for a float is too large for a time")]
        Value::Int(number) => time::from_number(number as f64),
        Value::Float(number) => time::from_number(number),
        Value::Text(text) => time::from_text(record.str(text)),
        Value::Bool(_) | Value::Micros(_) | Value::List(_) => None,
    }
}

fn interval_us<'a>(value: Value<'a>, record: &Record<'a>) -> Option<i64> {
    match value {
        Value::Micros(us) => Some(us),
        Value::Int(seconds) => seconds.checked_mul(time::SECOND_US),
        Value::Float(seconds) => seconds_f64_to_us(seconds),
        Value::Text(text) => seconds_to_us(record.str(text)),
        Value::Bool(_) | Value::Time(_) | Value::List(_) => None,
    }
}

fn first<'a>(value: Value<'a>, to: Target, record: &Record<'a>, rows: &mut Rows, scratch: &mut Scratch) {
    let value = match value {
        Value::List(list) => match record.items(list).first() {
            Some(&item) => item,
            None => return,
        },
        other => other,
    };
    let text = flat(value, record, &mut scratch.text);
    if !text.is_empty() {
        rows.text(to.col, text);
    }
}

fn texts<'a>(value: Value<'a>, to: Target, record: &Record<'a>, rows: &mut Rows, scratch: &mut Scratch) {
    let Value::List(list) = value else {
        rows.texts(to.col, std::iter::once(flat(value, record, &mut scratch.text)));
        return;
    };
    let items = record.items(list);
    if items.iter().all(|item| matches!(item, Value::Text(_))) {
        let texts = items.iter().map(|&item| if let Value::Text(text) = item { record.str(text) } else { "" });
        rows.texts(to.col, texts);
        return;
    }
    let flat: Vec<String> = items
        .iter()
        .map(|&item| {
            let mut text = String::new();
            record.push_flat(item, true, &mut text);
            text
        })
        .collect();
    rows.texts(to.col, flat.iter().map(String::as_str));
}

/// Items that are not whole are rounded; none if one is no number.
fn ints<'a>(value: Value<'a>, to: Target, record: &Record<'a>, rows: &mut Rows) -> Option<()> {
    let number = |item: Value<'a>| -> Option<i64> {
        match item {
            Value::Micros(us) => Some((us + time::SECOND_US / 2).div_euclid(time::SECOND_US)),
            Value::Float(number) => whole(number.round()),
            other => int(other, record),
        }
    };
    let one = [value];
    let items = if let Value::List(list) = value { record.items(list) } else { &one };
    if !items.iter().all(|&item| number(item).is_some()) {
        return None;
    }
    rows.int64s(to.col, items.iter().filter_map(|&item| number(item)));
    Some(())
}
