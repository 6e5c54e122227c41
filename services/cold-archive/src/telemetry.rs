//! The cold archive's operational events: each is one log line and one metric.

use std::time::Duration;

use atalaya_archive::{ArchiveError, Committed, Scope};
use atalaya_bus::{BucketError, Stream};
use atalaya_model::Class;

pub(crate) fn partition_taken(stream: Stream, partition: u16, after: u64) {
    tracing::info!(%stream, partition, after, "partition taken");
    metrics::gauge!("archive_partitions", "stream" => stream.name()).increment(1.0);
}

pub(crate) fn partition_left(stream: Stream, partition: u16) {
    tracing::info!(%stream, partition, "partition left");
    metrics::gauge!("archive_partitions", "stream" => stream.name()).decrement(1.0);
}

pub(crate) fn partition_failed(stream: Stream, partition: u16, error: &anyhow::Error) {
    tracing::warn!(%stream, partition, "partition stopped, to be taken again: {error:#}");
    metrics::counter!("archive_partition_failures", "stream" => stream.name()).increment(1);
}

pub(crate) fn partition_damaged(stream: Stream, partition: u16, error: &anyhow::Error) {
    tracing::error!(%stream, partition, "partition stopped until somebody looks at it: {error:#}");
    metrics::counter!("archive_partitions_damaged", "stream" => stream.name()).increment(1);
}

pub(crate) fn committed(class: Class, committed: &Committed) {
    let Committed { version, rows, bytes } = *committed;
    tracing::debug!(table = class.name(), version, rows, bytes, "committed");
    metrics::counter!("archive_rows", "table" => class.name()).increment(rows);
    metrics::counter!("archive_bytes", "table" => class.name()).increment(bytes);
}

/// Rows that were written again after a repair of the bus and are in their table already.
pub(crate) fn held_already(class: Class, rows: u64) {
    if rows > 0 {
        tracing::info!(table = class.name(), rows, "left out: the table holds them from before the bus was repaired");
        metrics::counter!("archive_rows_held_already", "table" => class.name()).increment(rows);
    }
}

pub(crate) fn append_failed(class: Class, error: &ArchiveError) {
    tracing::warn!(table = class.name(), "not appended, to be tried again: {error}");
    metrics::counter!("archive_append_failures", "table" => class.name()).increment(1);
}

pub(crate) fn flushed(rows: usize, bytes: usize, took: Duration) {
    tracing::debug!(rows, bytes, ?took, "flushed");
    metrics::histogram!("archive_flush_seconds").record(took.as_secs_f64());
}

pub(crate) fn floor_lost(scope: &Scope, error: &BucketError) {
    tracing::warn!(%scope, "floor not moved, the partition is read again: {error}");
    metrics::counter!("archive_floor_failures").increment(1);
}

pub(crate) fn drain_unfinished(rows: usize) {
    tracing::warn!(rows, "the drain ends before these rows are archived; they are read again at the next start");
    metrics::counter!("archive_drains_unfinished").increment(1);
}
