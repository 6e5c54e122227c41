//! Rows of a batch to bytes.

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use atalaya_model::Class;
use atalaya_schema::{Column, ColumnType, col, columns};
use prost::encoding::encode_varint;

use super::{Heading, LZ4, MIN_LZ4_BYTES, NAMED, PLAIN, is_implied, layout};
use crate::cells::TextColumn;
use crate::posting::zigzag;

/// A column's cells by type.
enum Cells<'a> {
    Text(TextColumn<'a>),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Bool(&'a BooleanArray),
    Time(&'a TimestampMicrosecondArray),
    Id(&'a BinaryArray),
    Texts(&'a OffsetBuffer<i32>, &'a StringArray),
    Int64s(&'a OffsetBuffer<i32>, &'a Int64Array),
    Ids(&'a OffsetBuffer<i32>, &'a BinaryArray),
    Map(&'a OffsetBuffer<i32>, &'a StringArray, &'a StringArray),
}

/// Writes rows of one batch.
pub(crate) struct RowEncoder<'a> {
    class: Class,
    heading: Heading,
    cells: Vec<(usize, &'a dyn Array, Cells<'a>)>,
    times: Option<&'a TimestampMicrosecondArray>,
    plain: Vec<u8>,
    block: Vec<u8>,
}

impl<'a> RowEncoder<'a> {
    /// An encoder over a batch of `arrow_schema(class)`; columns without any value are left out at once.
    pub(crate) fn new(class: Class, batch: &'a RecordBatch, heading: Heading) -> Self {
        let cells = columns(class).iter().zip(batch.columns()).enumerate().filter_map(|(index, (column, array))| {
            let wanted = !is_implied(index) && array.null_count() < array.len();
            let array: &dyn Array = array.as_ref();
            wanted.then(|| view(column, array).map(|cells| (index, array, cells)))?
        });
        let times = batch.column(col::TIME).as_primitive_opt::<TimestampMicrosecondType>();
        Self { class, heading, cells: cells.collect(), times, plain: Vec::new(), block: Vec::new() }
    }

    /// Appends these rows as one block.
    pub(crate) fn encode(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        self.put_rows(rows, &mut plain);
        self.block.resize(lz4_flex::block::get_maximum_output_size(plain.len()), 0);
        let packed = if plain.len() < MIN_LZ4_BYTES {
            plain.len()
        } else {
            lz4_flex::block::compress_into(&plain, &mut self.block).unwrap_or(plain.len())
        };
        if packed < plain.len() {
            out.push(LZ4);
            encode_varint(plain.len() as u64, out);
            out.extend_from_slice(&self.block[..packed]);
        } else {
            out.push(PLAIN);
            out.extend_from_slice(&plain);
        }
        self.plain = plain;
    }

    /// One row as a block that is not compressed.
    pub(crate) fn plain(&self, row: u32) -> Vec<u8> {
        let mut out = vec![PLAIN];
        self.put_rows(&[row], &mut out);
        out
    }

    fn put_rows(&self, rows: &[u32], out: &mut Vec<u8>) {
        let number = if self.heading == Heading::Bitmap { layout(self.class) } else { NAMED };
        out.extend_from_slice(&number.to_le_bytes());
        encode_varint(rows.len() as u64, out);
        for &row in rows {
            self.encode_row(row as usize, out);
        }
    }

    fn encode_row(&self, row: usize, out: &mut Vec<u8>) {
        match self.heading {
            Heading::Bitmap => {
                let start = out.len();
                out.resize(start + columns(self.class).len().div_ceil(8), 0);
                for (index, ..) in self.present(row) {
                    out[start + index / 8] |= 1 << (index % 8);
                }
            }
            Heading::Names => {
                encode_varint(self.present(row).count() as u64, out);
                for (index, ..) in self.present(row) {
                    put_bytes(columns(self.class)[*index].name.as_bytes(), out);
                }
            }
        }
        let base = self.times.filter(|times| times.is_valid(row)).map_or(0, |times| times.value(row));
        for (index, _, cells) in self.present(row) {
            let base = if *index == col::TIME { 0 } else { base };
            cells.encode(row, base, out);
        }
    }

    fn present(&self, row: usize) -> impl Iterator<Item = &(usize, &'a dyn Array, Cells<'a>)> {
        self.cells.iter().filter(move |(_, array, cells)| array.is_valid(row) && cells.has(row))
    }
}

fn view<'a>(column: &Column, array: &'a dyn Array) -> Option<Cells<'a>> {
    let list = || array.as_list_opt::<i32>();
    Some(match column.kind {
        ColumnType::Text | ColumnType::Keyword => Cells::Text(TextColumn::of(array)?),
        ColumnType::Int32 => Cells::Int32(array.as_primitive_opt::<Int32Type>()?),
        ColumnType::Int64 => Cells::Int64(array.as_primitive_opt::<Int64Type>()?),
        ColumnType::Float64 => Cells::Float64(array.as_primitive_opt::<Float64Type>()?),
        ColumnType::Bool => Cells::Bool(array.as_boolean_opt()?),
        ColumnType::Time => Cells::Time(array.as_primitive_opt::<TimestampMicrosecondType>()?),
        ColumnType::Id => Cells::Id(array.as_binary_opt::<i32>()?),
        ColumnType::TextList => Cells::Texts(list()?.offsets(), list()?.values().as_string_opt::<i32>()?),
        ColumnType::Int64List => Cells::Int64s(list()?.offsets(), list()?.values().as_primitive_opt::<Int64Type>()?),
        ColumnType::IdList => Cells::Ids(list()?.offsets(), list()?.values().as_binary_opt::<i32>()?),
        ColumnType::TextMap => {
            let map = array.as_map_opt()?;
            Cells::Map(map.offsets(), map.keys().as_string_opt::<i32>()?, map.values().as_string_opt::<i32>()?)
        }
    })
}

