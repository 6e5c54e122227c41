//! What a trim took before a reader came to it, until the reader has it from elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Bucket, BucketError, Bus, BusError, Sequence, Stream};

const BUCKET: &str = "gaps";

/// Tries to write what somebody else writes, too.
const TRIES: u32 = 8;

/// Messages that a reader missed: everything of its scope from the first to the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first.
    pub from: Sequence,
    /// The last.
    pub to: Sequence,
}

impl Gap {
    /// The smallest gap that holds both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

/// The bucket `gaps`: keys `<STREAM>.<reader>.<scope>`, one entry for everything that a reader missed in a scope.
#[derive(Clone)]
pub struct Gaps {
    bucket: Arc<dyn Bucket>,
}

impl Gaps {
    /// Opens the bucket.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn open(bus: &dyn Bus) -> Result<Self, BusError> {
        Ok(Self { bucket: bus.bucket(BUCKET).await? })
    }

    /// What is recorded of a reader in a scope.
    ///
    /// # Errors
    /// If the bus does not answer, or the entry cannot be read.
    pub async fn get(&self, stream: Stream, reader: &str, scope: &str) -> Result<Option<Gap>, BucketError> {
        let key = key(stream, reader, scope);
        let Some(entry) = self.bucket.get(&key).await? else { return Ok(None) };
        let gap = serde_json::from_slice(&entry.value);
        gap.map(Some).map_err(|error| BucketError::Io(format!("gap {key}: {error}")))
    }

    /// Adds a gap to what is recorded; answers with the two as one. An entry that cannot be read is replaced: a trim
    /// does not wait for it.
    ///
    /// # Errors
    /// If the bus does not answer, or others write there all the time.
    pub async fn record(&self, stream: Stream, reader: &str, scope: &str, gap: Gap) -> Result<Gap, BucketError> {
        let key = key(stream, reader, scope);
        let mut tries = 0;
        loop {
            tries += 1;
            let entry = self.bucket.get(&key).await?;
            let known: Option<Gap> = entry.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok());
            let wanted = known.map_or(gap, |known| known.with(gap));
            if known == Some(wanted) {
                return Ok(wanted);
            }
            let value = serde_json::to_vec(&wanted).map_err(|error| BucketError::Io(error.to_string()))?;
            let revision = entry.map_or(0, |entry| entry.revision);
            match self.bucket.put(&key, Bytes::from(value), revision, None).await {
                Ok(_) => return Ok(wanted),
                // Somebody else's, or ours whose answer was lost: look again.
                Err(BucketError::Conflict { .. } | BucketError::Io(_)) if tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets what is recorded: the reader has it.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn forget(&self, stream: Stream, reader: &str, scope: &str) -> Result<(), BucketError> {
        self.bucket.delete(&key(stream, reader, scope)).await
    }
}

fn key(stream: Stream, reader: &str, scope: &str) -> String {
    format!("{stream}.{reader}.{scope}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Options};

    #[tokio::test]
    async fn gaps_grow_until_they_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let gaps = Gaps::open(&Journal::open(directory.path(), &Options::default()).unwrap()).await.unwrap();
        let record = |from, to| gaps.record(Stream::Evt, "hot", "3", Gap { from, to });
        assert_eq!(record(5, 9).await.unwrap(), Gap { from: 5, to: 9 });
        assert_eq!(record(6, 7).await.unwrap(), Gap { from: 5, to: 9 });
        assert_eq!(record(20, 30).await.unwrap(), Gap { from: 5, to: 30 });
        assert_eq!(gaps.get(Stream::Evt, "hot", "3").await.unwrap(), Some(Gap { from: 5, to: 30 }));
        assert_eq!(gaps.get(Stream::Evt, "hot", "4").await.unwrap(), None);
        gaps.forget(Stream::Evt, "hot", "3").await.unwrap();
        assert_eq!(gaps.get(Stream::Evt, "hot", "3").await.unwrap(), None);
        assert_eq!(record(40, 41).await.unwrap(), Gap { from: 40, to: 41 });
    }
}
