//! Which rows meet which predicates: each text is looked at once per distinct value of a batch.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use rustc_hash::FxHashMap;

use super::bitmap::Bitmap;
use super::matcher::{Matcher, PredicateId};
use super::values::{entries, join, scalar_bits, unmapped, write_scalar};
use crate::sigma::Part;

/// What is asked of one source.
#[derive(Debug, Default)]
pub(crate) struct Tests {
    pub(crate) matcher: Matcher,
    pub(crate) null: Option<PredicateId>,
}

/// The number of a set of predicates that some value meets.
type SetId = u32;

const EMPTY: SetId = 0;

/// Sets of predicates, each found once per distinct value.
#[derive(Default)]
struct Sets {
    ends: Vec<u32>,
    ids: Vec<PredicateId>,
}

impl Sets {
    fn get(&self, set: SetId) -> &[PredicateId] {
        let Some(before) = (set as usize).checked_sub(1) else { return &[] };
        let start = before.checked_sub(1).map_or(0, |at| self.ends[at]);
        &self.ids[start as usize..self.ends[before] as usize]
    }

    fn add(&mut self, found: &[PredicateId]) -> SetId {
        if found.is_empty() {
            return EMPTY;
        }
        self.ids.extend_from_slice(found);
        self.ends.push(self.ids.len() as u32);
        self.ends.len() as SetId
    }
}

/// The facts about one batch, being collected.
pub(crate) struct Collector<'b> {
    rows: &'b RecordBatch,
    facts: Vec<Option<Bitmap>>,
    lower: String,
    text: String,
    found: Vec<PredicateId>,
}

impl<'b> Collector<'b> {
    pub(crate) fn new(rows: &'b RecordBatch, predicates: usize) -> Self {
        let (lower, text, found) = (String::new(), String::new(), Vec::new());
        Self { rows, facts: vec![None; predicates], lower, text, found }
    }

    pub(crate) fn finish(self) -> Vec<Option<Bitmap>> {
        self.facts
    }

    fn mark(&mut self, id: PredicateId, row: usize) {
        let rows = self.rows.num_rows();
        self.facts[id as usize].get_or_insert_with(|| Bitmap::none(rows)).set(row);
    }

    fn mark_null(&mut self, tests: &Tests, row: usize) {
        if let Some(id) = tests.null {
            self.mark(id, row);
        }
    }

    fn mark_set(&mut self, sets: &Sets, set: SetId, row: usize) {
        if set != EMPTY {
            sets.get(set).iter().for_each(|&id| self.mark(id, row));
        }
    }

    fn find(&mut self, matcher: &Matcher, value: &str, sets: &mut Sets) -> SetId {
        self.found.clear();
        matcher.find(value, &mut self.lower, &mut self.found);
        sets.add(&self.found)
    }

    /// Looks at a column.
    pub(crate) fn column(&mut self, index: usize, tests: &Tests) {
        let rows = self.rows;
        let array = rows.column(index).as_ref();
        match array.data_type() {
            DataType::Dictionary(..) => self.keywords(array, tests),
            DataType::Utf8 => self.texts(array.as_string::<i32>(), tests),
            DataType::List(_) => self.lists(array, tests),
            DataType::Map(..) => {}
            _ => self.scalars(array, tests),
        }
    }

    fn keywords(&mut self, array: &dyn Array, tests: &Tests) {
        let array = array.as_dictionary::<Int32Type>();
        let Some(values) = array.values().as_string_opt::<i32>() else { return };
        let mut sets = Sets::default();
        let mut known: Vec<Option<SetId>> = vec![None; values.len()];
        for (row, key) in array.keys().iter().enumerate() {
            let Some(key) = key.map(|key| key as usize).filter(|&key| values.is_valid(key)) else {
                self.mark_null(tests, row);
                continue;
            };
            let set = match known[key] {
                Some(set) => set,
                None => {
                    let set = self.find(&tests.matcher, values.value(key), &mut sets);
                    known[key] = Some(set);
                    set
                }
            };
            self.mark_set(&sets, set, row);
        }
    }

    fn texts(&mut self, array: &StringArray, tests: &Tests) {
        for row in 0..array.len() {
            if array.is_null(row) {
                self.mark_null(tests, row);
            } else {
                self.text(array.value(row), tests, row);
            }
        }
    }

    /// Looks at one value that is not expected to come again.
    fn text(&mut self, value: &str, tests: &Tests, row: usize) {
        self.found.clear();
        tests.matcher.find(value, &mut self.lower, &mut self.found);
        for at in 0..self.found.len() {
            self.mark(self.found[at], row);
        }
    }

