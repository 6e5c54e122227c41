//! From what is told of an incident to the alert that is written.

use atalaya_model::{Alert, AlertId, Tenant};

use super::group::{Policy, Told};
use crate::sigma::{Kind, Measures, Rule};

/// What the alerts of one tenant in one domain have in common.
pub(crate) struct Teller<'t> {
    pub(crate) tenant: &'t Tenant,
    pub(crate) domain: &'t str,
}

impl Teller<'_> {
    /// The alert about an incident of a rule.
    pub(crate) fn alert(&self, rule: &Rule, policy: &Policy, told: Told) -> Alert {
        let Told { state, incident } = told;
        let detail = &incident.detail;
        let parts: [&[u8]; 4] =
            [self.tenant.as_str().as_bytes(), rule.id.as_bytes(), detail.key.as_bytes(), incident.opening.as_bytes()];
        let measures = Measures {
            observed: incident.observed,
            threshold: policy.bounds.written,
            span_us: policy.span_us,
            event_count: incident.events,
        };
        Alert {
            id: AlertId::of("atalaya alert 1", &parts),
            version: incident.version,
            state,
            tenant: self.tenant.clone(),
            domain: self.domain.to_owned(),
            rule_id: rule.id.clone(),
            rule_rev: rule.rev.clone(),
            rule_author: rule.author.clone(),
            title: rule.title.clone(),
            level: rule.level,
            group_key: detail.key.clone(),
            entities: detail.entities.clone(),
            time_us: incident.newest_us,
            window_start_us: incident.first_us,
            window_end_us: incident.newest_us,
            received_time_us: incident.received_us,
            event_count: incident.events,
            evidence: incident.evidence().collect(),
            attack_ids: rule.attack_ids.clone(),
            observed: incident.observed as f64,
            threshold: policy.bounds.written as f64,
            message: sentence(rule, &measures, &detail.key, |name| {
                let mut values = detail.entities.iter().chain(&detail.fields);
                values.find(|(field, _)| field == name).map(|(_, value)| value.as_str())
            }),
            retroactive: false,
        }
    }
}

fn sentence<'v>(rule: &Rule, measures: &Measures, key: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    if let Some(message) = &rule.message {
        return message.render(measures, value);
    }
    let about = if key.is_empty() { String::new() } else { format!(" ({key})") };
    match &rule.kind {
        Kind::Detection(_) => format!("{}{about}", rule.title),
        Kind::Correlation(_) => {
            let within = crate::sigma::message::span_text(measures.span_us);
            format!("{}{about}: {} within {within}", rule.title, measures.observed)
        }
    }
}
