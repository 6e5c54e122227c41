//! Bytes back to rows.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use atalaya_model::Class;
use atalaya_schema::{ColumnType, Rows, col, column_index, columns};
use prost::encoding::decode_varint;

use super::{LZ4, MAX_ROWS_BYTES, NAMED, PLAIN, RowsError, is_implied, layout};
use crate::posting::unzigzag;

/// Gathers rows of many blocks into one batch.
pub(crate) struct RowDecoder {
    class: Class,
    rows: Rows,
}

impl RowDecoder {
    /// A decoder for rows of a class.
    pub(crate) fn new(class: Class) -> Self {
        Self { class, rows: Rows::new(class) }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds the rows of a block, which belong to `tenant`; answers with how many there are now.
    pub(crate) fn read(&mut self, tenant: &str, block: &[u8]) -> Result<usize, RowsError> {
        let plain = unpack(block)?;
        let (number, rest) = plain.split_first_chunk().ok_or(RowsError::Damaged("layout"))?;
        let number = u32::from_le_bytes(*number);
        if number != NAMED && number != layout(self.class) {
            return Err(RowsError::Layout);
        }
        let mut bytes = Bytes(rest);
        for _ in 0..bytes.length("row count")? {
            let present =
                if number == NAMED { named(self.class, &mut bytes)? } else { mapped(self.class, &mut bytes)? };
            self.rows.begin();
            self.rows.text(col::TENANT, tenant);
            self.rows.int32(col::CLASS_UID, self.class.uid());
            let mut base = 0;
            for column in present {
                let read = read_cell(self.class, column, base, &mut bytes, &mut self.rows)?;
                if column == col::TIME {
                    base = read;
                }
            }
            self.rows.end();
        }
        if bytes.0.is_empty() { Ok(self.rows.len()) } else { Err(RowsError::Damaged("end")) }
    }

    /// The rows so far, in the order read.
    pub(crate) fn finish(mut self) -> RecordBatch {
        self.rows.finish()
    }
}

fn unpack(block: &[u8]) -> Result<Cow<'_, [u8]>, RowsError> {
    match block.split_first() {
        Some((&PLAIN, plain)) => Ok(Cow::Borrowed(plain)),
        Some((&LZ4, packed)) => {
            let mut bytes = Bytes(packed);
            let size = usize::try_from(bytes.number("size")?).unwrap_or(usize::MAX);
            if size > MAX_ROWS_BYTES {
                return Err(RowsError::Damaged("size"));
            }
            lz4_flex::block::decompress(bytes.0, size).map(Cow::Owned).map_err(|_| RowsError::Damaged("block"))
        }
        _ => Err(RowsError::Damaged("block")),
    }
}

fn mapped(class: Class, bytes: &mut Bytes<'_>) -> Result<Vec<usize>, RowsError> {
    let count = columns(class).len();
    let map = bytes.take(count.div_ceil(8), "bitmap")?;
    Ok((0..count).filter(|index| map[index / 8] & (1 << (index % 8)) != 0).collect())
}

fn named(class: Class, bytes: &mut Bytes<'_>) -> Result<Vec<usize>, RowsError> {
    let count = bytes.length("names")?;
    let mut index = || {
        let name = bytes.text("name")?;
        column_index(class, name).filter(|index| !is_implied(*index)).ok_or(RowsError::Layout)
    };
    (0..count).map(|_| index()).collect()
}

/// Reads one cell into the open row; answers with its time if it is one.
fn read_cell(class: Class, column: usize, base: i64, bytes: &mut Bytes<'_>, rows: &mut Rows) -> Result<i64, RowsError> {
    let what = columns(class)[column].name;
    match columns(class)[column].kind {
        ColumnType::Text | ColumnType::Keyword => rows.text(column, bytes.text(what)?),
        ColumnType::Int32 => {
            let number = i32::try_from(unzigzag(bytes.number(what)?)).map_err(|_| RowsError::Damaged(what))?;
            rows.int32(column, number);
        }
        ColumnType::Int64 => rows.int64(column, unzigzag(bytes.number(what)?)),
        ColumnType::Float64 => rows.float64(column, f64::from_le_bytes(bytes.array(what)?)),
        ColumnType::Bool => rows.bool(column, bytes.take(1, what)? != [0]),
        ColumnType::Time => {
            let time_us = unzigzag(bytes.number(what)?).wrapping_add(base);
            rows.time(column, time_us);
            return Ok(time_us);
        }
        ColumnType::Id => rows.id(column, bytes.id(what)?),
        ColumnType::TextList => {
            let texts = bytes.list(what, |bytes| bytes.text(what))?;
            rows.texts(column, texts.into_iter());
        }
        ColumnType::Int64List => {
            let numbers = bytes.list(what, |bytes| Ok(unzigzag(bytes.number(what)?)))?;
            rows.int64s(column, numbers.into_iter());
        }
        ColumnType::IdList => {
            let ids = bytes.list(what, |bytes| bytes.id(what))?;
            rows.ids(column, ids.into_iter());
        }
        ColumnType::TextMap => {
            for (key, value) in bytes.list(what, |bytes| Ok((bytes.text(what)?, bytes.text(what)?)))? {
                rows.unmapped(key, value);
            }
        }
    }
    Ok(0)
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], RowsError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(RowsError::Damaged(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], RowsError> {
        self.take(N, what)?.try_into().map_err(|_| RowsError::Damaged(what))
    }

    fn number(&mut self, what: &'static str) -> Result<u64, RowsError> {
        decode_varint(&mut self.0).map_err(|_| RowsError::Damaged(what))
    }

    /// A length or count; each thing counted takes a byte at least, so no more than what is left.
    fn length(&mut self, what: &'static str) -> Result<usize, RowsError> {
        let length = usize::try_from(self.number(what)?).unwrap_or(usize::MAX);
        if length <= self.0.len() { Ok(length) } else { Err(RowsError::Damaged(what)) }
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, RowsError> {
        let length = self.length(what)?;
        std::str::from_utf8(self.take(length, what)?).map_err(|_| RowsError::Damaged(what))
    }

    fn id(&mut self, what: &'static str) -> Result<&'a [u8; 16], RowsError> {
        let length = self.length(what)?;
        self.take(length, what)?.try_into().map_err(|_| RowsError::Damaged(what))
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, RowsError>,
    ) -> Result<Vec<T>, RowsError> {
        let length = self.length(what)?;
        (0..length).map(|_| read(self)).collect()
    }
}
