//! The local file system as an object store whose answers mean "on disk".
//!
//! `object_store`'s own file store never syncs: after a power cut a commit could be there without its data. Here a
//! file is written beside its place, synced, then linked or renamed into it, and its directory synced.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

const STORE: &str = "file";

/// The whole local file system, synced.
#[derive(Debug)]
pub(crate) struct SyncedFiles {
    files: Arc<LocalFileSystem>,
}

impl SyncedFiles {
    pub(crate) fn new() -> Self {
        Self { files: Arc::new(LocalFileSystem::new()) }
    }
}

impl fmt::Display for SyncedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "synced {}", self.files)
    }
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: STORE, source: Box::new(source) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(generic)?
}

fn sync_directory(file: &FilePath) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Creates the directory of a file; every directory that had to be made is synced in its parent.
fn create_directory(file: &FilePath) -> std::io::Result<()> {
    let Some(directory) = file.parent() else { return Ok(()) };
    if directory.is_dir() {
        return Ok(());
    }
    create_directory(directory)?;
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(directory),
    }
}

/// Writes a file beside its place; `object_store` hides names that end with `#` and digits from lists.
fn stage(path: &FilePath, payload: &PutPayload) -> std::io::Result<PathBuf> {
    create_directory(path)?;
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!("#{}", rand::random::<u64>()));
    let staged = PathBuf::from(staged);
    let mut file = File::create_new(&staged)?;
    payload.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    Ok(staged)
}

fn put(path: &FilePath, payload: &PutPayload, create: bool) -> Result<PutResult> {
    let staged = stage(path, payload).map_err(generic)?;
    let placed = if create { std::fs::hard_link(&staged, path) } else { std::fs::rename(&staged, path) };
    if create || placed.is_err() {
        let _ = std::fs::remove_file(&staged); // what stays is hidden from lists
    }
    match placed {
        Ok(()) => sync_directory(path).map_err(generic)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::AlreadyExists { path: path.display().to_string(), source: Box::new(error) });
        }
        Err(error) => return Err(generic(error)),
    }
    Ok(PutResult { e_tag: None, version: None })
}

#[async_trait]
impl ObjectStore for SyncedFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented { operation: "compare and swap".into(), implementer: STORE.into() });
            }
        };
        let path = self.files.path_to_filesystem(location)?;
        blocking(move || put(&path, &payload, create)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.files.path_to_filesystem(location)?;
        let upload = self.files.put_multipart_opts(location, options).await?;
        Ok(Box::new(SyncedUpload { upload, path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        // In order, as object stores list: readers of logs rest on it.
        let listed = self.files.list_with_offset(prefix, offset);
        let sorted = async move {
            let mut all: Vec<ObjectMeta> = listed.try_collect().await?;
            all.sort_unstable_by(|one, other| one.location.cmp(&other.location));
            Ok::<_, Error>(stream::iter(all.into_iter().map(Ok)))
        };
        stream::once(sorted).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

/// An upload in parts (Delta's checkpoints), synced when it is complete.
#[derive(Debug)]
struct SyncedUpload {
    upload: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        let path = self.path.clone();
        blocking(move || {
            File::open(&path).and_then(|file| file.sync_all()).map_err(generic)?;
            sync_directory(&path).map_err(generic)
        })
        .await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn files_are_created_once_and_leave_nothing_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = SyncedFiles::new();
        let path = Path::from_absolute_path(directory.path().canonicalize().unwrap().join("a/b/c.json")).unwrap();
        store.put_opts(&path, "one".into(), PutMode::Create.into()).await.unwrap();
        let again = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        store.put(&path, "three".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        let listed: Vec<_> = store.list(Some(&path.prefix_matched_parent())).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        let on_disk = std::fs::read_dir(directory.path().join("a/b")).unwrap().count();
        assert_eq!(on_disk, 1, "staged files are gone");
    }

    trait Parent {
        fn prefix_matched_parent(&self) -> Path;
    }

    impl Parent for Path {
        fn prefix_matched_parent(&self) -> Path {
            let parts: Vec<_> = self.parts().collect();
            Path::from_iter(parts[..parts.len() - 1].iter().cloned())
        }
    }
}
