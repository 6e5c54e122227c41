//! `atalaya replay`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atalaya_model::Counts;
use atalaya_proto::ingest_v1::{ReplayProgress, ReplayRequest};
use atalaya_proto::query_v1::{StatusRequest, StatusResponse};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::output::{self, draws_progress};
use super::status::counts_of;
use super::{Outcome, quiet_logs};
use crate::{Reach, Roles, Session};

/// How often the ledger is looked at while it closes.
const POLL: Duration = Duration::from_millis(100);

/// Without any progress for so long, the replay gives up waiting; what was taken in stays.
const STALL: Duration = Duration::from_secs(120);

/// Take files in through the whole system as one domain, wait until the ledger closes, print ledger and alerts.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atalaya replay conn.log dns.log.gz logs/ --source zeek --json

The same file again, or grown, gives only what is new: the rest is counted as known.")]
pub(super) struct ReplayArgs {
    /// Files, globs or directories
    #[arg(required = true)]
    paths: Vec<String>,
    /// Source kind: zeek
    #[arg(long, value_name = "KIND")]
    source: String,
    /// Year of lines whose time has none
    #[arg(long, value_name = "YEAR")]
    year: Option<i32>,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// The numbers of this run.
#[derive(Debug, Default, Serialize)]
struct Report {
    received: u64,
    known: u64,
    normalized: u64,
    parked: u64,
    dropped: u64,
    archived: u64,
    hot: u64,
    expired: u64,
    alerts: u64,
    alerts_by_rule: BTreeMap<String, u64>,
    parked_by_reason: BTreeMap<String, u64>,
    seconds: f64,
}

pub(super) async fn replay(args: ReplayArgs) -> anyhow::Result<Outcome> {
    quiet_logs()?;
    let began = Instant::now();
    let paths = args.paths.iter().map(|path| absolute(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let session = Session::open(&args.reach, Roles::All).await?;
    let done = take_in(&session, &args, paths).await;
    let done = match done {
        Ok(progress) => settle(&session, &progress.domain).await.map(|status| (progress, status)),
        Err(error) => Err(error),
    };
    session.close().await?;
    let (progress, status) = done?;
    report(&args, &progress, &status, began.elapsed())
}

/// The server may have another working directory.
fn absolute(path: &str) -> anyhow::Result<String> {
    let path = std::path::absolute(PathBuf::from(path)).with_context(|| path.to_owned())?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{}: not UTF-8", path.display()))
}

async fn take_in(session: &Session, args: &ReplayArgs, paths: Vec<String>) -> anyhow::Result<ReplayProgress> {
    let tenant = args.reach.tenant.clone().unwrap_or_default();
    let request = ReplayRequest { paths, kind: args.source.clone(), tenant, year: args.year };
    let mut stream = session.ingest()?.replay(request).await.map_err(output::refused)?.into_inner();
    let bar = if draws_progress() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg}")?);
    let mut last = None;
    while let Some(progress) = stream.message().await.map_err(output::refused)? {
        bar.set_length(progress.bytes);
        bar.set_position(progress.bytes_done);
        bar.set_message(format!("{} records", progress.received));
        last = Some(progress);
    }
    bar.finish_and_clear();
    last.filter(|progress| progress.done).context("the replay ended before everything was taken in")
}

/// Waits until everything of the domain has come to its end in every store.
async fn settle(session: &Session, domain: &str) -> anyhow::Result<StatusResponse> {
    let (mut client, mut seen, mut moved) = (session.status(), Counts::default(), Instant::now());
    loop {
        let request = StatusRequest { domain: domain.to_owned() };
        let status = client.get(request).await.map_err(output::refused)?.into_inner();
        if status.domain_closed {
            return Ok(status);
        }
        let counts = counts_of(&status.ledger);
        if counts != seen {
            (seen, moved) = (counts, Instant::now());
        } else if moved.elapsed() > STALL {
            bail!("the ledger did not close: {counts:?}; {}", status.last_error);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn report(
    args: &ReplayArgs,
    progress: &ReplayProgress,
    status: &StatusResponse,
    elapsed: Duration,
) -> anyhow::Result<Outcome> {
    let counts = counts_of(&status.ledger);
    let by_name = |counts: &[atalaya_proto::query_v1::ReasonCount]| {
        counts.iter().map(|count| (count.reason.clone(), count.count)).collect::<BTreeMap<_, _>>()
    };
    let report = Report {
        received: counts.received,
        known: counts.known,
        normalized: counts.normalized,
        parked: counts.parked,
        dropped: counts.dropped,
        archived: counts.archived,
        hot: counts.hot,
        expired: counts.expired,
        alerts: counts.alerts,
        alerts_by_rule: by_name(&status.alerts_by_rule),
        parked_by_reason: by_name(&status.parked_by_reason),
        seconds: elapsed.as_secs_f64(),
    };
    if args.json {
        output::line(&serde_json::to_string(&report)?)?;
    } else {
        output::line(&format!("{} files in {:.1} s", progress.files_done, report.seconds))?;
        super::status::ledger(&status.ledger)?;
        for (what, counts) in [("alerts", &report.alerts_by_rule), ("parked", &report.parked_by_reason)] {
            counts.iter().try_for_each(|(name, count)| output::line(&format!("{what}  {count:>8}  {name}")))?;
        }
    }
    progress.errors.iter().for_each(|error| output::complain(error));
    let balanced = counts.balanced() && progress.errors.is_empty();
    Ok(if balanced { Outcome::Good } else { Outcome::Bad })
}
