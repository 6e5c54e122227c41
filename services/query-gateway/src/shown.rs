//! Alerts as people and programs get to see them: the columns of detection_finding, and where they stand.

use atalaya_hot::{AlertRow, AlertStatus};
use atalaya_model::{Alert, Class};
use atalaya_schema::format_time;
use serde_json::{Map, Value, json};

/// An alert with what people did to it.
#[must_use]
pub(crate) fn alert(row: &AlertRow) -> Value {
    let AlertRow { alert, status, assignee, verdict, comments } = row;
    let mut shown = finding(alert);
    shown.insert("status".to_owned(), json!(status));
    for (name, value) in [("assignee", assignee), ("verdict", verdict)] {
        if let Some(value) = value {
            shown.insert(name.to_owned(), json!(value));
        }
    }
    let comments = comments
        .iter()
        .map(|comment| json!({ "by": comment.by, "at": format_time(comment.at_us), "text": comment.text }));
    shown.insert("comments".to_owned(), comments.collect());
    Value::Object(shown)
}

/// An alert as it comes from the bus: nobody has done anything to it that is known here.
#[must_use]
pub(crate) fn fresh(alert: Alert) -> Value {
    let status = AlertStatus::default();
    self::alert(&AlertRow { alert, status, assignee: None, verdict: None, comments: Vec::new() })
}

fn finding(alert: &Alert) -> Map<String, Value> {
    let shown = json!({
        "alert_id": alert.id,
        "alert_version": alert.version,
        "tenant": alert.tenant,
        "domain": alert.domain,
        "time": format_time(alert.time_us),
        "ingest_time": format_time(alert.received_time_us),
        "class_uid": Class::DetectionFinding.uid(),
        "severity_id": alert.level.severity_id(),
        "state": alert.state,
        "rule_id": alert.rule_id,
        "rule_rev": alert.rule_rev,
        "rule_author": alert.rule_author,
        "title": alert.title,
        "level": alert.level,
        "message": alert.message,
        "group_key": alert.group_key,
        "entities": alert.entities.iter().map(|(column, value)| (column.clone(), value.clone().into())).collect::<Map<_, _>>(),
        "window_start": format_time(alert.window_start_us),
        "window_end": format_time(alert.window_end_us),
        "event_count": alert.event_count,
        "evidence": alert.evidence,
        "attack_ids": alert.attack_ids,
        "observed": alert.observed,
        "threshold": alert.threshold,
        "retroactive": alert.retroactive,
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}
