//! Where the archive lies: a store and a root in it, chosen by URL.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use url::Url;

use crate::ArchiveError;
use crate::local::SyncedFiles;

/// Writers that race in the self test.
const SELF_TEST_RACERS: usize = 4;

/// A store, and the directory in it that holds the tables.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The whole file system or bucket.
    pub(crate) whole: Arc<dyn ObjectStore>,
    /// The root only: paths begin with a table's name.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The root, with a slash at its end.
    pub(crate) url: Url,
}

impl Root {
    /// The root a URL names.
    pub(crate) fn parse(text: &str) -> Result<Self, ArchiveError> {
        let unknown = || ArchiveError::Url(text.to_owned());
        match text.split_once(':').ok_or_else(unknown)? {
            ("file", directory) => local(directory, text),
            ("s3", _) => {
                let url = Url::parse(text).map_err(|_| unknown())?;
                let s3 = AmazonS3Builder::from_env()
                    .with_url(text)
                    .with_conditional_put(S3ConditionalPut::ETagMatch)
                    .build()?;
                Self::new(Arc::new(s3), url)
            }
            ("memory", "" | "///") => Self::new(Arc::new(InMemory::new()), memory_url()?),
            _ => Err(unknown()),
        }
    }

    /// A root in a store; paths of the store are those of the URL.
    pub(crate) fn new(whole: Arc<dyn ObjectStore>, mut url: Url) -> Result<Self, ArchiveError> {
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let prefix = Path::from_url_path(url.path()).map_err(|_| ArchiveError::Url(url.to_string()))?;
        let store = Arc::new(PrefixStore::new(Arc::clone(&whole), prefix));
        Ok(Self { whole, store, url })
    }

    /// The URL of a table, with a slash at its end.
    pub(crate) fn table(&self, name: &str) -> Result<Url, ArchiveError> {
        self.url.join(&format!("{name}/")).map_err(|_| ArchiveError::Url(format!("{}{name}", self.url)))
    }
}

/// The URL of an archive in memory.
pub(crate) fn memory_url() -> Result<Url, ArchiveError> {
    Url::parse("memory:///archive/").map_err(|_| ArchiveError::Url("memory:".to_owned()))
}

fn local(directory: &str, text: &str) -> Result<Root, ArchiveError> {
    let directory = directory.strip_prefix("//").unwrap_or(directory);
    if directory.is_empty() {
        return Err(ArchiveError::Url(text.to_owned()));
    }
    let io = |source| {
        ArchiveError::Store(object_store::Error::Generic { store: "file", source: Box::<std::io::Error>::new(source) })
    };
    std::fs::create_dir_all(directory).map_err(io)?;
    let directory = std::fs::canonicalize(directory).map_err(io)?;
    let url = Url::from_directory_path(&directory).map_err(|()| ArchiveError::Url(text.to_owned()))?;
    Root::new(Arc::new(SyncedFiles::new()), url)
}

/// Proves that of several writers that create the same object, exactly one succeeds: everything rests on it.
pub(crate) async fn self_test(store: &Arc<dyn ObjectStore>) -> Result<(), ArchiveError> {
    let path = Path::from(format!("_self_test/{:032x}", rand::random::<u128>()));
    let race = (0..SELF_TEST_RACERS).map(|racer| {
        let body = format!("{racer}").into_bytes();
        store.put_opts(&path, body.into(), PutMode::Create.into())
    });
    let mut winners = 0;
    for result in futures::future::join_all(race).await {
        match result {
            Ok(_) => winners += 1,
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    store.delete(&path).await?;
    if winners == 1 { Ok(()) } else { Err(ArchiveError::NotAtomic { winners, racers: SELF_TEST_RACERS }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_archives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        for url in [format!("file:{path}/a"), format!("file://{path}/b"), "memory:".into()] {
            assert!(Root::parse(&url).unwrap().url.path().ends_with('/'), "{url}");
        }
        for url in ["", "archive", "file:", "ftp://x", "memory:x"] {
            assert!(matches!(Root::parse(url), Err(ArchiveError::Url(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn stores_with_atomic_create_pass_the_self_test() {
        let directory = tempfile::tempdir().unwrap();
        for url in [format!("file:{}", directory.path().display()), "memory:".into()] {
            self_test(&Root::parse(&url).unwrap().store).await.unwrap();
        }
    }
}
