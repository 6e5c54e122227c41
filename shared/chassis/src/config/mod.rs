//! The configuration directory: `atalaya.yaml`, `tenants/*.yaml`, `sources/*.yaml`, `rules/**/*.yml`.
//!
//! Unknown keys are errors that name file, line and the nearest valid key. `ATALAYA_<SECTION>_<KEY>` overrides a key
//! of `atalaya.yaml`. Secrets are never values here, only references that their users resolve.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

mod reload;
mod section;

pub use reload::Watcher;

/// The keys that may stand at the top of `atalaya.yaml`.
pub const SECTIONS: [&str; 16] = [
    "alert_notifier",
    "archive",
    "bus",
    "cassandra",
    "cold_archive",
    "collector",
    "correlator",
    "health",
    "hot",
    "hot_store",
    "nats",
    "normalizer",
    "query_gateway",
    "s3",
    "state",
    "telemetry",
];

/// A configuration file at most; a larger one is refused.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Rule files at most.
const MAX_RULE_FILES: usize = 100_000;

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory that cannot be read.
    #[error("{path}: {reason}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file that says something wrong.
    #[error("{path}:{line}: {reason}")]
    Wrong {
        /// Which file.
        path: String,
        /// Line from 1; 0 if it is not known.
        line: u64,
        /// What is wrong, and the cure where it is known.
        reason: String,
    },
}

/// A file of the directory, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl File {
    /// The file's name without its ending: a tenant's or a source's name.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// The file as a value of this shape.
    ///
    /// # Errors
    /// If it says something else; the error names file, line and the nearest valid key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_saphyr::from_str(&self.text).map_err(|error| section::wrong(&self.path, &error))
    }
}

/// The directory, read once as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Directory {
    settings: Option<File>,
    tenants: Vec<File>,
    sources: Vec<File>,
    rules: Vec<File>,
    overrides: Vec<(String, String)>,
}

impl Directory {
    /// Reads a directory; without one, everything is as it is by default. The environment's overrides are taken too.
    ///
    /// # Errors
    /// If the directory or a file in it cannot be read, or `atalaya.yaml` has an unknown section.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let overrides = std::env::vars().filter(|(name, _)| name.starts_with(section::ENV_PREFIX)).collect();
        let Some(path) = path else {
            return Ok(Self { overrides, ..Self::default() });
        };
        if !path.is_dir() {
            return Err(read_error(path, "no such directory: --config names one with atalaya.yaml in it"));
        }
        let settings = path.join("atalaya.yaml");
        let directory = Self {
            settings: if settings.exists() { Some(read(settings)?) } else { None },
            tenants: files(&path.join("tenants"), &["yaml", "yml"], false)?,
            sources: files(&path.join("sources"), &["yaml", "yml"], false)?,
            rules: files(&path.join("rules"), &["yml", "yaml"], true)?,
            overrides,
        };
        section::check_names(directory.settings.as_ref())?;
        Ok(directory)
    }

    /// The same with these settings instead of the environment's overrides: `(ATALAYA_…, value)`.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<(String, String)>) -> Self {
        self.overrides = overrides;
        self
    }

    /// The same with this URL for `bus`, `hot`, `archive` or `state` where the configuration names none.
    ///
    /// # Errors
    /// If the section says something that is no text.
    pub fn with_default_url(mut self, name: &'static str, url: String) -> Result<Self, ConfigError> {
        if self.section::<String>(name)?.is_empty() {
            self.overrides.push((format!("{}{}", section::ENV_PREFIX, name.to_uppercase()), url));
        }
        Ok(self)
    }

    /// A section of `atalaya.yaml`: its default if it is not there.
    ///
    /// # Errors
    /// If it says something that its shape does not know.
    pub fn section<T: DeserializeOwned + Default>(&self, name: &'static str) -> Result<T, ConfigError> {
        section::read(self.settings.as_ref(), &self.overrides, name)
    }

    /// The tenants' files; a file's stem is the tenant.
    #[must_use]
    pub fn tenants(&self) -> &[File] {
        &self.tenants
    }

    /// The sources' files.
    #[must_use]
    pub fn sources(&self) -> &[File] {
        &self.sources
    }

    /// The rule files, at any depth.
    #[must_use]
    pub fn rules(&self) -> &[File] {
        &self.rules
    }
}

fn read_error(path: &Path, reason: &(impl ToString + ?Sized)) -> ConfigError {
    ConfigError::Read { path: path.display().to_string(), reason: reason.to_string() }
}

fn read(path: PathBuf) -> Result<File, ConfigError> {
    let bytes = std::fs::metadata(&path).map_err(|error| read_error(&path, &error))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(read_error(&path, &format!("{bytes} bytes, more than {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| read_error(&path, &error))?;
    Ok(File { path, text })
}

/// The files of a directory with one of these endings, by path; none if there is no directory. Hidden names are
/// passed over: a mounted ConfigMap keeps its versions there.
fn files(directory: &Path, endings: &[&str], deep: bool) -> Result<Vec<File>, ConfigError> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(read_error(&directory, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| read_error(&directory, &error))?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let wanted = path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted));
            if hidden {
                continue;
            } else if path.is_dir() {
                if deep {
                    open.push(path);
                }
            } else if wanted {
                found.push(read(path)?);
            }
            if found.len() > MAX_RULE_FILES {
                return Err(read_error(&directory, &format!("more than {MAX_RULE_FILES} files")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests;
