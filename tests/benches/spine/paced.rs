//! Open loop: 20,000 events/s are sent whether or not they are taken, and some of them are alerts to be heard of. An
//! event's time runs from when it was due.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_model::LIVE_DOMAIN;
use atalaya_proto::ingest_v1::{Format, PushRequest};
use atalaya_proto::query_v1::WatchAlertsRequest;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::clients::Clients;
use crate::receiver::Receiver;
use crate::system::System;
use crate::usage::{Meter, Used};

/// Events a second, and how many go at a time.
pub const EVENTS_PER_SECOND: u64 = 20_000;
const BATCH_EVENTS: usize = 200;
const BATCHES_PER_SECOND: u64 = EVENTS_PER_SECOND / BATCH_EVENTS as u64;

/// Every so many batches one event meets the rule of the bench.
const MARKED_EVERY: u64 = 5;

/// How long the last alerts may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the stores may take with what was sent: Cassandra on two cores is slower than the load.
const FILED_WITHIN: Duration = Duration::from_secs(1_800);

/// How long a collector may take to see that a file is there.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

/// The title of the rule that each marked event meets on its own.
pub const RULE: &str = "Marked by the bench";

/// Batches that may wait for the ingest door; beyond, what is due waits with its time running.
const WAITING_BATCHES: usize = 64;

/// How events get in.
pub enum Way {
    /// Pushed.
    Push,
    /// Lines of a file that is followed.
    File(PathBuf),
}

/// What is sent.
pub struct Load<'l> {
    /// Lines of a Zeek log, sent over and over.
    pub lines: &'l [String],
    pub seconds: u64,
    /// The marked events are spread over so many tenants; all are the operator's if none.
    pub tenants: Option<u32>,
}

/// The figures.
pub struct Paced {
    /// Marked events.
    pub sent: u64,
    /// Milliseconds to the customer's receiver, sorted.
    pub received: Vec<f64>,
    /// When alerts were late there.
    pub stalls: Vec<Stall>,
    /// Milliseconds to somebody who watches at the gateway, sorted; of the operator's own tenant only.
    pub watched: Vec<f64>,
    pub used: Vec<Used>,
}

/// An alert is late after so many milliseconds: the design's aim.
pub const LATE_MS: f64 = 50.0;

/// Late alerts whose events were due so near to each other are of one stall.
const ONE_STALL_US: i64 = 500_000;

/// Alerts that were late together.
#[derive(Debug)]
pub struct Stall {
    /// Seconds from the first event to the first late one.
    pub at_s: f64,
    pub alerts: usize,
    pub longest_ms: f64,
}

/// Alerts by when their event was due, microseconds since 1970, and how long they took.
#[derive(Debug, Default)]
pub struct Heard(BTreeMap<i64, i64>);

