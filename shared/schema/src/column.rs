//! What a column is, and the tables of columns and Arrow schemas of every class.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use atalaya_model::Class;

use crate::col;

/// What a column holds. Nothing unsigned: Delta has no such types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Text that rarely repeats: Utf8.
    Text,
    /// Text that repeats within a batch: a dictionary on the bus, so that a predicate runs once per distinct value.
    Keyword,
    /// 32-bit signed integer: ports and enumerated ids.
    Int32,
    /// 64-bit signed integer: counts, AS numbers, and durations in microseconds (`*_us`).
    Int64,
    /// 64-bit float.
    Float64,
    /// True or false.
    Bool,
    /// A point in time, microseconds since 1970, UTC.
    Time,
    /// 16 bytes.
    Id,
    /// A list of texts.
    TextList,
    /// A list of 64-bit integers.
    Int64List,
    /// A list of ids.
    IdList,
    /// Text to text.
    TextMap,
}

/// One column: the single source of schemas, catalog, OCSF conversion and reference documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in Arrow, Parquet, SQL, rules and lookups.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnType,
    /// Where it stands in OCSF JSON: attributes with dots between, `[0]` for the first element of an array, `[]` for
    /// every element. `unmapped.atalaya.*` where OCSF has no place for it.
    pub ocsf: &'static str,
    /// One line of meaning.
    pub doc: &'static str,
}

impl ColumnType {
    /// Its name in the reference documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Keyword => "keyword",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Bool => "bool",
            Self::Time => "time",
            Self::Id => "id",
            Self::TextList => "list of text",
            Self::Int64List => "list of int64",
            Self::IdList => "list of id",
            Self::TextMap => "map of text to text",
        }
    }

    /// The Arrow type in process and on the bus.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Keyword => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            other => other.stored_type(),
        }
    }

    /// The Arrow type in the archive and in SQL: as [`Self::data_type`], with dictionaries unpacked.
    #[must_use]
    pub fn stored_type(self) -> DataType {
        match self {
            Self::Text | Self::Keyword => DataType::Utf8,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Id => DataType::Binary,
            Self::TextList => DataType::List(element(DataType::Utf8)),
            Self::Int64List => DataType::List(element(DataType::Int64)),
            Self::IdList => DataType::List(element(DataType::Binary)),
            Self::TextMap => DataType::Map(entries(), false),
        }
    }
}

pub(crate) const UTC: &str = "UTC";

// The inner names are those of Delta and Parquet, so that nothing needs renaming on its way into the archive.
const ELEMENT: &str = "element";
const ENTRIES: &str = "key_value";
const KEY: &str = "key";
const VALUE: &str = "value";

/// The field inside a list.
pub(crate) fn element(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new(ELEMENT, data_type, true))
}

/// The names inside a map, as arrow's builder wants them.
pub(crate) fn map_names() -> arrow::array::MapFieldNames {
    arrow::array::MapFieldNames { entry: ENTRIES.to_owned(), key: KEY.to_owned(), value: VALUE.to_owned() }
}

fn entries() -> Arc<Field> {
    let fields = vec![Field::new(KEY, DataType::Utf8, false), Field::new(VALUE, DataType::Utf8, true)];
    Arc::new(Field::new(ENTRIES, DataType::Struct(Fields::from(fields)), false))
}

/// The bus partition a row was stored in, last but one in [`stored_schema`]: Int32.
pub const EVT_PARTITION: &str = "evt_partition";

/// The EVT sequence of the message a row came in, last in [`stored_schema`]: Int64.
pub const EVT_SEQ: &str = "evt_seq";

struct Tables {
    arrow: SchemaRef,
    stored: SchemaRef,
    index: HashMap<&'static str, usize>,
}

static TABLES: LazyLock<Vec<Tables>> = LazyLock::new(|| Class::ALL.into_iter().map(Tables::new).collect());

impl Tables {
    fn new(class: Class) -> Self {
        let columns = columns(class);
        let fields = |data_type: fn(ColumnType) -> DataType| {
            columns.iter().map(move |column| Field::new(column.name, data_type(column.kind), true))
        };
        let position = [Field::new(EVT_PARTITION, DataType::Int32, true), Field::new(EVT_SEQ, DataType::Int64, true)];
        Self {
            arrow: Arc::new(Schema::new(fields(ColumnType::data_type).collect::<Vec<_>>())),
            stored: Arc::new(Schema::new(fields(ColumnType::stored_type).chain(position).collect::<Vec<_>>())),
            index: columns.iter().enumerate().map(|(index, column)| (column.name, index)).collect(),
        }
    }
}

fn tables(class: Class) -> &'static Tables {
    &TABLES[class as usize]
}

/// The columns of a class: the envelope first, with the same indexes in every class.
#[must_use]
pub fn columns(class: Class) -> &'static [Column] {
    col::of(class)
}

/// The index of a column by name.
#[must_use]
pub fn column_index(class: Class, name: &str) -> Option<usize> {
    tables(class).index.get(name).copied()
}

/// The Arrow schema in process and on the bus: one field per column, in order, all nullable.
#[must_use]
pub fn arrow_schema(class: Class) -> SchemaRef {
    Arc::clone(&tables(class).arrow)
}

/// The Arrow schema of the archive and of SQL: dictionaries unpacked, [`EVT_PARTITION`] and [`EVT_SEQ`] at the end.
#[must_use]
pub fn stored_schema(class: Class) -> SchemaRef {
    Arc::clone(&tables(class).stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_in_the_order_of_the_classes() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
            assert_eq!(arrow_schema(class).fields().len(), columns(class).len());
            assert_eq!(stored_schema(class).fields().len(), columns(class).len() + 2);
        }
    }

    #[test]
    fn names_are_found_and_unique() {
        for class in Class::ALL {
            for (index, column) in columns(class).iter().enumerate() {
                assert_eq!(column_index(class, column.name), Some(index), "{}.{}", class.name(), column.name);
            }
            assert_eq!(column_index(class, "nothing"), None);
        }
    }
}
