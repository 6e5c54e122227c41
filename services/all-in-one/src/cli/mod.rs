//! The command line. Results go to the standard output, logs and progress to the standard error.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::Reach;

mod alerts;
mod bus;
mod demo;
mod lookup;
mod output;
mod replay;
mod rules;
mod run;
mod sql;
mod status;
mod time;
mod token;

/// Atalaya: a watchtower over DNS, flows, web, logins and feeds. Without a command: run.
#[derive(Debug, Parser)]
#[command(name = "atalaya", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all seven services in this process
    Run(run::RunArgs),
    /// Play a day of attacks through the real doors and print the alerts
    Demo(demo::DemoArgs),
    /// Take files in through the whole system and print ledger and alerts
    Replay(replay::ReplayArgs),
    /// Ask the archive in SQL
    Sql(sql::SqlArgs),
    /// Answer a predefined lookup from the hot store
    Lookup(lookup::LookupArgs),
    /// List, watch or act on alerts
    Alerts(alerts::AlertsArgs),
    /// Check detection rules
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Make tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Check the bus's streams against the configuration, or change them
    #[command(subcommand)]
    Bus(bus::BusCommand),
    /// How the platform fares: topology, rates, lag, ledger
    Status(status::StatusArgs),
}

/// Where a `run` finds what it needs.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Data directory: bus, spool, hot store, archive and snapshots live here
    #[arg(long, value_name = "DIR", default_value = "./atalaya-data", env = "ATALAYA_DATA")]
    data: PathBuf,
    /// Configuration directory: atalaya.yaml, tenants/, sources/, rules/
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
}

/// How a command ends when it did its work.
enum Outcome {
    /// All is as it should be.
    Good,
    /// Done, but the answer is no: books that do not balance, rules that do not load.
    Bad,
}

/// The main of the binary: exit code 0 done, 1 failed, 2 wrong use.
#[must_use]
pub fn main() -> ExitCode {
    atalaya_chassis::install_tls_provider();
    let cli = Cli::parse();
    match tokio_main(cli) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::FAILURE,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn tokio_main(cli: Cli) -> anyhow::Result<Outcome> {
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    // Gone after the runtime, which the stores in it live as long as.
    let mut temporary = None;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Demo(args) => {
                let temporary = temporary.insert(tempfile::tempdir().context("a temporary directory")?);
                demo::demo(args, temporary.path()).await
            }
            Command::Replay(args) => replay::replay(args).await,
            Command::Sql(args) => sql::sql(args).await,
            Command::Lookup(args) => lookup::lookup(args).await,
            Command::Alerts(args) => alerts::alerts(args).await,
            Command::Rules(command) => rules::rules(&command),
            Command::Token(command) => token::token(&command),
            Command::Bus(command) => bus::bus(command).await,
            Command::Status(args) => status::status(args).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    atalaya_chassis::telemetry::shutdown();
    outcome
}

/// Logs of a command that is not `run`: warnings only, unless `RUST_LOG` says otherwise.
fn quiet_logs() -> anyhow::Result<()> {
    let config = atalaya_chassis::telemetry::Config { log: "warn".to_owned(), ..Default::default() };
    atalaya_chassis::telemetry::install(&config).map(|_| ())
}

/// What an instance's own address list is for: shown by `run`.
fn describe(reach: &Reach) -> String {
    reach.server.clone().unwrap_or_else(|| reach.data.display().to_string())
}
