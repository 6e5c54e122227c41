//! The whole pipeline in a process of its own: throughput, CPU, memory, and the time from event to alert.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atalaya::Session;
use atalaya_proto::ingest_v1::{Format, PushRequest, ReplayRequest};
use atalaya_proto::query_v1::{StatusRequest, WatchAlertsRequest};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::load::{self, Variant, bytes_below};
use crate::process::Served;

/// How often the ledger is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A replay may take so long.
const PATIENCE: Duration = Duration::from_secs(900);

/// Events a second of the open loop, and how many go into one push.
const PACED_EVENTS_PER_SECOND: u64 = 20_000;
const PUSH_EVENTS: usize = 200;
const PACED_SECONDS: u64 = 20;

/// Every so many pushes one event meets the rule of the bench.
const MARKED_EVERY: u64 = 5;

/// The figures of a replay.
#[derive(Debug)]
pub struct Throughput {
    pub events: u64,
    pub seconds: f64,
    pub cpu_us: f64,
    pub bus_bytes: f64,
    pub hot_bytes: f64,
    pub archive_bytes: f64,
    pub idle_mb: f64,
    pub peak_mb: f64,
    pub alerts: u64,
}

/// Replays copies of the sample through a fresh instance.
pub async fn throughput(sample: &[String], copies: usize, variant: Variant) -> anyhow::Result<Throughput> {
    let place = tempfile::tempdir()?;
    let logs = place.path().join("logs");
    std::fs::create_dir_all(&logs)?;
    let (paths, events) = load::write(&logs, sample, copies, variant)?;
    let data = place.path().join("data");
    let served = Served::start(&data, None)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (idle_mb, _) = served.memory_mb();
    let session = served.session().await?;
    let (began, cpu) = (Instant::now(), served.cpu_seconds());
    let paths = paths.iter().map(|path| path.display().to_string()).collect();
    let request = ReplayRequest { paths, kind: "zeek".to_owned(), tenant: "default".to_owned(), year: None };
    let mut stream = session.ingest()?.replay(request).await?.into_inner();
    let mut domain = String::new();
    while let Some(progress) = stream.message().await? {
        ensure!(progress.errors.is_empty(), "{:?}", progress.errors);
        domain = progress.domain;
    }
    let alerts = closed(&session, &domain, events).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_us = (served.cpu_seconds() - cpu) * 1e6 / events as f64;
    let (_, peak_mb) = served.memory_mb();
    let per_event = |name: &str| bytes_below(&data.join(name)) as f64 / events as f64;
    let bus_bytes = stream_bytes(&session).await? as f64 / events as f64;
    drop(session);
    served.stop()?;
    let (hot_bytes, archive_bytes) = (per_event("hot"), per_event("archive"));
    Ok(Throughput { events, seconds, cpu_us, bus_bytes, hot_bytes, archive_bytes, idle_mb, peak_mb, alerts })
}

/// Waits until the books of a domain are closed, and checks that everything is in both stores.
async fn closed(session: &Session, domain: &str, events: u64) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        let request = StatusRequest { domain: domain.to_owned() };
        let status = session.status().get(request).await?.into_inner();
        if status.domain_closed {
            let total =
                |count: fn(&atalaya_proto::query_v1::LedgerRow) -> u64| status.ledger.iter().map(count).sum::<u64>();
            ensure!(total(|row| row.archived) == events, "{} of {events} archived", total(|row| row.archived));
            ensure!(total(|row| row.hot) == events, "{} of {events} filed", total(|row| row.hot));
            return Ok(total(|row| row.alerts));
        }
        ensure!(began.elapsed() < PATIENCE, "the books did not close: {:?}", status.ledger);
        tokio::time::sleep(POLL).await;
    }
}

async fn stream_bytes(session: &Session) -> anyhow::Result<u64> {
    let status = session.status().get(StatusRequest::default()).await?.into_inner();
    Ok(status.streams.iter().map(|stream| stream.bytes).sum())
}

