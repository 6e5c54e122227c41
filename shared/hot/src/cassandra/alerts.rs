//! Alerts and what people did to them.
//!
//! An alert's version is the timestamp of its write: the newest stands, in whatever order versions come. A list by day
//! is an index only: what counts is where the alert itself says it is.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use atalaya_model::{Action, Alert, AlertId, Tenant};
use atalaya_proto::alert_v1 as wire;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use prost::Message;
use scylla::response::query_result::QueryRowsResult;

use super::Store;
use super::read::rows;
use super::write::all;
use crate::kinds::DAY_US;
use crate::lookup::Token;
use crate::{AlertPage, AlertQuery, AlertRow, HotError, listing, stance};

/// Actions on one alert that count; later ones are kept and not looked at.
const MAX_ACTIONS: usize = 10_000;

/// Alerts of a page read at once.
const ALERTS_AT_ONCE: usize = 16;

/// Days with alerts that are remembered as written.
const MAX_KNOWN_DAYS: usize = 100_000;

const HASH_BYTES: usize = 8;

/// Days that are known to be in the list of days.
#[derive(Default)]
pub(super) struct KnownDays(Mutex<HashSet<(Tenant, i64)>>);

impl KnownDays {
    fn has(&self, tenant: &Tenant, day: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(tenant.clone(), day))
    }

    fn add(&self, tenant: &Tenant, day: i64) {
        let mut days = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if days.len() >= MAX_KNOWN_DAYS {
            days.clear();
        }
        days.insert((tenant.clone(), day));
    }
}

fn damaged(reason: impl std::fmt::Display) -> HotError {
    HotError::Damaged { what: "an alert".to_owned(), reason: reason.to_string() }
}

const fn day_of(time_us: i64) -> i64 {
    time_us.div_euclid(DAY_US)
}

/// An alert in the list of a day.
struct Listed {
    time_us: i64,
    id: AlertId,
}

impl Store {
    pub(super) async fn file_alerts(&self, alerts: &[Alert]) -> Result<(), HotError> {
        self.link.count_nodes();
        let mut newest: HashMap<_, &Alert> = HashMap::new();
        for alert in alerts {
            let kept = newest.entry((&alert.tenant, alert.id)).or_insert(alert);
            if alert.version > kept.version {
                *kept = alert;
            }
        }
        all(newest.into_values().map(|alert| self.file_alert(alert).boxed()).collect()).await
    }

    /// The list first, then the alert, then the list's old row: whoever reads in between finds the alert once.
    async fn file_alert(&self, alert: &Alert) -> Result<(), HotError> {
        let (tenant, id) = (alert.tenant.as_str(), alert.id.as_bytes().as_slice());
        let stored = self.stored_version(&alert.tenant, alert.id).await?;
        if stored.is_some_and(|(version, _)| version >= i64::from(alert.version)) {
            return Ok(());
        }
        let (version, time_us) = (i64::from(alert.version), alert.time_us);
        let (level, domain) = (i32::from(listing::level_number(alert.level)), alert.domain.as_str());
        let day = day_of(time_us);
        if !self.known_days.has(&alert.tenant, day) {
            self.put(&self.puts.alert_day, &[(tenant, day)]).await?;
            self.known_days.add(&alert.tenant, day);
        }
        self.put(&self.puts.alert_by_day, &[(tenant, day, time_us, id, level, domain, version)]).await?;
        let body = wire::Alert::from(alert).encode_to_vec();
        self.put(&self.puts.alert, &[(tenant, id, version, time_us, level, domain, body, version)]).await?;
        if let Some((before, stored_us)) = stored.filter(|(_, stored_us)| *stored_us != time_us) {
            self.put(&self.puts.no_alert_by_day, &[(before, tenant, day_of(stored_us), stored_us, id)]).await?;
        }
        Ok(())
    }

    /// Version and time of an alert as it stands.
    async fn stored_version(&self, tenant: &Tenant, id: AlertId) -> Result<Option<(i64, i64)>, HotError> {
        let mut stored = None;
        let take = |page: &QueryRowsResult| {
            stored = stored.or(rows::<(i64, i64)>(page, "an alert")?.pop());
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.alert_version, &(tenant.as_str(), id.as_bytes().as_slice()), 1, take).await?;
        Ok(stored)
    }

    pub(super) async fn act(&self, action: &Action) -> Result<(), HotError> {
        let value = wire::Action::from(action).encode_to_vec();
        let hash = blake3::hash(&value);
        let (tenant, alert) = (action.tenant.as_str(), action.alert.as_bytes().as_slice());
        let row = (tenant, alert, action.at_us, &hash.as_bytes()[..HASH_BYTES], value);
        self.put(&self.puts.action, &[row]).await
    }

