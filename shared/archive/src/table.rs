//! One table: its newest known version, and appends to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atalaya_model::Class;
use bytes::Bytes;
use deltalake_core::kernel::{Action, Add, CommitInfo, Transaction};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};

use crate::admit::{Admitted, admit};
use crate::encode::{Encoded, encode};
use crate::layout::{DAY, POLICY, STANDARD_POLICY, day_name, directory};
use crate::log::{Log, WRITER_VERSION};
use crate::{ArchiveError, Covered, StoredBatch, TableSnapshot, stats};

/// Lost races after which an append gives up.
const MAX_RACES: u32 = 32;

/// Tries of one commit that gets no answer.
const COMMIT_TRIES: u32 = 5;

/// Wait between such tries.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// Commits between two checkpoints.
const CHECKPOINT_COMMITS: u64 = 20;

/// A version in memory older than this is loaded anew: what follows it may have left the log.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// Files stored at a time.
const PARALLEL_PUTS: usize = 4;

/// How the names of data files begin and end.
const PART: &str = "part-";
const PARQUET: &str = ".parquet";

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The table's version after it.
    pub version: u64,
    /// Rows written: none if all were there already.
    pub rows: u64,
    /// Bytes of the files written.
    pub bytes: u64,
}

/// One table.
pub(crate) struct Table {
    class: Class,
    log: Log,
    store: Arc<dyn ObjectStore>,
    newest: Mutex<Option<(Arc<TableSnapshot>, Instant)>>,
    appends: tokio::sync::Mutex<()>,
}

/// Files that are stored and wait for their commit.
struct Written {
    admitted: Admitted,
    adds: Vec<Add>,
    paths: Vec<Path>,
    rows: u64,
    bytes: u64,
}

enum Outcome {
    Committed,
    Lost,
}

impl Table {
    pub(crate) fn new(class: Class, log: Log, store: Arc<dyn ObjectStore>) -> Self {
        Self { class, log, store, newest: Mutex::new(None), appends: tokio::sync::Mutex::new(()) }
    }

    /// The newest version; none if the table was never written to. Never waits for another refresh.
    pub(crate) async fn refresh(&self) -> Result<Option<Arc<TableSnapshot>>, ArchiveError> {
        let known = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = match known {
            Some((snapshot, at)) if at.elapsed() < MAX_AGE => Some(self.log.advance(&snapshot).await?),
            _ => self.log.load().await?.map(Arc::new),
        };
        Ok(found.map(|snapshot| self.publish(snapshot)))
    }

