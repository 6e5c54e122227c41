//! Snapshots of a partition's detector, and the rule sets they were made with, in the state store.
//!
//! A snapshot is a line of JSON, the packed image of the detector, and the BLAKE3 hash of both. Its name is the
//! position's sequence; one that changes the rules stands under a number of its own beside that, and counts as newer.

use std::sync::Arc;

use anyhow::{Context, ensure};
use atalaya_archive::{S3Options, open_store};
use atalaya_bus::Position;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::rules::Rules;

/// Snapshots kept of a partition.
const KEPT: usize = 5;

/// A snapshot at most, decompressed: 1 GiB.
const MAX_IMAGE_BYTES: usize = 1 << 30;

/// The version this code writes; the first one had no hash.
const VERSION: u16 = 2;

/// A state store.
pub type StateStore = dyn ObjectStore;

/// Opens the state store a URL names: `file:DIR` or `s3://BUCKET/PREFIX`. What it has taken is on disk.
///
/// # Errors
/// If the URL names no store, or the store cannot be set up.
pub fn open_state(url: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    open_state_with(url, &S3Options::default())
}

/// The same, with S3 as these options say.
///
/// # Errors
/// As [`open_state`]; also if the options cannot be used.
pub fn open_state_with(url: &str, s3: &S3Options) -> anyhow::Result<Arc<dyn ObjectStore>> {
    open_store(url, s3).with_context(|| format!("state store '{url}'"))
}

/// What stands before a snapshot's image, as one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u16,
    position: Position,
    rules: String,
    /// The rules that are in force from the next message on.
    next_rules: String,
}

/// A detector at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Everything up to here is in it.
    pub(crate) position: Position,
    /// Hash of the rules it was made with.
    pub(crate) rules: String,
    /// Hash of the rules from the next message on.
    pub(crate) next_rules: String,
    /// The detector.
    pub(crate) image: Vec<u8>,
}

impl Snapshot {
    fn encode(self) -> anyhow::Result<Vec<u8>> {
        let Self { position, rules, next_rules, image } = self;
        ensure!(image.len() <= MAX_IMAGE_BYTES, "a snapshot of {} bytes, more than {MAX_IMAGE_BYTES}", image.len());
        let mut bytes = serde_json::to_vec(&Head { version: VERSION, position, rules, next_rules })?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&lz4_flex::block::compress_prepend_size(&image));
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n').context("no snapshot")?;
        let Head { version, position, rules, next_rules } = serde_json::from_slice(&bytes[..end])?;
        ensure!((1..=VERSION).contains(&version), "version {version}, this program reads up to {VERSION}");
        let mut packed = &bytes[end + 1..];
        if version > 1 {
            let (hashed, hash) = bytes.split_last_chunk().context("no hash")?;
            ensure!(blake3::hash(hashed) == blake3::Hash::from_bytes(*hash), "its hash says that it is damaged");
            packed = hashed.get(end + 1..).context("no image")?;
        }
        let (bytes, _) = lz4_flex::block::uncompressed_size(packed)?;
        ensure!(bytes <= MAX_IMAGE_BYTES, "a snapshot of {bytes} bytes, more than {MAX_IMAGE_BYTES}");
        let image = lz4_flex::block::decompress_size_prepended(packed)?;
        Ok(Self { position, rules, next_rules, image })
    }
}

/// Where a snapshot stands. The order is that of writing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    sequence: u64,
    /// Of those that change the rules at this position, from 1; 0 for one that does not.
    change: u32,
    pub(crate) path: Path,
}

impl Place {
    fn of(path: Path) -> Option<Self> {
        let name = path.filename()?;
        let (sequence, change) = name.split_once('.').unwrap_or((name, "0"));
        Some(Self { sequence: sequence.parse().ok()?, change: change.parse().ok()?, path })
    }
}

/// What the state store has, or why it is of no use: missing or damaged.
pub(crate) type Stored<T> = Result<T, anyhow::Error>;

/// The state store.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots(Arc<dyn ObjectStore>);

impl Snapshots {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    /// Keeps a rule set under its hash.
    pub(crate) async fn keep_rules(&self, rules: &Rules) -> anyhow::Result<()> {
        self.0.put(&rules_path(rules.hash()), PutPayload::from(rules.encode()?)).await?;
        Ok(())
    }