    pub(super) async fn alert(&self, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError> {
        let key = (tenant.as_str(), id.as_bytes().as_slice());
        let mut alert = None;
        let take = |page: &QueryRowsResult| {
            for (stored,) in rows::<(&[u8],)>(page, "an alert")? {
                alert = Some(Alert::try_from(wire::Alert::decode(stored).map_err(damaged)?).map_err(damaged)?);
            }
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.alert, &key, 1, take).await?;
        let Some(alert) = alert else { return Ok(None) };
        let mut actions = Vec::new();
        let take = |page: &QueryRowsResult| {
            for (stored,) in rows::<(&[u8],)>(page, "an action")? {
                let action = wire::Action::decode(stored).map_err(damaged)?;
                actions.push(Action::try_from(action).map_err(damaged)?);
            }
            let enough = actions.len() >= MAX_ACTIONS;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        self.read(&self.gets.actions, &key, MAX_ACTIONS, take).await?;
        actions.truncate(MAX_ACTIONS);
        Ok(Some(stance::fold(alert, actions)))
    }

    pub(super) async fn alert_page(&self, query: &AlertQuery) -> Result<AlertPage, HotError> {
        listing::check(query)?;
        let binding = listing::binding(query);
        let token = query.token.as_deref().map(|token| Token::decode(token, &binding)).transpose()?;
        let newest_us = query.to_us.map_or(i64::MAX, |to_us| to_us.saturating_sub(1));
        let newest_us = token.as_ref().map_or(newest_us, |token| token.time_us.min(newest_us));
        let from_us = query.from_us.unwrap_or(i64::MIN);
        let mut page = AlertPage::default();
        let mut after = token.as_ref().map(|token| (token.time_us, token.id));
        let mut last = token;
        for day in self.alert_days(&query.tenant, day_of(newest_us), day_of(from_us)).await? {
            loop {
                let wanted = query.limit + 1 - page.rows.len();
                let listed = self.listed(query, day, (newest_us, from_us), after, wanted).await?;
                let ended = listed.len() < wanted;
                for (listed, row) in self.alerts_of(&query.tenant, listed).await? {
                    let (time_us, id) = (listed.time_us, *listed.id.as_bytes());
                    after = Some((time_us, id));
                    let Some(row) = row else { continue };
                    if page.rows.len() == query.limit {
                        page.next = last.map(|last| last.seal(&binding));
                        return Ok(page);
                    }
                    page.rows.push(row);
                    last = Some(Token { resume_us: time_us, time_us, id });
                }
                if ended {
                    break;
                }
            }
        }
        Ok(page)
    }

    /// Days with alerts, newest first.
    async fn alert_days(&self, tenant: &Tenant, newest: i64, oldest: i64) -> Result<Vec<i64>, HotError> {
        let mut days = Vec::new();
        let take = |page: &QueryRowsResult| {
            days.extend(rows::<(i64,)>(page, "a day of alerts")?.into_iter().map(|(day,)| day));
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.alert_days, &(tenant.as_str(), newest, oldest), usize::MAX, take).await?;
        Ok(days)
    }

    /// What a day's list says of alerts that are asked for, newest first, after one.
    async fn listed(
        &self,
        query: &AlertQuery,
        day: i64,
        (newest_us, from_us): (i64, i64),
        after: Option<(i64, [u8; 16])>,
        wanted: usize,
    ) -> Result<Vec<Listed>, HotError> {
        let mut listed = Vec::new();
        let take = |page: &QueryRowsResult| {
            for (time_us, id, level, domain) in rows::<(i64, &[u8], i32, &str)>(page, "a list of alerts")? {
                let id: [u8; 16] = id.try_into().map_err(damaged)?;
                let shown =
                    after.is_some_and(|(shown_us, shown)| time_us > shown_us || (time_us == shown_us && id <= shown));
                let level = u8::try_from(level).unwrap_or(u8::MAX);
                if shown || !listing::is_listed(query, level, domain.as_bytes()) {
                    continue;
                }
                listed.push(Listed { time_us, id: AlertId::from_bytes(id) });
                if listed.len() == wanted {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        let newest_us = after.map_or(newest_us, |(shown_us, _)| shown_us.min(newest_us));
        self.read(&self.gets.alerts_by_day, &(query.tenant.as_str(), day, newest_us, from_us), wanted + 1, take)
            .await?;
        Ok(listed)
    }

    /// The alerts of a list, in its order; none for a row of the list that an alert has left.
    async fn alerts_of(
        &self,
        tenant: &Tenant,
        listed: Vec<Listed>,
    ) -> Result<Vec<(Listed, Option<AlertRow>)>, HotError> {
        let mut reads = Vec::with_capacity(listed.len());
        for listed in listed {
            reads.push(async move {
                let row = self.alert(tenant, listed.id).await?;
                let row = row.filter(|row| row.alert.time_us == listed.time_us);
                Ok::<_, HotError>((listed, row))
            });
        }
        stream::iter(reads).buffered(ALERTS_AT_ONCE).try_collect().await
    }
}
