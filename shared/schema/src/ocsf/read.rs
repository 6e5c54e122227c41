//! OCSF JSON into a row.

use atalaya_model::{Class, EventId};
use serde_json::{Map, Value};

use super::path::{Form, Index, Paths, Step, form};
use super::{US_PER_MS, US_PER_SECOND, derived};
use crate::{Column, ColumnType, Rows, canonical_ip, col, columns, parse_time_us};

/// The columns the platform sets itself: what a sender writes there is kept in `unmapped`, never believed.
pub const ASSIGNED: &[usize] =
    &[col::EVENT_ID, col::TENANT, col::INGEST_TIME, col::SOURCE, col::PARSER_VERSION, col::TIME_QUALITY, col::RAW_REF];

/// The class of an OCSF event: base_event where it has none, or one without a table.
#[must_use]
pub fn ocsf_class(event: &Map<String, Value>) -> Class {
    let uid = event.get("class_uid").and_then(Value::as_i64).and_then(|uid| i32::try_from(uid).ok());
    uid.and_then(Class::from_uid).unwrap_or(Class::BaseEvent)
}

/// Sets the columns of the begun row from an OCSF event. The caller begins and ends the row, and sets the `assigned`
/// columns itself ([`ASSIGNED`], unless the event is one of ours coming back). Whatever has no column, does not fit its
/// type or stands in an assigned column goes to `unmapped`, flattened: `cloud.account.uid`, `resources[1].name`.
pub fn from_ocsf(event: &Map<String, Value>, rows: &mut Rows, assigned: &[usize]) {
    let class = rows.class();
    rows.int32(col::CLASS_UID, class.uid());
    let mut reader = Reader {
        class,
        event,
        paths: Paths::of(class),
        assigned,
        rows,
        path: String::new(),
        buffer: String::new(),
        lists: Vec::new(),
    };
    // Exact twins first: what they set, their rounded counterparts no longer do.
    if let Some(ours) = event.get("unmapped").and_then(|unmapped| unmapped.get("atalaya")) {
        reader.under("unmapped", |reader| reader.under("atalaya", |reader| reader.value(ours)));
    }
    reader.object(event);
}

struct Reader<'a> {
    class: Class,
    event: &'a Map<String, Value>,
    paths: &'static Paths,
    assigned: &'a [usize],
    rows: &'a mut Rows,
    /// Where the reader stands: `src_endpoint.ip`, `answers[0].rdata`.
    path: String,
    buffer: String,
    /// List columns set from this event.
    lists: Vec<usize>,
}

