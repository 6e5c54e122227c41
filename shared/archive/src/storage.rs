//! Where the archive lies: a store and a root in it, chosen by URL.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use url::Url;

use crate::aborting::AbortingS3;
use crate::local::SyncedFiles;
use crate::uploads::Uploads;
use crate::{ArchiveError, S3Options};

/// The directory of objects that the self test makes.
pub(crate) const SELF_TEST: &str = "_self_test";

/// Writers that race in the self test.
const SELF_TEST_RACERS: usize = 4;

/// Races of the self test.
const SELF_TEST_RACES: usize = 3;

/// A store, and the directory in it that holds the tables.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The whole file system or bucket.
    pub(crate) whole: Arc<dyn ObjectStore>,
    /// The root only: paths begin with a table's name.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The root, with a slash at its end.
    pub(crate) url: Url,
    /// What was begun there and not finished; none where a crash leaves nothing of that kind.
    pub(crate) uploads: Option<Uploads>,
}

impl Root {
    /// The root a URL names.
    pub(crate) fn parse(text: &str, s3: &S3Options) -> Result<Self, ArchiveError> {
        let unknown = || ArchiveError::Url(text.to_owned());
        match text.split_once(':').ok_or_else(unknown)? {
            ("file", directory) => local(directory, text),
            ("s3", _) => {
                let url = Url::parse(text).map_err(|_| unknown())?;
                let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(unknown)?;
                let prefix = Path::from_url_path(url.path()).map_err(|_| unknown())?;
                let below = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
                let (store, uploads) = s3.connect(bucket, &below)?;
                Ok(Self { uploads: Some(uploads), ..Self::new(Arc::new(AbortingS3(store)), url)? })
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
        Ok(Self { whole, store, url, uploads: None })
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
    let io = |source| ArchiveError::Store(Error::Generic { store: "file", source: Box::<std::io::Error>::new(source) });
    std::fs::create_dir_all(directory).map_err(io)?;
    let directory = std::fs::canonicalize(directory).map_err(io)?;
    let url = Url::from_directory_path(&directory).map_err(|()| ArchiveError::Url(text.to_owned()))?;
    Root::new(Arc::new(SyncedFiles::new()), url)
}

/// Proves that an object is created once: one after the other, and by several writers at a time. Everything rests on it.
pub(crate) async fn self_test(store: &Arc<dyn ObjectStore>) -> Result<(), ArchiveError> {
    for racers in std::iter::once(1).chain([SELF_TEST_RACERS; SELF_TEST_RACES]) {
        let path = Path::from(format!("{SELF_TEST}/{:032x}", rand::random::<u128>()));
        let verdict = race(store, &path, racers).await;
        store.delete(&path).await?;
        verdict?;
    }
    Ok(())
}

async fn create(store: &Arc<dyn ObjectStore>, path: &Path, body: &str) -> object_store::Result<bool> {
    match store.put_opts(path, body.to_owned().into(), PutMode::Create.into()).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Some writers create one object, then another one comes too late.
async fn race(store: &Arc<dyn ObjectStore>, path: &Path, racers: usize) -> Result<(), ArchiveError> {
    let bodies: Vec<_> = (0..racers).map(|racer| format!("{racer} {:032x}", rand::random::<u128>())).collect();
    let created = futures::future::try_join_all(bodies.iter().map(|body| create(store, path, body))).await?;
    let late = create(store, path, "late").await?;
    let there = match store.get(path).await {
        Ok(found) => found.bytes().await?,
        Err(Error::NotFound { .. }) => Default::default(),
        Err(error) => return Err(error.into()),
    };
    let there = bodies.iter().position(|body| body.as_bytes() == there.as_ref());
    let winners: Vec<_> = (0..racers).filter(|&racer| created[racer]).collect();
    match (winners.as_slice(), there, late) {
        (_, _, true) => Err(ArchiveError::NotAtomic("an object that was there was created again".to_owned())),
        // Where an answer was lost and the request sent again, the winner hears that its object is there.
        ([], Some(_), _) => Ok(()),
        ([winner], Some(there), _) if *winner == there => Ok(()),
        ([_], _, _) => Err(ArchiveError::NotAtomic("another's object is there than that of the winner".to_owned())),
        (winners, _, _) => {
            let winners = winners.len();
            Err(ArchiveError::NotAtomic(format!("{winners} of {racers} writers created the same object")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Root, ArchiveError> {
        Root::parse(url, &S3Options::default())
    }

    #[test]
    fn urls_name_archives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        for url in [format!("file:{path}/a"), format!("file://{path}/b"), "memory:".into()] {
            assert!(parse(&url).unwrap().url.path().ends_with('/'), "{url}");
        }
        for url in ["", "archive", "file:", "ftp://x", "memory:x", "s3:", "s3:///prefix"] {
            assert!(matches!(parse(url), Err(ArchiveError::Url(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn stores_with_atomic_create_pass_the_self_test() {
        let directory = tempfile::tempdir().unwrap();
        for url in [format!("file:{}", directory.path().display()), "memory:".into()] {
            self_test(&parse(&url).unwrap().store).await.unwrap();
        }
    }
}
