//! Operational events: each is one log line and one metric. Those that people see in the status answer with their text.

use atalaya_bus::{Sequence, Stream};

/// A call found no place.
pub(crate) fn no_place(what: &'static str) {
    metrics::counter!("atalaya_gateway_calls_refused_total", "what" => what).increment(1);
    tracing::warn!(what, "too many at the same time: a call was refused");
}

/// A store or the bus failed behind a call.
pub(crate) fn failed_behind(what: &'static str, error: &dyn std::error::Error) {
    metrics::counter!("atalaya_gateway_failures_total", "what" => what).increment(1);
    tracing::error!(what, %error, "a call could not be answered");
}

/// Somebody acted on an alert.
pub(crate) fn acted(tenant: &str, by: &str, alert: &str, action: &'static str) {
    metrics::counter!("atalaya_alert_actions_total", "action" => action).increment(1);
    tracing::info!(tenant, by, alert, action, "acted on an alert");
}

/// A message cannot be read; its headers are counted.
pub(crate) fn unreadable(stream: Stream, sequence: Sequence, reason: &str) -> String {
    metrics::counter!("atalaya_ledger_unreadable_total", "stream" => stream.name()).increment(1);
    tracing::error!(%stream, sequence, reason, "the ledger cannot read a message");
    format!("ledger: {stream} {sequence}: {reason}")
}

/// Messages were trimmed before they were counted.
pub(crate) fn uncounted(stream: Stream, expected: Sequence, found: Sequence) -> String {
    metrics::counter!("atalaya_alarms_total", "service" => "query_gateway").increment(1);
    tracing::error!(%stream, expected, found, "messages were gone before the ledger counted them");
    format!("{stream}: messages {expected} to {} were gone before they were counted", found.saturating_sub(1))
}

/// The ledger starts again from what is stored.
pub(crate) fn ledger_interrupted(error: &anyhow::Error) -> String {
    metrics::counter!("atalaya_ledger_interruptions_total").increment(1);
    tracing::warn!("the ledger is interrupted and goes on from what is stored: {error:#}");
    format!("ledger: {error:#}")
}

/// A difference has been open for more than a minute.
pub(crate) fn difference_open(sentence: &str) {
    metrics::counter!("atalaya_alarms_total", "service" => "query_gateway").increment(1);
    tracing::error!(difference = sentence, "the books do not balance");
}
