//! A table's Delta log: read as a whole once, then commit by commit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use atalaya_model::Class;
use bytes::Bytes;
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake_core::kernel::{Action, Add, Metadata, MetadataExt, Protocol, StructType, new_metadata};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use url::Url;

use crate::layout::{DAY, POLICY, STATISTICS, parse_day, table_schema};
use crate::{ArchiveError, DataFile, Scope, TableSnapshot, stats};

/// The reader version of tables without deletion vectors and column mapping: the only one this code reads.
const READER_VERSION: i64 = 1;

/// The writer version this code creates and writes to.
pub(crate) const WRITER_VERSION: i64 = 2;

/// Versions a load may be behind the newest checkpoint before it starts over.
const LOAD_TRIES: u32 = 5;

/// The log of one table.
pub(crate) struct Log {
    class: Class,
    log_store: LogStoreRef,
    table: Arc<dyn ObjectStore>,
}

impl Log {
    pub(crate) fn new(class: Class, whole: &Arc<dyn ObjectStore>, url: &Url) -> Result<Self, ArchiveError> {
        let prefix = Path::from_url_path(url.path()).map_err(|_| ArchiveError::Url(url.to_string()))?;
        let table: Arc<dyn ObjectStore> = Arc::new(object_store::prefix::PrefixStore::new(Arc::clone(whole), prefix));
        let log_store = default_logstore(Arc::clone(&table), Arc::clone(whole), url, &StorageConfig::default());
        Ok(Self { class, log_store, table })
    }

    fn error(&self, source: impl Into<DeltaTableError>) -> ArchiveError {
        ArchiveError::Log { table: self.class.name(), source: Box::new(source.into()) }
    }

    fn unsupported(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Unsupported { table: self.class.name(), reason: reason.into() }
    }

    /// The newest version; none if there is no table.
    pub(crate) async fn load(&self) -> Result<Option<TableSnapshot>, ArchiveError> {
        if self.table.list(Some(&Path::from("_delta_log"))).next().await.transpose()?.is_none() {
            return Ok(None);
        }
        for _ in 0..LOAD_TRIES {
            let mut table = DeltaTable::new(Arc::clone(&self.log_store));
            match table.load().await {
                Err(DeltaTableError::NotATable(_)) => return Ok(None),
                result => result.map_err(|error| self.error(error))?,
            }
            if let Some(snapshot) = self.snapshot_of(&table).await? {
                return Ok(Some(snapshot));
            }
        }
        Err(self.unsupported("a checkpoint was written during every load"))
    }

    /// None if a checkpoint newer than the table has come meanwhile.
    async fn snapshot_of(&self, table: &DeltaTable) -> Result<Option<TableSnapshot>, ArchiveError> {
        let state = table.snapshot().map_err(|error| self.error(error))?;
        let (version, metadata) = (state.version(), state.metadata().clone());
        let writer_version = self.check_protocol(state.protocol(), &metadata)?;
        let schema = self.schema_of(&metadata)?;
        let Some(positions) = self.positions(version).await? else { return Ok(None) };
        let mut files = Vec::with_capacity(state.log_data().num_files());
        for view in state.log_data().iter() {
            let (stats, partitions) = (view.stats(), view.partition_values_map());
            let entry = Entry {
                path: &view.path(),
                bytes: view.size(),
                modified_ms: view.modification_time(),
                stats: stats.as_deref(),
                partitions: &partitions,
                has_deletions: view.deletion_vector_descriptor().is_some(),
            };
            files.push(Arc::new(self.file(&entry, &schema)?));
        }
        Ok(Some(TableSnapshot {
            class: self.class,
            version,
            schema,
            files: Arc::new(files),
            positions: Arc::new(positions),
            metadata: Arc::new(metadata),
            writer_version,
        }))
    }

