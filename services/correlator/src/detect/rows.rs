//! Groups and values of matching rows, by hash; each column is hashed once per distinct value of a batch.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use atalaya_schema::EventBatch;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::group::Detail;
use super::tracks::{Binding, Key, Named};
use crate::engine::values::{each_text, scalar_bits, text_at};
use crate::sigma::Source;
use crate::sigma::correlation::MAX_GROUP_FIELDS;

/// Characters of a group's value in an alert at most.
const MAX_VALUE_CHARS: usize = 256;

/// The hash of no value.
const NONE: u64 = 0;

/// A batch's rows as groups see them.
pub(crate) struct RowValues<'b> {
    batch: &'b EventBatch,
    columns: FxHashMap<usize, Option<Vec<u64>>>,
}

impl<'b> RowValues<'b> {
    pub(crate) fn new(batch: &'b EventBatch) -> Self {
        Self { batch, columns: FxHashMap::default() }
    }

    /// The hash of a value in a row; [`NONE`] for no value.
    fn hash(&mut self, source: &Source, row: usize) -> u64 {
        if let Source::Column(index) = source {
            let array = self.batch.rows.column(*index);
            let hashes = self.columns.entry(*index).or_insert_with(|| hash_column(array));
            if let Some(hashes) = hashes {
                return hashes[row];
            }
        }
        let mut hash = NONE;
        each_text(self.batch.class, &self.batch.rows, source, row, &mut |text| {
            hash = some(xxh3_64(text.as_bytes()) ^ hash.rotate_left(1));
        });
        hash
    }

    /// The row's group; none if it belongs to none.
    pub(crate) fn group(&mut self, key: &Key, row: usize) -> Option<u64> {
        let mut bytes = [0; (MAX_GROUP_FIELDS + 1) * 8];
        let mut length = 0;
        let mut push = |hash: u64| {
            let end = (length + 8).min(bytes.len());
            bytes[length..end].copy_from_slice(&hash.to_le_bytes()[..end - length]);
            length = end;
        };
        match key {
            Key::All { of, partial } => {
                for named in of {
                    let hash = self.hash(&named.source, row);
                    if hash == NONE && !partial {
                        return None;
                    }
                    push(hash);
                }
            }
            Key::First(of) => {
                let first = of.iter().enumerate().map(|(at, named)| (at, self.hash(&named.source, row)));
                if let Some((at, hash)) = first.into_iter().find(|(_, hash)| *hash != NONE) {
                    push(at as u64);
                    push(hash);
                }
            }
        }
        Some(xxh3_64(&bytes[..length]))
    }

    /// The value that is counted: 0 where events are, none for no value.
    pub(crate) fn value(&mut self, source: Option<&Source>, row: usize) -> Option<u64> {
        match source {
            Some(source) => Some(self.hash(source, row)).filter(|&hash| hash != NONE),
            None => Some(NONE),
        }
    }

    /// A row's group in words.
    pub(crate) fn detail(&self, binding: &Binding, row: usize) -> Detail {
        let entities: Vec<(String, String)> = match &binding.key {
            Key::All { of, .. } => of.iter().filter_map(|named| self.named(named, row)).collect(),
            Key::First(of) => of.iter().find_map(|named| self.named(named, row)).into_iter().collect(),
        };
        let pairs: Vec<String> = entities.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let fields = binding.fields.iter().filter_map(|named| self.named(named, row)).collect();
        Detail { key: pairs.join(","), entities, fields }
    }

    fn named(&self, named: &Named, row: usize) -> Option<(String, String)> {
        let mut text = text_at(self.batch.class, &self.batch.rows, &named.source, row)?;
        if let Some((end, _)) = text.char_indices().nth(MAX_VALUE_CHARS) {
            text.truncate(end);
        }
        Some((named.name.clone(), text))
    }
}

/// Hashes of a keyword column or a column of numbers; none for other columns, which are hashed row by row.
fn hash_column(array: &dyn Array) -> Option<Vec<u64>> {
    if let Some(keywords) = array.as_dictionary_opt::<Int32Type>() {
        let texts = keywords.values().as_string_opt::<i32>()?;
        let text = |text: Option<&str>| text.map_or(NONE, |text| some(xxh3_64(text.as_bytes())));
        let of_texts: Vec<u64> = texts.iter().map(text).collect();
        let of_key = |key: Option<i32>| key.and_then(|key| of_texts.get(key as usize).copied()).unwrap_or(NONE);
        return Some(keywords.keys().iter().map(of_key).collect());
    }
    if !array.data_type().is_primitive() {
        return None;
    }
    let of_row = |row| scalar_bits(array, row).map_or(NONE, |bits| some(xxh3_64(&bits.to_le_bytes())));
    Some((0..array.len()).map(of_row).collect())
}

/// A value is never taken for no value.
fn some(hash: u64) -> u64 {
    hash.max(NONE + 1)
}
