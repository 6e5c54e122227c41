//! The hot store in a directory, over fjall.
//!
//! Time-bound tables (segments, postings, event ids) stand in generations of received days; alerts, what people did
//! to them, and indicators stand in tables of their own and stay. There is no directory of entities: postings are
//! ordered, so the next bucket of an entity is one seek away. One process at a time.

mod alerts;
mod events;
mod generations;
mod keys;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atalaya_model::{Action, Alert, AlertId, EventId, Tenant};
use atalaya_schema::EventBatch;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::kinds::EntityKind;
use crate::lookup::{Cursor, Entity, Lookups, Network, StoredIndicator, Tables};
use crate::posting::{Place, Posting};
use crate::{AlertPage, AlertQuery, AlertRow, Filed, FiledMessage, Hot, HotError, Lookup, Page};
use generations::Generations;

/// Bytes of stored blocks kept in memory.
const BLOCK_CACHE_BYTES: u64 = 16 << 20;

/// Bytes of journals at most; beyond, tables are written out.
const MAX_JOURNAL_BYTES: u64 = 128 << 20;

/// Threads that write tables out and compact them: of two, fjall lets one spin while the other compacts.
const WORKERS: usize = 1;

/// Memtable of the tables that are small, bytes.
const ROW_MEMTABLE_BYTES: u64 = 4 << 20;

/// How an embedded store is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long rows are kept after they were received, microseconds; for ever if none. They go up to a thirty-second
    /// part of it later, a day at least.
    pub retention_us: Option<i64>,
}

/// The embedded hot store.
pub struct Embedded {
    store: Arc<Store>,
    lookups: Lookups<Arc<Store>>,
}

/// The tables; every method blocks.
struct Store {
    database: Database,
    generations: Generations,
    alerts: Keyspace,
    alerts_by_day: Keyspace,
    actions: Keyspace,
    indicators: Keyspace,
    /// Held while an alert is read and written again.
    alert_writes: Mutex<()>,
}

impl From<fjall::Error> for HotError {
    fn from(error: fjall::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl Embedded {
    /// Opens the store in a directory, which is created if it is not there.
    ///
    /// # Errors
    /// If another process has it open, or it cannot be read.
    pub async fn open(directory: impl Into<PathBuf>, options: Options) -> Result<Self, HotError> {
        let directory = directory.into();
        let store = blocking(move || Store::open(&directory, &options)).await?;
        let store = Arc::new(store);
        Ok(Self { lookups: Lookups::new(Arc::clone(&store)), store })
    }

    async fn with<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<R, HotError> + Send + 'static,
    ) -> Result<R, HotError> {
        let store = Arc::clone(&self.store);
        blocking(move || call(&store)).await
    }
}

async fn blocking<R: Send + 'static>(
    call: impl FnOnce() -> Result<R, HotError> + Send + 'static,
) -> Result<R, HotError> {
    tokio::task::spawn_blocking(call).await.map_err(|error| HotError::Io(error.to_string()))?
}

impl Store {
    fn open(directory: &std::path::Path, options: &Options) -> Result<Self, HotError> {
        std::fs::create_dir_all(directory)
            .map_err(|error| HotError::Io(format!("{}: {error}", directory.display())))?;
        let builder = Database::builder(directory)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(MAX_JOURNAL_BYTES)
            .journal_compression(CompressionType::None)
            .worker_threads(WORKERS);
        let database = builder.open().map_err(|error| match error {
            fjall::Error::Locked => HotError::InUse(directory.display().to_string()),
            error => HotError::Io(format!("{}: {error}", directory.display())),
        })?;
        let rows = || KeyspaceCreateOptions::default().max_memtable_size(ROW_MEMTABLE_BYTES);
        Ok(Self {
            generations: Generations::open(&database, options.retention_us)?,
            alerts: database.keyspace("alerts", rows)?,
            alerts_by_day: database.keyspace("alerts_by_day", rows)?,
            actions: database.keyspace("actions", rows)?,
            indicators: database.keyspace("indicators", rows)?,
            alert_writes: Mutex::new(()),
            database,
        })
    }

    fn sync(&self) -> Result<(), HotError> {
        self.database.persist(PersistMode::SyncAll)?;
        let dropped = self.generations.expire(&self.database, now_us())?;
        if dropped > 0 {
            tracing::info!(generations = dropped, "dropped what is over in the hot store");
        }
        Ok(())
    }
}

/// Wall clock: microseconds since 1970.
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Hot for Embedded {
    async fn file(&self, messages: &[FiledMessage]) -> Result<Vec<Filed>, HotError> {
        let messages = messages.to_vec();
        self.with(move |store| store.file(&messages, now_us())).await
    }

    async fn file_alerts(&self, alerts: &[Alert]) -> Result<(), HotError> {
        let alerts = alerts.to_vec();
        self.with(move |store| store.file_alerts(&alerts)).await
    }

    async fn act(&self, action: &Action) -> Result<(), HotError> {
        let action = action.clone();
        self.with(move |store| store.act(&action)).await
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Page, HotError> {
        self.lookups.page(lookup).await
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<AlertPage, HotError> {
        let query = query.clone();
        self.with(move |store| store.alert_page(&query)).await
    }

    async fn alert(&self, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError> {
        let tenant = tenant.clone();
        self.with(move |store| store.alert(&tenant, id)).await
    }

    async fn sync(&self) -> Result<(), HotError> {
        self.with(Store::sync).await
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
        let (store, entity) = (Self::clone(self), entity.clone());
        blocking(move || store.read_postings(&entity, cursor, from_us, limit)).await
    }

    async fn segment(&self, place: Place) -> Result<Option<Arc<EventBatch>>, HotError> {
        let store = Self::clone(self);
        blocking(move || store.read_segment(&place)).await
    }

    async fn addresses(
        &self,
        tenant: &Tenant,
        kind: EntityKind,
        network: Network,
        limit: usize,
    ) -> Result<Vec<String>, HotError> {
        let (store, tenant) = (Self::clone(self), tenant.clone());
        blocking(move || store.read_addresses(&tenant, kind, network, limit)).await
    }

    async fn holders(
        &self,
        tenant: &Tenant,
        event: EventId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, HotError> {
        let (store, tenant) = (Self::clone(self), tenant.clone());
        blocking(move || store.read_holders(&tenant, event, after, limit)).await
    }

    async fn indicators(&self, tenant: &Tenant, value: &str, limit: usize) -> Result<Vec<StoredIndicator>, HotError> {
        let (store, tenant, value) = (Self::clone(self), tenant.clone(), value.to_owned());
        blocking(move || store.read_indicators(&tenant, &value, limit)).await
    }
}

#[cfg(test)]
mod tests;
