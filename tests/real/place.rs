//! Where a mesh has its files: gone when all went well, left for whoever looks when not.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A directory of one test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("atalaya-real-").tempdir().context("temporary directory")?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The logs of every process.
    pub(crate) fn logs(&self) -> PathBuf {
        self.join("logs")
    }

    /// Ends the test as it went; a failure says where the logs are.
    pub(crate) fn judge(self, played: anyhow::Result<()>) {
        if let Err(error) = played {
            let kept = self.0.keep();
            panic!("{error:#}\nlogs: {}, servers: {}", kept.join("logs").display(), kept.join("servers").display());
        }
    }
}
