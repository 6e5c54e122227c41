//! Liveness, readiness and metrics over HTTP: `/live`, `/ready`, `/metrics`.
//!
//! Ready means that the process was started and every named check passes. Alive means that every main loop has turned
//! within the limit that it set itself; a process that is not should be started again. Both say why not.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::telemetry::Metrics;
use crate::{Shutdown, door};

/// Why a check fails before it was made the first time.
const UNCHECKED: &str = "not checked yet";

/// Section `health`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of `/live`, `/ready` and `/metrics`.
    pub listen: String,
    /// Whether the address may lie beyond loopback, where everybody who reaches it reads states and metrics in plain
    /// text: Kubernetes' probes need it. They hold no secret and no tenant's rows.
    pub allow_plain: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7490".to_owned(), allow_plain: false }
    }
}

impl Config {
    /// Checks that the address may be listened on.
    ///
    /// # Errors
    /// If it cannot be resolved, or lies beyond loopback and `allow_plain` is not set.
    pub fn validate(&self) -> anyhow::Result<()> {
        let reached = door::beyond_loopback("health", &self.listen)?;
        ensure!(
            self.allow_plain || reached.is_none(),
            "health.listen: {} is reached from beyond loopback: set health.allow_plain to true if everybody there may \
             read states and metrics, or listen on 127.0.0.1",
            self.listen
        );
        Ok(())
    }
}

/// Binds the listener.
///
/// # Errors
/// As [`Config::validate`], or if the address is taken.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    config.validate()?;
    TcpListener::bind(&config.listen).await.with_context(|| format!("health.listen: {}", config.listen))
}

/// What the process says of itself. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    ready: AtomicBool,
    next: AtomicU64,
    /// Why each check fails, by name and number; none while it passes.
    checks: Mutex<BTreeMap<(String, u64), Option<String>>>,
    loops: Mutex<BTreeMap<(String, u64), Turn>>,
}

/// When a loop turned last, and how long a turn may take.
struct Turn {
    at: Instant,
    limit: Duration,
}

/// A condition of readiness; gone when it is dropped.
pub struct Check {
    health: Health,
    key: (String, u64),
}

/// A main loop's sign of life; gone when it is dropped, so that a loop that ended in order is not missed.
pub struct Heartbeat {
    health: Health,
    key: (String, u64),
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("not_ready", &self.not_ready()).field("stalled", &self.stalled()).finish()
    }
}

impl Health {
    /// Says whether the process has started and does not drain.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Release);
    }

    /// A condition of readiness. It fails until it is said to pass.
    #[must_use]
    pub fn check(&self, name: &str) -> Check {
        let key = self.key(name);
        lock(&self.0.checks).insert(key.clone(), Some(UNCHECKED.to_owned()));
        Check { health: self.clone(), key }
    }

    /// A main loop that is to turn at least once within `limit`.
    #[must_use]
    pub fn heartbeat(&self, name: &str, limit: Duration) -> Heartbeat {
        let key = self.key(name);
        lock(&self.0.loops).insert(key.clone(), Turn { at: Instant::now(), limit });
        Heartbeat { health: self.clone(), key }
    }

    /// Makes a check of an answer: asks `every` so often, and takes an error or no answer within `limit` for a failure.
    /// Ends with the drain.
    pub async fn probe<F, E>(
        self,
        name: &str,
        every: Duration,
        limit: Duration,
        mut ask: impl FnMut() -> F,
        shutdown: Shutdown,
    ) where
        F: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        let check = self.check(name);
        while let Some(answer) = shutdown.unless_requested(tokio::time::timeout(limit, ask())).await {
            match answer {
                Ok(Ok(())) => check.pass(),
                Ok(Err(error)) => check.fail(&error),
                Err(_) => check.fail(&format_args!("no answer within {limit:?}")),
            }
            shutdown.unless_requested(tokio::time::sleep(every)).await;
        }
    }

    /// Why the process is not ready, a line each; empty if it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let checks = lock(&self.0.checks);
        let failing = checks.iter().filter_map(|((name, _), failure)| Some(format!("{name}: {}", failure.as_ref()?)));
        let starting = (!self.0.ready.load(Ordering::Acquire)).then(|| "process: starting or draining".to_owned());
        starting.into_iter().chain(failing).collect()
    }

    /// Loops that have not turned within their limit, a line each.
    #[must_use]
    pub fn stalled(&self) -> Vec<String> {
        let loops = lock(&self.0.loops);
        let late = loops.iter().filter(|(_, turn)| turn.at.elapsed() > turn.limit);
        late.map(|((name, _), turn)| {
            format!("{name}: no turn for {} ms, {} at most", turn.at.elapsed().as_millis(), turn.limit.as_millis())
        })
        .collect()
    }

    fn key(&self, name: &str) -> (String, u64) {
        (name.to_owned(), self.0.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Check {
    /// It holds.
    pub fn pass(&self) {
        self.set(None);
    }

    /// It does not hold. The reason is shown to whoever reaches the health port: no secrets in it.
    pub fn fail(&self, reason: &dyn fmt::Display) {
        self.set(Some(reason.to_string()));
    }

    fn set(&self, failure: Option<String>) {
        let changed = {
            let mut checks = lock(&self.health.0.checks);
            let before = checks.insert(self.key.clone(), failure.clone()).flatten();
            before.is_some() != failure.is_some()
        };
        let name = self.key.0.as_str();
        match failure {
            Some(reason) if changed => tracing::warn!(check = name, reason, "not ready"),
            None if changed => tracing::info!(check = name, "ready"),
            _ => {}
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        lock(&self.health.0.checks).remove(&self.key);
    }
}

impl Heartbeat {
    /// The loop turns.
    pub fn beat(&self) {
        if let Some(turn) = lock(&self.health.0.loops).get_mut(&self.key) {
            turn.at = Instant::now();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        lock(&self.health.0.loops).remove(&self.key);
    }
}

/// What is locked is changed in one step: a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: Option<Metrics>,
}

/// Answers until the drain is asked for.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Option<Metrics>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(Shared { health, metrics });
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.requested().await }).await
}

async fn live(State(shared): State<Shared>) -> (StatusCode, String) {
    answer("alive", "stalled", &shared.health.stalled())
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    answer("ready", "not ready", &shared.health.not_ready())
}

fn answer(good: &str, bad: &str, reasons: &[String]) -> (StatusCode, String) {
    if reasons.is_empty() {
        return (StatusCode::OK, format!("{good}\n"));
    }
    let mut text = format!("{bad}\n");
    for reason in reasons {
        let _ = writeln!(text, "{reason}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn render(State(shared): State<Shared>) -> String {
    shared.metrics.map(|metrics| metrics.render()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
