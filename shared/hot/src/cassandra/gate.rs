//! How many requests are under way: fewer when the nodes say that it is too much, more again while all goes well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests under way at least, however overloaded the nodes are.
const MIN_IN_FLIGHT: usize = 2;

/// What one overload sets off at once counts as one.
const ONE_OVERLOAD: Duration = Duration::from_millis(100);

/// Lets so many requests through at once.
pub(super) struct Gate {
    semaphore: Semaphore,
    state: Mutex<State>,
    backoffs: AtomicU64,
}

struct State {
    /// Requests that may be under way.
    limit: usize,
    /// Permits there are; more than the limit until they come back.
    permits: usize,
    /// Never more than this.
    most: usize,
    answered: usize,
    lowered: Option<Instant>,
}

/// The right to one request.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// A gate that lets `most` requests through at once.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(MIN_IN_FLIGHT);
        let state = State { limit: most, permits: most, most, answered: 0, lowered: None };
        Self { semaphore: Semaphore::new(most), state: Mutex::new(state), backoffs: AtomicU64::new(0) }
    }

    /// Waits for the right to a request.
    pub(super) async fn pass(&self) -> Pass<'_> {
        // The semaphore is never closed.
        Pass { gate: self, permit: self.semaphore.acquire().await.ok() }
    }

    /// Sets how many requests there may be at most: nodes come and go.
    pub(super) fn set_most(&self, most: usize) {
        let mut state = self.state();
        let most = most.max(MIN_IN_FLIGHT);
        if most == state.most {
            return;
        }
        let full = state.limit == state.most;
        state.most = most;
        state.limit = if full { most } else { state.limit.min(most) };
        self.grow(&mut state);
    }

    /// A request was answered: after as many as may be under way, there may be one more.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.answered += 1;
        if state.answered >= state.limit {
            state.answered = 0;
            state.limit = (state.limit + 1).min(state.most);
            self.grow(&mut state);
        }
    }

    /// A node was overloaded, or did not answer in time: half as many from now on.
    pub(super) fn overloaded(&self) {
        let mut state = self.state();
        if state.lowered.is_some_and(|lowered| lowered.elapsed() < ONE_OVERLOAD) {
            return;
        }
        state.lowered = Some(Instant::now());
        state.answered = 0;
        state.limit = (state.limit / 2).max(MIN_IN_FLIGHT);
        drop(state);
        self.backoffs.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that may be under way now.
    pub(super) fn limit(&self) -> usize {
        self.state().limit
    }

    /// How often the limit was lowered.
    pub(super) fn backoffs(&self) -> u64 {
        self.backoffs.load(Ordering::Relaxed)
    }

    fn grow(&self, state: &mut State) {
        if state.permits < state.limit {
            self.semaphore.add_permits(state.limit - state.permits);
            state.permits = state.limit;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if state.permits > state.limit
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.permits -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes that can be had at once.
    async fn width(gate: &Gate) -> usize {
        let mut held = Vec::new();
        while let Ok(pass) = tokio::time::timeout(Duration::from_millis(5), gate.pass()).await {
            held.push(pass);
        }
        held.len()
    }

    #[tokio::test]
    async fn overload_halves_and_answers_widen() {
        let gate = Gate::new(16);
        assert_eq!(width(&gate).await, 16);
        gate.overloaded();
        gate.overloaded();
        assert_eq!((gate.limit(), gate.backoffs()), (8, 1), "what comes at once counts once");
        assert_eq!(width(&gate).await, 16, "permits go as they come back");
        assert_eq!(width(&gate).await, 8);
        (0..8).for_each(|_| gate.answered());
        assert_eq!(width(&gate).await, 9);
        (0..10_000).for_each(|_| gate.answered());
        assert_eq!(width(&gate).await, 16);
    }

    #[tokio::test]
    async fn nodes_come_and_go() {
        let gate = Gate::new(4);
        gate.set_most(8);
        assert_eq!(width(&gate).await, 8);
        gate.set_most(3);
        width(&gate).await;
        assert_eq!(width(&gate).await, 3);
        gate.set_most(0);
        width(&gate).await;
        assert_eq!(width(&gate).await, MIN_IN_FLIGHT);
    }
}
