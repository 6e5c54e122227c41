//! A few rows as bytes: what stands in a posting beside its positions, and in the table of indicators.
//!
//! Compact, and made to be read a row here and a row there: per row a heading that says which columns are not null,
//! then their values as varints and length-prefixed bytes, all of it one lz4 block. Rows of a posting head with a bitmap
//! over the columns and name the layout (a hash of the class's columns) it counts them in: a reader with another layout
//! reads the segment instead. Rows that stand alone head with the columns' names.

mod decode;
mod encode;

use std::sync::LazyLock;

use atalaya_model::Class;
use atalaya_schema::{col, columns};

pub(crate) use decode::RowDecoder;
pub(crate) use encode::RowEncoder;

/// Rows that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RowsError {
    /// Written with other columns.
    #[error("rows of a layout this program does not know")]
    Layout,
    /// Cut off or overwritten.
    #[error("rows are damaged at {0}")]
    Damaged(&'static str),
}

/// How a row says which columns follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heading {
    /// A bitmap over the class's columns.
    Bitmap,
    /// The columns' names.
    Names,
}

/// Bytes of decompressed rows at most.
const MAX_ROWS_BYTES: usize = 4 << 20;

/// Blocks shorter than this are not compressed.
const MIN_LZ4_BYTES: usize = 64;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// The layout number of rows that name their columns.
const NAMED: u32 = 0;

/// A number for the columns of a class as they are now; never [`NAMED`].
fn layout(class: Class) -> u32 {
    static LAYOUTS: LazyLock<[u32; Class::ALL.len()]> = LazyLock::new(|| Class::ALL.map(hash_columns));
    LAYOUTS[class as usize]
}

fn hash_columns(class: Class) -> u32 {
    let mut hasher = blake3::Hasher::new();
    for column in columns(class) {
        hasher.update(column.name.as_bytes()).update(&[0]).update(column.kind.name().as_bytes()).update(&[0]);
    }
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(NAMED + 1)
}

/// Columns that follow from where a row stands and are not written.
const fn is_implied(column: usize) -> bool {
    column == col::TENANT || column == col::CLASS_UID
}

#[cfg(test)]
mod tests;
