//! The hot store on Cassandra, over the scylla driver.
//!
//! Bodies stand once, by partition and hour of reception; postings by entity and day or hour of their events, in
//! partitions that are followed by further ones when they are full. Which buckets and shards there are says the
//! directory: it is written first and outlives what it leads to, so that it never leaves anything out. What is filed
//! is acknowledged by as many replicas as `consistency` says before [`Hot::file`] answers; on a failure some of it may
//! be there, and it is filed again. Where a single replica acknowledges before it is on disk, filing waits. Rows go by
//! time to live, counted from the received time. Every read but that of a body, which is sliced before it is handed
//! out, names the tenant in its partition key.

mod addresses;
mod alerts;
mod directory;
mod gate;
mod options;
mod read;
mod retention;
mod schema;
mod session;
mod sheet;
mod statements;
mod syncing;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use atalaya_model::{Action, Alert, AlertId, EventId, Tenant};
use atalaya_schema::EventBatch;

use crate::kinds::EntityKind;
use crate::lookup::{Cursor, Entity, Lookups, Network, StoredIndicator, Tables};
use crate::posting::{Place, Posting};
use crate::{AlertPage, AlertQuery, AlertRow, Filed, FiledMessage, Hot, HotError, Lookup, Page};
use alerts::KnownDays;
use directory::Directory;
pub(crate) use options::Target;
pub use options::{Answers, Options, Tls};
use retention::Retention;
use session::Link;
use statements::{Gets, Puts};
use syncing::Syncing;

/// The hot store on Cassandra.
pub struct Cassandra {
    keyspace: String,
    store: Arc<Store>,
    lookups: Lookups<Arc<Store>>,
}

/// How hard the nodes are being worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Writes that may be under way now.
    pub writes_in_flight: usize,
    /// Reads that may be under way now.
    pub reads_in_flight: usize,
    /// How often either was lowered, because nodes were overloaded or away.
    pub backoffs: u64,
}

struct Store {
    link: Link,
    puts: Puts,
    gets: Gets,
    retention: Option<Retention>,
    directory: Directory,
    known_days: KnownDays,
    syncing: Syncing,
    page_rows: i32,
}

impl Store {
    async fn settled<T>(&self, work: impl Future<Output = Result<T, HotError>>) -> Result<T, HotError> {
        self.syncing.settled(&self.link.session, work).await
    }
}

impl Cassandra {
    /// Opens the store that a URL names, and makes or migrates its tables.
    ///
    /// # Errors
    /// If the URL or an option is wrong, no node answers, or the keyspace is not one this program can use.
    pub async fn open(url: &str, options: &Options) -> Result<Self, HotError> {
        let target = Target::parse(url)?;
        let mut options = options.clone();
        if target.retention.is_some() {
            options.retention.clone_from(&target.retention);
        }
        options.validate().map_err(HotError::Request)?;
        let retention = options.retention_us().map_err(HotError::Request)?.map(Retention::new);
        let link = Link::open(&target, &options).await?;
        schema::bring_up(&link.session, &target.keyspace, &options, retention, schema::MIGRATIONS).await?;
        let (puts, gets) = statements::prepare(&link, &target.keyspace).await?;
        let syncing = Syncing::of(&link.session, &target.keyspace, options.consistency).await?;
        let store = Arc::new(Store {
            link,
            puts,
            gets,
            retention,
            directory: Directory::new(retention, options.shard_bytes),
            known_days: KnownDays::default(),
            syncing,
            page_rows: options.page_rows,
        });
        store.link.count_nodes();
        Ok(Self { keyspace: target.keyspace, lookups: Lookups::new(Arc::clone(&store)), store })
    }

    /// The day on which an entity was seen last, by class of its events, in days since 1970.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn profile(&self, entity: &Entity) -> Result<BTreeMap<String, i64>, HotError> {
        let value = sheet::key_value(entity.kind, &entity.value);
        self.store.read_profile(&(entity.tenant.as_str(), entity.kind as i8, value)).await
    }

    /// The keyspace its tables stand in.
    #[must_use]
    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// How hard the nodes are being worked.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let Link { writes, reads, .. } = &self.store.link;
        Pressure {
            writes_in_flight: writes.limit(),
            reads_in_flight: reads.limit(),
            backoffs: writes.backoffs() + reads.backoffs(),
        }
    }
}

/// Wall clock: microseconds since 1970.
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Hot for Cassandra {
    async fn file(&self, messages: &[FiledMessage]) -> Result<Vec<Filed>, HotError> {
        self.store.settled(self.store.file(messages)).await
    }

    async fn file_alerts(&self, alerts: &[Alert]) -> Result<(), HotError> {
        self.store.settled(self.store.file_alerts(alerts)).await
    }

    async fn act(&self, action: &Action) -> Result<(), HotError> {
        self.store.settled(self.store.act(action)).await
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Page, HotError> {
        self.lookups.page(lookup).await
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<AlertPage, HotError> {
        self.store.alert_page(query).await
    }

    async fn alert(&self, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError> {
        self.store.alert(tenant, id).await
    }

    /// What was filed is on disk: filing waits for it.
    async fn sync(&self) -> Result<(), HotError> {
        Ok(())
    }
}

#[async_trait]
impl Tables for Arc<Store> {
    async fn postings(
        &self,
        entity: &Entity,
        cursor: Cursor,
        from_us: i64,
        limit: usize,
    ) -> Result<Vec<Posting>, HotError> {
        self.read_postings(entity, cursor, from_us, limit).await
    }

    async fn segment(&self, place: Place) -> Result<Option<Arc<EventBatch>>, HotError> {
        self.read_segment(&place).await
    }

    async fn addresses(
        &self,
        tenant: &Tenant,
        kind: EntityKind,
        network: Network,
        limit: usize,
    ) -> Result<Vec<String>, HotError> {
        self.read_addresses(tenant, kind, network, limit).await
    }

    async fn holders(
        &self,
        tenant: &Tenant,
        event: EventId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, HotError> {
        self.read_holders(tenant, event, after, limit).await
    }

    async fn indicators(&self, tenant: &Tenant, value: &str, limit: usize) -> Result<Vec<StoredIndicator>, HotError> {
        self.read_indicators(tenant, value, limit).await
    }
}
