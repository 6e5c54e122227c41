//! Which rows an append still has to write: the check that makes it exact. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ArchiveError, Covered, Scope, StoredBatch};

/// What remains of an append on one version of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Indexes of the batches whose rows are not in the table yet.
    pub(crate) batches: Vec<usize>,
    /// The positions after the append; only those that move.
    pub(crate) moves: Vec<(Scope, u64)>,
}

/// Drops every message given twice, and every message at or below the table's own position of its partition.
///
/// # Errors
/// If a batch is above what the caller covers: nothing would keep it from being written again.
pub(crate) fn admit(
    positions: &BTreeMap<Scope, u64>,
    batches: &[StoredBatch],
    covered: &[Covered],
) -> Result<Admitted, ArchiveError> {
    let mut moves = BTreeMap::new();
    for Covered { scope, sequence } in covered {
        let last = moves.entry(*scope).or_insert(0);
        *last = (*last).max(*sequence);
    }
    let stored = |scope: &Scope| positions.get(scope).copied().unwrap_or_default();
    for batch in batches {
        if moves.get(&batch.scope).is_none_or(|&last| batch.sequence > last) {
            return Err(ArchiveError::Uncovered { scope: batch.scope.to_string(), sequence: batch.sequence });
        }
    }
    let mut seen = BTreeSet::new();
    let mut new = |batch: &StoredBatch| {
        batch.sequence > stored(&batch.scope) && !batch.events.is_empty() && seen.insert((batch.scope, batch.sequence))
    };
    let remaining = batches.iter().enumerate().filter(|(_, batch)| new(batch)).map(|(at, _)| at);
    Ok(Admitted {
        batches: remaining.collect(),
        moves: moves.into_iter().filter(|(scope, sequence)| *sequence > stored(scope)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use atalaya_model::Class;
    use atalaya_schema::{EventBatch, Rows, col};

    use super::*;
    use crate::Feed;

    fn scope(partition: u16) -> Scope {
        Scope { feed: Feed::Evt, incarnation: 1, partition }
    }

    fn batch(partition: u16, sequence: u64) -> StoredBatch {
        let mut rows = Rows::new(Class::BaseEvent);
        rows.begin();
        rows.text(col::TENANT, "acme");
        rows.end();
        let events = Arc::new(EventBatch::new(Class::BaseEvent, rows.finish()).unwrap());
        StoredBatch { scope: scope(partition), sequence, events }
    }

    #[test]
    fn only_what_is_above_the_position_is_left_and_once() {
        let positions = BTreeMap::from([(scope(0), 5)]);
        let batches = [batch(0, 4), batch(0, 5), batch(0, 6), batch(1, 1), batch(0, 6)];
        let covered = [(0, 9), (1, 1), (0, 6)].map(|(p, sequence)| Covered { scope: scope(p), sequence });
        let admitted = admit(&positions, &batches, &covered).unwrap();
        assert_eq!(admitted.batches, [2, 3]);
        assert_eq!(admitted.moves, [(scope(0), 9), (scope(1), 1)]);
        let behind = admit(&positions, &batches[..2], &[Covered { scope: scope(0), sequence: 5 }]).unwrap();
        assert_eq!(behind, Admitted { batches: vec![], moves: vec![] });
        assert!(admit(&positions, &batches, &covered[..1]).is_err());
    }
}
