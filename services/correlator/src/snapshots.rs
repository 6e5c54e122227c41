//! Snapshots of a partition's detector, and the rule sets they were made with, in the state store.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use atalaya_bus::Position;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::rules::Rules;
use crate::telemetry;

/// Snapshots kept of a partition.
const KEPT: usize = 5;

/// A snapshot at most, decompressed: 1 GiB.
const MAX_IMAGE_BYTES: usize = 1 << 30;

/// The version this code writes.
const VERSION: u16 = 1;

/// Opens the state store a URL names: `file:DIR`.
///
/// # Errors
/// If the scheme is unknown, or the directory cannot be made.
pub fn open_state(url: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let Some(directory) = url.strip_prefix("file:").filter(|directory| !directory.is_empty()) else {
        bail!("'{url}' names no state store: use file:DIR");
    };
    std::fs::create_dir_all(directory).with_context(|| directory.to_owned())?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(directory).with_context(|| directory.to_owned())?))
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
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Everything up to here is in it.
    pub(crate) position: Position,
    /// The rules it was made with.
    pub(crate) rules: Rules,
    /// The rules from the next message on.
    pub(crate) next_rules: Rules,
    /// The detector.
    pub(crate) image: Vec<u8>,
}

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

    async fn rules(&self, hash: &str, known: &Rules) -> anyhow::Result<Rules> {
        if known.hash() == hash {
            return Ok(known.clone());
        }
        let bytes = self.0.get(&rules_path(hash)).await?.bytes().await?;
        let rules = Rules::decode(&bytes)?;
        // The hash is over what the rules mean to the program that read them: another version may read them otherwise.
        ensure!(rules.hash() == hash, "the kept rule set {hash} means something else to this version");
        Ok(rules)
    }

    /// Writes a snapshot, whole or not at all, and lets old ones go. Answers with the position of the second newest.
    pub(crate) async fn put(&self, partition: u16, snapshot: Snapshot) -> anyhow::Result<Option<Position>> {
        let Snapshot { position, rules, next_rules, image } = snapshot;
        let head = Head {
            version: VERSION,
            position: position.clone(),
            rules: rules.hash().to_owned(),
            next_rules: next_rules.hash().to_owned(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        let packed = tokio::task::spawn_blocking(move || lz4_flex::block::compress_prepend_size(&image)).await?;
        bytes.extend_from_slice(&packed);
        let path = path(partition, position.incarnation, position.sequence);
        self.0.put(&path, PutPayload::from(bytes)).await?;
        let mut paths = self.list(partition, position.incarnation).await?;
        while paths.len() > KEPT {
            self.0.delete(&paths.remove(0).1).await?;
        }
        let second = paths.iter().rev().find(|(sequence, _)| *sequence < position.sequence);
        match second {
            Some((_, path)) => Ok(Some(self.head(path).await?.0.position)),
            None => Ok(None),
        }
    }

    /// The newest snapshot at or below a sequence of this incarnation; `configured` is not read again where it is meant.
    pub(crate) async fn newest(
        &self,
        partition: u16,
        incarnation: u64,
        at_most: u64,
        configured: &Rules,
    ) -> anyhow::Result<Option<Snapshot>> {
        let paths = self.list(partition, incarnation).await?;
        for (_, path) in paths.iter().rev().filter(|(sequence, _)| *sequence <= at_most) {
            match self.read(path, configured).await {
                Ok(snapshot) => return Ok(Some(snapshot)),
                // A power cut may have torn it: the one before does as well, only slower.
                Err(error) => telemetry::snapshot_unreadable(path, &error),
            }
        }
        Ok(None)
    }

    async fn read(&self, path: &Path, configured: &Rules) -> anyhow::Result<Snapshot> {
        let (head, image) = self.head(path).await?;
        let rules = self.rules(&head.rules, configured).await?;
        let next_rules = self.rules(&head.next_rules, configured).await?;
        let (bytes, _) = lz4_flex::block::uncompressed_size(&image)?;
        ensure!(bytes <= MAX_IMAGE_BYTES, "a snapshot of {bytes} bytes, more than {MAX_IMAGE_BYTES}");
        let image = lz4_flex::block::decompress_size_prepended(&image)?;
        Ok(Snapshot { position: head.position, rules, next_rules, image })
    }

    async fn head(&self, path: &Path) -> anyhow::Result<(Head, Vec<u8>)> {
        let bytes = self.0.get(path).await?.bytes().await?;
        let end = bytes.iter().position(|byte| *byte == b'\n').with_context(|| format!("{path}: no snapshot"))?;
        let head: Head = serde_json::from_slice(&bytes[..end]).with_context(|| path.to_string())?;
        ensure!(head.version <= VERSION, "{path}: version {}, this program reads up to {VERSION}", head.version);
        Ok((head, bytes[end + 1..].to_vec()))
    }

    /// Snapshots of a partition by sequence.
    async fn list(&self, partition: u16, incarnation: u64) -> anyhow::Result<Vec<(u64, Path)>> {
        let prefix = Path::from(format!("snapshots/{partition}/{incarnation}"));
        let found: Vec<_> = self.0.list(Some(&prefix)).try_collect().await?;
        let numbered = found.into_iter().filter_map(|meta| {
            let sequence = meta.location.filename()?.parse().ok()?;
            Some((sequence, meta.location))
        });
        let mut paths: Vec<(u64, Path)> = numbered.collect();
        paths.sort_unstable();
        Ok(paths)
    }
}

fn rules_path(hash: &str) -> Path {
    Path::from(format!("rules/{hash}.json"))
}

fn path(partition: u16, incarnation: u64, sequence: u64) -> Path {
    Path::from(format!("snapshots/{partition}/{incarnation}/{sequence:020}"))
}
