//! Mappings: content that says which field of which log becomes which column.
//!
//! Read once at start from the files under `mappings/` that are built in, and checked against the columns of the
//! classes: a mapping that names a column or conversion that is not there, or that does not fit, is an error of the
//! build's tests and never of a running system.

mod convert;
mod file;
mod plan;

use std::collections::HashMap;

pub(crate) use convert::{Convert, Scratch, Target, set_constant, time_us};
pub(crate) use file::{Constant, Format};
pub(crate) use plan::{Op, Plan, Role};

use file::{KindFile, LogFile};

const FILES: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/mappings.rs"));

const KIND_FILE: &str = "kind.yaml";

/// The log name that stands for any log without a file of its own.
const ANY_LOG: &str = "*";

/// A mapping that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("mappings/{file}: {reason}")]
pub struct MappingError {
    file: String,
    reason: String,
}

impl MappingError {
    fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), reason: reason.into() }
    }
}

/// What a source kind's records are, and the plans of its logs.
#[derive(Debug)]
pub(crate) struct Kind {
    /// How records are written.
    pub(crate) format: Format,
    /// Fields that name the record's log.
    pub(crate) log_name: Vec<String>,
    /// Whether the input's file may name it.
    pub(crate) log_name_of_file: bool,
    /// Log name → index of its plan.
    logs: HashMap<String, usize>,
    any: Option<usize>,
}

impl Kind {
    /// The plan of a log, or of any other log of the kind.
    pub(crate) fn plan(&self, log: &str) -> Option<usize> {
        self.logs.get(log).copied().or(self.any)
    }

    /// Whether a file names this log.
    pub(crate) fn knows(&self, log: &str) -> bool {
        self.logs.contains_key(log)
    }
}

/// Every mapping.
#[derive(Debug)]
pub struct Mappings {
    kinds: HashMap<String, Kind>,
    plans: Vec<Plan>,
}

impl Mappings {
    /// The mappings that are built in.
    ///
    /// # Errors
    /// If one of them is wrong.
    pub fn built_in() -> Result<Self, MappingError> {
        Self::read(FILES)
    }

    /// Reads files given as kind, file name and text.
    fn read(files: &[(&str, &str, &str)]) -> Result<Self, MappingError> {
        let mut mappings = Self { kinds: HashMap::new(), plans: Vec::new() };
        for &(kind, name, text) in files.iter().filter(|(_, name, _)| *name == KIND_FILE) {
            let kind_file: KindFile = parse(kind, name, text)?;
            let logs = files.iter().filter(|(of, name, _)| *of == kind && *name != KIND_FILE);
            mappings.add(kind, kind_file, logs.copied())?;
        }
        Ok(mappings)
    }

    fn add<'f>(
        &mut self,
        kind: &str,
        kind_file: KindFile,
        files: impl Iterator<Item = (&'f str, &'f str, &'f str)>,
    ) -> Result<(), MappingError> {
        let mut logs = HashMap::new();
        for (_, name, text) in files {
            let log_file: LogFile = parse(kind, name, text)?;
            let stem = name.trim_end_matches(".yaml");
            let version = format!("{kind}/{stem}@{}", kind_file.revision);
            let plan = Plan::compile(&kind_file, &log_file, version)
                .map_err(|reason| MappingError::new(format!("{kind}/{name}"), reason))?;
            for log in log_file.logs {
                if logs.insert(log.clone(), self.plans.len()).is_some() {
                    return Err(MappingError::new(format!("{kind}/{name}"), format!("log '{log}' has a file already")));
                }
            }
            self.plans.push(plan);
        }
        let any = logs.remove(ANY_LOG);
        let KindFile { format, log_name, log_name_of_file, .. } = kind_file;
        self.kinds.insert(kind.to_owned(), Kind { format, log_name, log_name_of_file, logs, any });
        Ok(())
    }

    /// A source kind.
    pub(crate) fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// Every plan; a plan's index is its identity.
    pub(crate) fn plans(&self) -> &[Plan] {
        &self.plans
    }
}

fn parse<T: serde::de::DeserializeOwned>(kind: &str, name: &str, text: &str) -> Result<T, MappingError> {
    serde_saphyr::from_str(text).map_err(|error| MappingError::new(format!("{kind}/{name}"), error.to_string()))
}

#[cfg(test)]
mod tests;
