//! `atalaya sql`.

use std::io::Write;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use atalaya_proto::query_v1::SqlRequest;
use clap::Args;

use super::output::{self, Format};
use super::{Outcome, quiet_logs};
use crate::{Reach, Roles, Session};

/// Ask the archive in SQL, one table per OCSF class (dns_activity, network_activity, http_activity, …).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  atalaya sql \"select query_domain, count(*) n from dns_activity group by 1 order by n desc limit 10\"
  atalaya sql \"select time, src_ip, path from http_activity where cidr_contains(src_ip, '10.0.0.0/8')\" --format csv")]
pub(super) struct SqlArgs {
    /// The statement
    sql: String,
    /// Show the plan instead of running it
    #[arg(long)]
    explain: bool,
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_rows: u64,
    /// Seconds at most
    #[arg(long, value_name = "S", default_value_t = 60)]
    deadline: u32,
    /// How the rows are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn sql(args: SqlArgs) -> anyhow::Result<Outcome> {
    quiet_logs()?;
    let session = Session::open(&args.reach, Roles::Readers).await?;
    let answered = answer(&session, &args).await;
    session.close().await?;
    let (batches, truncated) = answered?;
    write(&batches, args.format)?;
    if truncated {
        output::note("the answer was cut at the row or byte cap: see --max-rows");
    }
    Ok(Outcome::Good)
}

async fn answer(session: &Session, args: &SqlArgs) -> anyhow::Result<(Vec<RecordBatch>, bool)> {
    let request = SqlRequest {
        sql: args.sql.clone(),
        deadline_ms: args.deadline.saturating_mul(1_000),
        max_rows: args.max_rows,
        explain: args.explain,
    };
    let mut stream = session.query().sql(request).await.map_err(output::refused)?.into_inner();
    let (mut ipc, mut truncated) = (Vec::new(), false);
    while let Some(piece) = stream.message().await.map_err(output::refused)? {
        ipc.extend_from_slice(&piece.ipc);
        truncated |= piece.truncated;
    }
    let reader = StreamReader::try_new(ipc.as_slice(), None).context("the answer is no Arrow stream")?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok((batches, truncated))
}

fn write(batches: &[RecordBatch], format: Format) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Table => writeln!(out, "{}", arrow::util::pretty::pretty_format_batches(batches)?)?,
        Format::Json => {
            let mut writer = arrow::json::LineDelimitedWriter::new(&mut out);
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut out);
            batches.iter().try_for_each(|batch| writer.write(batch))?;
        }
    }
    Ok(out.flush()?)
}
