//! Alerts: the newest version, and what people did.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use atalaya_model::{Action, ActionKind, Alert, AlertId, AlertState, Level, Tenant};

use super::world::{Dice, NOON_US};
use crate::{AlertQuery, AlertStatus, Comment, Hot, HotError};

fn alert(tenant: &str, number: u64, version: u32) -> Alert {
    let level = [Level::Low, Level::Medium, Level::High, Level::Critical][usize::try_from(number % 4).unwrap_or(0)];
    Alert {
        id: AlertId::of("test", &[tenant.as_bytes(), &number.to_le_bytes()]),
        version,
        state: if version == 1 { AlertState::Opened } else { AlertState::Updated },
        tenant: tenant.parse().unwrap_or_default(),
        domain: if number.is_multiple_of(3) { "replay-1" } else { "live" }.to_owned(),
        rule_id: "rule".to_owned(),
        rule_rev: "rev".to_owned(),
        rule_author: "author".to_owned(),
        title: format!("alert {number}"),
        level,
        group_key: "src_ip=10.0.0.1".to_owned(),
        entities: vec![("src_ip".to_owned(), "10.0.0.1".to_owned())],
        time_us: NOON_US + (number % 5).cast_signed() * 1_000_000 + i64::from(version) * 10_000_000,
        window_start_us: NOON_US,
        window_end_us: NOON_US + 1,
        received_time_us: NOON_US,
        event_count: version.into(),
        evidence: Vec::new(),
        attack_ids: vec!["T1046".to_owned()],
        observed: 12.5,
        threshold: 10.0,
        message: "something".to_owned(),
        retroactive: false,
    }
}

fn query(tenant: &str, limit: usize) -> Result<AlertQuery> {
    let tenant = tenant.parse()?;
    Ok(AlertQuery { tenant, from_us: None, to_us: None, min_level: None, domain: None, limit, token: None })
}

async fn list(hot: &dyn Hot, mut query: AlertQuery) -> Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    loop {
        let page = hot.alerts(&query).await?;
        ensure!(page.rows.len() <= query.limit);
        alerts.extend(page.rows.into_iter().map(|row| row.alert));
        query.token = page.next;
        if query.token.is_none() {
            return Ok(alerts);
        }
    }
}

pub(super) async fn the_newest_version_stands(hot: Arc<dyn Hot>) -> Result<()> {
    let tenant: Tenant = "acme".parse()?;
    hot.file_alerts(&[alert("acme", 1, 1), alert("acme", 1, 3), alert("acme", 1, 2)]).await?;
    hot.file_alerts(&[alert("acme", 1, 2)]).await?;
    let newest = alert("acme", 1, 3);
    let row = hot.alert(&tenant, newest.id).await?.context("the alert")?;
    ensure!(row.alert == newest && row.status == AlertStatus::New, "{row:?}");
    ensure!(list(hot.as_ref(), query("acme", 10)?).await? == [newest.clone()], "it is listed once, where it is now");
    hot.file_alerts(&[alert("acme", 1, 4)]).await?;
    hot.sync().await?;
    ensure!(list(hot.as_ref(), query("acme", 10)?).await? == [alert("acme", 1, 4)]);
    Ok(())
}

