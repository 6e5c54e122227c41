//! Every statement of the store, prepared once.

use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::session::Link;
use crate::HotError;

/// Rows of one partition that are sent at once, at most.
pub(super) const BATCH_ROWS: usize = 16;

/// Bytes of rows that are sent at once; a single row may have more.
pub(super) const BATCH_BYTES: usize = 32 << 10;

const LIVE: &str = "USING TTL ?";
const VERSIONED: &str = "USING TIMESTAMP ?";
const POSTING: &str = "max_time, class, segment_id, posting";

/// An upsert: alone, or several of one partition at once.
pub(super) struct Upsert {
    single: PreparedStatement,
    batches: Vec<Batch>,
}

impl Upsert {
    /// The statement for one row.
    pub(super) fn single(&self) -> &PreparedStatement {
        &self.single
    }

    /// The batch of so many rows, 2 to [`BATCH_ROWS`].
    pub(super) fn batch(&self, rows: usize) -> Option<&Batch> {
        self.batches.get(rows.checked_sub(2)?)
    }
}

/// What is written.
pub(super) struct Puts {
    pub(super) segment: Upsert,
    pub(super) by_hour: Upsert,
    pub(super) by_raw: Upsert,
    pub(super) posting: Upsert,
    pub(super) ids: Upsert,
    pub(super) directory: Upsert,
    pub(super) prefix: Upsert,
    pub(super) profile: Upsert,
    pub(super) indicator: Upsert,
    pub(super) alert: Upsert,
    pub(super) alert_by_day: Upsert,
    pub(super) no_alert_by_day: Upsert,
    pub(super) alert_day: Upsert,
    pub(super) action: Upsert,
}

/// What is read.
pub(super) struct Gets {
    pub(super) segment: PreparedStatement,
    pub(super) by_hour: PreparedStatement,
    pub(super) by_raw: PreparedStatement,
    pub(super) postings: PreparedStatement,
    pub(super) ids: PreparedStatement,
    pub(super) directory: PreparedStatement,
    pub(super) prefixes: PreparedStatement,
    pub(super) profile: PreparedStatement,
    pub(super) indicators: PreparedStatement,
    pub(super) alert: PreparedStatement,
    pub(super) alert_version: PreparedStatement,
    pub(super) alerts_by_day: PreparedStatement,
    pub(super) alert_days: PreparedStatement,
    pub(super) actions: PreparedStatement,
}

struct Preparing<'a> {
    link: &'a Link,
    session: &'a Session,
    keyspace: &'a str,
}

/// Prepares every statement.
///
/// # Errors
/// If the keyspace has not the tables this program knows.
pub(super) async fn prepare(link: &Link, keyspace: &str) -> Result<(Puts, Gets), HotError> {
    let preparing = Preparing { link, session: &link.session, keyspace };
    Ok((preparing.puts().await?, preparing.gets().await?))
}