    fn publish(&self, snapshot: Arc<TableSnapshot>) -> Arc<TableSnapshot> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_ref() {
            Some((known, _)) if known.version > snapshot.version => Arc::clone(known),
            _ => {
                *newest = Some((Arc::clone(&snapshot), Instant::now()));
                snapshot
            }
        }
    }

    /// Appends what is not there yet, and moves the positions, in one commit on the version it was checked on.
    pub(crate) async fn append(&self, batches: &[StoredBatch], covered: &[Covered]) -> Result<Committed, ArchiveError> {
        let _serial = self.appends.lock().await;
        let mut written = None;
        let result = self.try_append(batches, covered, &mut written).await;
        // A commit without an answer may still be there: its files must stay.
        if !matches!(result, Err(ArchiveError::Unanswered { .. })) {
            self.discard(written).await;
        }
        result
    }

    /// Leaves files that no commit names in `written`.
    async fn try_append(
        &self,
        batches: &[StoredBatch],
        covered: &[Covered],
        written: &mut Option<Written>,
    ) -> Result<Committed, ArchiveError> {
        for _ in 0..MAX_RACES {
            let Some(snapshot) = self.refresh().await? else {
                if batches.iter().all(|batch| batch.events.is_empty()) {
                    return Ok(Committed { version: 0, rows: 0, bytes: 0 });
                }
                self.create().await?;
                continue;
            };
            let admitted = admit(&snapshot.positions, batches, covered)?;
            if admitted.batches.is_empty() {
                return Ok(Committed { version: snapshot.version, rows: 0, bytes: 0 });
            }
            if snapshot.writer_version > WRITER_VERSION {
                let reason = format!("it asks for writer version {}", snapshot.writer_version);
                return Err(ArchiveError::Unsupported { table: self.class.name(), reason });
            }
            let widening = self.log.widening(&snapshot)?;
            if written.as_ref().is_none_or(|files| files.admitted != admitted) {
                self.discard(written.take()).await;
                *written = Some(self.write(batches, admitted).await?);
            }
            let Some(files) = written.as_ref() else { continue };
            if let Outcome::Committed = self.commit(&snapshot, widening, files).await? {
                let (rows, bytes) = (files.rows, files.bytes);
                *written = None;
                return Ok(Committed { version: snapshot.version + 1, rows, bytes });
            }
        }
        Err(ArchiveError::Contended { table: self.class.name(), attempts: MAX_RACES })
    }

    async fn create(&self) -> Result<(), ArchiveError> {
        let mut actions = vec![commit_info("CREATE TABLE", json!({}), None)];
        actions.extend(self.log.creation()?);
        self.settle(0, self.bytes_of(&actions)?).await.map(|_| ())
    }

    async fn commit(
        &self,
        on: &Arc<TableSnapshot>,
        widening: Option<Action>,
        files: &Written,
    ) -> Result<Outcome, ArchiveError> {
        let counts =
            json!({"rows": files.rows, "bytes": files.bytes, "commit": format!("{:032x}", rand::random::<u128>())});
        let mut actions = vec![commit_info("WRITE", counts, Some(on.version))];
        actions.extend(widening);
        actions.extend(files.adds.iter().cloned().map(Action::Add));
        for (scope, sequence) in &files.admitted.moves {
            let sequence = i64::try_from(*sequence).unwrap_or(i64::MAX);
            actions.push(Action::Txn(Transaction::new(scope, sequence)));
        }
        let version = on.version + 1;
        let outcome = self.settle(version, self.bytes_of(&actions)?).await?;
        if matches!(outcome, Outcome::Committed) {
            // It is committed, whatever comes now; a version that cannot be derived here is read from the log.
            if let Ok(snapshot) = self.log.apply(on, version, actions) {
                self.publish(Arc::new(snapshot));
            }
            if version.is_multiple_of(CHECKPOINT_COMMITS)
                && let Err(error) = self.log.checkpoint().await
            {
                tracing::warn!(table = self.class.name(), version, %error, "no checkpoint; the next one will do");
            }
        }
        Ok(outcome)
    }

    /// Writes a commit until it is known whether it or another one has the version. Its text is unique, so that the
    /// one that is there tells whose it is.
    async fn settle(&self, version: u64, commit: Bytes) -> Result<Outcome, ArchiveError> {
        let mut reason = String::new();
        for attempt in 0..COMMIT_TRIES {
            if attempt > 0 {
                tokio::time::sleep(RETRY_WAIT).await;
            }
            match self.log.write(version, commit.clone()).await {
                Ok(()) => return Ok(Outcome::Committed),
                Err(error) => reason = error.to_string(),
            }
            match self.log.read(version).await {
                Ok(Some(there)) if there == commit => return Ok(Outcome::Committed),
                Ok(Some(_)) => return Ok(Outcome::Lost),
                Ok(None) => {}
                Err(error) => reason = error.to_string(),
            }
        }
        Err(ArchiveError::Unanswered { table: self.class.name(), version, reason })
    }

    fn bytes_of(&self, actions: &[Action]) -> Result<Bytes, ArchiveError> {
        let mut text = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut text, action)
                .map_err(|error| ArchiveError::Encode { table: self.class.name(), reason: error.to_string() })?;
            text.push(b'\n');
        }
        Ok(text.into())
    }

    async fn write(&self, batches: &[StoredBatch], admitted: Admitted) -> Result<Written, ArchiveError> {
        let class = self.class;
        let chosen: Vec<_> = admitted.batches.iter().map(|&at| batches[at].clone()).collect();
        let encoded = tokio::task::spawn_blocking(move || encode(class, &chosen)).await;
        let files = encoded
            .map_err(|error| ArchiveError::Encode { table: class.name(), reason: error.to_string() })??
            .into_iter()
            .map(|file| (format!("{}/{PART}{:032x}{PARQUET}", directory(file.day), rand::random::<u128>()), file))
            .collect::<Vec<_>>();
        let paths = files.iter().map(|(name, _)| Path::from_iter([class.name()].into_iter().chain(name.split('/'))));
        let paths: Vec<_> = paths.collect();
        let puts: Vec<_> = files
            .iter()
            .zip(&paths)
            .map(|((_, file), path)| put(Arc::clone(&self.store), path.clone(), file.body.clone()))
            .collect();
        // All are waited for: one that is still under way would come after its removal.
        let stored: Vec<_> = stream::iter(puts).buffer_unordered(PARALLEL_PUTS).collect().await;
        if let Err(error) = stored.into_iter().collect::<object_store::Result<()>>() {
            self.remove(paths).await;
            return Err(error.into());
        }
        let schema = crate::layout::table_schema(class);
        Ok(Written {
            admitted,
            rows: files.iter().map(|(_, file)| file.rows).sum(),
            bytes: files.iter().map(|(_, file)| file.body.len() as u64).sum(),
            adds: files.iter().map(|(name, file)| add(name, file, &schema)).collect(),
            paths,
        })
    }

    /// Removes files whose commit was refused for certain.
    async fn discard(&self, written: Option<Written>) {
        if let Some(written) = written {
            self.remove(written.paths).await;
        }
    }

    /// Data files of this program that no version names, written longer ago than that.
    pub(crate) async fn orphans(&self, older_than: Duration) -> Result<Vec<ObjectMeta>, ArchiveError> {
        let mut found: Vec<ObjectMeta> = self
            .store
            .list(Some(&Path::from(self.class.name())))
            .try_filter(|object| std::future::ready(is_data_file(&object.location) && is_older(object, older_than)))
            .try_collect()
            .await?;
        // After the list: what was committed in between is named.
        let named = if found.is_empty() { None } else { self.log.named().await? };
        found.retain(|object| named.as_ref().is_some_and(|named| !named.contains(&object.location)));
        Ok(found)
    }

    async fn remove(&self, paths: Vec<Path>) {
        let locations = stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut removals = self.store.delete_stream(locations);
        while let Some(removal) = removals.next().await {
            match removal {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(table = self.class.name(), %error, "a file without a commit stays behind"),
            }
        }
    }
}

