//! Where a partition goes on: at the newest snapshot that can be used.

use std::sync::Arc;

use atalaya_bus::{BusError, Filter, Position, Stream};
use atalaya_model::Alert;

use crate::detect::Detector;
use crate::rules::Rules;
use crate::snapshots::{Snapshot, Stored};
use crate::telemetry;
use crate::worker::Shared;

/// A detector, ready for the next message.
pub(crate) struct Restored {
    /// The last message it has seen.
    pub(crate) position: Position,
    pub(crate) detector: Detector,
    /// The rules it works with.
    pub(crate) rules: Rules,
    /// Incidents of rules that are gone, to be closed with the next message.
    pub(crate) closing: Vec<Alert>,
}

/// The newest usable snapshot at or below what was written; one that is damaged, or whose messages are gone, is passed
/// over for the one before. None if there is none.
///
/// # Errors
/// If the state store or the bus does not answer.
pub(crate) async fn newest(
    shared: &Shared,
    partition: u16,
    incarnation: u64,
    written: u64,
) -> anyhow::Result<Option<Restored>> {
    for place in shared.snapshots.upto(partition, incarnation, written).await? {
        let restored = match shared.snapshots.read(&place).await? {
            Ok(snapshot) => match replayable(shared, partition, snapshot.position.sequence, written).await? {
                Ok(()) => revived(shared, snapshot).await?,
                Err(gap) => Err(gap.into()),
            },
            Err(error) => Err(error),
        };
        match restored {
            Ok(restored) => return Ok(Some(restored)),
            Err(error) => telemetry::snapshot_unusable(&place.path, &error),
        }
    }
    Ok(None)
}

/// Whether the messages after a position up to what was written are still there.
async fn replayable(
    shared: &Shared,
    partition: u16,
    after: u64,
    written: u64,
) -> Result<Result<(), BusError>, anyhow::Error> {
    if after >= written {
        return Ok(Ok(()));
    }
    let mut reader = shared.bus.read(Stream::Evt, &Filter::new(&format!("evt.{partition}.>"))?, after).await?;
    match reader.next().await {
        Ok(_) => Ok(Ok(())),
        Err(gap @ BusError::Gap { .. }) => Ok(Err(gap)),
        Err(error) => Err(error.into()),
    }
}

async fn revived(shared: &Shared, snapshot: Snapshot) -> anyhow::Result<Stored<Restored>> {
    let Snapshot { position, rules, next_rules, image } = snapshot;
    let (before, limits) = (rules_of(shared, &rules).await?, shared.limits.clone());
    let rules = if next_rules == rules { before.clone() } else { rules_of(shared, &next_rules).await? };
    let reviving = move || {
        let mut detector = Detector::from_image(&image, Arc::clone(&before.compiled), limits)?;
        let mut closing = Vec::new();
        if rules.hash() != before.hash() {
            closing = detector.switch(Arc::clone(&rules.compiled));
        }
        Ok(Restored { position, detector, rules, closing })
    };
    Ok(tokio::task::spawn_blocking(reviving).await?)
}

/// The rule set of a hash. One that means something else to this program, or cannot be read any more, must not hold the
/// partition up: then it is told, and the nearest there is takes its place.
async fn rules_of(shared: &Shared, hash: &str) -> anyhow::Result<Rules> {
    if shared.rules.hash() == hash {
        return Ok(shared.rules.clone());
    }
    match shared.snapshots.rules(hash).await? {
        Ok(rules) => {
            if rules.hash() != hash {
                telemetry::rules_changed_meaning(hash, rules.hash());
                shared.snapshots.keep_rules(&rules).await?;
            }
            Ok(rules)
        }
        Err(error) => {
            telemetry::rules_unreadable(hash, &error);
            Ok(shared.rules.clone())
        }
    }
}
