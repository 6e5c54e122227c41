//! What receivers get to see: JSON for programs, a line for people.

use std::fmt::Write;

use atalaya_model::{Alert, NotificationId, Receiver};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::episode::{Episode, Leg, Occasion};

const SECONDS_PER_DAY: i64 = 86_400;

/// Characters of a mail's subject at most.
const MAX_SUBJECT_CHARS: usize = 200;

/// A mail but for its addresses: what is kept of it until it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mail {
    /// One line.
    pub(crate) subject: String,
    /// Lines, each ended by `\n`.
    pub(crate) text: String,
    /// When it was written, microseconds since 1970.
    pub(crate) created_us: i64,
}

/// The receiver as it goes into a notification's identity.
#[must_use]
pub(crate) fn receiver_name(receiver: &Receiver) -> String {
    match receiver {
        Receiver::Stdout {} => "stdout".to_owned(),
        Receiver::Webhook { url, .. } => format!("webhook {url}"),
        Receiver::Smtp(smtp) => format!("smtp {}:{} {}", smtp.host, smtp.port(), smtp.to.join(",")),
    }
}

/// A webhook's body.
#[must_use]
pub(crate) fn body(episode: &Episode, leg: &Leg, id: NotificationId, occasion: Occasion) -> String {
    let opening = &episode.samples[0];
    json!({
        "id": id,
        "occasion": occasion,
        "ordinal": leg.next,
        "status": if episode.is_open() { "open" } else { "closed" },
        "tenant": episode.group.tenant,
        "domain": episode.group.domain,
        "route": leg.way.name,
        "rule": {
            "id": episode.group.rule_id,
            "title": opening.title,
            "level": opening.level,
            "author": opening.rule_author,
        },
        "group_key": episode.group.group_key,
        "alerts_total": episode.alerts,
        "alerts": episode.samples,
    })
    .to_string()
}

/// A mail for people, as JSON of [`Mail`].
#[must_use]
pub(crate) fn mail(episode: &Episode, occasion: Occasion, now_us: i64) -> String {
    let opening = &episode.samples[0];
    let mut subject = format!("[{}] ", opening.level.name().to_uppercase());
    subject.push_str(match occasion {
        Occasion::Opening => "",
        Occasion::Repeat => "again: ",
        Occasion::Closing => "over: ",
    });
    push_clean(&mut subject, &opening.title);
    subject.push_str(" — ");
    push_clean(&mut subject, &opening.message);
    let subject = subject.chars().take(MAX_SUBJECT_CHARS).collect();
    let status = if episode.is_open() { "open" } else { "closed" };
    let mut text = String::new();
    for (name, value) in [
        ("Rule", opening.title.as_str()),
        ("Written by", &opening.rule_author),
        ("Level", opening.level.name()),
        ("Status", status),
        ("Tenant", episode.group.tenant.as_str()),
        ("Group", &episode.group.group_key),
        ("Alerts", &episode.alerts.to_string()),
    ] {
        let _ = write!(text, "{name:<12}");
        push_clean(&mut text, value);
        text.push('\n');
    }
    for alert in &episode.samples {
        text.push('\n');
        push_alert(&mut text, alert);
    }
    json!(Mail { subject, text, created_us: now_us }).to_string()
}

fn push_alert(text: &mut String, alert: &Alert) {
    match jiff::Timestamp::from_microsecond(alert.time_us) {
        Ok(time) => {
            let _ = write!(text, "{time}  ");
        }
        Err(_) => text.push_str("time unknown  "),
    }
    push_clean(text, &alert.message);
    push_facts(text, alert);
    text.push('\n');
}

/// A line for a terminal; nothing in it can move the cursor.
#[must_use]
pub(crate) fn line(episode: &Episode, occasion: Occasion) -> String {
    let opening = &episode.samples[0];
    let alert = if occasion == Occasion::Repeat { episode.samples.last().unwrap_or(opening) } else { opening };
    let mut line = format!("{}  {}  ", time_of_day(alert.time_us), alert.level.name().to_uppercase());
    line.push_str(match occasion {
        Occasion::Opening => "",
        Occasion::Repeat => "again: ",
        Occasion::Closing => "over: ",
    });
    push_clean(&mut line, &alert.title);
    line.push_str(" — ");
    push_clean(&mut line, &alert.message);
    push_facts(&mut line, alert);
    if episode.alerts > 1 {
        let _ = write!(line, "  +{} more", episode.alerts - 1);
    }
    line
}

fn push_facts(line: &mut String, alert: &Alert) {
    let _ = write!(line, "  (observed {}, threshold {}; ", alert.observed, alert.threshold);
    if let Some(event) = alert.evidence.first() {
        let _ = write!(line, "event {event}; ");
    }
    let _ = write!(line, "alert {})", alert.id);
}

fn time_of_day(time_us: i64) -> String {
    let seconds = time_us.div_euclid(1_000_000).rem_euclid(SECONDS_PER_DAY);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn push_clean(line: &mut String, text: &str) {
    line.extend(text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
}
