//! The alerts that EVT must give: those of a correlator that nobody disturbs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, Fence, Filter, Message, Outgoing, Stream};
use atalaya_chassis::Shutdown;
use atalaya_correlator::{Config, Deps};
use atalaya_model::{Alert, AlertId, Tenant};
use atalaya_proto::alert_v1::Alerts;
use object_store::memory::InMemory;
use prost::Message as _;

/// Pause between two looks at how far the correlator is.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// What the journal of a copy may hold; it is never full.
const COPY_BYTES: u64 = 4 << 30;

/// Recent messages of a copy that stay in memory, bytes.
const TAIL_BYTES: usize = 1 << 20;

/// What an undisturbed correlator with nothing to go on from writes of a copy of EVT, which has to be whole; the copy
/// is made in `directory`. In order of name.
///
/// # Errors
/// If a message of EVT is missing, or the correlator fails or is not done within `patience`.
pub async fn undisturbed(
    evt: Vec<Message>,
    partitions: u16,
    directory: &Path,
    config: Config,
    patience: Duration,
) -> anyhow::Result<Vec<Alert>> {
    let options = Options { partitions, sync: false, tail_bytes: TAIL_BYTES, max_bytes: COPY_BYTES };
    let bus: Arc<dyn Bus> = Arc::new(Journal::open(directory, &options)?);
    for message in evt {
        copy(bus.as_ref(), message).await?;
    }
    let (trigger, shutdown) = Shutdown::new();
    let deps = Deps { bus: Arc::clone(&bus), state: Arc::new(InMemory::new()) };
    let running = tokio::spawn(atalaya_correlator::run(config, deps, shutdown));
    let until = Instant::now() + patience;
    while !done(bus.as_ref(), partitions).await? {
        ensure!(Instant::now() < until, "the undisturbed correlator is not done after {patience:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    trigger.request();
    running.await??;
    decode(&all(bus.as_ref(), Stream::Alert, "alert.>").await?)
}

/// Everything under a filter, in order.
///
/// # Errors
/// If the bus does not answer, or something was let go.
pub async fn all(bus: &dyn Bus, stream: Stream, filter: &str) -> anyhow::Result<Vec<Message>> {
    let mut reader = bus.read(stream, &Filter::new(filter)?, 0).await?;
    let mut messages = Vec::new();
    while let Some(message) = reader.try_next().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// Every alert in messages of ALERT, in order of name.
///
/// # Errors
/// If one cannot be read.
pub fn decode(messages: &[Message]) -> anyhow::Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    for message in messages.iter().filter(|message| message.headers.rows > 0) {
        for alert in Alerts::decode(message.body.clone())?.alerts {
            alerts.push(Alert::try_from(alert)?);
        }
    }
    alerts.sort_by_cached_key(name);
    Ok(alerts)
}

/// Whether alerts are those expected; both in order of name.
///
/// # Errors
/// If not, naming those that are there or missing, or the first that differs.
pub fn same(found: &[Alert], expected: &[Alert]) -> anyhow::Result<()> {
    let named = |alerts: &[Alert]| -> BTreeSet<String> { alerts.iter().map(name).collect() };
    let (have, want) = (named(found), named(expected));
    let (surplus, missing) = (have.difference(&want).collect::<Vec<_>>(), want.difference(&have).collect::<Vec<_>>());
    ensure!(surplus.is_empty() && missing.is_empty(), "alerts: not expected are {surplus:?}, missing {missing:?}");
    ensure!(found.len() == expected.len(), "{} alerts, of which {} are expected", found.len(), expected.len());
    let different = found.iter().zip(expected).find(|(found, expected)| found != expected);
    ensure!(different.is_none(), "an alert differs: {different:?}");
    Ok(())
}

/// The last state of every incident.
#[must_use]
pub fn newest(alerts: &[Alert]) -> BTreeMap<(&Tenant, AlertId), &Alert> {
    let mut newest: BTreeMap<(&Tenant, AlertId), &Alert> = BTreeMap::new();
    for alert in alerts {
        let known = newest.entry((&alert.tenant, alert.id)).or_insert(alert);
        if known.version < alert.version {
            *known = alert;
        }
    }
    newest
}

async fn copy(bus: &dyn Bus, message: Message) -> anyhow::Result<()> {
    let everything = Filter::new("evt.>")?;
    let fence = Fence::new(Stream::Evt, message.subject, everything).context("a subject of EVT")?;
    let outgoing = Outgoing { headers: message.headers.as_ref().clone(), body: message.body, decoded: None };
    let sequence = bus.append(&fence, message.sequence - 1, outgoing).await?;
    ensure!(sequence == message.sequence, "the copy of {} is {sequence}", message.sequence);
    Ok(())
}

async fn done(bus: &dyn Bus, partitions: u16) -> anyhow::Result<bool> {
    for partition in 0..partitions {
        let input = bus.last(Stream::Evt, &Filter::new(&format!("evt.{partition}.>"))?).await?;
        let output = bus.last(Stream::Alert, &Filter::new(&format!("alert.{partition}"))?).await?;
        let covers = output.and_then(|output| output.headers.covers.clone()).map_or(0, |position| position.sequence);
        if input.is_some_and(|input| input.sequence != covers) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn name(alert: &Alert) -> String {
    format!("{} {} {} {:?} version {}", alert.tenant, alert.domain, alert.title, alert.id, alert.version)
}
