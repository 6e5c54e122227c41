//! Alerts must be those of a correlator that nobody disturbed, over the same EVT.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atalaya_bus::{Bus, Fence, Filter, Message, Outgoing, Stream};
use atalaya_chassis::Shutdown;
use atalaya_hot::AlertQuery;
use atalaya_model::{Alert, AlertId, Tenant};
use atalaya_proto::alert_v1::Alerts;
use object_store::memory::InMemory;
use prost::Message as _;

use crate::input::{BACKFILL, TENANTS};
use crate::world::{PARTITIONS, World};
use crate::{expected, stage, world};

/// How long the undisturbed correlator may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Alerts of a page: more than there are.
const PAGE_ALERTS: usize = 1_000;

/// The alerts written are those of an undisturbed correlator, and the hot store has the newest version of each.
pub(crate) async fn check(world: &World) -> anyhow::Result<()> {
    let found = alerts(&world.all(Stream::Alert, "alert.>").await?)?;
    let expected = undisturbed(world).await?;
    ensure!(!expected.is_empty(), "the attacks gave no alert");
    ensure!(expected.iter().any(|alert| alert.domain == BACKFILL), "the attacks of the backfill gave no alert");
    let named = |alerts: &[Alert]| -> BTreeSet<String> { alerts.iter().map(name).collect() };
    let (have, want) = (named(&found), named(&expected));
    let (surplus, missing) = (have.difference(&want).collect::<Vec<_>>(), want.difference(&have).collect::<Vec<_>>());
    ensure!(surplus.is_empty() && missing.is_empty(), "alerts: not missing are {surplus:?}, missing {missing:?}");
    ensure!(found.len() == expected.len(), "{} alerts, of which {} are expected", found.len(), expected.len());
    let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    ensure!(different.is_none(), "an alert differs: {different:?}");
    check_hot(world, &expected).await
}

/// Ids of the rows that the alerts written have in the archive.
pub(crate) async fn finding_ids(world: &World) -> anyhow::Result<Vec<Vec<u8>>> {
    let alerts = alerts(&world.all(Stream::Alert, "alert.>").await?)?;
    Ok(expected::ids(&atalaya_cold_archive::findings(&alerts)?.rows))
}

async fn check_hot(world: &World, expected: &[Alert]) -> anyhow::Result<()> {
    let mut newest: BTreeMap<(&Tenant, AlertId), &Alert> = BTreeMap::new();
    for alert in expected {
        let known = newest.entry((&alert.tenant, alert.id)).or_insert(alert);
        if known.version < alert.version {
            *known = alert;
        }
    }
    for tenant in TENANTS {
        let tenant: Tenant = tenant.parse()?;
        let (min_level, domain, token, limit) = (None, None, None, PAGE_ALERTS);
        let query = AlertQuery { tenant: tenant.clone(), from_us: None, to_us: None, min_level, domain, limit, token };
        let page = world.hot.alerts(&query).await?;
        let found: BTreeMap<AlertId, &Alert> = page.rows.iter().map(|row| (row.alert.id, &row.alert)).collect();
        let wanted = newest.iter().filter(|((of, _), _)| **of == tenant);
        let wanted: BTreeMap<AlertId, &Alert> = wanted.map(|((_, id), alert)| (*id, *alert)).collect();
        ensure!(page.rows.len() == wanted.len() && found == wanted, "hot store: alerts of {tenant} differ");
    }
    Ok(())
}

/// What an undisturbed correlator with nothing to go on from writes of a copy of EVT.
async fn undisturbed(world: &World) -> anyhow::Result<Vec<Alert>> {
    let bus = world::journal(&world.place("undisturbed"), 1 << 20)?;
    for message in world.all(Stream::Evt, "evt.>").await? {
        copy(bus.as_ref(), message).await?;
    }
    let (trigger, shutdown) = Shutdown::new();
    let deps = atalaya_correlator::Deps { bus: Arc::clone(&bus), state: Arc::new(InMemory::new()) };
    let running = tokio::spawn(atalaya_correlator::run(stage::correlator(), deps, shutdown));
    let until = Instant::now() + PATIENCE;
    while !done(bus.as_ref()).await? {
        ensure!(Instant::now() < until, "the undisturbed correlator is not done after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    trigger.request();
    running.await??;
    let mut reader = bus.read(Stream::Alert, &Filter::new("alert.>")?, 0).await?;
    let mut messages = Vec::new();
    while let Some(message) = reader.try_next().await? {
        messages.push(message);
    }
    alerts(&messages)
}

async fn copy(bus: &dyn Bus, message: Message) -> anyhow::Result<()> {
    let everything = Filter::new("evt.>")?;
    let fence = Fence::new(Stream::Evt, message.subject, everything).context("a subject of EVT")?;
    let outgoing = Outgoing { headers: message.headers.as_ref().clone(), body: message.body, decoded: None };
    let sequence = bus.append(&fence, message.sequence - 1, outgoing).await?;
    ensure!(sequence == message.sequence, "the copy of {} is {sequence}", message.sequence);
    Ok(())
}

async fn done(bus: &dyn Bus) -> anyhow::Result<bool> {
    for partition in 0..PARTITIONS {
        let input = bus.last(Stream::Evt, &Filter::new(&format!("evt.{partition}.>"))?).await?;
        let output = bus.last(Stream::Alert, &Filter::new(&format!("alert.{partition}"))?).await?;
        let covers = output.and_then(|output| output.headers.covers.clone()).map_or(0, |position| position.sequence);
        if input.is_some_and(|input| input.sequence != covers) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every alert in messages, in order of name.
fn alerts(messages: &[Message]) -> anyhow::Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    for message in messages.iter().filter(|message| message.headers.rows > 0) {
        for alert in Alerts::decode(message.body.clone())?.alerts {
            alerts.push(Alert::try_from(alert)?);
        }
    }
    alerts.sort_by_cached_key(name);
    Ok(alerts)
}

fn name(alert: &Alert) -> String {
    format!("{} {} {} {:?} version {}", alert.tenant, alert.domain, alert.title, alert.id, alert.version)
}
