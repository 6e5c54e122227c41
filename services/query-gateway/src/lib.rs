//! The one door for readers: lookups, SQL, alerts and status.
//!
//! Serves gRPC (`atalaya.query.v1`) over the hot store, the archive and the bus; keeps the ledger (bucket `ledger`, by
//! lease) and appends what people do to alerts to `action.<tenant>`.
//!
//! Guarantees: every data call shows a bearer token, and gets rows of the token's tenant only (an operator may name
//! another in metadata `atalaya-tenant`); reflection and health are open. Pages are newest first and exact. The ledger is
//! a fold over the streams: a crash loses nothing of it and counts nothing twice; a difference that does not close within
//! a minute is an alarm. Limits: those of [`Config`], [`server::MAX_REQUEST_BYTES`], [`server::MAX_RESPONSE_BYTES`],
//! [`ipc::MAX_PIECE_BYTES`], [`ledger::fold::MAX_DOMAINS`], [`ledger::tally::MAX_ROWS`], [`ledger::rates::MAX_SOURCES`].

pub mod ipc;
pub mod ledger;
pub mod server;
pub mod sql;

mod access;
mod act;
mod alerts;
mod config;
mod lookup;
mod query;
mod shown;
mod status;
mod telemetry;

use std::sync::Arc;

use anyhow::Context;
use atalaya_archive::Archive;
use atalaya_bus::{Bus, now_us, patiently};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;
use atalaya_hot::{Hot, HotError};
use atalaya_model::Principals;
use tokio::net::TcpListener;

use access::{Access, Places};
use alerts::AlertDesk;
pub use config::Config;
use ledger::Ledger;
use lookup::Lookups;
use query::Queries;
use server::Desks;
use sql::SqlEngine;
use status::StatusDesk;

/// What the gateway talks to.
pub struct Deps {
    /// The streams, and the buckets `ledger`, `floors` and `leases`.
    pub bus: Arc<dyn Bus>,
    /// Lookups and alerts.
    pub hot: Arc<dyn Hot>,
    /// SQL.
    pub archive: Archive,
    /// Who may ask.
    pub principals: Arc<Principals>,
    /// Where gRPC is served.
    pub listener: TcpListener,
}

/// The gateway as a service of its own.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-query-gateway";
    const ABOUT: &'static str = "The one door for readers: lookups, SQL, alerts and status";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        Config::of(directory)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        let listener = TcpListener::bind(&config.listen).await;
        let opening_hot = || atalaya_hot::open_with(&config.hot, &config.cassandra);
        Ok(Deps {
            bus: atalaya_bus::open_with(&config.bus, &config.nats)
                .await
                .with_context(|| format!("bus {}", config.bus))?,
            hot: patiently(opening_hot, |error| matches!(error, HotError::Io(_)))
                .await
                .with_context(|| format!("hot {}", config.hot))?,
            archive: Archive::open_with(&config.archive, &config.s3)
                .with_context(|| format!("archive {}", config.archive))?,
            principals: Arc::clone(&config.principals),
            listener: listener.with_context(|| format!("query_gateway.listen: {}", config.listen))?,
        })
    }

    fn run(
        config: Config,
        deps: Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        run(config, deps, shutdown)
    }
}

/// Answers, and keeps the ledger, until the drain is asked for.
///
/// # Errors
/// If the configuration is wrong, the bus does not answer at the start, or the listener fails.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    let Deps { bus, hot, archive, principals, listener } = deps;
    let tls = config.door()?;
    let ledger = Ledger::open(Arc::clone(&bus)).await?;
    let calls = Places::new("calls", config.max_calls);
    let holder = format!("gateway {}", listener.local_addr().context("address of the gRPC door")?);
    let keeping = tokio::spawn(ledger::run(ledger.clone(), holder, shutdown.clone()));
    let desks = Desks {
        lookups: Lookups { hot: Arc::clone(&hot), ledger: ledger.clone(), places: calls.clone() },
        queries: Queries::new(SqlEngine::new(archive, config.sql.clone())?, ledger.clone(), config.clone()),
        alerts: AlertDesk {
            bus: Arc::clone(&bus),
            hot,
            places: calls.clone(),
            watches: Places::new("watches", config.max_watches),
            shutdown: shutdown.clone(),
        },
        status: StatusDesk { bus, ledger, places: calls, started_us: now_us() },
    };
    let served = server::serve(listener, tls, desks, Access::new(principals), shutdown.clone()).await;
    if !shutdown.is_requested() {
        keeping.abort();
        return served;
    }
    keeping.await.context("the ledger's task")?;
    served
}
