//! The tables, and how they come to be: migrations by number, one service at a time, however many start at once.
//!
//! Ids of tables follow from their names, so that nodes that are told at the same time to make the same table make one
//! and not two. Which version stands is decided by a compare-and-set; who migrates, by another that runs out.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::response::query_result::QueryResult;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};

use super::options::Options;
use super::retention::Retention;
use crate::HotError;

/// How long one service may take for a migration before another goes on in its place, seconds.
const LOCK_S: i32 = 60;

/// How long a start waits for another service's migration.
const WAIT: Duration = Duration::from_secs(300);

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Deleted rows of tables that expire are kept so long for nodes that were away, seconds.
const EXPIRING_GRACE_S: u32 = 86_400;

/// Windows of time that rows of a table stand in.
const WINDOWS: i64 = 30;

/// Days of a window where nothing expires.
const LASTING_WINDOW_DAYS: i64 = 7;

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// A step from one version of the schema to the next.
pub(super) struct Migration {
    /// The version it leads to; 1 is the first.
    pub(super) number: i32,
    /// Whether programs of the version before still read and write all they need: only such steps are taken at a start.
    pub(super) additive: bool,
    /// What it does; each may be done again.
    pub(super) tables: &'static [Table],
}

/// How a table's rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// By time to live: immutable rows, whole files of a window at once.
    Expiring,
    /// As [`Kept::Expiring`], of bodies that are compressed already.
    ExpiringBodies,
    /// Rows that are written again, and stay.
    Mutable,
}

/// A table to make.
pub(super) struct Table {
    name: &'static str,
    columns: &'static str,
    order: &'static str,
    kept: Kept,
}

macro_rules! tables {
    ($($name:literal $kept:ident ($columns:literal) $order:literal;)+) => {
        &[$(Table { name: $name, columns: $columns, order: $order, kept: Kept::$kept },)+]
    };
}

/// Every migration, in order.
pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    additive: true,
    tables: tables! {
        "segments" ExpiringBodies ("partition int, hour bigint, shard int, segment_id blob, seq bigint, class int, \
            format int, body blob, PRIMARY KEY ((partition, hour, shard), segment_id)") "";
        "segments_by_hour" Expiring ("tenant text, hour bigint, shard int, max_time bigint, class int, \
            segment_id blob, posting blob, PRIMARY KEY ((tenant, hour, shard), max_time, class, segment_id)")
            "max_time DESC, class ASC, segment_id ASC";
        "segments_by_raw" Expiring ("tenant text, raw_id text, max_time bigint, class int, segment_id blob, \
            posting blob, PRIMARY KEY ((tenant, raw_id), max_time, class, segment_id)")
            "max_time DESC, class ASC, segment_id ASC";
        "postings" Expiring ("tenant text, kind tinyint, value text, day bigint, shard int, max_time bigint, \
            class int, segment_id blob, posting blob, \
            PRIMARY KEY ((tenant, kind, value, day, shard), max_time, class, segment_id)")
            "max_time DESC, class ASC, segment_id ASC";
        "event_ids" Expiring ("tenant text, bucket int, day bigint, shard int, received bigint, segment_id blob, \
            ids blob, PRIMARY KEY ((tenant, bucket, day, shard), received, segment_id)")
            "received DESC, segment_id ASC";
        "entity_directory" Expiring ("tenant text, kind tinyint, value text, bucket bigint, shard int, \
            first_seen bigint, last_seen bigint, postings bigint, rows bigint, \
            PRIMARY KEY ((tenant, kind, value), bucket, shard)") "bucket DESC, shard ASC";
        "entities_by_prefix" Expiring ("tenant text, kind tinyint, prefix blob, value blob, last_seen bigint, \
            PRIMARY KEY ((tenant, kind, prefix), value)") "";
        "entity_profile" Mutable ("tenant text, kind tinyint, value text, facet text, item text, last_day bigint, \
            PRIMARY KEY ((tenant, kind, value), facet, item)") "";
        "alerts" Mutable ("tenant text, alert_id blob, version bigint, time bigint, level int, domain text, \
            alert blob, PRIMARY KEY ((tenant, alert_id))") "";
        "alerts_by_day" Mutable ("tenant text, day bigint, time bigint, alert_id blob, level int, domain text, \
            PRIMARY KEY ((tenant, day), time, alert_id)") "time DESC, alert_id ASC";
        "alert_days" Mutable ("tenant text, day bigint, PRIMARY KEY (tenant, day)") "day DESC";
        "alert_actions" Mutable ("tenant text, alert_id blob, at bigint, id blob, action blob, \
            PRIMARY KEY ((tenant, alert_id), at, id)") "at ASC, id ASC";
        "indicators" Mutable ("tenant text, value text, type_id int, source text, event_id blob, indicator blob, \
            PRIMARY KEY ((tenant, value), type_id, source, event_id)") "";
    },
}];