    /// The snapshot after the commits that came since; the same if there are none.
    pub(crate) async fn advance(&self, from: &Arc<TableSnapshot>) -> Result<Arc<TableSnapshot>, ArchiveError> {
        let mut snapshot = Arc::clone(from);
        while let Some(commit) = self.read(snapshot.version + 1).await? {
            let version = snapshot.version + 1;
            let actions = get_actions(version, &commit).map_err(|error| self.error(error))?;
            snapshot = Arc::new(self.apply(&snapshot, version, actions)?);
        }
        Ok(snapshot)
    }

    /// The snapshot after one more commit.
    pub(crate) fn apply(
        &self,
        before: &TableSnapshot,
        version: u64,
        actions: Vec<Action>,
    ) -> Result<TableSnapshot, ArchiveError> {
        let mut after = TableSnapshot { version, ..before.clone() };
        for action in actions {
            match action {
                Action::Add(add) => {
                    let file = Arc::new(self.file(&Entry::of(&add), &after.schema)?);
                    Arc::make_mut(&mut after.files).push(file);
                }
                Action::Remove(remove) => {
                    let path = self.path(&remove.path);
                    Arc::make_mut(&mut after.files).retain(|file| file.path != path);
                }
                Action::Txn(transaction) => {
                    if let Some(scope) = Scope::parse(&transaction.app_id) {
                        let sequence = u64::try_from(transaction.version).unwrap_or_default();
                        Arc::make_mut(&mut after.positions).insert(scope, sequence);
                    }
                }
                Action::Metadata(metadata) => {
                    after.schema = self.schema_of(&metadata)?;
                    after.metadata = Arc::new(metadata);
                }
                Action::Protocol(protocol) => {
                    after.writer_version = self.check_protocol(&protocol, &after.metadata)?;
                }
                Action::Cdc(_) | Action::CommitInfo(_) | Action::DomainMetadata(_) => {}
            }
        }
        Ok(after)
    }

    /// A commit as it is stored.
    pub(crate) async fn read(&self, version: u64) -> Result<Option<Bytes>, ArchiveError> {
        self.log_store.read_commit_entry(version).await.map_err(|error| self.error(error))
    }

    /// Writes a commit if that version is not taken.
    pub(crate) async fn write(&self, version: u64, commit: Bytes) -> object_store::Result<()> {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        self.table.put_opts(&path, commit.into(), PutMode::Create.into()).await.map(|_| ())
    }

    /// What a new table begins with.
    pub(crate) fn creation(&self) -> Result<Vec<Action>, ArchiveError> {
        let protocol: Protocol = self.decode(json!({
            "minReaderVersion": READER_VERSION,
            "minWriterVersion": WRITER_VERSION,
        }))?;
        let schema = self.to_delta(&table_schema(self.class))?;
        let statistics = STATISTICS.into_iter().filter(|&name| schema.field(name).is_some()).collect::<Vec<_>>();
        let configuration = [("delta.dataSkippingStatsColumns", statistics.join(","))];
        let metadata =
            new_metadata(&schema, [DAY, POLICY], configuration).map_err(|error| self.unsupported(error.to_string()))?;
        Ok(vec![Action::Protocol(protocol), Action::Metadata(metadata)])
    }

    /// The change of columns that rows of this code need; none if the table has them all.
    pub(crate) fn widening(&self, snapshot: &TableSnapshot) -> Result<Option<Action>, ArchiveError> {
        let ours = table_schema(self.class);
        let mut fields: Vec<_> = snapshot.schema.fields().iter().cloned().collect();
        for field in ours.fields() {
            match snapshot.schema.column_with_name(field.name()) {
                None => fields.push(Arc::clone(field)),
                Some((_, theirs)) if theirs.data_type() == field.data_type() => {}
                Some((_, theirs)) => {
                    let (name, theirs, ours) = (field.name(), theirs.data_type(), field.data_type());
                    return Err(self.unsupported(format!("column {name} is {theirs} there and {ours} here")));
                }
            }
        }
        if fields.len() == snapshot.schema.fields().len() {
            return Ok(None);
        }
        let schema = self.to_delta(&Schema::new(fields))?;
        let metadata = snapshot.metadata.as_ref().clone().with_schema(&schema).map_err(|error| self.error(error))?;
        Ok(Some(Action::Metadata(metadata)))
    }

