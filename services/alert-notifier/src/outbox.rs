//! The durable side of one partition: episodes, position and counts in bucket `outbox`, and the floor others read.
//!
//! Keys: `position.<partition>` and `episode.<partition>.<id>`. Episodes are written before the position that covers
//! them, and the position's entry names every episode up to there that counts beside its books. What an episode counted
//! moves to the books in the write that no longer names it: from then on its entry says nothing, and it does not matter
//! whether it is gone. A removal is no promise: NATS may take it back when it is killed, and even bring an older version
//! of the entry; and whoever lost the lease without noticing may write the entry anew.
//!
//! The floor is a copy, written after what it says is durable.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use atalaya_bus::{Bucket, BucketError, Bus, BusError, Floor, FloorEntry, Floors, Position, Stream};
use atalaya_model::{Books, LIVE_DOMAIN, LedgerKey, NotificationId};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::episode::Episode;

/// The reader's name in bucket `floors`.
pub const READER: &str = "notifier";

/// Where the oldest domains of the books are summed up.
pub const PAST_DOMAIN: &str = "past";

/// Domains that the books tell apart at most.
pub const MAX_DOMAINS: usize = 512;

/// Episodes forgotten in one write at most.
pub const MAX_FORGOTTEN_PER_WRITE: usize = 1_000;

const BUCKET: &str = "outbox";
const MAX_WRITES_IN_FLIGHT: usize = 64;

/// The entry `position.<partition>`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Standing {
    position: Position,
    books: Books,
    /// Domains in the books, oldest first.
    domains: Vec<String>,
    /// The episodes up to the position that count beside the books; those after it count as well, named or not.
    episodes: BTreeSet<NotificationId>,
}

impl Standing {
    fn counts(&self, id: NotificationId, episode: &Episode) -> bool {
        self.episodes.contains(&id) || episode.since.0 > self.position.sequence
    }
}

/// The outbox of one partition; its only writer.
pub struct Outbox {
    bucket: Arc<dyn Bucket>,
    partition: u16,
    standing: Standing,
    revision: u64,
    revisions: HashMap<NotificationId, u64>,
    floor: FloorEntry,
}

impl Outbox {
    /// Opens it, with the episodes that stand in it.
    ///
    /// # Errors
    /// If the bus does not answer, or an entry is missing or cannot be read.
    pub async fn open(bus: &dyn Bus, partition: u16) -> Result<(Self, Vec<Episode>), BusError> {
        let bucket = bus.bucket(BUCKET).await?;
        let io = |error: BucketError| BusError::Io(error.to_string());
        let floors = Floors::open(bus).await?;
        let floor = floors.hold(Stream::Alert, READER, &partition.to_string()).await.map_err(io)?;
        let entry = bucket.get(&position_key(partition)).await.map_err(io)?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let standing: Standing = match entry {
            Some(entry) => decode(&entry.key, &entry.value)?,
            None => Standing::default(),
        };
        let mut outbox = Self { bucket, partition, standing, revision, revisions: HashMap::new(), floor };
        let episodes = outbox.read_episodes().await?;
        Ok((outbox, episodes))
    }

    /// The episodes that count; what remains of others is removed.
    async fn read_episodes(&mut self) -> Result<Vec<Episode>, BusError> {
        let io = |error: BucketError| BusError::Io(error.to_string());
        let mut episodes = Vec::new();
        for entry in self.bucket.list(&format!("episode.{}.", self.partition)).await.map_err(io)? {
            let episode: Episode = decode(&entry.key, &entry.value)?;
            let id = episode.id();
            if self.standing.counts(id, &episode) {
                self.revisions.insert(id, entry.revision);
                episodes.push(episode);
            } else {
                self.bucket.delete(&entry.key).await.map_err(io)?;
            }
        }
        // Read between two writes of somebody else, who forgot it just now; or it is lost, and its counts with it.
        if let Some(id) = self.standing.episodes.iter().find(|&id| !self.revisions.contains_key(id)) {
            return Err(BusError::Io(format!("outbox entry {} is not there", episode_key(self.partition, *id))));
        }
        self.standing.episodes.extend(self.revisions.keys());
        Ok(episodes)
    }

