//! `atalaya status`.

use std::collections::BTreeMap;

use atalaya_model::Counts;
use atalaya_proto::query_v1::{LedgerRow, StatusRequest, StatusResponse};
use clap::Args;

use super::output::{self, Format, line};
use super::{Outcome, quiet_logs};
use crate::{Reach, Roles, Session};

/// How the platform fares: streams, readers and their lag, rates, last error, the ledger.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Only the ledger rows of one domain: live, or a replay's
    #[arg(long, value_name = "DOMAIN", default_value = "")]
    domain: String,
    /// How the ledger is written; json and csv print nothing else
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn status(args: StatusArgs) -> anyhow::Result<Outcome> {
    quiet_logs()?;
    let session = Session::open(&args.reach, Roles::Readers).await?;
    let answer = session.status().get(StatusRequest { domain: args.domain.clone() }).await.map_err(output::refused);
    session.close().await?;
    let status = answer?.into_inner();
    if args.format == Format::Table {
        show(&args, &status)?;
    } else {
        let rows = status.ledger.iter().map(object).collect::<anyhow::Result<Vec<_>>>()?;
        output::objects(&rows, &["source", "tenant", "domain"], args.format)?;
    }
    Ok(if status.balanced { Outcome::Good } else { Outcome::Bad })
}

fn show(args: &StatusArgs, status: &StatusResponse) -> anyhow::Result<()> {
    line(&format!("atalaya {} on {}", status.version, super::describe(&args.reach)))?;
    let streams = status.streams.iter().map(|stream| {
        let held = format!("{} of {} MiB", stream.bytes >> 20, stream.max_bytes >> 20);
        vec![stream.name.clone(), stream.first.to_string(), stream.last.to_string(), held]
    });
    output::table(&["stream", "first", "last", "held"], &streams.collect::<Vec<_>>())?;
    line("")?;
    output::table(&["reader", "partitions", "lag"], &readers(status))?;
    line("")?;
    let rates = status.rates.iter().map(|rate| {
        let figures =
            [rate.ten_minutes, rate.three_hours, rate.one_day, rate.all_time].map(|rate| format!("{rate:.1}"));
        [vec![rate.source.clone()], figures.to_vec()].concat()
    });
    output::table(&["events/s", "10 min", "3 h", "1 day", "all"], &rates.collect::<Vec<_>>())?;
    line("")?;
    ledger(&status.ledger)?;
    for reason in &status.parked_by_reason {
        line(&format!("parked  {:>8}  {}", reason.count, reason.reason))?;
    }
    for alarm in &status.alarms {
        line(&format!("ALARM  {alarm}"))?;
    }
    if !status.last_error.is_empty() {
        line(&format!("last error: {}", status.last_error))?;
    }
    Ok(())
}

/// One row a reader: its partitions or lanes, and the messages they have not covered.
fn readers(status: &StatusResponse) -> Vec<Vec<String>> {
    let mut readers = BTreeMap::<String, (u64, u64)>::new();
    for reader in &status.readers {
        let name: Vec<&str> = reader.reader.split(' ').take(2).collect();
        let (partitions, lag) = readers.entry(name.join(" ")).or_default();
        (*partitions, *lag) = (*partitions + 1, *lag + reader.lag);
    }
    readers.into_iter().map(|(name, (partitions, lag))| vec![name, partitions.to_string(), lag.to_string()]).collect()
}

/// The books, and whether they balance.
pub(super) fn ledger(rows: &[LedgerRow]) -> anyhow::Result<()> {
    let columns = [
        "source",
        "tenant",
        "domain",
        "received",
        "known",
        "normalized",
        "parked",
        "dropped",
        "events",
        "archived",
        "hot",
        "expired",
        "late",
        "alerts",
        "notified",
        "silenced",
        "undeliverable",
    ];
    let cells = rows.iter().map(|row| {
        let numbers = [
            row.received,
            row.known,
            row.normalized,
            row.parked,
            row.dropped,
            row.events,
            row.archived,
            row.hot,
            row.expired,
            row.late,
            row.alerts,
            row.notified,
            row.silenced,
            row.undeliverable,
        ];
        let names = vec![row.source.clone(), row.tenant.clone(), row.domain.clone()];
        [names, numbers.iter().map(u64::to_string).collect()].concat()
    });
    output::table(&columns, &cells.collect::<Vec<_>>())?;
    let counts = counts_of(rows);
    line(&if rows.is_empty() {
        "no books yet; those of shared sources are shown to operators only".to_owned()
    } else if counts.balanced() {
        "the books balance".to_owned()
    } else {
        format!(
            "in flight: {} records, {} events to the archive, {} to the hot store, {} alerts",
            counts.records_in_flight(),
            counts.archive_in_flight(),
            counts.hot_in_flight(),
            counts.alerts_in_flight()
        )
    })
}

/// The sum of the rows.
pub(super) fn counts_of(rows: &[LedgerRow]) -> Counts {
    rows.iter().fold(Counts::default(), |mut sum, row| {
        sum += Counts {
            received: row.received,
            known: row.known,
            normalized: row.normalized,
            parked: row.parked,
            dropped: row.dropped,
            events: row.events,
            archived: row.archived,
            hot: row.hot,
            expired: row.expired,
            late: row.late,
            alerts: row.alerts,
            notified: row.notified,
            silenced: row.silenced,
            undeliverable: row.undeliverable,
        };
        sum
    })
}

fn object(row: &LedgerRow) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let counts = serde_json::to_value(counts_of(std::slice::from_ref(row)))?;
    let names = [("source", &row.source), ("tenant", &row.tenant), ("domain", &row.domain)];
    let names = names.map(|(name, value)| (name.to_owned(), value.clone().into()));
    Ok(names.into_iter().chain(counts.as_object().cloned().unwrap_or_default()).collect())
}