    /// Writes a checkpoint of the newest version, and lets go of log entries beyond the table's retention.
    pub(crate) async fn checkpoint(&self) -> Result<(), ArchiveError> {
        let (log_store, runtime) = (Arc::clone(&self.log_store), tokio::runtime::Handle::current());
        let work = move || {
            runtime.block_on(async {
                let mut table = DeltaTable::new(log_store);
                table.load().await?;
                checkpoints::create_checkpoint(&table, None).await?;
                checkpoints::cleanup_metadata(&table, None).await.map(|_| ())
            })
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| self.unsupported(error.to_string()))?.map_err(|error| self.error(error))
    }

    /// Every file that the newest version names, or a version that may still be read; none if there is no table.
    pub(crate) async fn named(&self) -> Result<Option<HashSet<Path>>, ArchiveError> {
        let mut table = DeltaTable::new(Arc::clone(&self.log_store));
        match table.load().await {
            Err(DeltaTableError::NotATable(_)) => return Ok(None),
            result => result.map_err(|error| self.error(error))?,
        }
        let state = table.snapshot().map_err(|error| self.error(error))?;
        let mut named: HashSet<_> = state.log_data().iter().map(|view| self.path(&view.path())).collect();
        let mut removed = state.all_tombstones(self.log_store.as_ref());
        while let Some(removed) = removed.try_next().await.map_err(|error| self.error(error))? {
            named.insert(self.path(&removed.path()));
        }
        Ok(Some(named))
    }

    fn file(&self, entry: &Entry<'_>, schema: &Schema) -> Result<DataFile, ArchiveError> {
        if entry.has_deletions {
            return Err(self.unsupported(format!("{} has a deletion vector", entry.path)));
        }
        let partition = |name: &str| entry.partitions.get(name).and_then(Option::as_deref);
        let Some((rows, ranges)) = entry.stats.and_then(|text| stats::from_json(text, schema)) else {
            return Err(self.unsupported(format!("{} has no row count in the log", entry.path)));
        };
        Ok(DataFile {
            path: self.path(entry.path),
            bytes: u64::try_from(entry.bytes).unwrap_or_default(),
            rows,
            modified_ms: entry.modified_ms,
            day: partition(DAY).and_then(parse_day),
            policy: partition(POLICY).map(Box::from),
            ranges: ranges.into(),
        })
    }

    /// The path in the archive's store of a path in the log.
    fn path(&self, in_table: &str) -> Path {
        Path::from_iter(std::iter::once(self.class.name()).chain(in_table.split('/')))
    }

    fn check_protocol(&self, protocol: &Protocol, metadata: &Metadata) -> Result<i64, ArchiveError> {
        let protocol = serde_json::to_value(protocol).map_err(|error| self.unsupported(error.to_string()))?;
        let version = |name: &str| protocol.get(name).and_then(serde_json::Value::as_i64).unwrap_or(i64::MAX);
        if version("minReaderVersion") != READER_VERSION {
            let reason = format!(
                "it asks for reader version {}, with deletion vectors or column mapping; only {READER_VERSION} is read",
                version("minReaderVersion")
            );
            return Err(self.unsupported(reason));
        }
        let mapping = metadata.configuration().get("delta.columnMapping.mode");
        match mapping.map(String::as_str) {
            None | Some("none") => Ok(version("minWriterVersion")),
            Some(mode) => Err(self.unsupported(format!("its columns are mapped by {mode}"))),
        }
    }

    fn schema_of(&self, metadata: &Metadata) -> Result<SchemaRef, ArchiveError> {
        let schema = metadata.parse_schema().map_err(|error| self.unsupported(error.to_string()))?;
        let arrow: Schema = (&schema).try_into_arrow().map_err(|error| self.unsupported(error.to_string()))?;
        Ok(Arc::new(arrow))
    }

