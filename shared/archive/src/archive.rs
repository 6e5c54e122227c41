//! The archive as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use atalaya_model::Class;
use object_store::ObjectStore;
use url::Url;

use crate::log::Log;
use crate::storage::{Root, memory_url, self_test};
use crate::table::Table;
use crate::{ArchiveError, Committed, Covered, S3Options, Scope, StoredBatch, TableSnapshot};

/// The tables of every class. Cheap to clone; clones share the versions they know.
#[derive(Clone)]
pub struct Archive {
    pub(crate) root: Root,
    tables: Arc<[Table]>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({})", self.root.url)
    }
}

impl Archive {
    /// Opens the archive a URL names: `file:DIR` (created if it is not there), `s3://BUCKET/PREFIX` (AWS, as whom the
    /// machine is), or `memory:`, gone with the last clone.
    ///
    /// # Errors
    /// If the URL names no archive, or the store cannot be set up.
    pub fn open(url: &str) -> Result<Self, ArchiveError> {
        Self::open_with(url, &S3Options::default())
    }

    /// The same, with S3 as these options say.
    ///
    /// # Errors
    /// As [`Self::open`]; also if the options cannot be used. Nothing is asked of the store yet.
    pub fn open_with(url: &str, s3: &S3Options) -> Result<Self, ArchiveError> {
        Self::at(Root::parse(url, s3)?)
    }

    /// An archive in a given store, which must create objects atomically; paths begin with `archive/`.
    ///
    /// # Errors
    /// If the store refuses the root's path.
    pub fn over(store: Arc<dyn ObjectStore>) -> Result<Self, ArchiveError> {
        Self::at(Root::new(store, memory_url()?)?)
    }

    fn at(root: Root) -> Result<Self, ArchiveError> {
        let tables = Class::ALL.into_iter().map(|class| {
            let log = Log::new(class, &root.whole, &root.table(class.name())?)?;
            Ok(Table::new(class, log, Arc::clone(&root.store)))
        });
        let tables = tables.collect::<Result<Vec<_>, ArchiveError>>()?.into();
        Ok(Self { root, tables })
    }

    pub(crate) fn table(&self, class: Class) -> &Table {
        &self.tables[class as usize]
    }

    /// Proves that the store creates objects atomically. To be called once before the first append.
    ///
    /// # Errors
    /// [`ArchiveError::NotAtomic`] if it does not, or the store's own.
    pub async fn self_test(&self) -> Result<(), ArchiveError> {
        self_test(&self.root.store).await
    }

    /// Appends the rows of some messages to a class's table, exactly once: on the version that is committed on, every
    /// message at or below the table's own position of its partition is left out, and the positions of everything
    /// `covered` move in the same commit. Without rows to write there is no commit.
    ///
    /// # Errors
    /// After any error the same may be appended again, unless [`ArchiveError::is_permanent`].
    pub async fn append(
        &self,
        class: Class,
        batches: &[StoredBatch],
        covered: &[Covered],
    ) -> Result<Committed, ArchiveError> {
        self.table(class).append(batches, covered).await
    }

    /// The newest version of a class's table; none if it was never written to.
    ///
    /// # Errors
    /// If the store does not answer, or the table is of a kind that is not read.
    pub async fn snapshot(&self, class: Class) -> Result<Option<Arc<TableSnapshot>>, ArchiveError> {
        self.table(class).refresh().await
    }

    /// The last message of a partition whose rows of a class are in.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    pub async fn position(&self, class: Class, scope: &Scope) -> Result<Option<u64>, ArchiveError> {
        Ok(self.snapshot(class).await?.and_then(|snapshot| snapshot.position(scope)))
    }

    /// The newest message of each partition whose rows are in any table.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    pub async fn positions(&self) -> Result<BTreeMap<Scope, u64>, ArchiveError> {
        let mut newest = BTreeMap::new();
        for class in Class::ALL {
            let Some(snapshot) = self.snapshot(class).await? else { continue };
            for (scope, &sequence) in snapshot.positions.iter() {
                let known: &mut u64 = newest.entry(*scope).or_default();
                *known = sequence.max(*known);
            }
        }
        Ok(newest)
    }

    /// The store that data files lie in; their paths begin with a table's name.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.root.store)
    }

    /// Where it lies, with a slash at its end; each table is a directory there.
    #[must_use]
    pub fn root(&self) -> &Url {
        &self.root.url
    }
}