/// Milliseconds from a push to its alert at 20,000 events/s, sorted.
pub async fn latencies(sample: &[String]) -> anyhow::Result<Vec<f64>> {
    let place = tempfile::tempdir()?;
    let config = place.path().join("config");
    write_rule(&config)?;
    let served = Served::start(&place.path().join("data"), Some(&config))?;
    let session = served.session().await?;
    let mut watched = session.alerts().watch(WatchAlertsRequest::default()).await?.into_inner();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(Ok(alert)) = watched.next().await {
            if let Some(sent_us) = marked(&alert.json) {
                heard.push((now_us() - sent_us) as f64 / 1e3);
            }
        }
        heard
    });
    push(&session, sample).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(session);
    served.stop()?;
    let mut heard = heard.await?;
    heard.sort_by(f64::total_cmp);
    let sent = PACED_SECONDS * PACED_EVENTS_PER_SECOND / PUSH_EVENTS as u64 / MARKED_EVERY;
    ensure!(heard.len() as u64 >= sent * 9 / 10, "{} of {sent} alerts were heard", heard.len());
    Ok(heard)
}

/// A rule that each marked event meets on its own: its name says when it was sent, and who asked is different each time.
fn write_rule(config: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(config.join("rules"))?;
    let rule = "title: Marked by the bench\nid: 7b1d6a0e-52a4-4c0e-9a3f-0d3b4c6a1f20\nstatus: test\nlevel: low\n\
                logsource: {category: dns}\ndetection:\n  marked:\n    query|endswith: '.marked.example'\n  condition: marked\n";
    std::fs::write(config.join("rules/marked.yml"), rule).context("rule")
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or_default()
}

/// The address of a marked event carries when it was sent: 100 µs in 32 bits of 10.0.0.0/8 and above would not do, so
/// its IPv6 address does.
fn marked(alert: &str) -> Option<i64> {
    let at = alert.find("fd00::")? + "fd00::".len();
    let text: String = alert[at..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == ':').collect();
    let groups = text.split(':').map(|group| i64::from_str_radix(group, 16).ok());
    groups.collect::<Option<Vec<_>>>().map(|groups| groups.iter().fold(0, |sum, group| (sum << 16) | group))
}

/// The address that carries a time: four groups that are never zero at the front, so that none is left out.
fn address(time_us: i64) -> String {
    let group = |shift: u32| (time_us >> shift) & 0xffff;
    format!("fd00::{:x}:{:x}:{:x}:{:x}", group(48), group(32), group(16), group(0))
}

async fn push(session: &Session, sample: &[String]) -> anyhow::Result<()> {
    let (sender, requests) = mpsc::channel(64);
    let mut client = session.ingest()?;
    let answers = tokio::spawn(async move {
        let mut answers = client.push(ReceiverStream::new(requests)).await?.into_inner();
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok::<_, tonic::Status>(())
    });
    let pushes = PACED_SECONDS * PACED_EVENTS_PER_SECOND / PUSH_EVENTS as u64;
    let mut pace = tokio::time::interval(Duration::from_secs(1) * PUSH_EVENTS as u32 / PACED_EVENTS_PER_SECOND as u32);
    for sequence in 1..=pushes {
        pace.tick().await;
        let begin = sequence as usize * PUSH_EVENTS % (sample.len() - PUSH_EVENTS);
        let mut records: Vec<bytes::Bytes> =
            sample[begin..begin + PUSH_EVENTS].iter().map(|line| line.clone().into()).collect();
        if sequence % MARKED_EVERY == 0 {
            records[PUSH_EVENTS / 2] = marked_record().into();
        }
        let request = PushRequest {
            producer: "bench".to_owned(),
            sequence,
            source: "bench".to_owned(),
            format: Format::ZeekJson.into(),
            log_name: "dns".to_owned(),
            records,
        };
        sender.send(request).await.context("the ingest door closed")?;
    }
    drop(sender);
    answers.await?.context("the ingest door")
}

fn marked_record() -> String {
    let time_us = now_us();
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    let source = address(time_us);
    format!(
        "{{\"_path\":\"dns\",\"ts\":{seconds}.{micros:06},\"uid\":\"M{time_us}\",\"id.orig_h\":\"{source}\",\"id.orig_p\":1,\"id.resp_h\":\"10.0.0.1\",\"id.resp_p\":53,\"query\":\"a.marked.example\"}}"
    )
}
