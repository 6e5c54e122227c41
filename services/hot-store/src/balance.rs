//! What a refilled gap adds to the books. Pure.
//!
//! Rows in the archive do not say whose row of the books they count in: the domain, and the tenant of their source,
//! stand in the headers of their message, which is gone. But the archive counted these headers: what its floor counts
//! up to a position and the hot store does not is what the hot store missed, key by key. So this can be worked out any
//! number of times, and once it is counted nothing is missing any more. The rows found are the check on it.

use std::collections::BTreeMap;

use atalaya_model::{Books, Counts};

/// Rows that were filed from the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refilled {
    /// Rows found, filed or over.
    pub(crate) rows: u64,
    /// Of them, those that were over by then, by source.
    pub(crate) expired: BTreeMap<String, u64>,
}

impl Refilled {
    /// Adds rows of a source, all filed or all over.
    pub(crate) fn add(&mut self, source: &str, rows: u64, expired: u64) {
        self.rows += rows + expired;
        if expired > 0 {
            *self.expired.entry(source.to_owned()).or_default() += expired;
        }
    }

    /// Adds other rows.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (source, expired) in &other.expired {
            *self.expired.entry(source.clone()).or_default() += expired;
        }
    }
}

/// Books that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Uneven {
    /// More was filed than archived.
    #[error("{source_name} of {tenant} in {domain}: {filed} events were filed, and {archived} archived up to there")]
    Filed {
        /// The source.
        source_name: String,
        /// Its tenant.
        tenant: String,
        /// The domain.
        domain: String,
        /// Events filed or over.
        filed: u64,
        /// Events archived.
        archived: u64,
    },
    /// The archive has fewer rows than the books miss.
    #[error("{missing} events are missing in the hot store, and the archive has {rows} rows of the gap")]
    Rows {
        /// Events missing.
        missing: u64,
        /// Rows found.
        rows: u64,
    },
}

/// The events that were archived and not filed: from what the archive counts up to some position, what the hot store
/// counts up to a later one, and the events that stand between the two.
///
/// # Errors
/// If more was filed than archived.
pub(crate) fn missing(archived: &Books, filed: &Books, between: &Books) -> Result<Books, Uneven> {
    let mut all = archived.clone();
    all.merge(filed);
    all.merge(between);
    let mut missing = Books::default();
    for (key, counts) in all.iter() {
        let (archived, filed) = (counts.archived + counts.events, counts.hot + counts.expired);
        let uneven = || Uneven::Filed {
            source_name: key.source.clone(),
            tenant: key.tenant.clone(),
            domain: key.domain.clone(),
            filed,
            archived,
        };
        let events = archived.checked_sub(filed).ok_or_else(uneven)?;
        if events > 0 {
            missing.add(key, Counts { events, ..Counts::default() });
        }
    }
    Ok(missing)
}

/// What became of the missing events. Where a source has several rows in the books, those over are counted in the first
/// ones.
///
/// # Errors
/// If fewer rows were found than are missing. More may be: some were filed before, and not counted.
pub(crate) fn outcome(missing: &Books, refilled: &Refilled) -> Result<Books, Uneven> {
    let total = missing.total(|_| true).events;
    if total > refilled.rows {
        return Err(Uneven::Rows { missing: total, rows: refilled.rows });
    }
    let (mut left, mut books) = (refilled.expired.clone(), Books::default());
    for (key, Counts { events, .. }) in missing.iter() {
        let over = left.get_mut(&key.source);
        let expired = over.as_ref().map_or(0, |over| (**over).min(*events));
        if let Some(over) = over {
            *over -= expired;
        }
        books.add(key, Counts { hot: events - expired, expired, ..Counts::default() });
    }
    Ok(books)
}

#[cfg(test)]
mod tests {
    use atalaya_model::LedgerKey;

    use super::*;

    fn books(rows: &[(&str, &str, Counts)]) -> Books {
        let mut books = Books::default();
        for (source, domain, counts) in rows {
            let key =
                LedgerKey { source: (*source).to_owned(), tenant: "shared".to_owned(), domain: (*domain).to_owned() };
            books.add(&key, *counts);
        }
        books
    }

    fn archived(archived: u64) -> Counts {
        Counts { archived, ..Counts::default() }
    }

    fn events(events: u64) -> Counts {
        Counts { events, ..Counts::default() }
    }

    fn filed(hot: u64, expired: u64) -> Counts {
        Counts { hot, expired, ..Counts::default() }
    }

    #[test]
    fn what_is_archived_and_not_filed_is_missing() {
        let in_archive = books(&[("zeek", "live", archived(100)), ("zeek", "r1", archived(30))]);
        let in_hot = books(&[("zeek", "live", filed(60, 5)), ("push", "live", filed(7, 0))]);
        let between = books(&[("zeek", "live", events(10)), ("push", "live", events(7))]);
        let expected = books(&[("zeek", "live", events(45)), ("zeek", "r1", events(30))]);
        assert_eq!(missing(&in_archive, &in_hot, &between), Ok(expected));
    }

    #[test]
    fn what_was_counted_is_not_missing_again() {
        let in_archive = books(&[("zeek", "live", archived(100)), ("zeek", "r1", archived(30))]);
        let mut in_hot = books(&[("zeek", "live", filed(60, 5))]);
        let lacks = missing(&in_archive, &in_hot, &Books::default()).unwrap();
        let refilled = Refilled { rows: 70, expired: BTreeMap::from([("zeek".to_owned(), 40)]) };
        let became = outcome(&lacks, &refilled).unwrap();
        assert_eq!(became, books(&[("zeek", "live", filed(0, 35)), ("zeek", "r1", filed(25, 5))]));
        in_hot.merge(&became);
        assert_eq!(missing(&in_archive, &in_hot, &Books::default()), Ok(Books::default()));
    }

    #[test]
    fn contradictions_are_told() {
        let in_hot = books(&[("zeek", "live", filed(11, 0))]);
        let more = missing(&books(&[("zeek", "live", archived(10))]), &in_hot, &Books::default());
        assert!(matches!(more, Err(Uneven::Filed { filed: 11, archived: 10, .. })), "{more:?}");
        let lacks = books(&[("zeek", "live", events(10))]);
        let short = Refilled { rows: 9, ..Refilled::default() };
        assert_eq!(outcome(&lacks, &short), Err(Uneven::Rows { missing: 10, rows: 9 }));
    }
}
