//! A configuration directory that changes under a running process.
//!
//! The directory is read every second and compared by a digest of its content: that sees edits, git checkouts and a
//! ConfigMap's swapped links alike. What stands there twice in a row is settled; it is checked as a whole, and only then
//! handed on. What is wrong is an alarm that names file and line, and the old configuration stays.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Directory;
use crate::Shutdown;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause is at least so many times what the look took, so that a large directory costs at most 5 % of a core.
const PAUSE_PER_LOOK: u32 = 20;

type Check = dyn Fn(Directory) -> anyhow::Result<Directory> + Send + Sync;

/// Looks at a configuration directory and hands on what it comes to say.
pub struct Watcher {
    path: PathBuf,
    check: Arc<Check>,
    sender: watch::Sender<Arc<Directory>>,
    every: Duration,
    /// Digest of what was decided upon last.
    decided: Option<u64>,
    /// Digest of what was seen last and is not decided upon.
    unsettled: Option<u64>,
}

/// What a look found: the directory or why it cannot be read, and the digest of that.
struct Look {
    found: Result<Directory, String>,
    digest: u64,
}

impl Watcher {
    /// A watcher of the directory at `path`, which a process works by as `current` says. `check` is given what stands
    /// there now; it returns what is handed on, or why it is wrong.
    #[must_use]
    pub fn new(
        path: PathBuf,
        current: Directory,
        check: impl Fn(Directory) -> anyhow::Result<Directory> + Send + Sync + 'static,
    ) -> (Self, watch::Receiver<Arc<Directory>>) {
        let (sender, receiver) = watch::channel(Arc::new(current));
        let watcher = Self { path, check: Arc::new(check), sender, every: LOOK_EVERY, decided: None, unsettled: None };
        (watcher, receiver)
    }

    /// The same with another pause between two looks.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Looks until the drain is asked for.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut pause = self.every;
        while shutdown.unless_requested(tokio::time::sleep(pause)).await.is_some() {
            let begun = Instant::now();
            self.turn().await;
            pause = self.every.max(begun.elapsed() * PAUSE_PER_LOOK);
        }
    }

    async fn turn(&mut self) {
        let path = self.path.clone();
        let Ok(look) = tokio::task::spawn_blocking(move || look(&path)).await else { return };
        if self.decided == Some(look.digest) {
            self.unsettled = None;
        } else if self.unsettled == Some(look.digest) {
            self.decide(look).await;
        } else {
            self.unsettled = Some(look.digest);
        }
    }

    async fn decide(&mut self, look: Look) {
        self.decided = Some(look.digest);
        self.unsettled = None;
        let check = Arc::clone(&self.check);
        let checked = match look.found {
            Ok(directory) => {
                let checked = tokio::task::spawn_blocking(move || check(directory)).await;
                checked.map_or_else(|error| Err(error.to_string()), |checked| checked.map_err(|e| format!("{e:#}")))
            }
            Err(reason) => Err(reason),
        };
        match checked {
            Ok(directory) => {
                let changed = self.sender.send_if_modified(|current| {
                    let changed = **current != directory;
                    if changed {
                        *current = Arc::new(directory);
                    }
                    changed
                });
                accepted(changed);
            }
            Err(reason) => refused(&reason),
        }
    }
}

fn look(path: &std::path::Path) -> Look {
    let found = Directory::load(Some(path)).map_err(|error| error.to_string());
    let mut hasher = DefaultHasher::new();
    found.hash(&mut hasher);
    Look { digest: hasher.finish(), found }
}

/// The directory is right, and says something new if `changed`.
fn accepted(changed: bool) {
    metrics::gauge!("atalaya_configuration_refused").set(0.0);
    if changed {
        metrics::counter!("atalaya_configuration_changes_total").increment(1);
        tracing::info!("the configuration has changed; it is right as a whole and takes effect");
    }
}

/// The directory is wrong; the process goes on with what it said before.
fn refused(reason: &str) {
    metrics::gauge!("atalaya_configuration_refused").set(1.0);
    metrics::counter!("atalaya_alarms_total", "service" => "configuration").increment(1);
    tracing::error!(reason, "the configuration has changed and is wrong: the old one stays in force");
}

#[cfg(test)]
mod tests;
