//! Producers: who pushes, and how far each has come.
//!
//! A producer belongs to one collector at a time, as bucket `producers` of the bus says. What was admitted of it stands
//! in the spool, in the commit of the batch itself. One stream at a time speaks for a producer: a newer one asks the
//! older one to leave, and waits until all that it handed in is on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atalaya_bus::{Bucket, BucketError};
use atalaya_model::Tenant;
use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::admission::{Producer, Scope};
use crate::cut::Note;
use crate::intake::Intake;
use crate::presence;
use crate::spool::PRODUCERS;
use crate::telemetry;

/// Producers known in memory at most.
const MAX_PRODUCERS: usize = 10_000;

/// A producer's name at most.
pub(super) const MAX_PRODUCER_BYTES: usize = 256;

/// How long a new stream waits for the older one to leave, milliseconds.
const LEAVE_MS: u64 = 10_000;

/// Looks at a changing entry before the caller is asked to come again.
const MAX_TRIES: u32 = 5;

/// Every producer of this collector.
pub(crate) struct Producers {
    intake: Intake,
    collector: String,
    owners: Arc<dyn Bucket>,
    leases: Arc<dyn Bucket>,
    seats: Mutex<HashMap<String, Arc<Seat>>>,
}

#[derive(Default)]
struct Seat {
    /// Held by the stream that speaks for the producer.
    producer: Arc<tokio::sync::Mutex<Option<Producer>>>,
    /// Asks that stream to leave.
    leave: Mutex<CancellationToken>,
}

/// The right to speak for a producer.
pub(super) struct Session {
    guard: OwnedMutexGuard<Option<Producer>>,
    key: String,
    /// A newer stream wants to speak.
    pub(super) leave: CancellationToken,
    _seat: Arc<Seat>,
}

impl Session {
    /// How far the producer has come.
    pub(super) fn producer(&self) -> Producer {
        self.guard.unwrap_or_default()
    }

    /// Remembers what was handed in.
    pub(super) fn advance(&mut self, producer: Producer) {
        *self.guard = Some(producer);
    }

    /// What is to be written with it.
    pub(super) fn note(&self, producer: Producer) -> Note {
        Note { bucket: PRODUCERS, key: self.key.clone(), value: Some(producer.encode()) }
    }
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl Producers {
    pub(crate) fn new(intake: Intake, collector: String, owners: Arc<dyn Bucket>, leases: Arc<dyn Bucket>) -> Self {
        Self { intake, collector, owners, leases, seats: Mutex::default() }
    }

    /// Takes the word for a producer of a tenant.
    pub(super) async fn enter(&self, tenant: &Tenant, producer: &str) -> Result<Session, Status> {
        let key = Scope::new("push", tenant.as_str()).key(producer.as_bytes());
        let seat = self.seat(&key)?;
        let leave = CancellationToken::new();
        let before = {
            let mut current = seat.leave.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, leave.clone())
        };
        before.cancel();
        let entered = tokio::time::timeout(Duration::from_millis(LEAVE_MS), Arc::clone(&seat.producer).lock_owned());
        let Ok(mut guard) = entered.await else {
            return Err(Status::aborted(format!("producer '{producer}' speaks on another stream: try again")));
        };
        if guard.is_none() {
            let fresh = self.own(tenant, producer, &key).await?;
            let stored = self.intake.note(PRODUCERS, &key).await.map_err(unavailable)?;
            let unknown = if fresh { Producer::NEW } else { Producer::default() };
            *guard = Some(stored.and_then(|value| Producer::decode(&value)).unwrap_or(unknown));
        }
        Ok(Session { guard, key, leave, _seat: seat })
    }

    fn seat(&self, key: &str) -> Result<Arc<Seat>, Status> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= MAX_PRODUCERS && !seats.contains_key(key) {
            // What nobody speaks for is on disk, and can be read again.
            seats.retain(|_, seat| Arc::strong_count(seat) > 1);
            if seats.len() >= MAX_PRODUCERS {
                return Err(Status::resource_exhausted(format!("more than {MAX_PRODUCERS} producers at once")));
            }
        }
        Ok(Arc::clone(seats.entry(key.to_owned()).or_default()))
    }

    /// Makes the producer this collector's; whether nobody had met it before.
    async fn own(&self, tenant: &Tenant, producer: &str, key: &str) -> Result<bool, Status> {
        for _ in 0..MAX_TRIES {
            let entry = self.owners.get(key).await.map_err(unavailable)?;
            let owner = entry.as_ref().map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
            match &owner {
                Some(owner) if *owner == self.collector => return Ok(false),
                Some(owner) if presence::is_alive(self.leases.as_ref(), owner).await.map_err(unavailable)? => {
                    let reason = format!("producer '{producer}' belongs to collector '{owner}', which is alive");
                    return Err(Status::failed_precondition(reason));
                }
                _ => {}
            }
            let value = Bytes::from(self.collector.clone());
            match self.owners.put(key, value, entry.map_or(0, |entry| entry.revision), None).await {
                Ok(_) => {
                    if let Some(owner) = &owner {
                        telemetry::producer_taken_over(tenant.as_str(), producer, owner);
                    }
                    return Ok(owner.is_none());
                }
                Err(BucketError::Conflict { .. }) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(Status::aborted(format!("producer '{producer}' changes hands: try again")))
    }
}
