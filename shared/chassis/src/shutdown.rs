//! The one signal that asks a process, or a part of it, to drain; and what else every part of a process is told.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Directory;
use crate::health::Health;

/// Asks for the drain.
#[derive(Debug)]
pub struct Trigger(CancellationToken);

/// Hears when the drain is asked for, holds the process's health, and hands changed configurations on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    health: Health,
    configuration: Option<watch::Receiver<Arc<Directory>>>,
}

/// Configurations that take another's place while the process runs.
#[derive(Debug)]
pub struct Changes(Option<watch::Receiver<Arc<Directory>>>);

impl Trigger {
    /// Asks everybody who holds the other end to drain.
    pub fn request(&self) {
        self.0.cancel();
    }
}

/// A trigger that is gone asks too: nobody waits for a signal that cannot come.
impl Drop for Trigger {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Shutdown {
    /// A new pair.
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let token = CancellationToken::new();
        let shutdown = Self { token: token.clone(), health: Health::default(), configuration: None };
        (Trigger(token), shutdown)
    }

    /// The same, with configurations that change: what [`crate::config::Watcher::new`] returns.
    #[must_use]
    pub fn with_configuration(mut self, configuration: watch::Receiver<Arc<Directory>>) -> Self {
        self.configuration = Some(configuration);
        self
    }

    /// What the process says of itself: components set checks and heartbeats there.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Configurations that were taken after the one the process started with; each was checked as a whole.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.configuration.clone())
    }

    /// Waits until the drain is asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether the drain was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The future's output, or none if the drain is asked for first.
    pub async fn unless_requested<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }
}

impl Changes {
    /// The next one, the newest if there were several; waits for ever where nothing changes. Cancel-safe.
    pub async fn next(&mut self) -> Arc<Directory> {
        let Some(changes) = &mut self.0 else { return std::future::pending().await };
        if changes.changed().await.is_err() {
            // Nobody watches any more.
            return std::future::pending().await;
        }
        Arc::clone(&changes.borrow_and_update())
    }
}

/// Waits for SIGINT or SIGTERM.
///
/// # Errors
/// If the signals cannot be listened to.
pub async fn signalled() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_or_a_lost_trigger_ends_the_wait() {
        let (trigger, shutdown) = Shutdown::new();
        assert_eq!(shutdown.unless_requested(async { 7 }).await, Some(7));
        trigger.request();
        assert_eq!(shutdown.unless_requested(std::future::pending::<()>()).await, None);
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
