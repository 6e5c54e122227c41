//! The one signal that asks a process, or a part of it, to drain.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Asks for the drain.
#[derive(Debug)]
pub struct Trigger(CancellationToken);

/// Hears when the drain is asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

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
        (Trigger(token.clone()), Self(token))
    }

    /// Waits until the drain is asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether the drain was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// The future's output, or none if the drain is asked for first.
    pub async fn unless_requested<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.run_until_cancelled(future).await
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
