//! When what was acknowledged is on disk.
//!
//! A node whose commit log is synced `periodic` acknowledges first: killed, it loses what came since the last time.
//! Where one such node's word is enough, filing waits until the period is over and no node was started anew
//! meanwhile. Nodes that sync in `batch` or `group`, and acknowledgements of two replicas or more, need no wait.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use atalaya_model::parse_span;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;

use super::options::Answers;
use crate::HotError;

/// The period of a node that does not say.
const DEFAULT_PERIOD_US: i64 = 10_000_000;

/// Knows how long after an acknowledgement a row is on disk.
pub(super) struct Syncing {
    after: Duration,
}

/// The nodes, each with a number that its start gave it.
type Starts = BTreeMap<IpAddr, i32>;

impl Syncing {
    /// Asks a node how it syncs, and how many replicas there are.
    pub(super) async fn of(session: &Session, keyspace: &str, answers: Answers) -> Result<Self, HotError> {
        let acknowledging = match answers {
            Answers::One | Answers::LocalOne => 1,
            Answers::Quorum | Answers::LocalQuorum => replicas(session, keyspace).await? / 2 + 1,
        };
        let mode = if acknowledging < 2 { setting(session, "commitlog_sync").await } else { None };
        if mode.as_deref() != Some("periodic") {
            return Ok(Self { after: Duration::ZERO });
        }
        let said = setting(session, "commitlog_sync_period").await.and_then(|span| parse_span(&span).ok());
        let period_us = said.unwrap_or(DEFAULT_PERIOD_US).unsigned_abs();
        // A node that is half a period late stops acknowledging.
        let after = Duration::from_micros(period_us.saturating_add(period_us / 2));
        tracing::warn!(
            ?after,
            "hot store: one replica acknowledges before it syncs, so that filing waits for it: set commitlog_sync: \
             batch on the nodes, or use more replicas"
        );
        Ok(Self { after })
    }

    /// Does some work, and returns when what it was acknowledged for is on disk.
    pub(super) async fn settled<T>(
        &self,
        session: &Session,
        work: impl Future<Output = Result<T, HotError>>,
    ) -> Result<T, HotError> {
        if self.after.is_zero() {
            return work.await;
        }
        let before = starts(session).await?;
        let done = work.await?;
        tokio::time::sleep(self.after).await;
        if starts(session).await? == before {
            return Ok(done);
        }
        Err(HotError::Io("cassandra: a node was started anew, and may have lost what it acknowledged".to_owned()))
    }
}

async fn starts(session: &Session) -> Result<Starts, HotError> {
    let read = "SELECT address, generation FROM system_views.gossip_info";
    let rows = rows::<(IpAddr, Option<i32>)>(session, read.to_owned()).await?;
    Ok(rows.into_iter().map(|(address, generation)| (address, generation.unwrap_or(0))).collect())
}

/// A setting of a node; none where it cannot be read.
async fn setting(session: &Session, name: &str) -> Option<String> {
    let read = format!("SELECT value FROM system_views.settings WHERE name = '{name}'");
    let rows = rows::<(Option<String>,)>(session, read).await;
    let rows = rows.inspect_err(|error| tracing::warn!(%error, name, "hot store: a node does not say how it syncs"));
    rows.ok()?.into_iter().next()?.0
}

/// Replicas of the datacenter that has fewest.
async fn replicas(session: &Session, keyspace: &str) -> Result<u64, HotError> {
    let read = format!("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'");
    let rows = rows::<(HashMap<String, String>,)>(session, read).await?;
    let counts = rows.iter().flat_map(|(replication,)| replication.values().filter_map(|count| count.parse().ok()));
    Ok(counts.filter(|count| *count > 0).min().unwrap_or(1))
}

async fn rows<R>(session: &Session, read: String) -> Result<Vec<R>, HotError>
where
    R: for<'a> DeserializeRow<'a, 'a>,
{
    let unreadable = |error: &dyn std::error::Error| HotError::Schema(error.to_string());
    let answer = session.query_unpaged(read, ()).await?.into_rows_result().map_err(|error| unreadable(&error))?;
    let rows = answer.rows::<R>().map_err(|error| unreadable(&error))?;
    rows.collect::<Result<_, _>>().map_err(|error| unreadable(&error))
}
