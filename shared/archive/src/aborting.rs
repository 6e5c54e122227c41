//! S3 whose uploads in parts are aborted unless they complete: parts of a failed one would be kept, and paid for.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// A bucket.
#[derive(Debug)]
pub(crate) struct AbortingS3(pub(crate) AmazonS3);

impl fmt::Display for AbortingS3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for AbortingS3 {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.0.put_multipart_opts(at, options).await?;
        Ok(Box::new(AbortingUpload { upload: Some(upload), path: at.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// An upload; none once it is complete or aborted.
struct AbortingUpload {
    upload: Option<Box<dyn MultipartUpload>>,
    path: Path,
}

impl fmt::Debug for AbortingUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AbortingUpload({})", self.path)
    }
}

fn over() -> Error {
    Error::Generic { store: "S3", source: "the upload is over".into() }
}

#[async_trait]
impl MultipartUpload for AbortingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match &mut self.upload {
            Some(upload) => upload.put_part(data),
            None => Box::pin(std::future::ready(Err(over()))),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.as_mut().ok_or_else(over)?.complete().await?;
        self.upload = None;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.as_mut().ok_or_else(over)?.abort().await?;
        self.upload = None;
        Ok(())
    }
}

impl Drop for AbortingUpload {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        let path = self.path.clone();
        // Without a runtime the sweep finds it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%path, %error, "parts of an upload stay behind until the sweep");
                }
            });
        }
    }
}