    fn to_delta(&self, schema: &Schema) -> Result<StructType, ArchiveError> {
        schema.try_into_kernel().map_err(|error| self.unsupported(error.to_string()))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, value: serde_json::Value) -> Result<T, ArchiveError> {
        serde_json::from_value(value).map_err(|error| self.unsupported(error.to_string()))
    }

    /// The positions at a version: those in the newest checkpoint, then those of every commit after it. None if the
    /// newest checkpoint is above the version.
    async fn positions(&self, version: u64) -> Result<Option<BTreeMap<Scope, u64>>, ArchiveError> {
        let mut positions = BTreeMap::new();
        let mut next = 0;
        if let Some(hint) = self.hint().await? {
            if hint.version > version {
                return Ok(None);
            }
            for part in hint.files() {
                let body = self.table.get(&part).await?.bytes().await?;
                positions.extend(checkpointed(body).map_err(|error| self.unsupported(format!("{part}: {error}")))?);
            }
            next = hint.version + 1;
        }
        for version in next..=version {
            let commit = self.read(version).await?;
            let commit = commit.ok_or_else(|| self.unsupported(format!("commit {version} is missing in its log")))?;
            for action in get_actions(version, &commit).map_err(|error| self.error(error))? {
                if let Action::Txn(transaction) = action
                    && let Some(scope) = Scope::parse(&transaction.app_id)
                {
                    positions.insert(scope, u64::try_from(transaction.version).unwrap_or_default());
                }
            }
        }
        Ok(Some(positions))
    }

    async fn hint(&self) -> Result<Option<Hint>, ArchiveError> {
        match self.table.get(&Path::from("_delta_log/_last_checkpoint")).await {
            Ok(found) => {
                let body = found.bytes().await?;
                Ok(Some(serde_json::from_slice(&body).map_err(|e| self.unsupported(format!("_last_checkpoint: {e}")))?))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the log says of a file.
struct Entry<'a> {
    path: &'a str,
    bytes: i64,
    modified_ms: i64,
    stats: Option<&'a str>,
    partitions: &'a HashMap<String, Option<String>>,
    has_deletions: bool,
}

impl<'a> Entry<'a> {
    fn of(add: &'a Add) -> Self {
        Self {
            path: &add.path,
            bytes: add.size,
            modified_ms: add.modification_time,
            stats: add.stats.as_deref(),
            partitions: &add.partition_values,
            has_deletions: add.deletion_vector.is_some(),
        }
    }
}

/// `_last_checkpoint`.
#[derive(serde::Deserialize)]
struct Hint {
    version: u64,
    parts: Option<u32>,
}

impl Hint {
    fn files(&self) -> Vec<Path> {
        let version = self.version;
        match self.parts {
            None => vec![Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"))],
            Some(parts) => (1..=parts)
                .map(|part| Path::from(format!("_delta_log/{version:020}.checkpoint.{part:010}.{parts:010}.parquet")))
                .collect(),
        }
    }
}

/// The positions in a checkpoint.
fn checkpointed(body: Bytes) -> Result<Vec<(Scope, u64)>, Box<dyn std::error::Error + Send + Sync>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(body)?;
    let mask = ProjectionMask::columns(reader.parquet_schema(), ["txn.appId", "txn.version"]);
    let mut positions = Vec::new();
    for batch in reader.with_projection(mask).build()? {
        let batch = batch?;
        let Some(transactions) = batch.column_by_name("txn").and_then(|column| column.as_struct_opt()) else {
            continue;
        };
        let (Some(ids), Some(versions)) = (
            transactions.column_by_name("appId").and_then(|column| column.as_string_opt::<i32>()),
            transactions.column_by_name("version").and_then(|column| column.as_primitive_opt::<Int64Type>()),
        ) else {
            continue;
        };
        let rows = (0..batch.num_rows()).filter(|&row| transactions.is_valid(row) && ids.is_valid(row));
        positions.extend(rows.filter_map(|row| {
            Some((Scope::parse(ids.value(row))?, u64::try_from(versions.value(row)).unwrap_or_default()))
        }));
    }
    Ok(positions)
}
