//! Buses in temporary directories.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, Filter, Message, Stream};
use tempfile::TempDir;

/// A real journal in a temporary directory, without syncs. The directory goes with it.
pub struct TestBus {
    journal: Arc<Journal>,
    directory: TempDir,
}

impl TestBus {
    /// A journal with plenty of room and 16 partitions.
    ///
    /// # Errors
    /// If the temporary directory cannot be written.
    pub fn new() -> Result<Self> {
        Self::with(&Options { sync: false, tail_bytes: 4 << 20, ..Options::default() })
    }

    /// A journal of another kind.
    ///
    /// # Errors
    /// If the temporary directory cannot be written.
    pub fn with(options: &Options) -> Result<Self> {
        let directory = TempDir::new().context("temporary directory")?;
        let journal = Arc::new(Journal::open(directory.path().join("bus"), options)?);
        Ok(Self { journal, directory })
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.journal) as Arc<dyn Bus>
    }

    /// The journal itself.
    #[must_use]
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// The temporary directory; the journal is in its folder `bus`, and there is room for other stores beside it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything that is in a stream now, under a filter.
    ///
    /// # Errors
    /// If the filter is none, or something was trimmed.
    pub async fn all(&self, stream: Stream, filter: &str) -> Result<Vec<Message>> {
        let mut reader = self.journal.read(stream, &Filter::new(filter)?, 0).await?;
        let mut messages = Vec::new();
        while let Some(message) = reader.try_next().await? {
            messages.push(message);
        }
        Ok(messages)
    }
}