    /// Up to where ALERT is covered.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.standing.position
    }

    /// Stores episodes; the next write of the position names them.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if somebody else writes here.
    pub async fn store(&mut self, changed: Vec<(NotificationId, &Episode)>) -> Result<(), BucketError> {
        let mut writes = Vec::with_capacity(changed.len());
        for (id, episode) in changed {
            let (key, value) = (episode_key(self.partition, id), encode(episode)?);
            let expected = self.revisions.get(&id).copied().unwrap_or(0);
            let bucket = Arc::clone(&self.bucket);
            writes.push(async move { Ok::<_, BucketError>((id, put(bucket.as_ref(), &key, value, expected).await?)) });
        }
        let stored: Vec<_> = futures::stream::iter(writes).buffer_unordered(MAX_WRITES_IN_FLIGHT).try_collect().await?;
        self.standing.episodes.extend(stored.iter().map(|&(id, _)| id));
        self.revisions.extend(stored);
        Ok(())
    }

    /// Moves the position, with what was counted without an episode.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if somebody else writes here.
    pub async fn advance(&mut self, position: Position, counted: &Books) -> Result<(), BucketError> {
        self.standing.position = position;
        self.count(counted);
        self.write_standing().await
    }

    /// Removes episodes whose `books` move to those of the position.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if somebody else writes here.
    pub async fn forget(&mut self, ids: &[NotificationId], books: &Books) -> Result<(), BucketError> {
        self.count(books);
        for id in ids {
            self.standing.episodes.remove(id);
        }
        self.write_standing().await?;
        for id in ids {
            self.bucket.delete(&episode_key(self.partition, *id)).await?;
            self.revisions.remove(id);
        }
        Ok(())
    }

    /// Tells others how far the partition is and what is counted; `settled` is what the episodes hold. Whether it was
    /// news.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if somebody else writes here.
    pub async fn publish(&mut self, settled: &Books) -> Result<bool, BucketError> {
        let mut books = self.standing.books.clone();
        books.merge(settled);
        let floor = Floor { position: self.standing.position.clone(), books };
        if self.floor.floor() == Some(&floor) {
            return Ok(false);
        }
        self.floor.set(floor).await?;
        Ok(true)
    }

    fn count(&mut self, books: &Books) {
        for (key, counts) in books.iter() {
            if key.domain != LIVE_DOMAIN && !self.standing.domains.contains(&key.domain) {
                self.standing.domains.push(key.domain.clone());
            }
            self.standing.books.add(key, *counts);
        }
        while self.standing.domains.len() > MAX_DOMAINS {
            let oldest = self.standing.domains.remove(0);
            self.standing.books = into_past(&self.standing.books, &oldest);
        }
    }

    async fn write_standing(&mut self) -> Result<(), BucketError> {
        let value = encode(&self.standing)?;
        self.revision = put(self.bucket.as_ref(), &position_key(self.partition), value, self.revision).await?;
        Ok(())
    }
}

fn into_past(books: &Books, domain: &str) -> Books {
    let mut sums = Books::default();
    for (key, counts) in books.iter() {
        if key.domain == domain {
            sums.add(&LedgerKey { domain: PAST_DOMAIN.to_owned(), ..key.clone() }, *counts);
        } else {
            sums.add(key, *counts);
        }
    }
    sums
}

fn position_key(partition: u16) -> String {
    format!("position.{partition}")
}

fn episode_key(partition: u16, id: NotificationId) -> String {
    format!("episode.{partition}.{id}")
}

fn encode(value: &impl Serialize) -> Result<Bytes, BucketError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| BucketError::Io(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, BusError> {
    serde_json::from_slice(value).map_err(|error| BusError::Io(format!("outbox entry {key}: {error}")))
}

/// Writes an entry; a lost answer is found out by reading it again.
async fn put(bucket: &dyn Bucket, key: &str, value: Bytes, expected: u64) -> Result<u64, BucketError> {
    match bucket.put(key, value.clone(), expected, None).await {
        Ok(revision) => Ok(revision),
        Err(error @ BucketError::Key(_)) => Err(error),
        Err(error) => match bucket.get(key).await? {
            Some(entry) if entry.value == value => Ok(entry.revision),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
