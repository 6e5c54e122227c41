//! Operational events: each is one log line and one metric.

use atalaya_model::Receiver;

use crate::grouping::Attempt;
use crate::message::receiver_name;

fn kind(receiver: &Receiver) -> &'static str {
    match receiver {
        Receiver::Stdout {} => "stdout",
        Receiver::Webhook { .. } => "webhook",
        Receiver::Smtp(_) => "smtp",
    }
}

/// A message was delivered.
pub(crate) fn delivered(attempt: &Attempt) {
    metrics::counter!("atalaya_notifications_total", "receiver" => kind(&attempt.receiver), "end" => "delivered")
        .increment(1);
    tracing::debug!(notification = %attempt.id, attempts = attempt.attempts + 1, "delivered");
}

/// An attempt failed and will be repeated.
pub(crate) fn attempt_failed(attempt: &Attempt, reason: &str) {
    metrics::counter!("atalaya_notification_attempts_failed_total", "receiver" => kind(&attempt.receiver)).increment(1);
    tracing::warn!(
        notification = %attempt.id,
        receiver = receiver_name(&attempt.receiver),
        attempts = attempt.attempts + 1,
        reason,
        "a notification could not be delivered, and will be tried again"
    );
}

/// A message was given up on.
pub(crate) fn undeliverable(attempt: &Attempt, reason: &str) {
    metrics::counter!("atalaya_notifications_total", "receiver" => kind(&attempt.receiver), "end" => "undeliverable")
        .increment(1);
    tracing::error!(
        notification = %attempt.id,
        receiver = receiver_name(&attempt.receiver),
        attempts = attempt.attempts + 1,
        reason,
        "a notification is undeliverable"
    );
}

/// Alerts found no room in the outbox.
pub(crate) fn outbox_full(partition: u16, alerts: u64) {
    metrics::counter!("atalaya_notifier_refused_alerts_total").increment(alerts);
    tracing::error!(partition, alerts, "the outbox is full: alerts are undeliverable");
}

/// An entry of bucket `silences` cannot be read.
pub(crate) fn silence_unreadable(key: &str) {
    metrics::counter!("atalaya_silences_unreadable_total").increment(1);
    tracing::warn!(key, "an entry of bucket silences cannot be read and is not obeyed");
}

/// A partition's worker lost its lease, or the bus did not answer; it starts again.
pub(crate) fn interrupted(partition: u16, error: &anyhow::Error) {
    metrics::counter!("atalaya_notifier_interruptions_total").increment(1);
    tracing::warn!(
        partition,
        reason = format!("{error:#}"),
        "notifying is interrupted and starts again from the outbox"
    );
}

/// A partition cannot go on without a person.
pub(crate) fn stopped(partition: u16, error: &anyhow::Error) {
    metrics::counter!("atalaya_alarms_total", "service" => "alert_notifier").increment(1);
    tracing::error!(partition, reason = format!("{error:#}"), "notifying of this partition has stopped");
}
