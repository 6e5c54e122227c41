//! Alerts of one position as messages on ALERT: pure.

use std::collections::BTreeSet;

use atalaya_bus::{Headers, Message, Part, Subject, Unfinished};
use atalaya_model::{Alert, AlertState, Books, Counts, LedgerKey};
use atalaya_proto::alert_v1;
use prost::Message as _;

/// Alerts in one message at most.
pub const MAX_ALERTS_PER_MESSAGE: usize = 256;

/// The source that alerts stand under in the ledger.
const ALERTS: &str = "alerts";

/// The parts that a position's alerts become, without those that are stored of it already.
pub(crate) fn parts(
    subject: &Subject,
    message: &Message,
    rule_set: &str,
    alerts: &[Alert],
    unfinished: Option<&Unfinished>,
) -> Result<Vec<Part>, prost::DecodeError> {
    let stored = unfinished.map_or(Ok(BTreeSet::new()), stored)?;
    let first = unfinished.map_or(0, |unfinished| unfinished.stored.len());
    let new: Vec<&Alert> =
        alerts.iter().filter(|alert| !stored.contains(&(alert.id.as_bytes().to_vec(), alert.version))).collect();
    let parts = new.chunks(MAX_ALERTS_PER_MESSAGE).zip(first..);
    Ok(parts.map(|(alerts, number)| part(subject, message, rule_set, alerts, number)).collect())
}

fn stored(unfinished: &Unfinished) -> Result<BTreeSet<(Vec<u8>, u32)>, prost::DecodeError> {
    let mut stored = BTreeSet::new();
    for message in &unfinished.stored {
        let alerts = alert_v1::Alerts::decode(message.body.clone())?.alerts;
        stored.extend(alerts.into_iter().map(|alert| (alert.id, alert.version)));
    }
    Ok(stored)
}

fn part(subject: &Subject, message: &Message, rule_set: &str, alerts: &[&Alert], number: usize) -> Part {
    let mut books = Books::default();
    for alert in alerts.iter().filter(|alert| alert.state == AlertState::Opened && alert.version == 1) {
        let key =
            LedgerKey { source: ALERTS.to_owned(), tenant: alert.tenant.to_string(), domain: alert.domain.clone() };
        books.add(&key, Counts { alerts: 1, ..Counts::default() });
    }
    let headers = Headers {
        id: format!("{}/alert/{number}", message.headers.id),
        books,
        min_time_us: alerts.iter().map(|alert| alert.time_us).min(),
        max_time_us: alerts.iter().map(|alert| alert.time_us).max(),
        received_time_us: message.headers.received_time_us,
        source: ALERTS.to_owned(),
        domain: alerts.first().map(|alert| alert.domain.clone()).unwrap_or_default(),
        rows: u32::try_from(alerts.len()).unwrap_or(u32::MAX),
        rule_set: rule_set.to_owned(),
        traceparent: message.headers.traceparent.clone(),
        ..Headers::default()
    };
    let body = alert_v1::Alerts { alerts: alerts.iter().map(|alert| (*alert).into()).collect() };
    Part { subject: subject.clone(), headers, body: body.encode_to_vec().into(), decoded: None }
}

/// What a message adds to the books besides alerts: events that came too late.
pub(crate) fn late(message: &Message, late: u64) -> Books {
    let mut books = Books::default();
    if late > 0
        && let Some((key, _)) = message.headers.books.iter().find(|(_, counts)| counts.events > 0)
    {
        books.add(key, Counts { late, ..Counts::default() });
    }
    books
}
