//! Which rows an append still has to write: the check that makes it exact. Pure.

use std::collections::BTreeMap;

use crate::{ArchiveError, Covered, Scope, StoredBatch};

/// What remains of an append on one version of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Indexes of the batches whose rows are not in the table yet.
    pub(crate) batches: Vec<usize>,
    /// The positions after the append; only those that move.
    pub(crate) moves: Vec<(Scope, u64)>,
}

/// Drops every message at or below the table's own position of its partition.
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
    let new = |batch: &StoredBatch| batch.sequence > stored(&batch.scope) && !batch.events.is_empty();
    let remaining = batches.iter().enumerate().filter(|(_, batch)| new(batch)).map(|(at, _)| at);
    Ok(Admitted {
        batches: remaining.collect(),
        moves: moves.into_iter().filter(|(scope, sequence)| *sequence > stored(scope)).collect(),
    })
}
