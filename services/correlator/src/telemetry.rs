//! The correlator's operational events: each is one log line and one metric.

use std::time::Duration;

use atalaya_bus::{Position, Stop};
use object_store::path::Path;

use crate::sigma::Refused;

pub(crate) fn rule_refused(refused: &Refused) {
    let Refused { path, title, reason, .. } = refused;
    tracing::warn!(path, title, "rule not loaded: {reason}");
    metrics::counter!("correlator_rules_refused").increment(1);
}

pub(crate) fn partition_taken(partition: u16, snapshot: &Position, written: u64) {
    tracing::info!(partition, snapshot = snapshot.sequence, written, "partition taken");
    metrics::counter!("correlator_partitions_taken").increment(1);
}

pub(crate) fn partition_stopped(partition: u16, stop: Stop, error: &anyhow::Error) {
    match stop {
        Stop::Lost | Stop::Left | Stop::Failed => {
            tracing::warn!(partition, "partition stopped, to be taken again: {error:#}");
            metrics::counter!("correlator_partition_failures").increment(1);
        }
        Stop::Damaged => {
            tracing::error!(partition, "partition stopped until somebody looks at it: {error:#}");
            metrics::counter!("correlator_partitions_damaged").increment(1);
        }
    }
}

pub(crate) fn state_lost(partition: u16, written: u64) {
    tracing::error!(
        partition,
        written,
        "no snapshot can be used: what was counted before the oldest event is forgotten"
    );
    metrics::counter!("correlator_states_lost").increment(1);
}

pub(crate) fn rules_switched(partition: u16, position: &Position, hash: &str) {
    tracing::info!(partition, position = position.sequence, hash, "other rules from here on");
    metrics::counter!("correlator_rule_switches").increment(1);
}

pub(crate) fn correlated(alerts: usize, late: u64, forgotten: u64) {
    if alerts > 0 || late > 0 || forgotten > 0 {
        tracing::debug!(alerts, late, forgotten, "correlated");
    }
    metrics::counter!("correlator_alerts").increment(alerts as u64);
    metrics::counter!("correlator_late_events").increment(late);
    metrics::counter!("correlator_forgotten_events").increment(forgotten);
}

pub(crate) fn snapshotted(partition: u16, position: &Position, bytes: usize, took: Duration) {
    tracing::debug!(partition, position = position.sequence, bytes, ?took, "snapshot");
    metrics::histogram!("correlator_snapshot_seconds").record(took.as_secs_f64());
}

pub(crate) fn snapshot_unusable(path: &Path, error: &anyhow::Error) {
    tracing::error!(%path, "snapshot passed over: {error:#}");
    metrics::counter!("correlator_snapshots_unusable").increment(1);
}

pub(crate) fn rules_changed_meaning(kept: &str, read: &str) {
    tracing::error!(kept, read, "a kept rule set means something else to this version, and is used so");
    metrics::counter!("correlator_rule_sets_changed").increment(1);
}

pub(crate) fn rules_unreadable(hash: &str, error: &anyhow::Error) {
    tracing::error!(hash, "a kept rule set cannot be read, the configured one takes its place: {error:#}");
    metrics::counter!("correlator_rule_sets_unreadable").increment(1);
}
