//! The normalizer's operational events: each is one log line and one metric.

use std::time::Duration;

use atalaya_bus::WriteError;
use atalaya_model::LaneId;

use crate::normalize::RecordCounts;

pub(crate) fn lane_taken(lane: &LaneId) {
    tracing::info!(%lane, "lane taken");
    metrics::gauge!("normalizer_lanes").increment(1.0);
}

pub(crate) fn lane_left(lane: &LaneId) {
    tracing::info!(%lane, "lane left");
    metrics::gauge!("normalizer_lanes").decrement(1.0);
}

pub(crate) fn lane_failed(lane: &LaneId, error: &anyhow::Error) {
    tracing::warn!(%lane, "lane stopped, to be taken again: {error:#}");
    metrics::counter!("normalizer_lane_failures").increment(1);
}

pub(crate) fn lane_damaged(lane: &LaneId, error: &anyhow::Error) {
    tracing::error!(%lane, "lane stopped until somebody looks at it: {error:#}");
    metrics::counter!("normalizer_lanes_damaged").increment(1);
}

pub(crate) fn lanes_unknown(error: &anyhow::Error) {
    tracing::warn!("lanes cannot be listed: {error:#}");
    metrics::counter!("normalizer_lane_list_failures").increment(1);
}

pub(crate) fn completed(lane: &LaneId, sequence: u64, stored: usize) {
    tracing::info!(%lane, sequence, stored, "completing a half-written position");
    metrics::counter!("normalizer_positions_completed").increment(1);
}

pub(crate) fn normalized(lane: &LaneId, counts: RecordCounts, events: usize, took: Duration) {
    tracing::trace!(%lane, ?counts, events, ?took, "message normalised");
    metrics::counter!("normalizer_records").increment(counts.normalized);
    metrics::counter!("normalizer_events").increment(events as u64);
    metrics::histogram!("normalizer_message_seconds").record(took.as_secs_f64());
}

pub(crate) fn parked(lane: &LaneId, reason: &str, detail: &str, line: u64) {
    tracing::debug!(%lane, reason, detail, line, "record parked");
    metrics::counter!("normalizer_parked", "reason" => reason.to_owned()).increment(1);
}

pub(crate) fn parking_failed(lane: &LaneId, error: &WriteError) {
    tracing::warn!(%lane, "records not parked, to be tried again: {error}");
    metrics::counter!("normalizer_parking_failures").increment(1);
}

pub(crate) fn dropped(lane: &LaneId, records: u64, why: &'static str) {
    tracing::warn!(%lane, records, why, "records dropped");
    metrics::counter!("normalizer_dropped", "why" => why).increment(records);
}
