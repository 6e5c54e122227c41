//! What outlives the processes of a world.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, Filter, Message, Stream};
use atalaya_hot::Hot;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::input::{Input, TENANTS};

/// Partitions of EVT and ALERT.
pub(crate) const PARTITIONS: u16 = 2;

/// Bytes of recent messages in memory, in every other world; in the others readers decode what is on disk.
const TAIL_BYTES: usize = 4 << 20;

/// Where files cost least.
const MEMORY_DIRECTORY: &str = "/dev/shm";

/// The stores and the input.
pub(crate) struct World {
    /// Decides what goes wrong.
    pub(crate) seed: u64,
    pub(crate) input: Input,
    /// Which lanes are fed to their end.
    pub(crate) feeding: watch::Sender<Vec<bool>>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) hot: Arc<dyn Hot>,
    pub(crate) archive: Arc<dyn ObjectStore>,
    /// The correlator's snapshots.
    pub(crate) state: Arc<dyn ObjectStore>,
    directory: TempDir,
}

impl World {
    pub(crate) async fn new(seed: u64, input: Input) -> anyhow::Result<Arc<Self>> {
        let directory = directory()?;
        let bus = journal(&directory.path().join("bus"), if seed.is_multiple_of(2) { TAIL_BYTES } else { 0 })?;
        let lanes = bus.bucket("lanes").await?;
        for lane in &input.lanes {
            lanes.put(lane.lane.as_str(), "{}".into(), 0, None).await?;
        }
        let hot = atalaya_hot::open(&format!("file:{}", directory.path().join("hot").display())).await?;
        let feeding = watch::Sender::new(vec![false; TENANTS.len()]);
        let (archive, state) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
        Ok(Arc::new(Self { seed, input, feeding, bus, hot, archive, state, directory }))
    }

    /// A place of this world's own.
    pub(crate) fn place(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Everything under a filter, in order.
    pub(crate) async fn all(&self, stream: Stream, filter: &str) -> anyhow::Result<Vec<Message>> {
        let mut reader = self.bus.read(stream, &Filter::new(filter)?, 0).await?;
        let mut messages = Vec::new();
        while let Some(message) = reader.try_next().await? {
            messages.push(message);
        }
        Ok(messages)
    }
}

fn directory() -> anyhow::Result<TempDir> {
    let memory = Path::new(MEMORY_DIRECTORY);
    let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    directory.context("temporary directory")
}

/// A journal without syncs.
pub(crate) fn journal(path: &Path, tail_bytes: usize) -> anyhow::Result<Arc<dyn Bus>> {
    let options = Options { partitions: PARTITIONS, sync: false, tail_bytes, max_bytes: 64 << 20 };
    Ok(Arc::new(Journal::open(path, &options)?))
}
