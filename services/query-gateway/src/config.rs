//! What the gateway is told: section `query_gateway`, the stores' URLs and the tenants' tokens.

use std::sync::Arc;

use anyhow::{Context, ensure};
use atalaya_archive::S3Options;
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_chassis::config::Directory;
use atalaya_chassis::door;
use atalaya_hot::cassandra::Options as CassandraOptions;
use atalaya_model::{Principals, Tenant, TenantFile};
use serde::Deserialize;

use crate::sql::Limits;

/// Section `query_gateway` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of the bus.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// URL of the hot store.
    #[serde(skip)]
    pub hot: String,
    /// How Cassandra is reached; set from the section `cassandra`.
    #[serde(skip)]
    pub cassandra: CassandraOptions,
    /// URL of the archive.
    #[serde(skip)]
    pub archive: String,
    /// How S3 is reached; set from the section `s3`.
    #[serde(skip)]
    pub s3: S3Options,
    /// The tokens of the tenants' files.
    #[serde(skip)]
    pub principals: Arc<Principals>,
    /// Address of the gRPC door; beyond loopback it needs `tls`.
    pub listen: String,
    /// Certificate and key of the gRPC door.
    pub tls: Option<door::Tls>,
    /// Calls answered at the same time, watches and SQL apart.
    pub max_calls: usize,
    /// Watches at the same time.
    pub max_watches: usize,
    /// SQL statements under way or waiting for their turn.
    pub max_queries: usize,
    /// What SQL may use.
    pub sql: Limits,
    /// How long a statement may take if the caller does not say, milliseconds.
    pub sql_deadline_ms: u32,
    /// How long a statement may take at most, milliseconds.
    pub sql_max_deadline_ms: u32,
    /// Rows of an answer if the caller does not say.
    pub sql_rows: u64,
    /// Rows of an answer at most.
    pub sql_max_rows: u64,
    /// Bytes of an answer at most.
    pub sql_max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: String::new(),
            nats: NatsOptions::default(),
            hot: String::new(),
            cassandra: CassandraOptions::default(),
            archive: String::new(),
            s3: S3Options::default(),
            principals: Arc::default(),
            listen: "127.0.0.1:7400".to_owned(),
            tls: None,
            max_calls: 256,
            max_watches: 256,
            max_queries: 32,
            sql: Limits::default(),
            sql_deadline_ms: 30_000,
            sql_max_deadline_ms: 600_000,
            sql_rows: 100_000,
            sql_max_rows: 10_000_000,
            sql_max_bytes: 1 << 30,
        }
    }
}

impl Config {
    /// Takes the gateway's part of a configuration.
    ///
    /// # Errors
    /// If something is wrong there.
    pub fn of(directory: &Directory) -> anyhow::Result<Self> {
        let mut config: Self = directory.section("query_gateway")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
        config.hot = directory.section("hot")?;
        config.cassandra = directory.section("cassandra")?;
        config.archive = directory.section("archive")?;
        config.s3 = directory.section("s3")?;
        config.principals = Arc::new(principals(directory)?);
        config.validate()?;
        Ok(config)
    }

    /// How the gRPC door opens: with TLS, or plain on loopback.
    ///
    /// # Errors
    /// If it may not open so, or a file of `tls` is wrong.
    pub fn door(&self) -> anyhow::Result<Option<door::Pem>> {
        door::open("query_gateway", &self.listen, self.tls.as_ref(), !self.principals.is_empty())
    }

    /// Checks what the shape alone cannot.
    ///
    /// # Errors
    /// If a limit is out of its range, or the door may not open so.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.door()?;
        self.s3.validate()?;
        let places = [self.max_calls, self.max_watches, self.max_queries];
        ensure!(
            places.iter().all(|&places| places > 0),
            "query_gateway: max_calls, max_watches, max_queries: at least 1"
        );
        ensure!(
            self.sql_deadline_ms > 0 && self.sql_deadline_ms <= self.sql_max_deadline_ms,
            "query_gateway.sql_deadline_ms must be 1 to sql_max_deadline_ms"
        );
        ensure!(
            self.sql_rows > 0 && self.sql_rows <= self.sql_max_rows,
            "query_gateway.sql_rows must be 1 to sql_max_rows"
        );
        Ok(())
    }
}

fn principals(directory: &Directory) -> anyhow::Result<Principals> {
    let mut tokens = Vec::new();
    for file in directory.tenants() {
        let tenant: Tenant = file.stem().parse().with_context(|| file.path.display().to_string())?;
        let parsed: TenantFile = file.parse()?;
        tokens.extend(parsed.tokens.into_iter().map(|token| (tenant.clone(), token)));
    }
    Ok(Principals::from_tokens(tokens.iter().map(|(tenant, token)| (tenant, token)))?)
}
