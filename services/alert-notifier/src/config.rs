//! What the notifier is told: section `alert_notifier`, and the routes of the tenants' files.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::LeaseMs;
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_model::{Level, ParseSpanError, Receiver, Route, Tenant};
use serde::Deserialize;

use crate::delivery::smtp;
use crate::retry::Retry;
use crate::routes::Routes;

/// The longest time a receiver may take to answer, milliseconds.
pub(crate) const MAX_ATTEMPT_TIMEOUT_MS: u64 = 60_000;

/// Section `alert_notifier` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of the bus; set from the section of that name.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// Routes of the tenants' files.
    #[serde(skip)]
    pub tenants: HashMap<Tenant, Vec<Route>>,
    /// Routes of tenants that have none; empty to silence them.
    pub default_routes: Vec<Route>,
    /// Attempts at a message at most.
    pub max_attempts: u32,
    /// Age of a message at most, milliseconds; then it is undeliverable.
    pub max_age_ms: u64,
    /// Wait after the first failed attempt, milliseconds; it doubles with each.
    pub retry_base_ms: u64,
    /// Longest wait between attempts, milliseconds.
    pub retry_cap_ms: u64,
    /// How long a webhook may take to answer, milliseconds; a mail's route says it itself.
    pub attempt_timeout_ms: u64,
    /// How long a partition stays with a notifier that no longer answers, milliseconds.
    pub lease_ms: LeaseMs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: String::new(),
            nats: NatsOptions::default(),
            tenants: HashMap::new(),
            default_routes: vec![stdout_route()],
            max_attempts: 12,
            max_age_ms: 3_600_000,
            retry_base_ms: 1_000,
            retry_cap_ms: 300_000,
            attempt_timeout_ms: 10_000,
            lease_ms: LeaseMs::default(),
        }
    }
}

/// Everything to the standard output, at once.
fn stdout_route() -> Route {
    Route {
        name: "stdout".to_owned(),
        min_level: Level::Informational,
        rules: Vec::new(),
        group_wait: "0s".to_owned(),
        repeat_interval: "4h".to_owned(),
        receiver: Receiver::Stdout {},
    }
}

impl Config {
    /// Checks what the shape alone cannot.
    ///
    /// # Errors
    /// If a limit is out of its range, a span of a route cannot be read, or a mail could not be sent as it says.
    pub fn validate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.max_attempts > 0, "alert_notifier.max_attempts must be at least 1");
        anyhow::ensure!(self.retry_base_ms > 0, "alert_notifier.retry_base_ms must be at least 1");
        anyhow::ensure!(
            (1..=MAX_ATTEMPT_TIMEOUT_MS).contains(&self.attempt_timeout_ms),
            "alert_notifier.attempt_timeout_ms must be 1 to {MAX_ATTEMPT_TIMEOUT_MS}"
        );
        self.routes()?;
        check_mails("alert_notifier.default_routes", &self.default_routes)?;
        self.tenants.iter().try_for_each(|(tenant, routes)| check_mails(&format!("tenant {tenant}"), routes))
    }

    pub(crate) fn routes(&self) -> Result<Routes, ParseSpanError> {
        Routes::new(&self.tenants, &self.default_routes)
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry {
            max_attempts: self.max_attempts,
            max_age_us: micros(self.max_age_ms),
            base_us: micros(self.retry_base_ms),
            cap_us: micros(self.retry_cap_ms),
        }
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms)
    }
}

fn check_mails(whose: &str, routes: &[Route]) -> anyhow::Result<()> {
    for route in routes {
        if let Receiver::Smtp(receiver) = &route.receiver {
            smtp::check(receiver).with_context(|| format!("{whose}: route '{}': smtp", route.name))?;
        }
    }
    Ok(())
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)
}
