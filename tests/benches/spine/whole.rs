//! The whole pipeline takes files in as fast as it can: throughput of each stage, CPU, memory, bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atalaya_proto::ingest_v1::ReplayRequest;
use atalaya_proto::query_v1::{LedgerRow, StatusResponse};
use tokio::task::JoinHandle;

use crate::system::{System, sum};
use crate::usage::{Meter, Used};

/// Pause between two looks at the ledger, and the share of the time gone by that it grows to: a look costs gateway and
/// bus something, and says when something ended to 2 %.
const POLL: Duration = Duration::from_millis(50);
const POLL_PART: u32 = 50;

/// A replay may take so long.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// The stage that is done last where it is held.
const HOT_STORE: &str = "hot-store";

/// What is taken in.
pub struct Load {
    pub paths: Vec<PathBuf>,
    pub events: u64,
    /// Whose it is: a tenant, or `shared`.
    pub tenant: &'static str,
}

/// The figures of a replay.
#[derive(Debug)]
pub struct Pass {
    pub events: u64,
    /// From the request until everything has passed everything.
    pub seconds: f64,
    /// The same until each stage was done with all events, in order.
    pub stages: Vec<(&'static str, f64)>,
    pub used: Vec<Used>,
    /// Bytes that the streams grew by, an event; none if they were trimmed.
    pub bus_bytes: Option<f64>,
    pub alerts: u64,
}

/// Replays files through a system. `hold` holds the hot store until everything else is done.
pub async fn throughput(system: &System, load: &Load, hold: bool) -> anyhow::Result<Pass> {
    let held = system.members.iter().find(|member| hold && member.name == HOT_STORE);
    let before = stream_bytes(&system.clients.status("").await?);
    let (meter, began) = (Meter::start(&system.members)?, Instant::now());
    held.map_or(Ok(()), |member| member.signal("STOP"))?;
    let (domain, taking_in) = take_in(system, load).await?;
    let mut done = BTreeMap::new();
    let mut is_held = held.is_some();
    let status = loop {
        let status = system.clients.status(&domain).await?;
        let seconds = began.elapsed().as_secs_f64();
        for (stage, _) in STAGES.iter().filter(|(_, is_done)| is_done(&status, load.events)) {
            done.entry(*stage).or_insert(seconds);
        }
        if is_held && STAGES.iter().all(|(stage, _)| *stage == HOT_STORE || done.contains_key(stage)) {
            is_held = false;
            held.map_or(Ok(()), |member| member.signal("CONT"))?;
        }
        if status.domain_closed {
            break status;
        }
        ensure!(began.elapsed() < PATIENCE, "the books did not close: {}", status.last_error);
        tokio::time::sleep(POLL.max(began.elapsed() / POLL_PART)).await;
    };
    let seconds = began.elapsed().as_secs_f64();
    let errors = taking_in.await??;
    ensure!(errors.is_empty(), "{errors:?}");
    let used = meter.stop(&system.members, &system.idle_mb, load.events)?;
    let (archived, hot) = (sum(&status.ledger, |row| row.archived), sum(&status.ledger, |row| row.hot));
    ensure!(archived == load.events && hot == load.events, "of {} are archived {archived}, hot {hot}", load.events);
    // What is over at once is over when it is closed.
    let stages = STAGES.iter().map(|(stage, _)| (*stage, done.get(stage).copied().unwrap_or(seconds))).collect();
    let after = stream_bytes(&system.clients.status("").await?);
    Ok(Pass {
        events: load.events,
        seconds,
        stages,
        used,
        bus_bytes: after.checked_sub(before).map(|bytes| bytes as f64 / load.events as f64),
        alerts: sum(&status.ledger, |row| row.alerts),
    })
}

type IsDone = fn(&StatusResponse, u64) -> bool;

/// The stages that every event passes, and whether one is done with so many.
const STAGES: [(&str, IsDone); 5] = [
    ("collector", |status, events| sum(&status.ledger, |row| row.received) >= events),
    ("normalizer", is_normalized),
    ("correlator", |status, events| is_normalized(status, events) && is_correlated(status)),
    (HOT_STORE, |status, events| sum(&status.ledger, |row| row.hot) >= events),
    ("cold-archive", |status, events| sum(&status.ledger, |row| row.archived) >= events),
];

fn is_normalized(status: &StatusResponse, events: u64) -> bool {
    sum(&status.ledger, |row: &LedgerRow| row.normalized) >= events
}

/// Whether the correlator is at the end of every partition.
fn is_correlated(status: &StatusResponse) -> bool {
    status.readers.iter().filter(|reader| reader.reader == "EVT correlator").all(|reader| reader.lag == 0)
}

/// Has everything taken in; answers with its domain, and with what reports errors at the end.
async fn take_in(system: &System, load: &Load) -> anyhow::Result<(String, JoinHandle<anyhow::Result<Vec<String>>>)> {
    let paths = load.paths.iter().map(|path| path.display().to_string()).collect();
    let request = ReplayRequest { paths, kind: "zeek".to_owned(), tenant: load.tenant.to_owned(), year: None };
    let mut stream = system.clients.ingest().replay(system.clients.bearing(request)).await?.into_inner();
    let mut last = stream.message().await?.context("the replay says nothing")?;
    let domain = last.domain.clone();
    let taking_in = tokio::spawn(async move {
        while let Some(progress) = stream.message().await? {
            last = progress;
        }
        Ok(last.errors)
    });
    Ok((domain, taking_in))
}

fn stream_bytes(status: &StatusResponse) -> u64 {
    status.streams.iter().map(|stream| stream.bytes).sum()
}