fn is_data_file(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with(PART) && name.ends_with(PARQUET))
}

/// Whether an object was written longer ago than that.
pub(crate) fn is_older(object: &ObjectMeta, than: Duration) -> bool {
    let age_ms = now_ms().saturating_sub(object.last_modified.timestamp_millis());
    i64::try_from(than.as_millis()).is_ok_and(|than| age_ms >= than)
}

async fn put(store: Arc<dyn ObjectStore>, path: Path, body: Bytes) -> object_store::Result<()> {
    store.put(&path, body.into()).await.map(|_| ())
}

fn add(name: &str, file: &Encoded, schema: &arrow::datatypes::Schema) -> Add {
    Add {
        path: name.to_owned(),
        partition_values: HashMap::from([
            (DAY.to_owned(), Some(day_name(file.day))),
            (POLICY.to_owned(), Some(STANDARD_POLICY.to_owned())),
        ]),
        size: i64::try_from(file.body.len()).unwrap_or(i64::MAX),
        modification_time: now_ms(),
        data_change: true,
        stats: Some(stats::to_json(file.rows, &file.ranges, schema)),
        ..Add::default()
    }
}

fn commit_info(operation: &str, info: Value, read_version: Option<u64>) -> Action {
    let info = HashMap::from([("atalaya".to_owned(), info)]);
    Action::CommitInfo(CommitInfo {
        timestamp: Some(now_ms()),
        operation: Some(operation.to_owned()),
        operation_parameters: Some(HashMap::from([("mode".to_owned(), "Append".into())])),
        read_version,
        engine_info: Some(concat!("atalaya/", env!("CARGO_PKG_VERSION")).to_owned()),
        info,
        ..CommitInfo::default()
    })
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