    fn lists(&mut self, array: &dyn Array, tests: &Tests) {
        let list = array.as_list::<i32>();
        let elements = list.values();
        let texts = elements.as_string_opt::<i32>();
        let mut sets = Sets::default();
        let mut known: FxHashMap<&str, SetId> = FxHashMap::default();
        let mut scalar = String::new();
        for row in 0..list.len() {
            let range = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
            if list.is_null(row) || range.is_empty() {
                self.mark_null(tests, row);
                continue;
            }
            for at in range.filter(|&at| elements.is_valid(at)) {
                let set = match texts.map(|texts| texts.value(at)) {
                    Some(text) => match known.get(text) {
                        Some(&set) => set,
                        None => {
                            let set = self.find(&tests.matcher, text, &mut sets);
                            known.insert(text, set);
                            set
                        }
                    },
                    None if write_scalar(elements, at, &mut scalar) => self.find(&tests.matcher, &scalar, &mut sets),
                    None => EMPTY,
                };
                self.mark_set(&sets, set, row);
            }
        }
    }

    fn scalars(&mut self, array: &dyn Array, tests: &Tests) {
        let mut sets = Sets::default();
        let mut known: FxHashMap<u64, SetId> = FxHashMap::default();
        let mut text = std::mem::take(&mut self.text);
        for row in 0..array.len() {
            let bits = scalar_bits(array, row);
            let set = match bits.and_then(|bits| known.get(&bits)) {
                Some(&set) => set,
                None if write_scalar(array, row, &mut text) => {
                    let set = self.find(&tests.matcher, &text, &mut sets);
                    if let Some(bits) = bits {
                        known.insert(bits, set);
                    }
                    set
                }
                None => {
                    self.mark_null(tests, row);
                    EMPTY
                }
            };
            self.mark_set(&sets, set, row);
        }
        self.text = text;
    }

    /// Looks at columns joined.
    pub(crate) fn joined(&mut self, parts: &[Part], tests: &Tests) {
        let mut text = std::mem::take(&mut self.text);
        for row in 0..self.rows.num_rows() {
            if join(self.rows, parts, row, &mut text) {
                self.text(&text, tests, row);
            } else {
                self.mark_null(tests, row);
            }
        }
        self.text = text;
    }

    /// Looks at fields without a column: those with tests of their own, and all of them for keywords.
    pub(crate) fn unmapped(&mut self, keys: &Keys, any: Option<&Tests>) {
        let rows = self.rows;
        let Some(map) = unmapped(rows) else { return };
        let null = keys.tests.iter().any(|tests| tests.null.is_some());
        let mut seen: Vec<bool> = vec![false; keys.tests.len()];
        let mut places: Vec<Place<'_>> = Vec::new();
        for row in 0..rows.num_rows() {
            for (at, (key, value)) in entries(map, row).enumerate() {
                if at == places.len() {
                    places.push(Place::default());
                }
                let place = &mut places[at];
                if place.key != key {
                    *place = Place { key, tests: keys.index.get(key).copied(), ..Place::default() };
                }
                let Some(value) = value else { continue };
                if let Some(at) = place.tests {
                    seen[at] = true;
                    self.remembered(value, &keys.tests[at], row, place);
                }
                if let Some(any) = any {
                    self.text(value, any, row);
                }
            }
            if null {
                for (tests, seen) in keys.tests.iter().zip(&mut seen) {
                    if !std::mem::take(seen) {
                        self.mark_null(tests, row);
                    }
                }
            }
        }
    }

    /// Looks at a value unless it is the one that stood there in the row before.
    fn remembered<'v>(&mut self, value: &'v str, tests: &Tests, row: usize, place: &mut Place<'v>) {
        if place.value != Some(value) {
            self.found.clear();
            tests.matcher.find(value, &mut self.lower, &mut self.found);
            place.found.clone_from(&self.found);
            place.value = Some(value);
        }
        for at in 0..place.found.len() {
            self.mark(place.found[at], row);
        }
    }
}

/// Keys of `unmapped` and what is asked of each.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) index: FxHashMap<Box<str>, usize>,
    pub(crate) tests: Vec<Tests>,
}

/// An entry's place within a row: the same keys, and often the same values, stand there row after row.
#[derive(Default)]
struct Place<'b> {
    key: &'b str,
    tests: Option<usize>,
    value: Option<&'b str>,
    found: Vec<PredicateId>,
}
