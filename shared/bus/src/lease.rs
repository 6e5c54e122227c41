//! Leases: hints that keep two workers from doing the same work. The fence is the guard, not the lease.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::group::{Group, Place};
use crate::{Bucket, BucketError, Entry};

/// Why a lease could not be had, renewed, kept or given back.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The bus did not answer, or refused.
    #[error("lease '{name}': {source}")]
    Bus {
        /// The lease.
        name: String,
        /// What went wrong.
        source: BucketError,
    },
    /// Somebody else has it now, or may have it.
    #[error("lease '{0}' was lost")]
    Lost(String),
    /// Another process of the group is to have it.
    #[error("lease '{0}' was left to another process")]
    Left(String),
}

/// How long a lease stays with a holder that no longer answers; milliseconds, in a configuration.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub struct LeaseMs(u64);

impl LeaseMs {
    /// The shortest there is: it is renewed three times within.
    pub const SHORTEST: Self = Self(300);
}

impl Default for LeaseMs {
    fn default() -> Self {
        Self(3_000)
    }
}

impl TryFrom<u64> for LeaseMs {
    type Error = ShortLease;

    fn try_from(ms: u64) -> Result<Self, ShortLease> {
        if ms >= Self::SHORTEST.0 { Ok(Self(ms)) } else { Err(ShortLease(ms)) }
    }
}

impl From<LeaseMs> for Duration {
    fn from(LeaseMs(ms): LeaseMs) -> Self {
        Self::from_millis(ms)
    }
}

/// A lease that is shorter than leases may be.
#[derive(Debug, thiserror::Error)]
#[error("{0} ms are too short for a lease; write {shortest} or more", shortest = LeaseMs::SHORTEST.0)]
pub struct ShortLease(u64);

/// A lease that is wanted by one of a group.
#[derive(Clone)]
pub struct Claim {
    /// Who wants it.
    pub group: Arc<Group>,
    /// The lease.
    pub name: String,
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
    /// Its place in the group's share.
    place: Option<Place>,
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
        let Some(mut lease) = Self::free(bucket, name, holder, ttl).await? else { return Ok(None) };
        Ok(lease.renew().await?.then_some(lease))
    }

    /// Takes a lease if nobody holds it and the process has room for it in its share; none otherwise.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn take(claim: &Claim) -> Result<Option<Self>, LeaseError> {
        let Claim { group, name } = claim;
        if !group.has_room() {
            return Ok(None);
        }
        let free = Self::free(Arc::clone(&group.leases), name, &group.holder, group.ttl).await?;
        let Some((mut lease, place)) = free.zip(group.place()) else { return Ok(None) };
        lease.place = Some(place);
        Ok(lease.renew().await?.then_some(lease))
    }

    /// Waits until it can be taken. What goes wrong meanwhile is told, and tried again.
    pub async fn wait(claim: &Claim, mut tell: impl FnMut(LeaseError)) -> Self {
        loop {
            match Self::take(claim).await {
                Ok(Some(lease)) => return lease,
                Ok(None) => {}
                Err(error) => tell(error),
            }
            claim.group.wait().await;
        }
    }

    /// A lease that nobody holds, not taken yet.
    async fn free(
        bucket: Arc<dyn Bucket>,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Self>, LeaseError> {
        let fail = |source| LeaseError::Bus { name: name.to_owned(), source };
        let me = Holder { holder: holder.to_owned(), nonce: rand::random() };
        let value = serde_json::to_vec(&me).map_err(|error| fail(BucketError::Io(error.to_string())))?;
        let mut lease = Self { bucket, name: name.to_owned(), ttl, value: value.into(), revision: 0, place: None };
        match lease.entry().await? {
            Some(entry) if !entry.value.is_empty() => return Ok(None),
            Some(entry) => lease.revision = entry.revision,
            None => {}
        }
        Ok(Some(lease))
    }

    /// Works while it is held, renews it meanwhile, and gives it back at the end. When it is lost, the work is dropped
    /// where it stands.
    ///
    /// # Errors
    /// The work's own; [`LeaseError`] if the lease was lost or is to be left to another, or the bus did not answer for
    /// as long as it lasts.
    pub async fn hold<T, E: From<LeaseError>>(mut self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let place = self.place.take();
        let asked = async {
            match &place {
                Some(place) => place.asked().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = work => ended,
            lost = self.keep() => Err(lost.into()),
            () = asked => Err(LeaseError::Left(self.name.clone()).into()),
        };
        // A lease that is not given back runs out by itself.
        let _ = self.release().await;
        ended
    }

    /// Renews it until somebody else has it, or the bus has not answered for as long as it lasts.
    async fn keep(&mut self) -> LeaseError {
        let mut held_until = Instant::now() + self.ttl;
        loop {
            sleep(self.ttl / 3).await;
            let asked = Instant::now();
            match timeout(self.ttl, self.renew()).await {
                Ok(Ok(true)) => held_until = asked + self.ttl,
                Ok(Ok(false)) | Err(_) => return LeaseError::Lost(self.name.clone()),
                Ok(Err(error)) if Instant::now() >= held_until => return error,
                Ok(Err(error)) => tracing::debug!("not renewed, to be tried again: {error}"),
            }
        }
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
        LeaseError::Bus { name: self.name.clone(), source }
    }
}
