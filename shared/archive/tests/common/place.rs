//! Where a test's archive lies: every case runs on every kind of store.

use std::any::Any;
use std::sync::Arc;

use atalaya_archive::{Archive, S3Options, open_store};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;

/// An empty store, gone at the end.
pub struct Place {
    store: Arc<dyn ObjectStore>,
    url: Option<(String, S3Options)>,
    /// What must live as long.
    _keep: Box<dyn Any + Send + Sync>,
}

impl Place {
    /// Memory.
    pub fn memory() -> Self {
        Self { store: Arc::new(InMemory::new()), url: None, _keep: Box::new(()) }
    }

    /// A directory.
    pub fn files() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file:{}", directory.path().display());
        Self::at(url, S3Options::default(), directory)
    }

    /// What a URL names.
    pub fn at(url: String, s3: S3Options, keep: impl Any + Send + Sync) -> Self {
        let store = open_store(&url, &s3).unwrap();
        Self { store, url: Some((url, s3)), _keep: Box::new(keep) }
    }

    /// The archive, as another process would open it.
    pub fn open(&self) -> Archive {
        match &self.url {
            Some((url, s3)) => Archive::open_with(url, s3).unwrap(),
            None => Archive::over(Arc::clone(&self.store)).unwrap(),
        }
    }

    /// A store of its own there, empty for every number.
    pub fn below(&self, number: i64) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(Arc::clone(&self.store), format!("below{number}")))
    }

    /// Removes everything.
    pub async fn clear(&self) {
        let all = self.store.list(None).map_ok(|object| object.location).boxed();
        self.store.delete_stream(all).try_collect::<Vec<_>>().await.unwrap();
    }
}
