//! A store that fails at a chosen write: before it takes effect, or after it, as when only the answer is lost.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the caller hears of an error; so does every later write: the process is dead.
    CrashBefore,
    /// It happens, but the caller hears of an error, as does every later write.
    CrashAfter,
    /// It happens, only the answer is lost; later writes work.
    LostAnswer,
    /// No write fails, but what is to be created is overwritten.
    Overwrites,
}

#[derive(Debug)]
pub struct FaultyStore {
    pub inner: Arc<dyn ObjectStore>,
    fault: Fault,
    writes_left: AtomicI64,
}

impl FaultyStore {
    /// Lets `writes` writes pass.
    pub fn new(inner: Arc<dyn ObjectStore>, fault: Fault, writes: i64) -> Self {
        Self { inner, fault, writes_left: AtomicI64::new(writes) }
    }

    /// Whether the fault has come to pass.
    pub fn has_failed(&self) -> bool {
        self.writes_left.load(Ordering::SeqCst) < 0
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "the network is gone".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let left = self.writes_left.fetch_sub(1, Ordering::SeqCst);
        match (self.fault, left) {
            (Fault::Overwrites, _) => {
                let options = PutOptions { mode: PutMode::Overwrite, ..options };
                self.inner.put_opts(location, payload, options).await
            }
            (_, 1..) | (Fault::LostAnswer, ..0) => self.inner.put_opts(location, payload, options).await,
            (Fault::CrashAfter | Fault::LostAnswer, 0) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(failure())
            }
            _ => Err(failure()),
        }
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if self.has_failed() { Err(failure()) } else { self.inner.put_multipart_opts(at, options).await }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.has_failed() && matches!(self.fault, Fault::CrashBefore | Fault::CrashAfter) {
            Box::pin(futures::stream::iter([Err(failure())]))
        } else {
            self.inner.delete_stream(locations)
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
