//! A rule set with everything it was compiled from, so that it can be kept beside the snapshots that were made with it.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::detect::Compiled;
use crate::sigma::{Logsources, RuleFile, load_with};

/// A rule set as it is kept. It needs nothing of the program but its language.
#[derive(Serialize, Deserialize)]
struct Kept {
    logsources: String,
    files: Vec<RuleFile>,
}

/// A rule set as it may be found: at first only its files were kept, to be read with the log sources built in.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Whole(Kept),
    Files(Vec<RuleFile>),
}

/// Rules, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    files: Arc<[RuleFile]>,
    logsources: Arc<Logsources>,
    /// Ready to work.
    pub(crate) compiled: Arc<Compiled>,
}

impl Rules {
    /// Loads and compiles files.
    pub(crate) fn compile(files: Vec<RuleFile>, logsources: Arc<Logsources>) -> anyhow::Result<Self> {
        let compiled = Compiled::new(load_with(&files, &logsources)).map_err(|reason| anyhow!("rules: {reason}"))?;
        Ok(Self { files: files.into(), logsources, compiled: Arc::new(compiled) })
    }

    /// Hash of what they mean.
    pub(crate) fn hash(&self) -> &str {
        &self.compiled.set.hash
    }

    /// As they are kept.
    pub(crate) fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let kept = Kept { logsources: self.logsources.text.to_string(), files: self.files.to_vec() };
        Ok(serde_json::to_vec(&kept)?)
    }

    /// From what was kept.
    pub(crate) fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        match serde_json::from_slice(bytes).context("a kept rule set")? {
            Found::Whole(Kept { logsources, files }) => {
                let logsources =
                    Logsources::parse(&logsources).map_err(|reason| anyhow!("a kept rule set: {reason}"))?;
                Self::compile(files, Arc::new(logsources))
            }
            Found::Files(files) => Self::compile(files, Logsources::built_in()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in_rules;

    /// A program with other log sources reads a kept set as the one that kept it did.
    #[test]
    fn a_kept_set_does_not_depend_on_what_is_built_in() {
        let today = Rules::compile(built_in_rules(), Logsources::built_in()).unwrap();
        let text = Logsources::built_in().text.replace("entities: [src_ip, user,", "entities: [user,");
        let then = Rules::compile(built_in_rules(), Arc::new(Logsources::parse(&text).unwrap())).unwrap();
        assert_ne!(today.hash(), then.hash());
        let read = Rules::decode(&then.encode().unwrap()).unwrap();
        assert_eq!(read.hash(), then.hash());
        assert_eq!(read.compiled.set.entities[0], "user");
    }

    #[test]
    fn sets_kept_as_files_alone_are_read() {
        let rules = Rules::compile(built_in_rules(), Logsources::built_in()).unwrap();
        let files = serde_json::to_vec(&built_in_rules()).unwrap();
        assert_eq!(Rules::decode(&files).unwrap().hash(), rules.hash());
        for damaged in [&files[..files.len() - 1], b"{}", b""] {
            assert!(Rules::decode(damaged).is_err());
        }
    }
}