impl Cells<'_> {
    /// Whether a row that is not null has a value after all: a dictionary may hold a null.
    fn has(&self, row: usize) -> bool {
        match self {
            Self::Text(text) => text.value(row).is_some(),
            _ => true,
        }
    }

    fn encode(&self, row: usize, base: i64, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_bytes(text.value(row).unwrap_or_default().as_bytes(), out),
            Self::Int32(numbers) => encode_varint(zigzag(numbers.value(row).into()), out),
            Self::Int64(numbers) => encode_varint(zigzag(numbers.value(row)), out),
            Self::Float64(numbers) => out.extend_from_slice(&numbers.value(row).to_le_bytes()),
            Self::Bool(flags) => out.push(flags.value(row).into()),
            Self::Time(times) => encode_varint(zigzag(times.value(row).wrapping_sub(base)), out),
            Self::Id(ids) => put_bytes(ids.value(row), out),
            Self::Texts(offsets, texts) => {
                put_list(offsets, row, out, |at, out| put_bytes(texts.value(at).as_bytes(), out));
            }
            Self::Int64s(offsets, numbers) => {
                put_list(offsets, row, out, |at, out| encode_varint(zigzag(numbers.value(at)), out));
            }
            Self::Ids(offsets, ids) => put_list(offsets, row, out, |at, out| put_bytes(ids.value(at), out)),
            Self::Map(offsets, keys, values) => put_list(offsets, row, out, |at, out| {
                put_bytes(keys.value(at).as_bytes(), out);
                put_bytes(values.value(at).as_bytes(), out);
            }),
        }
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_list(offsets: &OffsetBuffer<i32>, row: usize, out: &mut Vec<u8>, put: impl Fn(usize, &mut Vec<u8>)) {
    let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or_default();
    let (start, end) = (bound(row), bound(row + 1));
    encode_varint((end - start) as u64, out);
    for at in start..end {
        put(at, out);
    }
}
