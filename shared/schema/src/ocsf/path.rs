//! The columns' OCSF paths, taken apart once.

use std::collections::HashMap;
use std::sync::LazyLock;

use atalaya_model::Class;

use crate::{Column, ColumnType, columns};

/// Under it stand the columns without a place in OCSF.
pub(super) const OURS: &str = "unmapped.atalaya.";

/// One attribute on the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) index: Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// No array.
    None,
    /// The first element, `[0]`.
    First,
    /// Every element, `[]`.
    Each,
}

pub(super) fn steps(path: &'static str) -> Vec<Step> {
    let step = |name: &'static str| match (name.strip_suffix("[0]"), name.strip_suffix("[]")) {
        (Some(name), _) => Step { name, index: Index::First },
        (None, Some(name)) => Step { name, index: Index::Each },
        (None, None) => Step { name, index: Index::None },
    };
    path.split('.').map(step).collect()
}

/// How a column stands in OCSF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// Milliseconds at the path, RFC 3339 with microseconds at the path with `_dt`.
    Time,
    /// Milliseconds at the path, microseconds at `unmapped.atalaya.<column>`.
    Duration,
    /// A number that OCSF has as text.
    NumberAsText,
}

pub(super) fn form(column: &Column) -> Form {
    let ours = column.ocsf.starts_with(OURS);
    match column.kind {
        ColumnType::Time if !ours => Form::Time,
        ColumnType::Int64 if !ours && column.name.ends_with("_us") => Form::Duration,
        ColumnType::Float64 if column.ocsf.ends_with("epss.score") => Form::NumberAsText,
        _ => Form::Plain,
    }
}

/// A class's columns by where they stand in OCSF.
pub(super) struct Paths {
    /// Columns with one value, by path; a duration by its exact twin too.
    pub(super) single: HashMap<String, usize>,
    /// Times by their exact twin.
    pub(super) exact_times: HashMap<String, usize>,
    /// List columns by the path of one value, `answers[].rdata`.
    pub(super) elements: HashMap<&'static str, usize>,
    /// List columns and the way from an element to the value, by the array's path.
    pub(super) arrays: HashMap<&'static str, Vec<(usize, Vec<Step>)>>,
}

static PATHS: LazyLock<Vec<Paths>> = LazyLock::new(|| Class::ALL.into_iter().map(Paths::new).collect());

impl Paths {
    pub(super) fn of(class: Class) -> &'static Self {
        &PATHS[class as usize]
    }

    fn new(class: Class) -> Self {
        let mut paths = Self {
            single: HashMap::new(),
            exact_times: HashMap::new(),
            elements: HashMap::new(),
            arrays: HashMap::new(),
        };
        for (index, column) in columns(class).iter().enumerate() {
            if let Some((array, rest)) = column.ocsf.split_once("[].") {
                paths.elements.insert(column.ocsf, index);
                paths.arrays.entry(array).or_default().push((index, steps(rest)));
                continue;
            }
            paths.single.insert(column.ocsf.to_owned(), index);
            match form(column) {
                Form::Time => drop(paths.exact_times.insert(format!("{}_dt", column.ocsf), index)),
                Form::Duration => drop(paths.single.insert(format!("{OURS}{}", column.name), index)),
                Form::Plain | Form::NumberAsText => {}
            }
        }
        paths
    }
}
