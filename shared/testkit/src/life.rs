//! One life of a process, and what goes wrong in it, by seed.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

/// How often what goes wrong, each between 0 (never) and 1 (always).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// What was asked for is done, but the answer is lost.
    pub lose_answer: f64,
    /// What was asked for is not done, and there is no answer.
    pub lose_request: f64,
    /// A stream says it is full, and is not.
    pub full: f64,
    /// A read fails.
    pub fail_read: f64,
    /// A call is late by up to `max_delay`.
    pub delay: f64,
    /// Longest delay.
    pub max_delay: Duration,
    /// The process dies, before or after the call has its effect.
    pub crash: f64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        lose_answer: 0.0,
        lose_request: 0.0,
        full: 0.0,
        fail_read: 0.0,
        delay: 0.0,
        max_delay: Duration::ZERO,
        crash: 0.0,
    };

    /// Everything goes wrong now and then.
    pub const ROUGH: Self = Self {
        lose_answer: 0.08,
        lose_request: 0.05,
        full: 0.05,
        fail_read: 0.01,
        delay: 0.1,
        max_delay: Duration::from_millis(3),
        crash: 0.02,
    };
}

/// One life of a process. The same seed draws the same fates: the n-th call of a kind on a key always meets the same
/// one, however the calls of other kinds and keys fall in between.
#[derive(Debug)]
pub struct Life {
    seed: u64,
    faults: Mutex<Faults>,
    calls: Mutex<HashMap<(&'static str, String), u64>>,
    dead: watch::Sender<bool>,
}

impl Life {
    /// A life with these faults.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let (faults, calls) = (Mutex::new(faults), Mutex::default());
        Arc::new(Self { seed, faults, calls, dead: watch::Sender::new(false) })
    }

    /// Dies here and now: every call in this life, also those under way, hangs from now on.
    pub fn crash(&self) {
        self.dead.send_replace(true);
    }

    /// Whether it died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// From now on nothing goes wrong any more. False if it died before.
    #[must_use]
    pub fn heal(&self) -> bool {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *faults = Faults::NONE;
        !self.is_dead()
    }

    /// How often what goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it dies.
    pub async fn died(&self) {
        // Fails only if the sender is gone, and that is ours.
        let _ = self.dead.subscribe().wait_for(|&dead| dead).await;
    }

    /// Runs until the process is done, or dies: then what ran is dropped where it stands, and there is nothing.
    pub async fn run<F: Future>(&self, process: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.died() => None,
            output = process => Some(output),
        }
    }

    /// A point where the process may be late, or die: then this never returns.
    pub async fn point(&self, call: &'static str, key: &str) {
        let faults = self.faults();
        let mut fate = self.fate(call, key);
        if fate.random_bool(faults.delay) {
            tokio::time::sleep(faults.max_delay.mul_f64(fate.random())).await;
        }
        if fate.random_bool(faults.crash) {
            self.crash_unless_healed();
        }
        self.live().await;
    }

    /// Draws whether something happens.
    #[must_use]
    pub fn happens(&self, probability: f64, call: &'static str, key: &str) -> bool {
        probability > 0.0 && self.fate(call, key).random_bool(probability)
    }

    /// A call that drew its death before the life was healed, and was late, must not die after it.
    fn crash_unless_healed(&self) {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.crash > 0.0 {
            self.crash();
        }
    }

    /// Returns in life, and never in death.
    async fn live(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    fn fate(&self, call: &'static str, key: &str) -> SmallRng {
        let count = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let count = calls.entry((call, key.to_owned())).or_default();
            *count += 1;
            *count
        };
        let mut hasher = DefaultHasher::new();
        (self.seed, call, key, count).hash(&mut hasher);
        SmallRng::seed_from_u64(hasher.finish())
    }
}
