//! A store that kills its process (SIGKILL) at a chosen call, before or after the call takes effect.

use std::fmt;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

#[derive(Clone, Debug)]
pub struct DyingStore {
    inner: Arc<dyn ObjectStore>,
    dies: Arc<Death>,
}

#[derive(Debug)]
struct Death {
    step: u64,
    after: bool,
    calls: AtomicU64,
}

impl DyingStore {
    /// Dies at the call of this number, from 0: `after` it took effect or before.
    pub fn new(inner: Arc<dyn ObjectStore>, step: u64, after: bool) -> Self {
        Self { inner, dies: Arc::new(Death { step, after, calls: AtomicU64::new(0) }) }
    }
}

impl Death {
    /// A call comes; answers whether it is the last, to take effect before the end.
    fn comes(&self) -> bool {
        let last = self.calls.fetch_add(1, Ordering::SeqCst) == self.step;
        if last && !self.after {
            die();
        }
        last
    }
}

/// As kill -9 does: nothing is written out, no destructor runs.
fn die() {
    Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

/// Dies if this was the last call.
fn end<T>(last: bool, result: T) -> T {
    if last {
        die();
    }
    result
}

/// The same of a stream, once all of it has come.
fn ending<T: Send + 'static>(last: bool, items: BoxStream<'static, T>) -> BoxStream<'static, T> {
    if !last {
        return items;
    }
    stream::once(async move { stream::iter(end(last, items.collect::<Vec<_>>().await)) }).flatten().boxed()
}

impl fmt::Display for DyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dying {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for DyingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let last = self.dies.comes();
        end(last, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let last = self.dies.comes();
        end(last, self.inner.put_multipart_opts(at, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let last = self.dies.comes();
        end(last, self.inner.get_opts(location, options).await)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let last = self.dies.comes();
        end(last, self.inner.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let last = self.dies.comes();
        ending(last, self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let last = self.dies.comes();
        ending(last, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let last = self.dies.comes();
        ending(last, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let last = self.dies.comes();
        end(last, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let last = self.dies.comes();
        end(last, self.inner.copy_opts(from, to, options).await)
    }
}