pub(super) async fn alerts_are_listed_newest_first(hot: Arc<dyn Hot>) -> Result<()> {
    let mut dice = Dice::new(21);
    let alerts: Vec<_> =
        (0..60).map(|number| alert("acme", number, 1 + u32::try_from(dice.below(4)).unwrap_or(0))).collect();
    for chunk in alerts.chunks(9) {
        hot.file_alerts(chunk).await?;
    }
    let base = query("acme", 7)?;
    let middle_us = Some(NOON_US + 22_000_000);
    let queries = [
        base.clone(),
        AlertQuery { limit: 1, ..base.clone() },
        AlertQuery { limit: 1_000, ..base.clone() },
        AlertQuery { min_level: Some(Level::High), ..base.clone() },
        AlertQuery { domain: Some("replay-1".to_owned()), ..base.clone() },
        AlertQuery { from_us: middle_us, ..base.clone() },
        AlertQuery { to_us: middle_us, min_level: Some(Level::Medium), ..base.clone() },
    ];
    for query in queries {
        let wanted = |alert: &&Alert| {
            query.min_level.is_none_or(|least| alert.level >= least)
                && query.domain.as_ref().is_none_or(|domain| alert.domain == *domain)
                && query.from_us.is_none_or(|from_us| alert.time_us >= from_us)
                && query.to_us.is_none_or(|to_us| alert.time_us < to_us)
        };
        let mut expected: Vec<_> = alerts.iter().filter(wanted).cloned().collect();
        expected.sort_by_key(|alert| (std::cmp::Reverse(alert.time_us), alert.id));
        ensure!(!expected.is_empty() && list(hot.as_ref(), query.clone()).await? == expected, "{query:?}");
    }
    let token = hot.alerts(&base).await?.next;
    ensure!(token.is_some());
    let other = AlertQuery { token, domain: Some("live".to_owned()), ..base };
    ensure!(matches!(hot.alerts(&other).await, Err(HotError::Request(_))), "a token of another query is refused");
    Ok(())
}

pub(super) async fn actions_are_folded_in_order_of_time(hot: Arc<dyn Hot>) -> Result<()> {
    let alert = alert("acme", 1, 1);
    let action = |at_us, by: &str, kind| Action {
        alert: alert.id,
        tenant: alert.tenant.clone(),
        kind,
        by: by.to_owned(),
        at_us,
    };
    let comment = |text: &str| ActionKind::Comment(text.to_owned());
    let actions = [
        action(5, "bob", ActionKind::Assign("bob".to_owned())),
        action(1, "ann", ActionKind::Acknowledge),
        action(4, "ann", comment("second")),
        action(2, "ann", ActionKind::Assign("ann".to_owned())),
        action(3, "ann", comment("first")),
        action(6, "bob", ActionKind::Verdict("benign".to_owned())),
        action(4, "bob", comment("at the same time")),
    ];
    // Some before the alert is filed, and all of them twice.
    for action in &actions[..3] {
        hot.act(action).await?;
    }
    ensure!(hot.alert(&alert.tenant, alert.id).await?.is_none(), "actions alone are no alert");
    hot.file_alerts(std::slice::from_ref(&alert)).await?;
    for action in &actions {
        hot.act(action).await?;
    }
    let row = hot.alert(&alert.tenant, alert.id).await?.context("the alert")?;
    ensure!(row.status == AlertStatus::Acknowledged && row.assignee.as_deref() == Some("bob"), "{row:?}");
    ensure!(row.verdict.as_deref() == Some("benign") && row.comments.len() == 3, "{row:?}");
    let first = Comment { by: "ann".to_owned(), at_us: 3, text: "first".to_owned() };
    ensure!(row.comments[0] == first && row.comments[1..].iter().all(|comment| comment.at_us == 4), "{row:?}");
    hot.act(&action(7, "bob", ActionKind::Close)).await?;
    hot.act(&action(8, "ann", ActionKind::Acknowledge)).await?;
    let listed = hot.alerts(&query("acme", 5)?).await?;
    ensure!(listed.rows.len() == 1 && listed.rows[0].status == AlertStatus::Closed, "{listed:?}");
    Ok(())
}

pub(super) async fn a_tenant_never_gets_anothers_alerts(hot: Arc<dyn Hot>) -> Result<()> {
    let mine = alert("acme", 1, 1);
    hot.file_alerts(&[mine.clone(), alert("acme-2", 1, 1)]).await?;
    let other: Tenant = "acme-2".parse()?;
    ensure!(hot.alert(&other, mine.id).await?.is_none());
    ensure!(list(hot.as_ref(), query("acme", 5)?).await? == std::slice::from_ref(&mine));
    let kind = ActionKind::Close;
    hot.act(&Action { alert: mine.id, tenant: other, kind, by: "eve".to_owned(), at_us: 1 }).await?;
    let row = hot.alert(&mine.tenant, mine.id).await?.context("the alert")?;
    ensure!(row.status == AlertStatus::New, "an action of another tenant closed it");
    Ok(())
}
