//! The builder of one column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::ColumnType;
use crate::column::{UTC, element, map_names};
use crate::keyword::KeywordBuilder;

pub(super) enum Builder {
    Text(StringBuilder),
    Keyword(KeywordBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Id(BinaryBuilder),
    Texts(ListBuilder<StringBuilder>),
    Int64s(ListBuilder<Int64Builder>),
    Ids(ListBuilder<BinaryBuilder>),
    Map(MapBuilder<StringBuilder, StringBuilder>),
}

impl Builder {
    pub(super) fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Keyword => Self::Keyword(KeywordBuilder::new()),
            ColumnType::Int32 => Self::Int32(Int32Builder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone(UTC)),
            ColumnType::Id => Self::Id(BinaryBuilder::new()),
            ColumnType::TextList => {
                Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)))
            }
            ColumnType::Int64List => {
                Self::Int64s(ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64)))
            }
            ColumnType::IdList => {
                Self::Ids(ListBuilder::new(BinaryBuilder::new()).with_field(element(DataType::Binary)))
            }
            ColumnType::TextMap => {
                Self::Map(MapBuilder::new(Some(map_names()), StringBuilder::new(), StringBuilder::new()))
            }
        }
    }

    pub(super) fn append_nulls(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        match self {
            Self::Text(builder) => builder.append_nulls(count),
            Self::Keyword(builder) => builder.append_nulls(count),
            Self::Int32(builder) => builder.append_nulls(count),
            Self::Int64(builder) => builder.append_nulls(count),
            Self::Float64(builder) => builder.append_nulls(count),
            Self::Bool(builder) => builder.append_nulls(count),
            Self::Time(builder) => builder.append_nulls(count),
            Self::Id(builder) => builder.append_nulls(count),
            Self::Texts(builder) => builder.append_nulls(count),
            Self::Int64s(builder) => builder.append_nulls(count),
            Self::Ids(builder) => builder.append_nulls(count),
            Self::Map(builder) => even(&builder.append_nulls(count)),
        }
    }

    /// Ends the row of a map whose entries were appended.
    pub(super) fn close_map(&mut self) {
        if let Self::Map(builder) = self {
            even(&builder.append(true));
        }
    }

    /// A value of a type that the column does not hold: null in its place.
    pub(super) fn refuse(place: Option<&mut Self>, what: &str) {
        if let Some(builder) = place {
            debug_assert!(false, "a column was given a value of another type: {what}");
            builder.append_nulls(1);
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Keyword(builder) => builder.finish(),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Id(builder) => Arc::new(builder.finish()),
            Self::Texts(builder) => Arc::new(builder.finish()),
            Self::Int64s(builder) => Arc::new(builder.finish()),
            Self::Ids(builder) => Arc::new(builder.finish()),
            Self::Map(builder) => Arc::new(builder.finish()),
        }
    }
}

fn even(appended: &Result<(), ArrowError>) {
    debug_assert!(appended.is_ok(), "keys and values are appended in pairs");
}
