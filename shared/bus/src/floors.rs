//! How far each reader has come, and what it counted up to there.

use std::sync::Arc;

use atalaya_model::Books;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Bucket, BucketError, Bus, BusError, Position, Stream};

const BUCKET: &str = "floors";

/// A reader's position and its books up to there: one entry, so that they can never differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Everything up to here is done with.
    pub position: Position,
    /// What was counted up to here.
    #[serde(default, skip_serializing_if = "Books::is_empty")]
    pub books: Books,
}

/// The bucket `floors`: keys `<STREAM>.<reader>.<scope>`, scope being a lane or a partition.
#[derive(Clone)]
pub struct Floors {
    bucket: Arc<dyn Bucket>,
}

/// One reader's floor, held by it alone.
pub struct FloorEntry {
    bucket: Arc<dyn Bucket>,
    key: String,
    revision: u64,
    floor: Option<Floor>,
}

impl Floors {
    /// Opens the bucket.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn open(bus: &dyn Bus) -> Result<Self, BusError> {
        Ok(Self { bucket: bus.bucket(BUCKET).await? })
    }

    /// A reader's floor in a scope, to be moved by the caller alone: a second holder makes the first one fail.
    ///
    /// # Errors
    /// If the bus does not answer, or what stands there cannot be read.
    pub async fn hold(&self, stream: Stream, reader: &str, scope: &str) -> Result<FloorEntry, BucketError> {
        let key = format!("{stream}.{reader}.{scope}");
        let entry = self.bucket.get(&key).await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let floor = entry.map(|entry| decode(&key, &entry.value)).transpose()?;
        Ok(FloorEntry { bucket: Arc::clone(&self.bucket), key, revision, floor })
    }

    /// Every floor in a stream: reader, scope, floor.
    ///
    /// # Errors
    /// If the bus does not answer, or an entry cannot be read.
    pub async fn all(&self, stream: Stream) -> Result<Vec<(String, String, Floor)>, BucketError> {
        let entries = self.bucket.list(&format!("{stream}.")).await?;
        let floors = entries.iter().filter_map(|entry| {
            let mut tokens = entry.key.splitn(3, '.').skip(1);
            let (reader, scope) = (tokens.next()?.to_owned(), tokens.next()?.to_owned());
            Some(decode(&entry.key, &entry.value).map(|floor| (reader, scope, floor)))
        });
        floors.collect()
    }
}

impl FloorEntry {
    /// Where it stands; none if it was never set.
    #[must_use]
    pub fn floor(&self) -> Option<&Floor> {
        self.floor.as_ref()
    }

    /// Moves it. A lost answer is found out by reading the entry again.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if somebody else moved it.
    pub async fn set(&mut self, floor: Floor) -> Result<(), BucketError> {
        let value = Bytes::from(serde_json::to_vec(&floor).map_err(|error| BucketError::Io(error.to_string()))?);
        self.revision = match self.bucket.put(&self.key, value.clone(), self.revision, None).await {
            Ok(revision) => revision,
            Err(error @ BucketError::Key(_)) => return Err(error),
            Err(error) => match self.bucket.get(&self.key).await? {
                Some(entry) if entry.value == value => entry.revision,
                _ => return Err(error),
            },
        };
        self.floor = Some(floor);
        Ok(())
    }
}

fn decode(key: &str, value: &[u8]) -> Result<Floor, BucketError> {
    serde_json::from_slice(value).map_err(|error| BucketError::Io(format!("floor {key}: {error}")))
}
