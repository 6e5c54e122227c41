//! Alerts as rows of detection_finding: one row for each message about an incident.

use atalaya_model::{Alert, AlertState, Class, EventId};
use atalaya_schema::{BatchError, EventBatch, Rows, col};

/// The source of alerts in the ledger and in rows.
const SOURCE: &str = "alerts";

const PRODUCT: &str = "Atalaya";

/// The rows of these alerts, sorted by tenant. The same alerts give the same rows.
///
/// # Errors
/// If Arrow refuses.
pub fn findings(alerts: &[Alert]) -> Result<EventBatch, BatchError> {
    let mut rows = Rows::new(Class::DetectionFinding);
    for alert in alerts {
        rows.begin();
        envelope(&mut rows, alert);
        finding(&mut rows, alert);
        rows.end();
    }
    EventBatch::new(Class::DetectionFinding, rows.finish())
}

fn envelope(rows: &mut Rows, alert: &Alert) {
    let id = EventId::of("atalaya alert row 1", &[alert.id.as_bytes(), &alert.version.to_le_bytes()]);
    rows.id(col::EVENT_ID, id.as_bytes());
    rows.text(col::TENANT, alert.tenant.as_str());
    rows.time(col::TIME, alert.time_us);
    rows.time(col::INGEST_TIME, alert.received_time_us);
    rows.int32(col::CLASS_UID, Class::DetectionFinding.uid());
    rows.int32(col::ACTIVITY_ID, activity(alert.state));
    rows.int32(col::SEVERITY_ID, alert.level.severity_id());
    rows.text(col::SOURCE, SOURCE);
    rows.text(col::PRODUCT, PRODUCT);
    rows.text(col::MESSAGE, &alert.message);
    rows.unmapped("domain", &alert.domain);
    for (column, value) in &alert.entities {
        rows.unmapped(&format!("entity.{column}"), value);
    }
}

fn finding(rows: &mut Rows, alert: &Alert) {
    rows.id(col::detection::ALERT_ID, alert.id.as_bytes());
    rows.int32(col::detection::ALERT_VERSION, i32::try_from(alert.version).unwrap_or(i32::MAX));
    rows.text(col::detection::RULE_ID, &alert.rule_id);
    rows.text(col::detection::RULE_REV, &alert.rule_rev);
    rows.text(col::detection::RULE_AUTHOR, &alert.rule_author);
    rows.text(col::detection::TITLE, &alert.title);
    rows.text(col::detection::LEVEL, alert.level.name());
    rows.text(col::detection::GROUP_KEY, &alert.group_key);
    rows.time(col::detection::WINDOW_START, alert.window_start_us);
    rows.time(col::detection::WINDOW_END, alert.window_end_us);
    rows.int64(col::detection::EVENT_COUNT, i64::try_from(alert.event_count).unwrap_or(i64::MAX));
    rows.ids(col::detection::EVIDENCE, alert.evidence.iter().map(EventId::as_bytes));
    rows.texts(col::detection::ATTACK_IDS, alert.attack_ids.iter().map(String::as_str));
    rows.float64(col::detection::OBSERVED, alert.observed);
    rows.float64(col::detection::THRESHOLD, alert.threshold);
    rows.bool(col::detection::RETROACTIVE, alert.retroactive);
}

/// OCSF's activity of a finding: 1 create, 2 update, 3 close.
fn activity(state: AlertState) -> i32 {
    match state {
        AlertState::Opened => 1,
        AlertState::Updated => 2,
        AlertState::Closed => 3,
    }
}
