//! Alerts, and what people do to them.

use serde::{Deserialize, Serialize};

use crate::{AlertId, EventId, Tenant};

/// How grave a rule is: Sigma's levels, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Informational,
    /// Rarely an attack.
    Low,
    /// To be looked at.
    #[default]
    Medium,
    /// To be looked at soon.
    High,
    /// To be looked at now.
    Critical,
}

impl Level {
    /// Sigma's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The level with Sigma's word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|level| level.name() == name)
    }

    /// The OCSF `severity_id`: 1 informational to 5 critical.
    #[must_use]
    pub const fn severity_id(self) -> i32 {
        self as i32 + 1
    }
}

/// Where an incident stands. A single-event alert opens and closes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// First crossing of the threshold.
    #[default]
    Opened,
    /// Still going on.
    Updated,
    /// Quiet for one timespan.
    Closed,
}

/// One message about an alert; messages with the same `id` are states of the same incident, in order of `version`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hash of tenant, rule, group key and the event that opened it.
    pub id: AlertId,
    /// 1 when opened, then counting up.
    pub version: u32,
    /// Where the incident stands.
    pub state: AlertState,
    /// Whose.
    pub tenant: Tenant,
    /// `live`, or the backfill or replay it was found in.
    pub domain: String,
    /// The rule's id.
    pub rule_id: String,
    /// Revision: hash of the rule's text, hexadecimal.
    pub rule_rev: String,
    /// The rule's author, as its licence asks.
    pub rule_author: String,
    /// The rule's title.
    pub title: String,
    /// How grave.
    pub level: Level,
    /// What the events were grouped by, `field=value` pairs joined by `,`; empty without group-by.
    pub group_key: String,
    /// The group's values by column, for grouping and for lookups by entity.
    pub entities: Vec<(String, String)>,
    /// Event time of the newest event so far, microseconds since 1970.
    pub time_us: i64,
    /// Event time of the first event.
    pub window_start_us: i64,
    /// Event time of the last event.
    pub window_end_us: i64,
    /// When the opening event was received, for latency.
    pub received_time_us: i64,
    /// Events counted so far.
    pub event_count: u64,
    /// Some of the events: the first and the newest ones.
    pub evidence: Vec<EventId>,
    /// ATT&CK technique ids of the rule's tags.
    pub attack_ids: Vec<String>,
    /// The value observed (count, distinct count).
    pub observed: f64,
    /// The threshold it crossed.
    pub threshold: f64,
    /// One sentence a customer understands.
    pub message: String,
    /// Whether it was found by looking back.
    pub retroactive: bool,
}

/// What a person did to an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Seen by somebody.
    Acknowledge,
    /// Given to somebody.
    Assign(String),
    /// Judged: `true_positive`, `false_positive` or `benign`.
    Verdict(String),
    /// Said something.
    Comment(String),
    /// Done with.
    Close,
}

/// One action, with who and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The alert.
    pub alert: AlertId,
    /// Its tenant.
    pub tenant: Tenant,
    /// What was done.
    pub kind: ActionKind,
    /// The principal that did it.
    pub by: String,
    /// When, microseconds since 1970.
    pub at_us: i64,
}
