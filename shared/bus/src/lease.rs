//! Leases: hints that keep two workers from doing the same work. The fence is the guard, not the lease.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Bucket, BucketError, Entry};

/// Why a lease could not be had, renewed or given back.
#[derive(Debug, thiserror::Error)]
#[error("lease '{name}': {source}")]
pub struct LeaseError {
    name: String,
    source: BucketError,
}

/// Who holds a lease; the nonce tells two lives of a holder apart. An empty entry is a lease given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    holder: String,
    nonce: u64,
}

/// A lease that is held until it is released, or not renewed within its time to live.
pub struct Lease {
    bucket: Arc<dyn Bucket>,
    name: String,
    ttl: Duration,
    value: Bytes,
    revision: u64,
}

impl Lease {
    /// Takes a lease if nobody holds it; none if somebody does.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn acquire(
        bucket: Arc<dyn Bucket>,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Self>, LeaseError> {
        let fail = |source| LeaseError { name: name.to_owned(), source };
        let me = Holder { holder: holder.to_owned(), nonce: rand::random() };
        let value = serde_json::to_vec(&me).map_err(|error| fail(BucketError::Io(error.to_string())))?;
        let mut lease = Self { bucket, name: name.to_owned(), ttl, value: value.into(), revision: 0 };
        match lease.entry().await? {
            Some(entry) if !entry.value.is_empty() => return Ok(None),
            Some(entry) => lease.revision = entry.revision,
            None => {}
        }
        Ok(lease.renew().await?.then_some(lease))
    }

    /// Holds it for another time to live; false if somebody else has it now. One that ran out and that nobody took is
    /// held again: a holder that was only slow goes on.
    ///
    /// # Errors
    /// If the bus does not answer: whether it is still held is not known then.
    pub async fn renew(&mut self) -> Result<bool, LeaseError> {
        if self.put().await? {
            return Ok(true);
        }
        // Refused, or the answer was lost: the nonce tells whether it is ours all the same.
        match self.entry().await? {
            Some(entry) if entry.value == self.value => {
                self.revision = entry.revision;
                Ok(true)
            }
            Some(entry) if !entry.value.is_empty() => Ok(false),
            free => {
                self.revision = free.map_or(0, |entry| entry.revision);
                self.put().await
            }
        }
    }

    async fn put(&mut self) -> Result<bool, LeaseError> {
        match self.bucket.put(&self.name, self.value.clone(), self.revision, Some(self.ttl)).await {
            Ok(revision) => {
                self.revision = revision;
                Ok(true)
            }
            Err(BucketError::Conflict { .. } | BucketError::Io(_)) => Ok(false),
            Err(source) => Err(self.error(source)),
        }
    }

    /// Gives it back, so that the next one need not wait. Does nothing if it was lost already.
    ///
    /// # Errors
    /// If the bus does not answer: it then runs out by itself.
    pub async fn release(self) -> Result<(), LeaseError> {
        match self.bucket.put(&self.name, Bytes::new(), self.revision, Some(self.ttl)).await {
            Ok(_) | Err(BucketError::Conflict { .. }) => Ok(()),
            Err(source) => Err(self.error(source)),
        }
    }

    async fn entry(&self) -> Result<Option<Entry>, LeaseError> {
        self.bucket.get(&self.name).await.map_err(|source| self.error(source))
    }

    fn error(&self, source: BucketError) -> LeaseError {
        LeaseError { name: self.name.clone(), source }
    }
}
