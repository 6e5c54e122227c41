//! Which files a path means: a file, a glob, or a directory with everything below it.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::MAX_FILES;
use crate::sources::Format;

/// A file that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// How it stood.
    pub metadata: Metadata,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No such file.
    #[error("{0}: no such file or directory")]
    Missing(String),
    /// A directory or glob with nothing in it.
    #[error("{path}: nothing here is a {kind} file: {endings} and the same with .gz are looked for")]
    Nothing {
        /// Where.
        path: String,
        /// What was looked for.
        kind: &'static str,
        /// The endings of that kind.
        endings: String,
    },
    /// Beyond [`MAX_FILES`].
    #[error("more than {MAX_FILES} files: name fewer")]
    TooMany,
    /// Cannot be looked at.
    #[error("{path}: {reason}")]
    Unreadable {
        /// What.
        path: String,
        /// Why.
        reason: String,
    },
}

fn unreadable(path: &Path, reason: &impl ToString) -> FindError {
    FindError::Unreadable { path: path.display().to_string(), reason: reason.to_string() }
}

/// The files that these paths mean, by path, each inode once.
///
/// # Errors
/// If a path means none, or cannot be read.
pub fn find(paths: &[String], format: &Format) -> Result<Vec<Found>, FindError> {
    let mut search = Search { format, found: Vec::new(), seen: HashSet::new(), matched: 0 };
    for path in paths {
        let before = search.matched;
        search.expand(path)?;
        if search.matched == before {
            let endings = format.endings.join(", ");
            return Err(FindError::Nothing { path: path.clone(), kind: format.kind, endings });
        }
    }
    search.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(search.found)
}

/// [`find`] on a thread of its own.
pub(super) async fn find_in_background(paths: Vec<String>, format: &'static Format) -> anyhow::Result<Vec<Found>> {
    Ok(tokio::task::spawn_blocking(move || find(&paths, format)).await??)
}

struct Search<'a> {
    format: &'a Format,
    found: Vec<Found>,
    seen: HashSet<(u64, u64)>,
    /// Files that were meant, the same one any number of times.
    matched: usize,
}

impl Search<'_> {
    fn expand(&mut self, text: &str) -> Result<(), FindError> {
        let path = Path::new(text);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => self.walk(path.to_owned(), &metadata),
            Ok(metadata) => self.add(path.to_owned(), metadata),
            Err(_) if text.contains(['*', '?', '[']) => self.glob(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(FindError::Missing(text.to_owned())),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    fn glob(&mut self, pattern: &str) -> Result<(), FindError> {
        let paths = glob::glob(pattern).map_err(|error| unreadable(Path::new(pattern), &error))?;
        for path in paths {
            let path = path.map_err(|error| unreadable(error.path(), error.error()))?;
            match path.metadata() {
                Ok(metadata) if metadata.is_file() => self.add(path, metadata)?,
                // Directories, and what vanished meanwhile.
                _ => {}
            }
        }
        Ok(())
    }

    fn walk(&mut self, root: PathBuf, metadata: &Metadata) -> Result<(), FindError> {
        let mut open = vec![root];
        self.seen.insert((metadata.dev(), metadata.ino()));
        while let Some(directory) = open.pop() {
            for entry in directory.read_dir().map_err(|error| unreadable(&directory, &error))? {
                let path = entry.map_err(|error| unreadable(&directory, &error))?.path();
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                let Ok(metadata) = path.metadata() else { continue };
                if name.starts_with('.') {
                    continue;
                } else if metadata.is_dir() {
                    if self.seen.insert((metadata.dev(), metadata.ino())) {
                        open.push(path);
                    }
                } else if metadata.is_file() && self.is_wanted(name) {
                    self.add(path, metadata)?;
                }
            }
        }
        Ok(())
    }

    fn is_wanted(&self, name: &str) -> bool {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        self.format.endings.iter().any(|ending| name.ends_with(ending))
    }

    fn add(&mut self, path: PathBuf, metadata: Metadata) -> Result<(), FindError> {
        if !metadata.is_file() {
            return Err(unreadable(&path, &"no regular file"));
        }
        self.matched += 1;
        if self.seen.insert((metadata.dev(), metadata.ino())) {
            if self.found.len() >= MAX_FILES {
                return Err(FindError::TooMany);
            }
            self.found.push(Found { path, metadata });
        }
        Ok(())
    }
}
