//! Everything the collector says of itself while it runs: one log line and one metric each.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use atalaya_model::{LaneId, SourceName, Tenant};
use metrics::{counter, histogram};

/// A message is on the spool's disk.
pub(crate) fn spooled(lane: &LaneId, rows: u32) {
    counter!("atalaya_collector_spooled_records_total").increment(u64::from(rows));
    tracing::trace!(%lane, rows, "spooled");
}

/// A message is in RAW.
pub(crate) fn published(lane: &LaneId, rows: u32) {
    counter!("atalaya_collector_published_records_total").increment(u64::from(rows));
    tracing::trace!(%lane, rows, "published");
}

/// The spool is full: the lane and its sources wait until RAW has taken some of it.
pub(crate) fn spool_full(lane: &LaneId) {
    counter!("atalaya_collector_spool_full_total").increment(1);
    tracing::warn!(%lane, "spool full: its sources wait until raw takes more");
}

/// The bus does not answer; it is tried again.
pub(crate) fn publish_failed(lane: &LaneId, error: &anyhow::Error) {
    counter!("atalaya_collector_publish_failures_total").increment(1);
    tracing::warn!(%lane, "raw does not take the lane, trying again: {error:#}");
}

/// RAW is not the log that the spool remembers: the lane stands until somebody repairs the bus.
pub(crate) fn raw_damaged(lane: &LaneId, error: &anyhow::Error) {
    counter!("atalaya_collector_raw_damaged_total").increment(1);
    tracing::error!(%lane, "the lane stands, and the spool fills, until the bus is repaired: {error:#}");
}

/// RAW was repaired: the lane goes on behind what is lost.
pub(crate) fn raw_repaired(lane: &LaneId, was_at: u64) {
    counter!("atalaya_collector_raw_repaired_total").increment(1);
    tracing::warn!(%lane, was_at, "raw was repaired: what the spool holds is written again");
}

/// Messages that RAW lost after the spool had let them go.
pub(crate) fn raw_lost(lane: &LaneId, messages: u64) {
    if messages > 0 {
        counter!("atalaya_collector_raw_lost_messages_total").increment(messages);
        tracing::error!(%lane, messages, "lost in raw, and the spool no longer has them");
    }
}

/// Inputs that an earlier run left open are closed.
pub(crate) fn inputs_recovered(domain: &str, open: usize, missing: usize) {
    counter!("atalaya_collector_inputs_recovered_total").increment(open as u64);
    tracing::info!(domain, open, never_opened = missing, "closing the inputs of an earlier run");
}

/// A file cannot be read, or not to its end.
pub(crate) fn file_failed(source: &str, error: &impl Display) {
    counter!("atalaya_collector_file_failures_total").increment(1);
    tracing::warn!(source, "{error}");
}

/// A record is longer than allowed and is dropped.
pub(crate) fn record_too_long(source: &SourceName, path: &Path, line: u64) {
    counter!("atalaya_collector_too_long_total").increment(1);
    tracing::warn!(%source, "{}, line {line}: dropped, it is longer than 1 MiB", path.display());
}

/// A source ended by itself.
pub(crate) fn source_ended(source: &str, outcome: &anyhow::Result<()>) {
    counter!("atalaya_collector_sources_ended_total").increment(1);
    match outcome {
        Ok(()) => tracing::info!(source, "source ended: it has no more to give"),
        Err(error) => tracing::error!(source, "source failed, it is started again: {error:#}"),
    }
}

/// A producer came here from a collector that is gone: a batch may have entered twice.
pub(crate) fn producer_taken_over(tenant: &str, producer: &str, from: &str) {
    counter!("atalaya_collector_producers_taken_over_total").increment(1);
    tracing::warn!(tenant, producer, from, "producer taken over: a batch the other collector had may enter twice");
}

/// A batch was held because its tenant pushes more than its quota; the first of a stream is worth telling.
pub(crate) fn quota_held(tenant: &Tenant, producer: &str, held: Duration, first: bool) {
    histogram!("atalaya_collector_quota_held_seconds").record(held.as_secs_f64());
    if first {
        tracing::info!(%tenant, producer, ?held, "beyond the tenant's quota: the stream is slowed");
    } else {
        tracing::trace!(%tenant, producer, ?held, "slowed");
    }
}

/// A batch was held for as long as it may be, and refused.
pub(crate) fn quota_refused(tenant: &Tenant, producer: &str, reason: &str) {
    counter!("atalaya_collector_quota_refusals_total").increment(1);
    tracing::warn!(%tenant, producer, "a batch is refused: {reason}");
}

/// A producer's stream ended.
pub(crate) fn push_ended(tenant: &str, producer: &str, records: u64, reason: &str) {
    counter!("atalaya_collector_push_streams_total").increment(1);
    tracing::info!(tenant, producer, records, "push ended: {reason}");
}

/// A replay begins or ends.
pub(crate) fn replay(domain: &str, files: u64, received: u64, what: &str) {
    counter!("atalaya_collector_replays_total", "what" => what.to_owned()).increment(1);
    tracing::info!(domain, files, received, "replay {what}");
}

/// Another process holds this collector's name on the bus.
pub(crate) fn presence_lost(collector: &str, error: &str) {
    counter!("atalaya_collector_presence_lost_total").increment(1);
    tracing::warn!(collector, "the collector's own lease is not held: {error}");
}

/// The drain took too long and was given up.
pub(crate) fn drain_cut_short() {
    counter!("atalaya_collector_drains_cut_short_total").increment(1);
    tracing::warn!("the drain took too long: what is not done is left to the next start");
}
