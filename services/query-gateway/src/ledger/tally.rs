//! Counts by tenant, domain and a name, bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::domains::PAST;

/// Rows of a tally at most; what comes beyond is counted under [`OTHER`].
pub const MAX_ROWS: usize = 4_096;

/// The name of what found no row of its own.
pub const OTHER: &str = "other";

/// A row's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// Whose.
    pub tenant: String,
    /// `live`, or a backfill or replay.
    pub domain: String,
    /// What is counted.
    pub name: String,
}

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Row, u64)>", into = "Vec<(Row, u64)>")]
pub struct Tally(BTreeMap<Row, u64>);

impl Tally {
    /// Counts.
    pub fn add(&mut self, mut row: Row, count: u64) {
        if self.0.len() >= MAX_ROWS && !self.0.contains_key(&row) {
            OTHER.clone_into(&mut row.name);
        }
        *self.0.entry(row).or_default() += count;
    }

    /// Sums the rows of a domain up in those of the past.
    pub fn sum_up(&mut self, domain: &str) {
        for (mut row, count) in std::mem::take(&mut self.0) {
            if row.domain == domain {
                PAST.clone_into(&mut row.domain);
            }
            *self.0.entry(row).or_default() += count;
        }
    }

    /// The sums by name of the rows that `wanted` picks.
    #[must_use]
    pub fn by_name(&self, wanted: impl Fn(&Row) -> bool) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for (row, count) in self.0.iter().filter(|(row, _)| wanted(row)) {
            *sums.entry(row.name.as_str()).or_default() += count;
        }
        sums
    }
}

impl From<Vec<(Row, u64)>> for Tally {
    fn from(rows: Vec<(Row, u64)>) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl From<Tally> for Vec<(Row, u64)> {
    fn from(tally: Tally) -> Self {
        tally.0.into_iter().collect()
    }
}