impl Preparing<'_> {
    async fn puts(&self) -> Result<Puts, HotError> {
        let directory = "tenant, kind, value, bucket, shard, first_seen, last_seen, postings, rows";
        let row_of_day = "WHERE tenant = ? AND day = ? AND time = ? AND alert_id = ?";
        Ok(Puts {
            segment: self
                .insert("segments", "partition, hour, shard, segment_id, seq, class, format, body", LIVE)
                .await?,
            by_hour: self.insert("segments_by_hour", &format!("tenant, hour, shard, {POSTING}"), LIVE).await?,
            by_raw: self.insert("segments_by_raw", &format!("tenant, raw_id, {POSTING}"), LIVE).await?,
            posting: self.insert("postings", &format!("tenant, kind, value, day, shard, {POSTING}"), LIVE).await?,
            ids: self.insert("event_ids", "tenant, bucket, day, shard, received, segment_id, ids", LIVE).await?,
            directory: self.insert("entity_directory", directory, LIVE).await?,
            prefix: self.insert("entities_by_prefix", "tenant, kind, prefix, value, last_seen", LIVE).await?,
            profile: self
                .insert("entity_profile", "tenant, kind, value, facet, item, last_day", "USING TIMESTAMP ? AND TTL ?")
                .await?,
            indicator: self.insert("indicators", "tenant, value, type_id, source, event_id, indicator", "").await?,
            alert: self.insert("alerts", "tenant, alert_id, version, time, level, domain, alert", VERSIONED).await?,
            alert_by_day: self.insert("alerts_by_day", "tenant, day, time, alert_id, level, domain", VERSIONED).await?,
            no_alert_by_day: self.upsert("DELETE FROM", "alerts_by_day", &format!("{VERSIONED} {row_of_day}")).await?,
            alert_day: self.insert("alert_days", "tenant, day", "").await?,
            action: self.insert("alert_actions", "tenant, alert_id, at, id, action", "").await?,
        })
    }

    async fn gets(&self) -> Result<Gets, HotError> {
        let entity = "tenant = ? AND kind = ? AND value = ?";
        let slice = "max_time <= ? AND max_time >= ?";
        let by_hour = format!("tenant = ? AND hour = ? AND shard = ? AND {slice}");
        let postings = format!("{entity} AND day = ? AND shard = ? AND {slice}");
        let ids = "tenant = ? AND bucket = ? AND day = ? AND shard = ? AND received <= ?";
        let prefixes = "tenant = ? AND kind = ? AND prefix = ? AND value >= ? AND value <= ?";
        let alert = "tenant = ? AND alert_id = ?";
        let alerts_by_day = "tenant = ? AND day = ? AND time <= ? AND time >= ?";
        Ok(Gets {
            segment: self
                .select(
                    "class, format, body",
                    "segments",
                    "partition = ? AND hour = ? AND shard = ? AND segment_id = ?",
                )
                .await?,
            by_hour: self.select(POSTING, "segments_by_hour", &by_hour).await?,
            by_raw: self.select(POSTING, "segments_by_raw", &format!("tenant = ? AND raw_id = ? AND {slice}")).await?,
            postings: self.select(POSTING, "postings", &postings).await?,
            ids: self.select("received, segment_id, ids", "event_ids", ids).await?,
            directory: self
                .select("bucket, shard", "entity_directory", &format!("{entity} AND bucket <= ? AND bucket >= ?"))
                .await?,
            prefixes: self.select("value", "entities_by_prefix", prefixes).await?,
            profile: self.select("facet, item, last_day", "entity_profile", entity).await?,
            indicators: self.select("indicator", "indicators", "tenant = ? AND value = ?").await?,
            alert: self.select("alert", "alerts", alert).await?,
            alert_version: self.select("version, time", "alerts", alert).await?,
            alerts_by_day: self.select("time, alert_id, level, domain", "alerts_by_day", alerts_by_day).await?,
            alert_days: self.select("day", "alert_days", "tenant = ? AND day <= ? AND day >= ?").await?,
            actions: self.select("action", "alert_actions", alert).await?,
        })
    }

    async fn prepare(&self, text: &str) -> Result<PreparedStatement, HotError> {
        let unusable = |error| HotError::Schema(format!("keyspace {} cannot be used: {error}: {text}", self.keyspace));
        let mut statement = self.session.prepare(text).await.map_err(unusable)?;
        // Every one is an upsert or a read.
        statement.set_is_idempotent(true);
        Ok(statement)
    }

    async fn select(&self, columns: &str, table: &str, key: &str) -> Result<PreparedStatement, HotError> {
        let text = format!("SELECT {columns} FROM {}.{table} WHERE {key}", self.keyspace);
        let mut statement = self.prepare(&text).await?;
        statement.set_execution_profile_handle(Some(self.link.reading.clone()));
        Ok(statement)
    }

    async fn insert(&self, table: &str, columns: &str, using: &str) -> Result<Upsert, HotError> {
        let marks = vec!["?"; columns.split(',').count()].join(", ");
        self.upsert("INSERT INTO", table, &format!("({columns}) VALUES ({marks}) {using}")).await
    }

    async fn upsert(&self, verb: &str, table: &str, rest: &str) -> Result<Upsert, HotError> {
        let single = self.prepare(&format!("{verb} {}.{table} {rest}", self.keyspace)).await?;
        let batches = (2..=BATCH_ROWS).map(|rows| {
            let mut batch = Batch::new(BatchType::Unlogged);
            (0..rows).for_each(|_| batch.append_statement(single.clone()));
            batch.set_is_idempotent(true);
            batch
        });
        Ok(Upsert { batches: batches.collect(), single })
    }
}
