//! Rows for tests: every column of a class filled, each row with values of its own.

use arrow::array::RecordBatch;
use atalaya_model::{Class, EventId};

use crate::{Column, ColumnType, EventBatch, Rows, col, columns};

/// One row for each tenant named, in this order.
pub(crate) fn rows(class: Class, tenants: &[&str]) -> RecordBatch {
    let mut rows = Rows::new(class);
    for (row, tenant) in tenants.iter().enumerate() {
        rows.begin();
        rows.text(col::TENANT, tenant);
        rows.int32(col::CLASS_UID, class.uid());
        columns(class).iter().enumerate().for_each(|(index, column)| set(&mut rows, index, column, row));
        rows.end();
    }
    rows.finish()
}

pub(crate) fn batch(class: Class, tenants: &[&str]) -> EventBatch {
    EventBatch::new(class, rows(class, tenants)).unwrap()
}

fn set(rows: &mut Rows, index: usize, column: &Column, row: usize) {
    let number = column.name.bytes().map(i64::from).sum::<i64>() * 1000 + row as i64;
    let text = format!("{} {row}", column.name);
    match column.kind {
        ColumnType::Text | ColumnType::Keyword if column.name.ends_with("_ip") => {
            rows.text(index, &format!("10.{}.0.{}", column.name.len(), row % 256));
        }
        ColumnType::Text | ColumnType::Keyword => rows.text(index, &text),
        ColumnType::Int32 => rows.int32(index, number as i32),
        ColumnType::Int64 => rows.int64(index, number << 32),
        ColumnType::Float64 => rows.float64(index, number as f64 / 3.0),
        ColumnType::Bool => rows.bool(index, row.is_multiple_of(2)),
        ColumnType::Time => rows.time(index, 1_521_911_720_865_716 + number),
        ColumnType::Id => rows.id(index, id(&text).as_bytes()),
        ColumnType::TextList => rows.texts(index, [text.as_str(), "", "more"].into_iter()),
        ColumnType::Int64List => rows.int64s(index, [number, -1].into_iter()),
        ColumnType::IdList => rows.ids(index, [id(&text), id("more")].iter().map(EventId::as_bytes)),
        ColumnType::TextMap => {
            rows.unmapped("id.orig_h", &text);
            rows.unmapped("uid", "");
        }
    }
}

fn id(text: &str) -> EventId {
    EventId::of("sample", &[text.as_bytes()])
}
