//! A bus that loses answers, delays, refuses and dies.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atalaya_bus::{
    AppendError, Bucket, BucketError, Bus, BusError, Entry, Fence, Filter, Message, Outgoing, Reader, Sequence, Stream,
    StreamInfo,
};
use bytes::Bytes;

use crate::Life;

/// Any bus, as one process sees it in one [`Life`].
pub struct FaultBus {
    bus: Arc<dyn Bus>,
    life: Arc<Life>,
}

impl FaultBus {
    /// Puts a bus into a life. The bus itself stays as it is, for others and for the next life.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, life: Arc<Life>) -> Arc<Self> {
        Arc::new(Self { bus, life })
    }

    /// A read fails, now and then.
    async fn read_point(&self, call: &'static str, key: &str) -> Result<(), BusError> {
        read_point(&self.life, call, key).await
    }
}

async fn read_point(life: &Life, call: &'static str, key: &str) -> Result<(), BusError> {
    life.point(call, key).await;
    if life.happens(life.faults().fail_read, call, key) {
        Err(BusError::Io("a read failed, by seed".to_owned()))
    } else {
        Ok(())
    }
}

#[async_trait]
impl Bus for FaultBus {
    async fn append(&self, fence: &Fence, expected: Sequence, message: Outgoing) -> Result<Sequence, AppendError> {
        let (life, key) = (&self.life, fence.filter().as_str());
        life.point("append", key).await;
        if life.happens(life.faults().full, "append full", key) {
            return Err(AppendError::Full(fence.stream()));
        }
        if life.happens(life.faults().lose_request, "append request", key) {
            return Err(AppendError::Unanswered("the request was lost, by seed".to_owned()));
        }
        let answer = self.bus.append(fence, expected, message).await;
        life.point("appended", key).await;
        if life.happens(life.faults().lose_answer, "append answer", key) {
            return Err(AppendError::Unanswered("the answer was lost, by seed".to_owned()));
        }
        answer
    }

    async fn last(&self, stream: Stream, filter: &Filter) -> Result<Option<Message>, BusError> {
        self.read_point("last", filter.as_str()).await?;
        self.bus.last(stream, filter).await
    }

    async fn get(&self, stream: Stream, sequence: Sequence) -> Result<Option<Message>, BusError> {
        self.read_point("get", stream.name()).await?;
        self.bus.get(stream, sequence).await
    }

    async fn read(&self, stream: Stream, filter: &Filter, after: Sequence) -> Result<Box<dyn Reader>, BusError> {
        self.read_point("read", filter.as_str()).await?;
        let (reader, key) = (self.bus.read(stream, filter, after).await?, filter.as_str().to_owned());
        Ok(Box::new(FaultReader { reader, life: Arc::clone(&self.life), key }))
    }

    async fn trim(&self, stream: Stream, before: Sequence, fences: &[Filter]) -> Result<Sequence, BusError> {
        self.read_point("trim", stream.name()).await?;
        self.bus.trim(stream, before, fences).await
    }

    async fn info(&self, stream: Stream) -> Result<StreamInfo, BusError> {
        self.read_point("info", stream.name()).await?;
        self.bus.info(stream).await
    }

    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, BusError> {
        self.read_point("bucket", name).await?;
        let (bucket, name) = (self.bus.bucket(name).await?, name.to_owned());
        Ok(Arc::new(FaultBucket { bucket, life: Arc::clone(&self.life), name }))
    }
}

struct FaultReader {
    reader: Box<dyn Reader>,
    life: Arc<Life>,
    key: String,
}

#[async_trait]
impl Reader for FaultReader {
    async fn next(&mut self) -> Result<Message, BusError> {
        read_point(&self.life, "next", &self.key).await?;
        self.reader.next().await
    }

    async fn try_next(&mut self) -> Result<Option<Message>, BusError> {
        read_point(&self.life, "next", &self.key).await?;
        self.reader.try_next().await
    }
}

struct FaultBucket {
    bucket: Arc<dyn Bucket>,
    life: Arc<Life>,
    name: String,
}

impl FaultBucket {
    async fn read_point(&self, call: &'static str, key: &str) -> Result<(), BucketError> {
        let place = format!("{}/{key}", self.name);
        read_point(&self.life, call, &place).await.map_err(|error| BucketError::Io(error.to_string()))
    }

    /// Before a write: it may never arrive.
    async fn before(&self, key: &str) -> Result<String, BucketError> {
        let place = format!("{}/{key}", self.name);
        self.life.point("put", &place).await;
        if self.life.happens(self.life.faults().lose_request, "put request", &place) {
            return Err(BucketError::Io("the request was lost, by seed".to_owned()));
        }
        Ok(place)
    }

    /// After a write: its answer may never arrive.
    async fn after<T>(&self, place: &str, answer: Result<T, BucketError>) -> Result<T, BucketError> {
        self.life.point("written", place).await;
        if self.life.happens(self.life.faults().lose_answer, "put answer", place) {
            return Err(BucketError::Io("the answer was lost, by seed".to_owned()));
        }
        answer
    }
}

#[async_trait]
impl Bucket for FaultBucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BucketError> {
        self.read_point("get entry", key).await?;
        self.bucket.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes, expected: u64, ttl: Option<Duration>) -> Result<u64, BucketError> {
        let place = self.before(key).await?;
        let answer = self.bucket.put(key, value, expected, ttl).await;
        self.after(&place, answer).await
    }

    async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let place = self.before(key).await?;
        let answer = self.bucket.delete(key).await;
        self.after(&place, answer).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, BucketError> {
        self.read_point("list", prefix).await?;
        self.bucket.list(prefix).await
    }
}
