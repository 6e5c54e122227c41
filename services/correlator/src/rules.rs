//! A rule set with the files it came from, so that it can be kept beside the snapshots that were made with it.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::detect::Compiled;
use crate::sigma::{RuleFile, load};

/// A file as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    path: String,
    text: String,
}

/// Rules, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    files: Arc<[RuleFile]>,
    /// Ready to work.
    pub(crate) compiled: Arc<Compiled>,
}

impl Rules {
    /// Loads and compiles files.
    pub(crate) fn compile(files: Vec<RuleFile>) -> anyhow::Result<Self> {
        let compiled = Compiled::new(load(&files)).map_err(|reason| anyhow!("rules: {reason}"))?;
        Ok(Self { files: files.into(), compiled: Arc::new(compiled) })
    }

    /// Hash of what they mean.
    pub(crate) fn hash(&self) -> &str {
        &self.compiled.set.hash
    }

    /// As they are kept.
    pub(crate) fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let files = self.files.iter().map(|file| Kept { path: file.path.clone(), text: file.text.clone() });
        Ok(serde_json::to_vec(&files.collect::<Vec<_>>())?)
    }

    /// From what was kept.
    pub(crate) fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let kept: Vec<Kept> = serde_json::from_slice(bytes).context("a kept rule set")?;
        Self::compile(kept.into_iter().map(|file| RuleFile { path: file.path, text: file.text }).collect())
    }
}
