//! What crashes leave behind, found by age and removed.

use std::time::Duration;

use atalaya_model::Class;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore};

use crate::storage::SELF_TEST;
use crate::table::is_older;
use crate::{Archive, ArchiveError};

/// What is younger may still be named by a commit: far above the longest time from a file to its commit, which every
/// limit on tries and requests together keeps below thirteen hours.
pub const SWEEP_AGE: Duration = Duration::from_secs(24 * 3_600);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Data files whose commit never came.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads in parts that were begun and never finished.
    pub uploads: u64,
    /// Objects of self tests.
    pub tests: u64,
}

impl Archive {
    /// Data files of a class that no commit names, written longer ago than that: their writer died, or never heard
    /// what became of its commit.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn orphans(&self, class: Class, older_than: Duration) -> Result<Vec<ObjectMeta>, ArchiveError> {
        self.table(class).orphans(older_than).await
    }

    /// Removes what crashes left behind longer ago than that: [`SWEEP_AGE`], unless nothing writes to the archive.
    /// Several sweeps at a time do no harm.
    ///
    /// # Errors
    /// If the store does not answer; what was removed by then stays so.
    pub async fn sweep(&self, older_than: Duration) -> Result<Swept, ArchiveError> {
        let mut swept = Swept::default();
        for class in Class::ALL {
            let orphans = self.orphans(class, older_than).await?;
            swept.files += orphans.len() as u64;
            swept.bytes += orphans.iter().map(|object| object.size).sum::<u64>();
            self.remove(orphans).await?;
        }
        let tests = self.root.store.list(Some(&Path::from(SELF_TEST)));
        let tests: Vec<_> =
            tests.try_filter(|object| std::future::ready(is_older(object, older_than))).try_collect().await?;
        swept.tests = tests.len() as u64;
        self.remove(tests).await?;
        if let Some(uploads) = &self.root.uploads {
            swept.uploads = uploads.abort_stale(older_than).await?;
        }
        Ok(swept)
    }

    async fn remove(&self, objects: Vec<ObjectMeta>) -> Result<(), ArchiveError> {
        let paths = stream::iter(objects.into_iter().map(|object| Ok(object.location))).boxed();
        let mut removals = self.root.store.delete_stream(paths);
        while let Some(removal) = removals.next().await {
            match removal {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
