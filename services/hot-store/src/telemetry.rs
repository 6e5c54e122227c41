//! The hot-store service's operational events: each is one log line and one metric.

use std::time::Duration;

use atalaya_bus::{BusError, Gap};
use atalaya_model::Action;

use crate::scope::Scope;

pub(crate) fn taken(scope: Scope, after: u64) {
    tracing::debug!(%scope, after, "partition taken");
    metrics::gauge!("hot_store_partitions").increment(1.0);
}

pub(crate) fn left(scope: Scope) {
    tracing::debug!(%scope, "partition left");
    metrics::gauge!("hot_store_partitions").decrement(1.0);
}

pub(crate) fn failed(scope: Scope, error: &anyhow::Error) {
    tracing::warn!(%scope, "filing failed, to be tried again: {error:#}");
    metrics::counter!("hot_store_failures").increment(1);
}

pub(crate) fn damaged(scope: Scope, error: &anyhow::Error) {
    tracing::error!(%scope, "filing stopped until somebody looks at it: {error:#}");
    metrics::counter!("hot_store_damaged").increment(1);
}

pub(crate) fn gap(scope: Scope, gap: &BusError) {
    tracing::error!(%scope, "the trim was faster than the hot store; the archive has what is missing: {gap}");
    metrics::counter!("hot_store_gaps").increment(1);
}

pub(crate) fn refilled_rows(rows: u64) {
    metrics::counter!("hot_store_refilled_rows").increment(rows);
}

pub(crate) fn refilled(scope: Scope, gap: Gap) {
    tracing::info!(%scope, from = gap.from, to = gap.to, "refilled from the archive");
    metrics::counter!("hot_store_refills").increment(1);
}

pub(crate) fn refill_failed(scope: Scope, error: &anyhow::Error) {
    tracing::warn!(%scope, "refilling failed, to be tried again: {error:#}");
    metrics::counter!("hot_store_refill_failures").increment(1);
}

pub(crate) fn uneven(scope: Scope, error: &anyhow::Error) {
    tracing::error!(%scope, "a refilled gap cannot be counted until somebody looks at it: {error:#}");
    metrics::counter!("hot_store_refills_uneven").increment(1);
}

pub(crate) fn filed(scope: Scope, rows: u64, expired: u64, took: Duration) {
    tracing::trace!(%scope, rows, expired, ?took, "filed");
    metrics::counter!("hot_store_rows").increment(rows);
    metrics::counter!("hot_store_expired").increment(expired);
    metrics::histogram!("hot_store_lot_seconds").record(took.as_secs_f64());
}

pub(crate) fn foreign_action(action: &Action) {
    tracing::error!(alert = %action.alert, tenant = %action.tenant, "an action under another tenant's subject is left out");
    metrics::counter!("hot_store_foreign_actions").increment(1);
}
