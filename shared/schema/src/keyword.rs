//! Text interned into a dictionary, in the order first seen.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, NullBufferBuilder, StringArray, new_null_array};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::ColumnType;

/// Distinct texts; key `n` is the text from `offsets[n]` to `offsets[n + 1]`.
struct Dictionary {
    text: String,
    offsets: Vec<i32>,
    table: HashTable<i32>,
    hasher: DefaultHashBuilder,
}

impl Dictionary {
    fn new() -> Self {
        Self { text: String::new(), offsets: vec![0], table: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    fn get(&self, key: i32) -> &str {
        text_at(&self.text, &self.offsets, key)
    }

    /// The key of a text; none once the dictionary is full (2 GiB of text).
    fn intern(&mut self, value: &str) -> Option<i32> {
        let Self { text, offsets, table, hasher } = self;
        let hash = hasher.hash_one(value);
        if let Some(key) = table.find(hash, |&key| text_at(text, offsets, key) == value) {
            return Some(*key);
        }
        let key = i32::try_from(offsets.len() - 1).ok()?;
        let end = i32::try_from(text.len() + value.len()).ok()?;
        text.push_str(value);
        offsets.push(end);
        table.insert_unique(hash, key, |&key| hasher.hash_one(text_at(text, offsets, key)));
        Some(key)
    }

    /// The texts in order of their keys; the dictionary is empty afterwards.
    fn finish(&mut self) -> Result<StringArray, ArrowError> {
        self.table.clear();
        let text = Buffer::from_vec(std::mem::take(&mut self.text).into_bytes());
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), text, None)
    }
}

fn text_at<'a>(text: &'a str, offsets: &[i32], key: i32) -> &'a str {
    let key = key as usize;
    text.get(offsets[key] as usize..offsets[key + 1] as usize).unwrap_or_default()
}

/// Builds a dictionary array without duplicates or unused values.
pub(crate) struct KeywordBuilder {
    dictionary: Dictionary,
    keys: Vec<i32>,
    nulls: NullBufferBuilder,
    /// The key appended last: most columns repeat it, and a comparison is cheaper than a hash.
    last: Option<i32>,
}

impl KeywordBuilder {
    pub(crate) fn new() -> Self {
        Self { dictionary: Dictionary::new(), keys: Vec::new(), nulls: NullBufferBuilder::new(0), last: None }
    }

    pub(crate) fn append(&mut self, value: &str) {
        let key = match self.last {
            Some(key) if self.dictionary.get(key) == value => Some(key),
            _ => self.dictionary.intern(value),
        };
        match key {
            Some(key) => {
                self.last = Some(key);
                self.append_key(key);
            }
            None => self.append_nulls(1),
        }
    }

    /// Interns a text without a row; the key is for [`Self::append_key`].
    pub(crate) fn intern(&mut self, value: &str) -> Option<i32> {
        self.dictionary.intern(value)
    }

    pub(crate) fn append_key(&mut self, key: i32) {
        self.keys.push(key);
        self.nulls.append_non_null();
    }

    pub(crate) fn append_nulls(&mut self, count: usize) {
        self.keys.resize(self.keys.len() + count, 0);
        self.nulls.append_n_nulls(count);
    }

    /// The array; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let rows = self.keys.len();
        let array = self.try_finish();
        debug_assert!(array.is_ok(), "keys and offsets are made here: {array:?}");
        array.map_or_else(|_| new_null_array(&ColumnType::Keyword.data_type(), rows), |array| Arc::new(array))
    }

    fn try_finish(&mut self) -> Result<DictionaryArray<Int32Type>, ArrowError> {
        self.last = None;
        let nulls = self.nulls.finish();
        let keys = Int32Array::try_new(ScalarBuffer::from(std::mem::take(&mut self.keys)), nulls)?;
        DictionaryArray::try_new(keys, Arc::new(self.dictionary.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn texts_are_interned_in_order_and_batches_start_afresh() {
        let mut builder = KeywordBuilder::new();
        for value in ["b", "b", "a", "", "b"] {
            builder.append(value);
        }
        builder.append_nulls(2);
        let array = builder.finish();
        let array = array.as_dictionary::<Int32Type>();
        let texts: Vec<_> = array.downcast_dict::<StringArray>().unwrap().into_iter().collect();
        assert_eq!(texts, [Some("b"), Some("b"), Some("a"), Some(""), Some("b"), None, None]);
        assert_eq!(array.values().len(), 3);
        builder.append("c");
        let array = builder.finish();
        assert_eq!((array.len(), array.as_dictionary::<Int32Type>().values().len()), (1, 1));
    }
}
