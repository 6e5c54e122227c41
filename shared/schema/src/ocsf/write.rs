//! A row as OCSF JSON.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use atalaya_model::Class;
use serde_json::{Map, Value, json};

use super::path::{Form, Index, OURS, Step, form, steps};
use super::{OCSF_VERSION, US_PER_MS, derived};
use crate::{Column, col, column_index, columns, format_time, value_json};

/// A row as nested OCSF JSON with all that OCSF requires. The columns are found by name, so that rows of the archive
/// and of a query do as well; columns without a place in the class are left out.
#[must_use]
pub fn to_ocsf(class: Class, rows: &RecordBatch, row: usize) -> Value {
    let schema = rows.schema();
    let id = |name: usize| {
        let column = rows.column_by_name(columns(class)[name].name);
        let column = column.and_then(|column| column.as_primitive_opt::<Int32Type>());
        column.filter(|column| row < column.len() && column.is_valid(row)).map_or(0, |column| column.value(row))
    };
    let activity_id = id(col::ACTIVITY_ID);
    let mut event = json!({
        "class_uid": class.uid(),
        "category_uid": class.category_uid(),
        "activity_id": activity_id,
        "type_uid": i64::from(class.uid()) * 100 + i64::from(activity_id),
        "severity_id": id(col::SEVERITY_ID),
        "metadata": { "version": OCSF_VERSION, "product": {} },
    });
    for (field, array) in schema.fields().iter().zip(rows.columns()) {
        match column_index(class, field.name()) {
            Some(col::CLASS_UID) | None => {}
            Some(_) if row >= array.len() || array.is_null(row) => {}
            Some(index) => write_column(&mut event, &columns(class)[index], array, row),
        }
    }
    derived::complete(class, &mut event);
    event
}

fn write_column(event: &mut Value, column: &'static Column, array: &ArrayRef, row: usize) {
    let path = steps(column.ocsf);
    let value = || value_json(array, row).unwrap_or_default();
    match form(column) {
        Form::Time => {
            let Some(us) = array.as_primitive_opt::<TimestampMicrosecondType>().map(|times| times.value(row)) else {
                return;
            };
            place(event, &path, us.div_euclid(US_PER_MS).into());
            if let Some((last, parents)) = path.split_last() {
                place_in(event, parents, &format!("{}_dt", last.name), format_time(us).into());
            }
        }
        Form::Duration => {
            let Some(us) = array.as_primitive_opt::<Int64Type>().map(|durations| durations.value(row)) else {
                return;
            };
            place(event, &path, us.div_euclid(US_PER_MS).into());
            place_in(event, &steps(OURS.trim_end_matches('.')), column.name, us.into());
        }
        Form::NumberAsText => place(event, &path, value().to_string().into()),
        Form::Plain if column.name == "unmapped" => merge(event, value()),
        Form::Plain => place(event, &path, value()),
    }
}

/// The unmapped fields beside what else stands under `unmapped`.
fn merge(event: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else { return };
    if let Value::Object(unmapped) = descend(event, Step { name: "unmapped", index: Index::None }) {
        unmapped.extend(fields);
    }
}

fn place(at: &mut Value, path: &[Step], value: Value) {
    match path {
        [] => *at = value,
        [Step { name, index: Index::Each }, rest @ ..] => {
            let Value::Array(values) = value else { return };
            let Value::Array(elements) = &mut at[name] else {
                at[name] = Value::Array(Vec::new());
                return place(at, path, values.into());
            };
            if elements.len() < values.len() {
                elements.resize_with(values.len(), || Map::new().into());
            }
            elements.iter_mut().zip(values).for_each(|(element, value)| place(element, rest, value));
        }
        [step, rest @ ..] => place(descend(at, *step), rest, value),
    }
}

fn place_in(at: &mut Value, parents: &[Step], name: &str, value: Value) {
    let object = parents.iter().fold(at, |at, step| descend(at, *step));
    object[name] = value;
}

/// The object under an attribute, or its first element; made if it is not there.
fn descend(at: &mut Value, step: Step) -> &mut Value {
    let value = &mut at[step.name];
    if step.index == Index::None {
        if value.is_null() {
            *value = Map::new().into();
        }
        return value;
    }
    if value.is_null() {
        *value = json!([{}]);
    }
    &mut value[0]
}