/// The table that says which version stands, and who is changing it.
const VERSIONS: Table = Table {
    name: "schema_version",
    columns: "name text PRIMARY KEY, version int, holder text",
    order: "",
    kept: Kept::Mutable,
};

impl Table {
    fn statement(&self, keyspace: &str, retention: Option<Retention>) -> String {
        let hash = blake3::hash(format!("atalaya hot {keyspace}.{}", self.name).as_bytes());
        let hex = hash.to_hex();
        let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]);
        let order = match self.order {
            "" => String::new(),
            order => format!(" AND CLUSTERING ORDER BY ({order})"),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{} ({}) WITH id = {id}{order} AND {}",
            self.name,
            self.columns,
            self.kept.options(retention)
        )
    }
}

impl Kept {
    fn options(self, retention: Option<Retention>) -> String {
        if self == Self::Mutable {
            return "compaction = {'class': 'UnifiedCompactionStrategy'}".to_owned();
        }
        let window_s = retention.map_or(LASTING_WINDOW_DAYS * DAY_S, |retention| retention.seconds() / WINDOWS);
        let (unit, size) = match window_s {
            hours if hours < DAY_S => ("HOURS", hours / HOUR_S),
            days => ("DAYS", days / DAY_S),
        };
        let live_s = retention.map_or(0, Retention::directory_s);
        let body = if self == Self::ExpiringBodies { " AND compression = {'enabled': 'false'}" } else { "" };
        format!(
            "compaction = {{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '{unit}', \
             'compaction_window_size': '{}'}} AND default_time_to_live = {live_s} \
             AND gc_grace_seconds = {EXPIRING_GRACE_S}{body}",
            size.max(1)
        )
    }
}

