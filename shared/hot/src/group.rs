//! The rows of a run by the value of a column: once per dictionary value, without hashing text.

use std::ops::Range;

use crate::cells::TextColumn;

/// Groups of rows by value; the buffers are used again for the next column.
#[derive(Default)]
pub(crate) struct Groups {
    /// Rows per dictionary key while counting, then the next free place of the key; all zero between columns.
    places: Vec<u32>,
    keys: Vec<u32>,
    rows: Vec<u32>,
    ends: Vec<u32>,
}

impl Groups {
    /// Groups the rows of a run; rows without a value are in no group.
    pub(crate) fn fill(&mut self, column: TextColumn<'_>, run: Range<u32>) {
        self.rows.clear();
        self.ends.clear();
        match column {
            TextColumn::Keyword(..) => self.fill_keyword(column, run),
            TextColumn::Text(_) => self.fill_text(column, run),
        }
    }

    /// The groups by value, each with its rows in order; never empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.rows[start as usize..end as usize])
    }

    fn fill_keyword(&mut self, column: TextColumn<'_>, run: Range<u32>) {
        let TextColumn::Keyword(keys, values) = column else { return };
        use arrow::array::Array;
        let key_of = |row: u32| {
            let row = row as usize;
            let key = keys.is_valid(row).then(|| keys.value(row).cast_unsigned())?;
            values.is_valid(key as usize).then_some(key)
        };
        self.places.resize(self.places.len().max(values.len()), 0);
        self.keys.clear();
        for key in run.clone().filter_map(key_of) {
            let count = &mut self.places[key as usize];
            if *count == 0 {
                self.keys.push(key);
            }
            *count += 1;
        }
        let value_of = |key: u32| values.value(key as usize);
        self.keys.sort_unstable_by(|a, b| value_of(*a).cmp(value_of(*b)));
        let (mut end, mut merged, mut before) = (0, false, None);
        for &key in &self.keys {
            let count = std::mem::replace(&mut self.places[key as usize], end);
            end += count;
            // A dictionary may hold a value twice: both keys are one group.
            if before == Some(value_of(key))
                && let Some(last) = self.ends.last_mut()
            {
                *last = end;
                merged = true;
            } else {
                self.ends.push(end);
            }
            before = Some(value_of(key));
        }
        self.rows.resize(end as usize, 0);
        for row in run {
            if let Some(key) = key_of(row) {
                let place = &mut self.places[key as usize];
                self.rows[*place as usize] = row;
                *place += 1;
            }
        }
        for &key in &self.keys {
            self.places[key as usize] = 0;
        }
        if merged {
            self.sort_within_groups();
        }
    }

    fn fill_text(&mut self, column: TextColumn<'_>, run: Range<u32>) {
        let value_of = |row: &u32| column.value(*row as usize);
        self.rows.extend(run.filter(|row| value_of(row).is_some()));
        self.rows.sort_by(|a, b| value_of(a).cmp(&value_of(b)));
        for at in 1..=self.rows.len() {
            let row = &self.rows[at - 1];
            if self.rows.get(at).is_none_or(|next| value_of(next) != value_of(row)) {
                self.ends.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
    }

    fn sort_within_groups(&mut self) {
        let mut start = 0;
        for &end in &self.ends {
            self.rows[start..end as usize].sort_unstable();
            start = end as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, DictionaryArray, Int32Array, StringArray};

    use super::*;

    fn groups(column: &dyn Array, run: Range<u32>) -> Vec<(String, Vec<u32>)> {
        let column = TextColumn::of(column).unwrap();
        let mut groups = Groups::default();
        groups.fill(column, 0..0);
        groups.fill(column, run);
        assert!(groups.places.iter().all(|place| *place == 0));
        groups.iter().map(|rows| (column.value(rows[0] as usize).unwrap().to_owned(), rows.to_vec())).collect()
    }

    #[test]
    fn rows_are_grouped_by_value_in_order() {
        let texts = [Some("b"), None, Some("a"), Some("b"), Some("a"), Some("c")];
        let keyword: DictionaryArray<arrow::datatypes::Int32Type> = texts.into_iter().collect();
        let text = StringArray::from_iter(texts);
        let expected = [("a", vec![2, 4]), ("b", vec![0, 3])].map(|(value, rows)| (value.to_owned(), rows));
        assert_eq!(groups(&keyword, 0..5), expected);
        assert_eq!(groups(&text, 0..5), expected);
        assert_eq!(groups(&keyword, 1..2), []);
    }

    #[test]
    fn a_value_that_stands_twice_in_a_dictionary_is_one_group() {
        let keys = Int32Array::from(vec![2, 0, 1, 0, 2]);
        let column = DictionaryArray::new(keys, Arc::new(StringArray::from(vec!["x", "y", "x"])));
        let expected = [("x", vec![0, 1, 3, 4]), ("y", vec![2])].map(|(value, rows)| (value.to_owned(), rows));
        assert_eq!(groups(&column, 0..5), expected);
    }
}
