//! Alerts and what people did to them.

use std::collections::HashMap;
use std::sync::PoisonError;

use atalaya_model::{Action, Alert, AlertId, Tenant};
use atalaya_proto::alert_v1 as wire;
use fjall::{Readable, Snapshot};
use prost::Message;

use super::Store;
use super::keys::{after_prefix, newest_first, oldest_first, put_tenant, read_timed, timed_key};
use crate::lookup::Token;
use crate::{AlertPage, AlertQuery, AlertRow, HotError, listing, stance};

/// Actions on one alert that count; later ones are kept and not looked at.
const MAX_ACTIONS: usize = 10_000;

const HASH_BYTES: usize = 8;

fn alert_key(tenant: &Tenant, id: AlertId) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant.as_str().len() + 17);
    put_tenant(tenant.as_str(), &mut key);
    key.extend_from_slice(id.as_bytes());
    key
}

fn damaged(reason: impl std::fmt::Display) -> HotError {
    HotError::Damaged { what: "an alert".to_owned(), reason: reason.to_string() }
}

impl Store {
    pub(super) fn file_alerts(&self, alerts: &[Alert]) -> Result<(), HotError> {
        let mut newest: HashMap<_, &Alert> = HashMap::new();
        for alert in alerts {
            let kept = newest.entry((&alert.tenant, alert.id)).or_insert(alert);
            if alert.version > kept.version {
                *kept = alert;
            }
        }
        let _writes = self.alert_writes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.database.batch();
        for ((tenant, id), alert) in newest {
            let key = alert_key(tenant, id);
            if let Some(stored) = self.alerts.get(&key)? {
                let stored = read_alert(&stored)?;
                if stored.version >= alert.version {
                    continue;
                }
                if stored.time_us != alert.time_us {
                    batch.remove(&self.alerts_by_day, timed_key(tenant.as_str(), stored.time_us, id.as_bytes()));
                }
            }
            let mut listed = vec![listing::level_number(alert.level)];
            listed.extend_from_slice(alert.domain.as_bytes());
            batch.insert(&self.alerts_by_day, timed_key(tenant.as_str(), alert.time_us, id.as_bytes()), listed);
            batch.insert(&self.alerts, key, wire::Alert::from(alert).encode_to_vec());
        }
        Ok(batch.commit()?)
    }

    pub(super) fn act(&self, action: &Action) -> Result<(), HotError> {
        let value = wire::Action::from(action).encode_to_vec();
        let mut key = alert_key(&action.tenant, action.alert);
        key.extend_from_slice(&oldest_first(action.at_us));
        key.extend_from_slice(&blake3::hash(&value).as_bytes()[..HASH_BYTES]);
        Ok(self.actions.insert(key, value)?)
    }

    pub(super) fn alert(&self, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError> {
        self.alert_at(&self.database.snapshot(), tenant, id)
    }

    fn alert_at(&self, snapshot: &Snapshot, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError> {
        let key = alert_key(tenant, id);
        let Some(stored) = snapshot.get(&self.alerts, &key)? else { return Ok(None) };
        let alert = read_alert(&stored)?;
        let actions = snapshot.prefix(&self.actions, &key).take(MAX_ACTIONS).map(|stored| {
            let action = wire::Action::decode(&*stored.value()?).map_err(damaged)?;
            Action::try_from(action).map_err(damaged)
        });
        let actions = actions.collect::<Result<Vec<_>, HotError>>()?;
        Ok(Some(stance::fold(alert, actions)))
    }

    pub(super) fn alert_page(&self, query: &AlertQuery) -> Result<AlertPage, HotError> {
        listing::check(query)?;
        let binding = listing::binding(query);
        let token = query.token.as_deref().map(|token| Token::decode(token, &binding)).transpose()?;
        let mut prefix = Vec::new();
        put_tenant(query.tenant.as_str(), &mut prefix);
        let start = match (&token, query.to_us) {
            (Some(token), _) => std::ops::Bound::Excluded(timed_key(query.tenant.as_str(), token.time_us, &token.id)),
            (None, Some(to_us)) => {
                let newest_us = to_us.saturating_sub(1);
                std::ops::Bound::Included([prefix.as_slice(), &newest_first(newest_us)].concat())
            }
            (None, None) => std::ops::Bound::Included(prefix.clone()),
        };
        let end = after_prefix(&prefix).map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let snapshot = self.database.snapshot();
        let mut page = AlertPage::default();
        let mut last = token;
        for stored in snapshot.range::<Vec<u8>, _>(&self.alerts_by_day, (start, end)) {
            let (key, listed) = stored.into_inner()?;
            let (time_us, id) = read_timed(&key[prefix.len()..]).ok_or_else(|| damaged("its key cannot be read"))?;
            if query.from_us.is_some_and(|from_us| time_us < from_us) {
                break;
            }
            if !is_listed(query, &listed) {
                continue;
            }
            if page.rows.len() == query.limit {
                page.next = last.map(|last| last.seal(&binding));
                break;
            }
            page.rows.extend(self.alert_at(&snapshot, &query.tenant, AlertId::from_bytes(id))?);
            last = Some(Token { resume_us: time_us, time_us, id });
        }
        Ok(page)
    }
}

fn read_alert(stored: &[u8]) -> Result<Alert, HotError> {
    Alert::try_from(wire::Alert::decode(stored).map_err(damaged)?).map_err(damaged)
}

fn is_listed(query: &AlertQuery, listed: &[u8]) -> bool {
    let Some((level, domain)) = listed.split_first() else { return false };
    listing::is_listed(query, *level, domain)
}
