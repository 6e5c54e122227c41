//! Buckets: small maps in one keyspace, written by the committing thread.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fjall::Slice;
use tokio::sync::oneshot;

use super::commit::{Put, Request};
use super::{Handle, store};
use crate::{Bucket, BucketError, BusError, Entry, is_key, now_us};

/// The version of the stored form.
const VERSION: u8 = 1;

/// Version, revision and expiry, before the value.
const PREFIX_BYTES: usize = 17;

/// An entry as it is stored: version, revision and expiry (microseconds since 1970, 0 for never), value.
#[derive(Clone, Debug)]
pub(super) struct StoredEntry {
    pub(super) revision: u64,
    pub(super) expires_us: i64,
    pub(super) value: Bytes,
}

impl StoredEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + self.value.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes.extend_from_slice(&self.expires_us.to_le_bytes());
        bytes.extend_from_slice(&self.value);
        bytes
    }

    pub(super) fn decode(stored: Slice) -> Result<Self, BusError> {
        let stored = Bytes::from_owner(stored);
        let parse = || {
            let rest = stored.strip_prefix(&[VERSION])?;
            let (revision, rest) = rest.split_first_chunk()?;
            let (expires, _) = rest.split_first_chunk()?;
            Some((u64::from_le_bytes(*revision), i64::from_le_bytes(*expires)))
        };
        let (revision, expires_us) = parse().ok_or_else(|| store::io("an entry of a bucket is damaged"))?;
        Ok(Self { revision, expires_us, value: stored.slice(PREFIX_BYTES..) })
    }

    pub(super) fn is_over(&self, now_us: i64) -> bool {
        self.expires_us != 0 && self.expires_us <= now_us
    }
}

/// The key of an entry on disk; names of buckets have no slash.
pub(super) fn stored_key(bucket: &str, key: &str) -> Vec<u8> {
    [bucket.as_bytes(), b"/", key.as_bytes()].concat()
}

/// One bucket.
pub(super) struct JournalBucket {
    handle: Arc<Handle>,
    name: String,
}

impl JournalBucket {
    pub(super) fn new(handle: Arc<Handle>, name: &str) -> Self {
        Self { handle, name: name.to_owned() }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&store::Store) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, BucketError> {
        let store = self.handle.core.store().map_err(bucket_io)?;
        tokio::task::spawn_blocking(move || read(&store)).await.map_err(bucket_io)?.map_err(bucket_io)
    }

    async fn write(&self, put: Put, answer: oneshot::Receiver<Result<u64, BucketError>>) -> Result<u64, BucketError> {
        if !is_key(&put.key) {
            return Err(BucketError::Key(put.key));
        }
        self.handle.send(Request::Put(put)).await.map_err(BucketError::Io)?;
        answer.await.map_err(|_| BucketError::Io("no answer: the journal was closed".to_owned()))?
    }
}

fn bucket_io(error: impl std::fmt::Display) -> BucketError {
    BucketError::Io(error.to_string())
}

#[async_trait]
impl Bucket for JournalBucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BucketError> {
        let (stored_key, key) = (stored_key(&self.name, key), key.to_owned());
        self.read(move |store| {
            let Some(stored) = store.buckets().get(stored_key).map_err(store::io)? else { return Ok(None) };
            let StoredEntry { revision, value, .. } = match StoredEntry::decode(stored)? {
                entry if entry.is_over(now_us()) => return Ok(None),
                entry => entry,
            };
            Ok(Some(Entry { key, value, revision }))
        })
        .await
    }

    async fn put(&self, key: &str, value: Bytes, expected: u64, ttl: Option<Duration>) -> Result<u64, BucketError> {
        let (sender, answer) = oneshot::channel();
        let (bucket, key, value) = (self.name.clone(), key.to_owned(), Some(value));
        self.write(Put { bucket, key, value, expected: Some(expected), ttl, answer: sender }, answer).await
    }

    async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let (sender, answer) = oneshot::channel();
        let (bucket, key) = (self.name.clone(), key.to_owned());
        self.write(Put { bucket, key, value: None, expected: None, ttl: None, answer: sender }, answer).await?;
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, BucketError> {
        let start = self.name.len() + 1;
        let prefix = stored_key(&self.name, prefix);
        self.read(move |store| {
            let now_us = now_us();
            let mut entries = Vec::new();
            for guard in store.buckets().prefix(prefix) {
                let (key, stored) = guard.into_inner().map_err(store::io)?;
                let entry = StoredEntry::decode(stored)?;
                if !entry.is_over(now_us) {
                    let key = String::from_utf8_lossy(key.get(start..).unwrap_or_default()).into_owned();
                    entries.push(Entry { key, value: entry.value, revision: entry.revision });
                }
            }
            Ok(entries)
        })
        .await
    }
}
