//! Between the model and the wire.

use atalaya_model::{Action, ActionKind, Alert, AlertId, AlertState, EventId, Level};

use crate::alert_v1 as wire;

/// A wire message that breaks the contract.
#[derive(Debug, thiserror::Error)]
#[error("{message}: field {field} is missing or wrong")]
pub struct ConvertError {
    message: &'static str,
    field: &'static str,
}

fn wrong(message: &'static str, field: &'static str) -> ConvertError {
    ConvertError { message, field }
}

impl From<&Alert> for wire::Alert {
    fn from(alert: &Alert) -> Self {
        let state = match alert.state {
            AlertState::Opened => wire::State::Opened,
            AlertState::Updated => wire::State::Updated,
            AlertState::Closed => wire::State::Closed,
        };
        let entity = |(column, value): &(String, String)| wire::Entity { column: column.clone(), value: value.clone() };
        Self {
            id: alert.id.as_bytes().to_vec(),
            version: alert.version,
            state: state.into(),
            tenant: alert.tenant.to_string(),
            domain: alert.domain.clone(),
            rule_id: alert.rule_id.clone(),
            rule_rev: alert.rule_rev.clone(),
            rule_author: alert.rule_author.clone(),
            title: alert.title.clone(),
            level: alert.level.name().to_owned(),
            group_key: alert.group_key.clone(),
            entities: alert.entities.iter().map(entity).collect(),
            time_us: alert.time_us,
            window_start_us: alert.window_start_us,
            window_end_us: alert.window_end_us,
            received_time_us: alert.received_time_us,
            event_count: alert.event_count,
            evidence: alert.evidence.iter().map(|id| id.as_bytes().to_vec()).collect(),
            attack_ids: alert.attack_ids.clone(),
            observed: alert.observed,
            threshold: alert.threshold,
            message: alert.message.clone(),
            retroactive: alert.retroactive,
        }
    }
}

impl TryFrom<wire::Alert> for Alert {
    type Error = ConvertError;

    fn try_from(alert: wire::Alert) -> Result<Self, ConvertError> {
        let state = match alert.state() {
            wire::State::Opened => AlertState::Opened,
            wire::State::Updated => AlertState::Updated,
            wire::State::Closed => AlertState::Closed,
            wire::State::Unspecified => return Err(wrong("alert", "state")),
        };
        let evidence = alert.evidence.iter().map(|id| EventId::from_slice(id)).collect::<Option<Vec<_>>>();
        Ok(Self {
            id: AlertId::from_slice(&alert.id).ok_or_else(|| wrong("alert", "id"))?,
            version: alert.version,
            state,
            tenant: alert.tenant.parse().map_err(|_| wrong("alert", "tenant"))?,
            domain: alert.domain,
            rule_id: alert.rule_id,
            rule_rev: alert.rule_rev,
            rule_author: alert.rule_author,
            title: alert.title,
            level: Level::from_name(&alert.level).ok_or_else(|| wrong("alert", "level"))?,
            group_key: alert.group_key,
            entities: alert.entities.into_iter().map(|entity| (entity.column, entity.value)).collect(),
            time_us: alert.time_us,
            window_start_us: alert.window_start_us,
            window_end_us: alert.window_end_us,
            received_time_us: alert.received_time_us,
            event_count: alert.event_count,
            evidence: evidence.ok_or_else(|| wrong("alert", "evidence"))?,
            attack_ids: alert.attack_ids,
            observed: alert.observed,
            threshold: alert.threshold,
            message: alert.message,
            retroactive: alert.retroactive,
        })
    }
}

impl From<&Action> for wire::Action {
    fn from(action: &Action) -> Self {
        let kind = match &action.kind {
            ActionKind::Acknowledge => wire::action::Kind::Acknowledge(true),
            ActionKind::Assign(to) => wire::action::Kind::Assign(to.clone()),
            ActionKind::Verdict(verdict) => wire::action::Kind::Verdict(verdict.clone()),
            ActionKind::Comment(text) => wire::action::Kind::Comment(text.clone()),
            ActionKind::Close => wire::action::Kind::Close(true),
        };
        Self {
            alert: action.alert.as_bytes().to_vec(),
            tenant: action.tenant.to_string(),
            kind: Some(kind),
            by: action.by.clone(),
            at_us: action.at_us,
        }
    }
}

impl TryFrom<wire::Action> for Action {
    type Error = ConvertError;

    fn try_from(action: wire::Action) -> Result<Self, ConvertError> {
        let kind = match action.kind.ok_or_else(|| wrong("action", "kind"))? {
            wire::action::Kind::Acknowledge(_) => ActionKind::Acknowledge,
            wire::action::Kind::Assign(to) => ActionKind::Assign(to),
            wire::action::Kind::Verdict(verdict) => ActionKind::Verdict(verdict),
            wire::action::Kind::Comment(text) => ActionKind::Comment(text),
            wire::action::Kind::Close(_) => ActionKind::Close,
        };
        Ok(Self {
            alert: AlertId::from_slice(&action.alert).ok_or_else(|| wrong("action", "alert"))?,
            tenant: action.tenant.parse().map_err(|_| wrong("action", "tenant"))?,
            kind,
            by: action.by,
            at_us: action.at_us,
        })
    }
}
