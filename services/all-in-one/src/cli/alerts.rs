//! `atalaya alerts`, `alerts act`.

use std::time::{Duration, Instant};

use atalaya_proto::query_v1::act_request::Action;
use atalaya_proto::query_v1::{ActRequest, ListAlertsRequest, LookupRequest, WatchAlertsRequest};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::output::{self, Format};
use super::{Outcome, quiet_logs, time};
use crate::{Reach, Roles, Session};

/// Alerts asked for in one call.
const PAGE_ROWS: u32 = 500;

/// How long an action is waited for, and how often it is looked for; the same action twice shows no change.
const SHOWN_WITHIN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// Columns that come first in a table.
const FIRST: [&str; 9] =
    ["time", "level", "title", "group_key", "observed", "threshold", "state", "status", "alert_id"];

/// List alerts, newest first; watch them come; act on them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    /// Stay and print alerts as they come
    #[arg(long)]
    watch: bool,
    /// Alerts from this time on: 2018-03-24, 2018-03-24T17:15:20Z, or a span before now such as 1h
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Alerts before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At least this grave: informational, low, medium, high, critical
    #[arg(long, value_name = "LEVEL", default_value = "")]
    min_level: String,
    /// Alerts at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// How they are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Acknowledge, assign, judge, comment or close an alert
    Act(ActArgs),
}

#[derive(Debug, Args)]
struct ActArgs {
    /// The alert's id
    id: String,
    #[command(flatten)]
    action: ActionArgs,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct ActionArgs {
    /// Say that somebody has seen it
    #[arg(long)]
    acknowledge: bool,
    /// Give it to somebody
    #[arg(long, value_name = "WHO")]
    assign: Option<String>,
    /// Judge it: true_positive, false_positive or benign
    #[arg(long, value_name = "VERDICT", value_parser = ["true_positive", "false_positive", "benign"])]
    verdict: Option<String>,
    /// Say something
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Be done with it
    #[arg(long)]
    close: bool,
}

impl ActionArgs {
    fn into_action(self) -> Option<Action> {
        let flag = |on: bool, action| on.then_some(action);
        flag(self.acknowledge, Action::Acknowledge(true))
            .or(self.assign.map(Action::Assign))
            .or(self.verdict.map(Action::Verdict))
            .or(self.comment.map(Action::Comment))
            .or(flag(self.close, Action::Close(true)))
    }
}

pub(super) async fn alerts(args: AlertsArgs) -> anyhow::Result<Outcome> {
    quiet_logs()?;
    if let Some(AlertsCommand::Act(act)) = args.command {
        return self::act(act).await;
    }
    // Without a running instance nothing new can come: a watch is for one that runs.
    let session = Session::open(&args.reach, Roles::Readers).await?;
    let done = if args.watch { watch(&session, &args).await } else { list(&session, &args).await };
    session.close().await?;
    done.map(|()| Outcome::Good)
}

async fn list(session: &Session, args: &AlertsArgs) -> anyhow::Result<()> {
    let mut request = ListAlertsRequest {
        from_us: args.from.as_deref().map(time::parse).transpose()?,
        to_us: args.to.as_deref().map(time::parse).transpose()?,
        min_level: args.min_level.clone(),
        ..ListAlertsRequest::default()
    };
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    while rows.len() < args.limit {
        request.limit = PAGE_ROWS.min(u32::try_from(args.limit - rows.len()).unwrap_or(PAGE_ROWS));
        let page = session.alerts().list(request.clone()).await.map_err(output::refused)?.into_inner();
        rows.extend(output::parse_objects(page.alerts.iter().map(|alert| alert.json.as_str()))?);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    output::objects(&rows, &FIRST, args.format)
}

async fn watch(session: &Session, args: &AlertsArgs) -> anyhow::Result<()> {
    let request = WatchAlertsRequest { min_level: args.min_level.clone(), domain: String::new() };
    let mut stream = session.alerts().watch(request).await.map_err(output::refused)?.into_inner();
    while let Some(alert) = stream.message().await.map_err(output::refused)? {
        if args.format == Format::Json {
            output::line(&alert.json)?;
        } else {
            output::line(&sentence(&serde_json::from_str(&alert.json)?))?;
        }
    }
    Ok(())
}

/// One alert as one line.
fn sentence(alert: &Map<String, Value>) -> String {
    let text = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{}  {:<8}  {}  {}  [{}]", text("time"), text("level"), text("title"), text("message"), text("alert_id"))
}

async fn act(args: ActArgs) -> anyhow::Result<Outcome> {
    let session = Session::open(&args.reach, Roles::All).await?;
    let done = act_and_see(&session, args).await;
    session.close().await?;
    done?;
    output::line("done")?;
    Ok(Outcome::Good)
}

/// Acts, and waits until the alert shows it: the hot store reads actions a moment later.
async fn act_and_see(session: &Session, args: ActArgs) -> anyhow::Result<()> {
    let shown = || async {
        let kind = "alert".to_owned();
        let request = LookupRequest { kind, value: args.id.clone(), ..LookupRequest::default() };
        Ok::<_, anyhow::Error>(session.lookup().events(request).await.map_err(output::refused)?.into_inner().rows)
    };
    let (before, began) = (shown().await?, Instant::now());
    let request = ActRequest { alert_id: args.id.clone(), action: args.action.clone().into_action() };
    session.alerts().act(request).await.map_err(output::refused)?;
    while shown().await? == before && began.elapsed() < SHOWN_WITHIN {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
