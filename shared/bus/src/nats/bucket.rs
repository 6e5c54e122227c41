//! Buckets: key-value buckets of NATS, read and written at their stream's leader. A removed entry leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Config;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::link::{Fault, Link, decode};
use super::message::{Stored, WRONG_LAST, stored};
use super::options::Options;
use super::streams;
use crate::{Bucket, BucketError, Entry, is_key};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const TTL: &str = "Nats-TTL";

/// Entries asked for at once when a bucket is listed.
const GETS: usize = 32;

/// One bucket.
pub(super) struct NatsBucket {
    link: Arc<Link>,
    stream: String,
    /// What the subjects of its entries begin with.
    prefix: String,
}

/// How the stream of a bucket is to be: one message per key, which may have a time to live.
pub(super) fn config(name: &str, options: &Options) -> Config {
    let mut config = streams::base(&format!("KV_{name}"), vec![format!("$KV.{name}.>")], options);
    config.max_messages_per_subject = 1;
    config.allow_message_ttl = true;
    config.allow_rollup = true;
    config
}

impl NatsBucket {
    pub(super) fn new(link: Arc<Link>, name: &str) -> Self {
        Self { link, stream: format!("KV_{name}"), prefix: format!("$KV.{name}.") }
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn refusal(key: &str, expected: u64, fault: Fault) -> BucketError {
        if WRONG_LAST.contains(&fault.code()) {
            BucketError::Conflict { key: key.to_owned(), expected }
        } else {
            fault.into()
        }
    }

    /// The keys that begin so, in order.
    async fn keys(&self, prefix: &str) -> Result<Vec<String>, BucketError> {
        // As many whole tokens as the prefix has; the rest is compared here.
        let tokens = prefix.rfind('.').map_or("", |dot| &prefix[..=dot]);
        let filter = format!("{}{tokens}>", self.prefix);
        let subjects = streams::counts(&self.link, &self.stream, &filter).await?;
        let keys = subjects.keys().filter_map(|subject| subject.strip_prefix(&self.prefix));
        Ok(keys.filter(|key| key.starts_with(prefix)).map(str::to_owned).collect())
    }
}

#[async_trait]
impl Bucket for NatsBucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BucketError> {
        if !is_key(key) {
            return Ok(None);
        }
        let which = json!({ "last_by_subj": self.subject(key) });
        let found = stored(&self.link, &self.stream, &which).await?;
        // One that is removed by the tools of NATS leaves a message that says so.
        let found = found.filter(|found| found.headers.get("KV-Operation").is_none());
        Ok(found.map(|found| Entry { key: key.to_owned(), value: found.payload, revision: found.sequence }))
    }

    async fn put(&self, key: &str, value: Bytes, expected: u64, ttl: Option<Duration>) -> Result<u64, BucketError> {
        if !is_key(key) {
            return Err(BucketError::Key(key.to_owned()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED, expected.to_string());
        if let Some(ttl) = ttl {
            // Whole seconds, rounded up: the server knows no others.
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            headers.insert(TTL, format!("{}s", seconds.max(1)));
        }
        let answer = self.link.request(self.subject(key), Some(headers), value).await;
        let stored = answer.and_then(|answer| decode::<Stored>(&answer.payload));
        stored.map(|stored| stored.seq).map_err(|fault| Self::refusal(key, expected, fault))
    }

    async fn delete(&self, key: &str) -> Result<(), BucketError> {
        if !is_key(key) {
            return Err(BucketError::Key(key.to_owned()));
        }
        let question = json!({ "filter": self.subject(key) });
        let _: Value = self.link.ask(&format!("STREAM.PURGE.{}", self.stream), &question).await?;
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, BucketError> {
        // A token that no key can have would be a wildcard, or nothing.
        if !prefix.is_empty() && !is_key(prefix.trim_end_matches('.')) {
            return Ok(Vec::new());
        }
        let keys = self.keys(prefix).await?;
        let gets = futures::stream::iter(keys).map(|key| async move { self.get(&key).await });
        let found: Vec<_> = gets.buffered(GETS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Creates or checks the stream of a bucket.
pub(super) async fn ensure(link: &Link, name: &str) -> Result<(), crate::BusError> {
    streams::ensure(link, &config(name, &link.options)).await
}