/// Brings a keyspace to the newest version.
///
/// # Errors
/// If it is newer than this program, or holds tables of others, or needs a step that is not taken at a start.
pub(super) async fn bring_up(
    session: &Session,
    keyspace: &str,
    options: &Options,
    retention: Option<Retention>,
    migrations: &[Migration],
) -> Result<(), HotError> {
    let schema = Schema { session, keyspace, retention };
    schema.claim(options).await?;
    let newest = migrations.last().map_or(0, |migration| migration.number);
    let holder = format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish());
    let started = Instant::now();
    loop {
        let version = schema.version().await?;
        if version > newest {
            return Err(HotError::Schema(format!(
                "keyspace {keyspace} has schema version {version}, and this program knows {newest}: upgrade it"
            )));
        }
        let Some(next) = migrations.iter().find(|migration| migration.number > version) else { return Ok(()) };
        if !next.additive {
            return Err(HotError::Schema(format!(
                "keyspace {keyspace} has schema version {version}, and version {} would break programs that still \
                 use it: stop them, and migrate by hand",
                next.number
            )));
        }
        if schema.lock(&holder).await? {
            let migrated = schema.migrate(version, next).await;
            schema.unlock(&holder).await?;
            migrated?;
        } else if started.elapsed() > WAIT {
            return Err(HotError::Schema(format!("keyspace {keyspace} is being migrated by somebody who never ends")));
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

struct Schema<'a> {
    session: &'a Session,
    keyspace: &'a str,
    retention: Option<Retention>,
}

impl Schema<'_> {
    /// Makes the keyspace and its table of versions, if the keyspace is not somebody else's.
    async fn claim(&self, options: &Options) -> Result<(), HotError> {
        let keyspace = self.keyspace;
        let read = format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'");
        let tables: Vec<String> = self.rows::<(String,)>(read).await?.into_iter().map(|(name,)| name).collect();
        if !tables.is_empty() && !tables.iter().any(|name| name == VERSIONS.name) {
            return Err(HotError::Schema(format!(
                "keyspace {keyspace} holds tables ({}) and no {}: it is not a hot store's, use another",
                tables.join(", "),
                VERSIONS.name
            )));
        }
        if tables.is_empty() {
            let replicas = replication(options);
            self.change(format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replicas} AND durable_writes = true"
            ))
            .await?;
            self.change(VERSIONS.statement(keyspace, None)).await?;
        }
        Ok(())
    }

    /// Asks with more patience than rows are read and written with.
    async fn query(&self, text: String, is_idempotent: bool) -> Result<QueryResult, HotError> {
        let mut statement = Statement::new(text);
        statement.set_is_idempotent(is_idempotent);
        statement.set_request_timeout(Some(WAIT));
        Ok(self.session.query_unpaged(statement, ()).await?)
    }

    async fn rows<R>(&self, text: String) -> Result<Vec<R>, HotError>
    where
        R: for<'a> DeserializeRow<'a, 'a>,
    {
        let unreadable = |error: &dyn std::error::Error| HotError::Schema(format!("{}: {error}", self.keyspace));
        let answer = self.query(text, true).await?.into_rows_result().map_err(|error| unreadable(&error))?;
        let rows = answer.rows::<R>().map_err(|error| unreadable(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| unreadable(&error))
    }

    /// A change that waits until every node has it.
    async fn change(&self, text: String) -> Result<(), HotError> {
        self.query(text, true).await.map(|_| ())
    }

    /// A compare-and-set: whether it was applied.
    async fn decide(&self, text: String) -> Result<bool, HotError> {
        let unreadable = |error: &dyn std::error::Error| HotError::Schema(format!("{}: {error}", self.keyspace));
        let answer = self.query(text, false).await?.into_rows_result().map_err(|error| unreadable(&error))?;
        let row = answer.first_row::<Row>().map_err(|error| unreadable(&error))?;
        Ok(row.columns.first().and_then(Option::as_ref).and_then(CqlValue::as_boolean) == Some(true))
    }

    async fn version(&self) -> Result<i32, HotError> {
        let read = format!("SELECT version FROM {}.{} WHERE name = 'version'", self.keyspace, VERSIONS.name);
        let rows = self.rows::<(Option<i32>,)>(read).await?;
        Ok(rows.first().and_then(|(version,)| *version).unwrap_or(0))
    }

    async fn lock(&self, holder: &str) -> Result<bool, HotError> {
        let (keyspace, table) = (self.keyspace, VERSIONS.name);
        let insert = format!(
            "INSERT INTO {keyspace}.{table} (name, holder) VALUES ('lock', '{holder}') IF NOT EXISTS USING TTL {LOCK_S}"
        );
        if self.decide(insert).await? {
            return Ok(true);
        }
        // An answer that was lost: it was applied all the same.
        let read = format!("SELECT holder FROM {keyspace}.{table} WHERE name = 'lock'");
        let rows = self.rows::<(Option<String>,)>(read).await?;
        Ok(rows.first().and_then(|(held,)| held.as_deref()) == Some(holder))
    }

    async fn unlock(&self, holder: &str) -> Result<(), HotError> {
        let (keyspace, table) = (self.keyspace, VERSIONS.name);
        let delete = format!("DELETE FROM {keyspace}.{table} WHERE name = 'lock' IF holder = '{holder}'");
        self.decide(delete).await.map(|_| ())
    }

    async fn migrate(&self, from: i32, migration: &Migration) -> Result<(), HotError> {
        // Somebody else may have held the lock since the version was read.
        if self.version().await? != from {
            return Ok(());
        }
        for table in migration.tables {
            self.change(table.statement(self.keyspace, self.retention)).await?;
        }
        let (keyspace, table, number) = (self.keyspace, VERSIONS.name, migration.number);
        let write = if from == 0 {
            format!("INSERT INTO {keyspace}.{table} (name, version) VALUES ('version', {number}) IF NOT EXISTS")
        } else {
            format!("UPDATE {keyspace}.{table} SET version = {number} WHERE name = 'version' IF version = {from}")
        };
        // Not applied: whoever took the lock when it ran out was as far.
        self.decide(write).await?;
        tracing::info!(keyspace, version = number, "hot store: schema migrated");
        Ok(())
    }
}

fn replication(options: &Options) -> String {
    let mut replicas = options
        .datacenters
        .iter()
        .fold(String::new(), |replicas, (datacenter, count)| replicas + &format!(", '{datacenter}': '{count}'"));
    if replicas.is_empty() {
        replicas = format!(", 'replication_factor': '{}'", options.replication_factor);
    }
    format!("{{'class': 'NetworkTopologyStrategy'{replicas}}}")
}
