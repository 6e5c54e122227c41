//! `atalaya lookup`.

use atalaya_proto::query_v1::LookupRequest;
use clap::Args;

use super::output::{self, Format};
use super::{Outcome, quiet_logs, time};
use crate::{Reach, Roles, Session};

/// Rows asked for in one call.
const PAGE_ROWS: u32 = 500;

/// Columns that come first in a table.
const FIRST: [&str; 12] = [
    "time",
    "class",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "query",
    "rcode",
    "method",
    "http_host",
    "path",
    "user",
];

/// Answer a predefined lookup from the hot store, newest first.
#[derive(Debug, Args)]
#[command(
    after_help = "Kinds: ip (either side), src_ip, dst_ip, domain (with subdomains), user, tenant, event, alert, indicator

Examples:
  atalaya lookup ip 10.47.1.100 --limit 20
  atalaya lookup domain example.com --from 2018-03-24 --format json"
)]
pub(super) struct LookupArgs {
    /// What is looked up
    kind: String,
    /// Its value
    value: String,
    /// Events from this time on: 2018-03-24, 2018-03-24T17:15:20Z, or a span before now such as 1h
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Events before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// How the rows are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn lookup(args: LookupArgs) -> anyhow::Result<Outcome> {
    quiet_logs()?;
    let mut request = LookupRequest {
        kind: args.kind.clone(),
        value: args.value.clone(),
        from_us: args.from.as_deref().map(time::parse).transpose()?,
        to_us: args.to.as_deref().map(time::parse).transpose()?,
        ..LookupRequest::default()
    };
    let session = Session::open(&args.reach, Roles::Readers).await?;
    let answered = pages(&session, &mut request, args.limit).await;
    session.close().await?;
    let rows = answered?;
    output::objects(&output::parse_objects(rows.iter().map(String::as_str))?, &FIRST, args.format)?;
    Ok(Outcome::Good)
}

async fn pages(session: &Session, request: &mut LookupRequest, limit: usize) -> anyhow::Result<Vec<String>> {
    let mut client = session.lookup();
    let mut rows: Vec<String> = Vec::new();
    while rows.len() < limit {
        request.limit = PAGE_ROWS.min(u32::try_from(limit - rows.len()).unwrap_or(PAGE_ROWS));
        let page = client.events(request.clone()).await.map_err(output::refused)?.into_inner();
        rows.extend(page.rows);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(rows)
}
