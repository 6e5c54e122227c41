//! `atalaya demo`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use atalaya_proto::query_v1::{StatusRequest, StatusResponse, WatchAlertsRequest};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::{self, line, note};
use super::{Outcome, quiet_logs};
use crate::demo::day::{self, DAY_US};
use crate::demo::play;
use crate::demo::verdict::Verdict;
use crate::{Instance, Options, Roles, Session};

/// How often the ledger is looked at once the day is over.
const POLL: Duration = Duration::from_millis(200);

/// The ledger must have closed so long after the day was over.
const SETTLE: Duration = Duration::from_secs(60);

/// Play a seeded day of a small company through the real doors: DNS, flows and requests into log files that are
/// tailed, logins through the ingest socket, and five attacks inside: a port scan, a DNS tunnel, an SQL injection, a
/// password spray and a flood. Alerts appear as they happen.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End when the day is over, with the ledger; otherwise stay, to be looked at
    #[arg(long)]
    once: bool,
    /// How much faster than the clock the day passes; its first moment is now
    #[arg(long, value_name = "X", default_value_t = 4_000.0, value_parser = positive)]
    speed: f64,
    /// Another seed is another day
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Data directory; a fresh temporary one, removed at the end, if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed: &f64| speed.is_finite() && *speed > 0.0)
        .ok_or_else(|| "a number above 0".to_owned())
}

/// Plays the day in a directory of its own, which is gone afterwards.
pub(super) async fn demo(args: DemoArgs, temporary: &Path) -> anyhow::Result<Outcome> {
    quiet_logs()?;
    let data = args.data.clone().unwrap_or_else(|| temporary.join("data"));
    let (logs, config) = (temporary.join("logs"), temporary.join("config"));
    play::prepare(&logs, &config)?;
    let instance = Instance::start(Options {
        config: Some(config),
        prints_alerts: true,
        ..Options::for_command(data.clone(), Roles::All)
    })
    .await?;
    let session = Session::of(instance.run_file(), None).await?;
    note(&format!("a day at {} times the clock's speed, on {}", args.speed, data.display()));
    let verdict = watch(&session).await?;
    let played = played(&session, &args, &logs).await;
    let status = match played {
        Ok(()) => settle(&session).await,
        Err(error) => Err(error),
    };
    let outcome = status.and_then(|status| judge(&verdict.lock().unwrap_or_else(PoisonError::into_inner), &status));
    if !args.once && outcome.is_ok() {
        note(&format!("the day is over; look around with --data {} and end with Ctrl-C", data.display()));
        atalaya_chassis::signalled().await?;
    }
    drop(session);
    instance.stop().await?;
    outcome
}

async fn played(session: &Session, args: &DemoArgs, logs: &Path) -> anyhow::Result<()> {
    let day = day::day(args.seed);
    let bar = if output::draws_progress() { ProgressBar::new(day.len() as u64) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} events")?);
    let day_us = jiff::Timestamp::now().as_microsecond();
    debug_assert!(day.iter().all(|happening| happening.at_us < DAY_US));
    let played = play::play(session, logs, &day, day_us, args.speed, |done| bar.set_position(done as u64)).await;
    bar.finish_and_clear();
    played
}

/// Sorts every alert as it comes.
async fn watch(session: &Session) -> anyhow::Result<Arc<Mutex<Verdict>>> {
    let mut stream = session.alerts().watch(WatchAlertsRequest::default()).await.map_err(output::refused)?.into_inner();
    let verdict = Arc::new(Mutex::new(Verdict::default()));
    let shared = Arc::clone(&verdict);
    tokio::spawn(async move {
        while let Ok(Some(alert)) = stream.message().await {
            if let Ok(alert) = serde_json::from_str::<serde_json::Map<_, _>>(&alert.json)
                && alert.get("state").and_then(serde_json::Value::as_str) == Some("opened")
            {
                shared.lock().unwrap_or_else(PoisonError::into_inner).add(&alert);
            }
        }
    });
    Ok(verdict)
}

/// Waits until nothing is in flight: twice in a row the same balanced books.
async fn settle(session: &Session) -> anyhow::Result<StatusResponse> {
    let (mut client, began) = (session.status(), Instant::now());
    let mut before = None;
    loop {
        let status = client.get(StatusRequest::default()).await.map_err(output::refused)?.into_inner();
        let counts = super::status::counts_of(&status.ledger);
        if counts.received > 0 && counts.balanced() && before == Some(counts) {
            return Ok(status);
        }
        if began.elapsed() > SETTLE {
            bail!("the ledger did not close within {SETTLE:?}: {counts:?}");
        }
        before = Some(counts);
        tokio::time::sleep(POLL).await;
    }
}

fn judge(verdict: &Verdict, status: &StatusResponse) -> anyhow::Result<Outcome> {
    line("")?;
    for (attack, alerts) in &verdict.found {
        let alerts: Vec<_> = alerts.iter().map(|(title, count)| format!("{count} × {title}")).collect();
        line(&format!("{:<15} {}", attack.name(), alerts.join(", ")))?;
    }
    verdict.missed().try_for_each(|attack| line(&format!("{:<15} MISSED", attack.name())))?;
    verdict.unexpected.iter().try_for_each(|alert| line(&format!("on the background: {alert}")))?;
    line("")?;
    super::status::ledger(&status.ledger)?;
    Ok(if verdict.is_right() && status.balanced { Outcome::Good } else { Outcome::Bad })
}
