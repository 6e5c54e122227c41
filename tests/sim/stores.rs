//! The other stores, as one process sees them in one life.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use atalaya_hot::{AlertPage, AlertQuery, AlertRow, Filed, FiledMessage, Hot, HotError, Lookup, Page};
use atalaya_model::{Action, Alert, AlertId, Tenant};
use atalaya_testkit::Life;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// A hot store that loses answers, is late and dies.
pub(crate) struct FaultHot {
    pub(crate) hot: Arc<dyn Hot>,
    pub(crate) life: Arc<Life>,
}

impl FaultHot {
    async fn before(&self, call: &'static str) -> Result<(), HotError> {
        self.life.point(call, "hot").await;
        self.fails(self.life.faults().lose_request, "hot request")
    }

    async fn after<T>(&self, answer: Result<T, HotError>) -> Result<T, HotError> {
        self.life.point("filed", "hot").await;
        self.fails(self.life.faults().lose_answer, "hot answer")?;
        answer
    }

    fn fails(&self, probability: f64, call: &'static str) -> Result<(), HotError> {
        let lost = self.life.happens(probability, call, "hot");
        if lost { Err(HotError::Io(format!("{call} lost, by seed"))) } else { Ok(()) }
    }
}

#[async_trait]
impl Hot for FaultHot {
    async fn file(&self, messages: &[FiledMessage]) -> Result<Vec<Filed>, HotError> {
        self.before("file").await?;
        self.after(self.hot.file(messages).await).await
    }

    async fn file_alerts(&self, alerts: &[Alert]) -> Result<(), HotError> {
        self.before("file alerts").await?;
        self.after(self.hot.file_alerts(alerts).await).await
    }

    async fn act(&self, action: &Action) -> Result<(), HotError> {
        self.before("act").await?;
        self.after(self.hot.act(action).await).await
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Page, HotError> {
        self.hot.lookup(lookup).await
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<AlertPage, HotError> {
        self.hot.alerts(query).await
    }

    async fn alert(&self, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError> {
        self.hot.alert(tenant, id).await
    }

    async fn sync(&self) -> Result<(), HotError> {
        self.before("sync").await?;
        self.after(self.hot.sync().await).await
    }
}

/// An object store that loses answers, is late and dies.
pub(crate) struct FaultStore {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) life: Arc<Life>,
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

impl FaultStore {
    /// A point where the call may be late, or the process die. What is dead gets an error, not silence: the archive waits
    /// for the store in threads that would wait for ever.
    async fn point(&self, call: &'static str) -> Result<()> {
        let alive = self.life.run(self.life.point(call, "store")).await;
        alive.ok_or_else(|| object_store::Error::Generic { store: "sim", source: "the process is dead".into() })
    }

    fn fails(&self, probability: f64, call: &'static str) -> Result<()> {
        if self.life.happens(probability, call, "store") {
            return Err(object_store::Error::Generic { store: "sim", source: format!("{call} lost, by seed").into() });
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.point("put object").await?;
        self.fails(self.life.faults().lose_request, "put object request")?;
        let answer = self.store.put_opts(location, payload, options).await;
        self.point("object put").await?;
        self.fails(self.life.faults().lose_answer, "put object answer")?;
        answer
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.point("get object").await?;
        self.fails(self.life.faults().fail_read, "get object")?;
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
