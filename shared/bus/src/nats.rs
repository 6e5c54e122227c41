//! The bus on NATS JetStream: the servers' streams and key-value buckets, over one connection.
//!
//! Appends carry the fence and are answered after the server stored the message. Everything is read from a stream's
//! leader, so that nobody sees less than what was answered; only ordered readers may be served by another server, and
//! they check that nothing is missing. A connection that is lost is looked for again without end: whoever appends or
//! asks meanwhile waits a while and then hears that there was no answer.

mod bucket;
mod link;
mod message;
mod options;
mod reader;
mod streams;
mod trim;
mod trimmed;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::stream::Info;
use async_trait::async_trait;
use serde_json::json;

use self::bucket::NatsBucket;
use self::link::Link;
pub use self::options::{MaxBytes, Options};
use self::reader::{NatsReader, Place};
use self::trimmed::TrimLog;
use crate::{
    AppendError, Bucket, Bus, BusError, Fence, Filter, Message, Outgoing, Reader, Sequence, Stream, StreamInfo, Subject,
};

/// The bus on NATS.
pub struct Nats {
    link: Arc<Link>,
    trimmed: Arc<TrimLog>,
    /// Buckets that are known to be there.
    buckets: Mutex<HashSet<String>>,
}

/// What tells a stream from another of the same name: when it was created, microseconds since 1970.
fn incarnation(info: &Info) -> u64 {
    u64::try_from(info.created.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}

/// A name for a reader's place on the server.
fn place_name() -> String {
    format!("atalaya-{:016x}", rand::random::<u64>())
}

impl Nats {
    /// Connects to the servers of a URL, `nats://HOST:PORT[,HOST:PORT][?NAME=VALUE[&…]]` or the same with `tls://`, and
    /// creates the streams that are missing. What the URL says goes before the options.
    ///
    /// # Errors
    /// [`BusError::Mismatch`] if a stream is not as the options say; [`BusError::Io`] if no server answers in time, or
    /// none lets us in.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, BusError> {
        let (servers, options) = options.clone().with_url(url)?;
        let link = Arc::new(Link::connect(servers, options).await?);
        streams::ensure_all(&link).await?;
        bucket::ensure(&link, trimmed::BUCKET).await?;
        let trimmed = Arc::new(TrimLog::new(Arc::clone(&link)));
        Ok(Self { link, trimmed, buckets: Mutex::new(HashSet::new()) })
    }

    /// Makes the streams be as the options say; answers with what was changed, one text each.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and if a server does not allow the change. Partitions stay as they are once
    /// something was written.
    pub async fn apply(url: &str, options: &Options) -> Result<Vec<String>, BusError> {
        let (servers, options) = options.clone().with_url(url)?;
        streams::apply_all(&Link::connect(servers, options).await?).await
    }

    /// What [`apply`](Self::apply) would change, one text each. Nothing is created or changed.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), but for streams that differ.
    pub async fn check(url: &str, options: &Options) -> Result<Vec<String>, BusError> {
        let (servers, options) = options.clone().with_url(url)?;
        streams::check_all(&Link::connect(servers, options).await?).await
    }

    async fn stream_info(&self, stream: Stream) -> Result<Info, BusError> {
        let info = streams::info(&self.link, stream.name()).await?;
        info.ok_or_else(|| BusError::Mismatch(format!("{stream}: the stream is gone")))
    }
}

/// Whether a text names a bucket: one token, and none of ours.
fn is_bucket(name: &str) -> bool {
    Subject::new(name).is_ok() && !name.contains('.') && !name.starts_with('_')
}

#[async_trait]
impl Bus for Nats {
    async fn append(&self, fence: &Fence, expected: Sequence, message: Outgoing) -> Result<Sequence, AppendError> {
        let max_bytes = self.link.options.max_bytes.of(fence.stream());
        message::append(&self.link, max_bytes, fence, expected, message).await
    }

    async fn last(&self, stream: Stream, filter: &Filter) -> Result<Option<Message>, BusError> {
        message::get(&self.link, stream, &json!({ "last_by_subj": filter.as_str() })).await
    }

    async fn get(&self, stream: Stream, sequence: Sequence) -> Result<Option<Message>, BusError> {
        if sequence == 0 {
            return Ok(None);
        }
        message::get(&self.link, stream, &json!({ "seq": sequence })).await
    }

    async fn read(&self, stream: Stream, filter: &Filter, after: Sequence) -> Result<Box<dyn Reader>, BusError> {
        let info = self.stream_info(stream).await?;
        let last = info.state.last_sequence;
        if after > last {
            let reason = format!("{stream} ends at {last}, a reader stood at {after}: the log went back");
            return Err(BusError::Mismatch(reason));
        }
        let place = Place {
            link: Arc::clone(&self.link),
            trimmed: Arc::clone(&self.trimmed),
            stream,
            filter: filter.clone(),
            incarnation: incarnation(&info),
            position: after,
            id: None,
        };
        Ok(Box::new(NatsReader::new(place)))
    }

    async fn trim(&self, stream: Stream, before: Sequence, fences: &[Filter]) -> Result<Sequence, BusError> {
        trim::trim(&self.link, &self.trimmed, stream, before, fences).await
    }

    async fn info(&self, stream: Stream) -> Result<StreamInfo, BusError> {
        let (info, below) = tokio::try_join!(self.stream_info(stream), self.trimmed.below(stream))?;
        let state = &info.state;
        Ok(StreamInfo {
            incarnation: incarnation(&info),
            first: state.first_sequence.max(below),
            last: state.last_sequence,
            messages: state.messages,
            bytes: state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).unwrap_or(0),
            partitions: streams::partitions(&info.config),
        })
    }

    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, BusError> {
        if !is_bucket(name) {
            return Err(BusError::Io(format!("'{name}' is no bucket: use letters, digits, '-' and '_'")));
        }
        let known = || self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(name) {
            bucket::ensure(&self.link, name).await?;
            known().insert(name.to_owned());
        }
        Ok(Arc::new(NatsBucket::new(Arc::clone(&self.link), name)))
    }
}