    /// The rule set that was kept under a hash, as this program reads it.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn rules(&self, hash: &str) -> anyhow::Result<Stored<Rules>> {
        self.decoded(&rules_path(hash), Rules::decode).await
    }

    /// Writes a snapshot, whole or not at all, and lets old ones go.
    pub(crate) async fn put(&self, partition: u16, snapshot: Snapshot) -> anyhow::Result<()> {
        let Position { incarnation, sequence, .. } = snapshot.position;
        let mut known = self.list(partition, incarnation).await?;
        let mut name = format!("{}/{sequence:020}", directory(partition, incarnation));
        if snapshot.rules != snapshot.next_rules {
            let changes = known.iter().filter(|place| place.sequence == sequence).map(|place| place.change);
            name = format!("{name}.{}", changes.max().unwrap_or(0) + 1);
        }
        let path = Path::from(name);
        let bytes = tokio::task::spawn_blocking(|| snapshot.encode()).await??;
        self.0.put(&path, PutPayload::from(bytes)).await?;
        known.retain(|place| place.path != path);
        for place in known.iter().take((known.len() + 1).saturating_sub(KEPT)) {
            self.0.delete(&place.path).await?;
        }
        Ok(())
    }

    /// The snapshots of a partition at or below a sequence, newest first.
    pub(crate) async fn upto(&self, partition: u16, incarnation: u64, sequence: u64) -> anyhow::Result<Vec<Place>> {
        let mut places = self.list(partition, incarnation).await?;
        places.retain(|place| place.sequence <= sequence);
        places.reverse();
        Ok(places)
    }

    /// The snapshot at a place.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn read(&self, place: &Place) -> anyhow::Result<Stored<Snapshot>> {
        let snapshot = self.decoded(&place.path, Snapshot::decode).await?;
        Ok(snapshot.and_then(|snapshot| {
            let found = snapshot.position.sequence;
            ensure!(found == place.sequence, "a snapshot of position {found}");
            Ok(snapshot)
        }))
    }

    async fn decoded<T: Send + 'static>(
        &self,
        path: &Path,
        decode: fn(&[u8]) -> Stored<T>,
    ) -> anyhow::Result<Stored<T>> {
        let bytes: Bytes = match self.0.get(path).await {
            Ok(found) => found.bytes().await.with_context(|| path.to_string())?,
            Err(error @ Error::NotFound { .. }) => return Ok(Err(error.into())),
            Err(error) => return Err(error).with_context(|| path.to_string()),
        };
        Ok(tokio::task::spawn_blocking(move || decode(&bytes)).await?)
    }

    /// Snapshots of a partition, oldest first.
    async fn list(&self, partition: u16, incarnation: u64) -> anyhow::Result<Vec<Place>> {
        let prefix = Path::from(directory(partition, incarnation));
        let found: Vec<_> = self.0.list(Some(&prefix)).try_collect().await?;
        let mut places: Vec<Place> = found.into_iter().filter_map(|meta| Place::of(meta.location)).collect();
        places.sort_unstable();
        Ok(places)
    }
}

/// A snapshot that is kept, for whoever repairs the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSnapshot {
    /// The partition of EVT.
    pub partition: u16,
    /// EVT's incarnation.
    pub incarnation: u64,
    /// The last message in it.
    pub sequence: u64,
    /// Where it stands in the state store.
    pub path: String,
}

impl KeptSnapshot {
    fn of(path: &Path) -> Option<Self> {
        let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
        let [.., partition, incarnation, _] = parts.as_slice() else { return None };
        let (partition, incarnation) = (partition.parse().ok()?, incarnation.parse().ok()?);
        let sequence = Place::of(path.clone())?.sequence;
        Some(Self { partition, incarnation, sequence, path: path.to_string() })
    }
}

/// Every snapshot that is kept.
///
/// # Errors
/// If the state store does not answer.
pub async fn kept_snapshots(state: &Arc<dyn ObjectStore>) -> anyhow::Result<Vec<KeptSnapshot>> {
    let found: Vec<_> = state.list(Some(&Path::from("snapshots"))).try_collect().await?;
    Ok(found.iter().filter_map(|meta| KeptSnapshot::of(&meta.location)).collect())
}

/// Removes snapshots: of messages that a log which went back no longer has. Left in place they would be taken for the
/// newest ones.
///
/// # Errors
/// If the state store does not answer.
pub async fn forget_snapshots(state: &Arc<dyn ObjectStore>, snapshots: &[KeptSnapshot]) -> anyhow::Result<()> {
    for snapshot in snapshots {
        match state.delete(&Path::from(snapshot.path.as_str())).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error).with_context(|| snapshot.path.clone()),
        }
    }
    Ok(())
}

fn rules_path(hash: &str) -> Path {
    Path::from(format!("rules/{hash}.json"))
}

fn directory(partition: u16, incarnation: u64) -> String {
    format!("snapshots/{partition}/{incarnation}")
}

#[cfg(test)]
mod tests;