impl Reader<'_> {
    fn under(&mut self, name: &str, read: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        read(self);
        self.path.truncate(length);
    }

    fn object(&mut self, object: &Map<String, Value>) {
        let is_ours = self.path == "unmapped" && object.get("atalaya").is_some_and(Value::is_object);
        self.attributes(object, |name| is_ours && name == "atalaya");
    }

    /// An object in the array at `array`, without what follows from its other attributes.
    fn element(&mut self, object: &Map<String, Value>, array: &str) {
        self.attributes(object, |name| derived::is_derived_of_element(array, name, object));
    }

    /// Exact times first, then the rest.
    fn attributes(&mut self, object: &Map<String, Value>, skip: impl Fn(&str) -> bool) {
        for exact in [true, false] {
            for (name, value) in object {
                if name.ends_with("_dt") == exact && !skip(name) {
                    self.under(name, |reader| reader.value(value));
                }
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(object) => self.object(object),
            Value::Array(elements) => self.array(elements),
            scalar => self.scalar(scalar),
        }
    }

    fn array(&mut self, elements: &[Value]) {
        for (column, steps) in self.paths.arrays.get(self.path.as_str()).into_iter().flatten() {
            self.list(*column, steps, elements);
        }
        let array = self.path.clone();
        for (index, element) in elements.iter().enumerate() {
            self.path.push_str(&format!("[{index}]"));
            match element {
                Value::Object(object) => self.element(object, &array),
                other => self.value(other),
            }
            self.path.truncate(array.len());
        }
    }

    fn list(&mut self, column: usize, steps: &[Step], elements: &[Value]) {
        if self.assigned.contains(&column) || self.rows.is_set(column) {
            return;
        }
        let values = elements.iter().filter_map(|element| follow(element, steps));
        match columns(self.class)[column].kind {
            ColumnType::TextList => self.rows.texts(column, values.filter_map(Value::as_str)),
            ColumnType::Int64List => self.rows.int64s(column, values.filter_map(Value::as_i64)),
            ColumnType::IdList => {
                let ids: Vec<_> = values.filter_map(as_id).collect();
                self.rows.ids(column, ids.iter().map(EventId::as_bytes));
            }
            _ => return,
        }
        self.lists.push(column);
    }

    fn scalar(&mut self, value: &Value) {
        let derived = || derived::is_derived(self.class, self.event, &self.path, value);
        if !(derived() || self.column(value) || self.in_list(value)) {
            self.unmapped(value);
        }
    }

    /// Sets the column at this path; false if there is none, or the value does not fit.
    fn column(&mut self, value: &Value) -> bool {
        if let Some(&column) = self.paths.exact_times.get(self.path.as_str()) {
            let time = value.as_str().and_then(parse_time_us);
            return time.is_some_and(|us| self.set(column, |rows| rows.time(column, us)));
        }
        let Some(&column) = self.paths.single.get(self.path.as_str()) else { return false };
        let table = &columns(self.class)[column];
        if self.rows.is_set(column) && !self.assigned.contains(&column) {
            return matches!(form(table), Form::Time | Form::Duration);
        }
        self.convert(column, table, value)
    }

    fn set(&mut self, column: usize, set: impl FnOnce(&mut Rows)) -> bool {
        let free = !self.assigned.contains(&column) && !self.rows.is_set(column);
        if free {
            set(self.rows);
        }
        free
    }

    fn convert(&mut self, column: usize, table: &Column, value: &Value) -> bool {
        match table.kind {
            ColumnType::Text | ColumnType::Keyword => self.text(column, table, value),
            ColumnType::Int32 => {
                let number = as_int64(value).and_then(|number| i32::try_from(number).ok());
                number.is_some_and(|number| self.set(column, |rows| rows.int32(column, number)))
            }
            ColumnType::Int64 => {
                let rounded = form(table) == Form::Duration && !self.path.ends_with(table.name);
                let scale = if rounded { US_PER_MS } else { 1 };
                let number = as_int64(value).and_then(|number| number.checked_mul(scale));
                number.is_some_and(|number| self.set(column, |rows| rows.int64(column, number)))
            }
            ColumnType::Float64 => {
                let number =
                    value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite());
                number.is_some_and(|number| self.set(column, |rows| rows.float64(column, number)))
            }
            ColumnType::Bool => value.as_bool().is_some_and(|value| self.set(column, |rows| rows.bool(column, value))),
            ColumnType::Time => {
                let time = value.as_str().map_or_else(|| as_time(value), parse_time_us);
                time.is_some_and(|us| self.set(column, |rows| rows.time(column, us)))
            }
            ColumnType::Id => as_id(value).is_some_and(|id| self.set(column, |rows| rows.id(column, id.as_bytes()))),
            ColumnType::TextList | ColumnType::Int64List | ColumnType::IdList | ColumnType::TextMap => false,
        }
    }

    fn text(&mut self, column: usize, table: &Column, value: &Value) -> bool {
        let Some(text) = value.as_str() else {
            let text = value.to_string();
            return self.set(column, |rows| rows.text(column, &text));
        };
        if !table.name.ends_with("_ip") {
            return self.set(column, |rows| rows.text(column, text));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let address = canonical_ip(text, &mut buffer);
        let set = address.is_some_and(|address| self.set(column, |rows| rows.text(column, address)));
        self.buffer = buffer;
        set
    }

    /// Whether the value was taken into a list column.
    fn in_list(&self, value: &Value) -> bool {
        if self.lists.is_empty() {
            return false;
        }
        let Some(&column) = self.paths.elements.get(every_element(&self.path).as_str()) else { return false };
        let fits = match columns(self.class)[column].kind {
            ColumnType::Int64List => value.as_i64().is_some(),
            ColumnType::IdList => as_id(value).is_some(),
            _ => value.is_string(),
        };
        fits && self.lists.contains(&column)
    }

    fn unmapped(&mut self, value: &Value) {
        let key = self.path.strip_prefix("unmapped.").unwrap_or(&self.path);
        match value {
            Value::String(text) => self.rows.unmapped(key, text),
            other => self.rows.unmapped(key, &other.to_string()),
        }
    }
}

/// `answers[17].rdata` as `answers[].rdata`.
fn every_element(path: &str) -> String {
    let mut every = String::with_capacity(path.len());
    let mut within = false;
    for character in path.chars() {
        within = within && character != ']';
        if !within {
            every.push(character);
        }
        within = within || character == '[';
    }
    every
}

fn follow<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| {
        let value = value.get(step.name)?;
        if step.index == Index::First { value.get(0) } else { Some(value) }
    })
}

fn as_int64(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// OCSF counts milliseconds, but not everybody does: what would lie before March 1973 is in seconds.
fn as_time(value: &Value) -> Option<i64> {
    const FIRST_MS: i64 = 100_000_000_000;
    let time = value.as_i64()?;
    time.checked_mul(if (0..FIRST_MS).contains(&time) { US_PER_SECOND } else { US_PER_MS })
}

fn as_id(value: &Value) -> Option<EventId> {
    value.as_str()?.parse().ok()
}
