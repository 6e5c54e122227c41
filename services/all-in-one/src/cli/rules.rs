//! `atalaya rules check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Outcome;
use super::output::{self, Format};

#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// Load rules and say which do not load, and why
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Rule files or directories; the built-in pack if none is given
    paths: Vec<PathBuf>,
    /// Print one JSON object a rule
    #[arg(long)]
    json: bool,
}

pub(super) fn rules(command: &RulesCommand) -> anyhow::Result<Outcome> {
    let RulesCommand::Check(args) = command;
    let files = if args.paths.is_empty() {
        atalaya_correlator::built_in_rules()
    } else {
        atalaya_correlator::read_rules(&args.paths)?
    };
    let reports = atalaya_correlator::check(&files);
    let refused = reports.iter().filter(|report| !report.loaded).count();
    let rows = reports.iter().filter(|report| args.json || !report.loaded).map(serde_json::to_value);
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<_> = rows.iter().filter_map(|row| row.as_object().cloned()).collect();
    if !rows.is_empty() {
        let format = if args.json { Format::Json } else { Format::Table };
        output::objects(&rows, &["path", "title", "reason"], format)?;
    }
    output::note(&format!("{} rules: {} load, {refused} refused", reports.len(), reports.len() - refused));
    Ok(if refused == 0 { Outcome::Good } else { Outcome::Bad })
}