impl Heard {
    /// Notes an alert that was heard of; only the first word of each counts.
    pub fn note(&mut self, alert: &str, at_us: i64) {
        if let Some(due_us) = due_us(alert) {
            self.0.entry(due_us).or_insert(at_us - due_us);
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds, sorted.
    pub fn sorted_ms(&self) -> Vec<f64> {
        let mut ms: Vec<f64> = self.0.values().map(|us| *us as f64 / 1e3).collect();
        ms.sort_by(f64::total_cmp);
        ms
    }

    /// The stalls, in order of time.
    pub fn stalls(&self) -> Vec<Stall> {
        let first = self.0.keys().next().copied().unwrap_or_default();
        let late = self.0.iter().map(|(due, us)| (*due, *us as f64 / 1e3)).filter(|(_, ms)| *ms > LATE_MS);
        let mut stalls = Vec::<Stall>::new();
        let mut before = i64::MIN;
        for (due, ms) in late {
            match stalls.last_mut().filter(|_| due - before < ONE_STALL_US) {
                Some(stall) => (stall.alerts, stall.longest_ms) = (stall.alerts + 1, stall.longest_ms.max(ms)),
                None => stalls.push(Stall { at_s: (due - first) as f64 / 1e6, alerts: 1, longest_ms: ms }),
            }
            before = due;
        }
        stalls
    }
}

/// Writes the rule into a configuration.
pub fn write_rule(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let rule = format!(
        "title: {RULE}\nid: 7b1d6a0e-52a4-4c0e-9a3f-0d3b4c6a1f20\nstatus: test\nlevel: low\n\
         logsource: {{category: dns}}\ndetection:\n  marked:\n    query|endswith: '.marked.example'\n  condition: marked\n"
    );
    std::fs::write(directory.join("marked.yml"), rule).context("rule")
}

pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or_default()
}

/// The network of marked events of a tenant's; the first one's are 0.
pub fn marked_network(tenant: u32) -> String {
    format!("{}/32", address(tenant, 0))
}

/// A marked event's address says whose it is and when it was due: each is another one's, so that each is an alert.
fn address(tenant: u32, due_us: i64) -> Ipv6Addr {
    Ipv6Addr::from((0xfd00_u128 << 112) | (u128::from(tenant) << 96) | u128::from(due_us.unsigned_abs()))
}

/// When the event of an alert was due.
fn due_us(alert: &str) -> Option<i64> {
    let text: String =
        alert[alert.find("fd00:")?..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == ':').collect();
    let address: Ipv6Addr = text.parse().ok()?;
    i64::try_from(u128::from(address) & u128::from(u64::MAX)).ok()
}

/// Sends so many seconds of load, and waits for the alerts.
pub async fn measure(system: &System, receiver: &Receiver, load: &Load<'_>, way: &Way) -> anyhow::Result<Paced> {
    receiver.take();
    let batches = load.seconds * BATCHES_PER_SECOND;
    let sent = batches / MARKED_EVERY;
    let watching = watch(&system.clients, if load.tenants.is_none() { sent } else { 0 }).await?;
    written_out()?;
    let meter = Meter::start(&system.members)?;
    match way {
        Way::Push => push(&system.clients, load, batches).await?,
        Way::File(path) => append(path, load, batches).await?,
    }
    let until = Instant::now() + PATIENCE;
    while (receiver.count() as u64) < sent && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let heard = receiver.take();
    let (received, stalls) = (heard.sorted_ms(), heard.stalls());
    ensure!(received.len() as u64 >= sent * 9 / 10, "{} of {sent} alerts reached the receiver", received.len());
    let events = batches * BATCH_EVENTS as u64;
    system.filed(LIVE_DOMAIN, events, FILED_WITHIN).await?;
    let used = meter.stop(&system.members, &system.idle_mb, events)?;
    let watched = watching.await??.sorted_ms();
    Ok(Paced { sent, received, stalls, watched, used })
}

/// Has the system write out what came before, a linker's output above all: else it does so 30 seconds later, all at once,
/// and every fsync of what is measured waits for it.
fn written_out() -> anyhow::Result<()> {
    let synced = std::process::Command::new("sync").status().context("sync")?;
    ensure!(synced.success(), "sync: {synced}");
    Ok(())
}

/// Watches for so many alerts, with patience, from now on.
async fn watch(clients: &Clients, alerts: u64) -> anyhow::Result<JoinHandle<anyhow::Result<Heard>>> {
    let mut watched = clients.alerts().watch(clients.bearing(WatchAlertsRequest::default())).await?.into_inner();
    Ok(tokio::spawn(async move {
        let mut heard = Heard::default();
        while (heard.len() as u64) < alerts {
            match tokio::time::timeout(PATIENCE, watched.next()).await {
                Ok(Some(alert)) => heard.note(&alert?.json, now_us()),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(heard)
    }))
}

/// When batches are due, whether or not those before were taken.
struct Pace {
    ticks: tokio::time::Interval,
    began: Instant,
    began_us: i64,
}

impl Pace {
    fn new() -> Self {
        let began = Instant::now();
        let ticks = tokio::time::interval_at(began, Duration::from_secs(1) / BATCHES_PER_SECOND as u32);
        Self { ticks, began, began_us: now_us() }
    }

    /// When the next batch was due, microseconds since 1970.
    async fn next_us(&mut self) -> i64 {
        let due = self.ticks.tick().await.duration_since(self.began);
        self.began_us + i64::try_from(due.as_micros()).unwrap_or_default()
    }
}

/// The lines of a batch; those of every fifth have a marked one among them.
fn batch(load: &Load<'_>, number: u64, due_us: i64) -> impl Iterator<Item = String> {
    let begin = number as usize * BATCH_EVENTS;
    let marked = number.is_multiple_of(MARKED_EVERY);
    let tenant = (number / MARKED_EVERY % u64::from(load.tenants.unwrap_or(1))) as u32;
    (0..BATCH_EVENTS).map(move |at| match &load.lines[(begin + at) % load.lines.len()] {
        _ if marked && at == BATCH_EVENTS / 2 => marked_record(tenant, due_us),
        line => line.clone(),
    })
}

async fn push(clients: &Clients, load: &Load<'_>, batches: u64) -> anyhow::Result<()> {
    let (sender, requests) = mpsc::channel(WAITING_BATCHES);
    let request = clients.bearing(ReceiverStream::new(requests));
    let mut client = clients.ingest();
    let answers = tokio::spawn(async move {
        let mut answers = client.push(request).await?.into_inner();
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok::<_, tonic::Status>(())
    });
    let mut pace = Pace::new();
    for sequence in 1..=batches {
        let due_us = pace.next_us().await;
        let request = PushRequest {
            producer: "bench".to_owned(),
            sequence,
            source: "bench".to_owned(),
            format: Format::ZeekJson.into(),
            log_name: "dns".to_owned(),
            records: batch(load, sequence, due_us).map(Bytes::from).collect(),
        };
        sender.send(request).await.context("the ingest door closed")?;
    }
    drop(sender);
    answers.await?.context("the ingest door")
}

async fn append(path: &Path, load: &Load<'_>, batches: u64) -> anyhow::Result<()> {
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    // A first line, so that the file is followed when its time counts.
    writeln!(file, "{}", load.lines.first().context("no lines")?)?;
    tokio::time::sleep(FOUND_WITHIN).await;
    let mut pace = Pace::new();
    for number in 1..=batches {
        let due_us = pace.next_us().await;
        let mut text = batch(load, number, due_us).collect::<Vec<_>>().join("\n");
        text.push('\n');
        file.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn marked_record(tenant: u32, due_us: i64) -> String {
    let (seconds, micros) = (due_us / 1_000_000, due_us % 1_000_000);
    let source = address(tenant, due_us);
    format!(
        "{{\"_path\":\"dns\",\"ts\":{seconds}.{micros:06},\"uid\":\"M{due_us}\",\"id.orig_h\":\"{source}\",\"id.orig_p\":1,\"id.resp_h\":\"10.0.0.1\",\"id.resp_p\":53,\"query\":\"a.marked.example\"}}"
    )
}
