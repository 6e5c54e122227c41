//! The balanced books: what came in, and what became of it, per source and tenant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whose row of the books: a source (shared ones as a whole), its tenant or `shared`, and the domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LedgerKey {
    /// The source's name.
    pub source: String,
    /// The source's tenant, or `shared`.
    pub tenant: String,
    /// `live`, or the backfill or replay.
    pub domain: String,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// One row of the books; every field counts since the beginning of what it stands beside.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counts {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_zero")] pub $field: u64,)+
        }

        impl std::ops::AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)+
            }
        }

        impl Counts {
            /// What came since `earlier`; zero where that would be negative.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field),)+ }
            }
        }
    };
}

counts! {
    /// Records that reached the collector.
    received,
    /// Of them, records it had admitted before.
    known,
    /// Records that became events.
    normalized,
    /// Records no mapping could read, kept in the DLQ.
    parked,
    /// Records dropped by policy.
    dropped,
    /// Events written to EVT.
    events,
    /// Events committed to the archive.
    archived,
    /// Events filed in the hot store.
    hot,
    /// Events over on arrival at the hot store.
    expired,
    /// Events that came later than the lateness allows.
    late,
    /// Alerts written.
    alerts,
    /// Alerts delivered to every receiver of their routes.
    notified,
    /// Alerts silenced by a person or without a route.
    silenced,
    /// Alerts given up on after all retries.
    undeliverable,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Records not yet normalised, parked or dropped.
    #[must_use]
    pub fn records_in_flight(&self) -> i64 {
        difference(self.received, self.known + self.normalized + self.parked + self.dropped)
    }

    /// Events not yet in the archive.
    #[must_use]
    pub fn archive_in_flight(&self) -> i64 {
        difference(self.events, self.archived)
    }

    /// Events not yet in the hot store.
    #[must_use]
    pub fn hot_in_flight(&self) -> i64 {
        difference(self.events, self.hot + self.expired)
    }

    /// Alerts not yet delivered, silenced or given up on.
    #[must_use]
    pub fn alerts_in_flight(&self) -> i64 {
        difference(self.alerts, self.notified + self.silenced + self.undeliverable)
    }

    /// Whether nothing is in flight and nothing was counted twice.
    #[must_use]
    pub fn balanced(&self) -> bool {
        [self.records_in_flight(), self.archive_in_flight(), self.hot_in_flight(), self.alerts_in_flight()]
            .iter()
            .all(|&difference| difference == 0)
    }
}

fn difference(whole: u64, parts: u64) -> i64 {
    let difference = i128::from(whole) - i128::from(parts);
    i64::try_from(difference).unwrap_or(i64::MAX)
}

/// The books: a row of counts per key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(LedgerKey, Counts)>", into = "Vec<(LedgerKey, Counts)>")]
pub struct Books(BTreeMap<LedgerKey, Counts>);

impl Books {
    /// Adds to one row.
    pub fn add(&mut self, key: &LedgerKey, counts: Counts) {
        if let Some(row) = self.0.get_mut(key) {
            *row += counts;
        } else {
            self.0.insert(key.clone(), counts);
        }
    }

    /// Adds every row of other books.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(key, counts)| self.add(key, *counts));
    }

    /// The rows in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&LedgerKey, &Counts)> {
        self.0.iter()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of the rows that `wanted` picks.
    #[must_use]
    pub fn total(&self, wanted: impl Fn(&LedgerKey) -> bool) -> Counts {
        self.iter().filter(|(key, _)| wanted(key)).fold(Counts::default(), |mut sum, (_, counts)| {
            sum += *counts;
            sum
        })
    }
}

impl From<Vec<(LedgerKey, Counts)>> for Books {
    fn from(rows: Vec<(LedgerKey, Counts)>) -> Self {
        let mut books = Self::default();
        rows.iter().for_each(|(key, counts)| books.add(key, *counts));
        books
    }
}

impl From<Books> for Vec<(LedgerKey, Counts)> {
    fn from(books: Books) -> Self {
        books.0.into_iter().collect()
    }
}
