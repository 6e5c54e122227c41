//! Attempts at delivery: an HTTP POST with a signed body, a mail, or a line on the standard output.
//!
//! Every attempt is a task of its own, a few at a time for each receiver, so that a dead receiver delays no other.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use atalaya_model::{NotificationId, Receiver, SecretRef};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use ring::hmac;
use tokio::task::JoinSet;

use crate::grouping::{Attempt, Outcome};

pub(crate) mod smtp;

/// Attempts at one receiver at the same time.
pub const MAX_IN_FLIGHT_PER_RECEIVER: usize = 4;

/// Bytes of a secret at most.
const MAX_SECRET_BYTES: u64 = 4_096;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("atalaya/", env!("CARGO_PKG_VERSION"));

/// Name of the header with the notification's id.
pub const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";
/// Name of the header with `v1=<hmac-sha256 of "timestamp.body", hexadecimal>`.
pub const SIGNATURE_HEADER: &str = "X-Atalaya-Signature";
/// Name of the header with the time of the attempt, seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "X-Atalaya-Timestamp";

/// What attempts are made with; shared by all partitions.
#[derive(Clone)]
pub struct Senders {
    client: reqwest::Client,
    stdout: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Senders {
    /// Senders that give an attempt up after `timeout`.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub fn new(stdout: Box<dyn Write + Send>, timeout: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .build()
            .context("http client for webhooks")?;
        Ok(Self { client, stdout: Arc::new(Mutex::new(stdout)) })
    }

    async fn send(self, attempt: Attempt, now_us: i64) -> (Attempt, Outcome) {
        let outcome = match &attempt.receiver {
            Receiver::Stdout {} => self.print(attempt.payload.clone()).await,
            Receiver::Webhook { url, secret } => {
                self.post(url, secret, attempt.id, attempt.payload.clone(), now_us).await.unwrap_or_else(failed)
            }
            Receiver::Smtp(receiver) => smtp::send(receiver, attempt.id, &attempt.payload).await,
        };
        (attempt, outcome)
    }

    async fn print(self, mut line: String) -> Outcome {
        line.push('\n');
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
            stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
        });
        match written.await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(error)) => failed(anyhow::Error::new(error).context("standard output")),
            Err(error) => failed(error.into()),
        }
    }

    async fn post(
        &self,
        url: &str,
        secret: &SecretRef,
        id: NotificationId,
        body: String,
        now_us: i64,
    ) -> anyhow::Result<Outcome> {
        let secret = resolve(secret).await?;
        let timestamp = (now_us / 1_000_000).to_string();
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_HEADER, id.to_string())
            .header(SIGNATURE_HEADER, signature(&secret, &timestamp, &body))
            .header(TIMESTAMP_HEADER, timestamp)
            .body(body);
        let response = request.send().await.map_err(reqwest::Error::without_url).context("webhook")?;
        let (status, wish) = (response.status(), retry_after_us(response.headers(), now_us));
        Ok(match status {
            status if status.is_success() => Outcome::Delivered,
            StatusCode::GONE => Outcome::Refused { reason: "webhook: the receiver is gone (410)".to_owned() },
            status => Outcome::Failed { reason: format!("webhook: answered {status}"), retry_after_us: wish },
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the end of an error")]
fn failed(error: anyhow::Error) -> Outcome {
    Outcome::Failed { reason: format!("{error:#}"), retry_after_us: None }
}

/// The secret behind a reference; read for every attempt, so that it can be changed.
async fn resolve(secret: &SecretRef) -> anyhow::Result<Vec<u8>> {
    read(secret, MAX_SECRET_BYTES).await
}

async fn read(secret: &SecretRef, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
    match secret {
        SecretRef::Env(name) => {
            let value = std::env::var(name).with_context(|| format!("secret env:{name}"))?;
            Ok(value.into_bytes())
        }
        SecretRef::File(path) => {
            let place = || format!("secret file:{}", path.display());
            let bytes = tokio::fs::metadata(path).await.with_context(place)?.len();
            anyhow::ensure!(bytes <= max_bytes, "{}: more than {max_bytes} bytes", place());
            let mut secret = tokio::fs::read(path).await.with_context(place)?;
            while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                secret.pop();
            }
            Ok(secret)
        }
    }
}

fn signature(secret: &[u8], timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body.as_bytes());
    let tag = context.sign();
    tag.as_ref().iter().fold("v1=".to_owned(), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How long the receiver wants to be left alone: seconds, or a date.
fn retry_after_us(headers: &HeaderMap, now_us: i64) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * 1_000_000);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some((date.timestamp().as_microsecond() - now_us).max(0))
}

/// The attempts under way of one partition.
pub struct Deliveries {
    senders: Senders,
    tasks: JoinSet<(Attempt, Outcome)>,
    in_flight: HashMap<Receiver, usize>,
}

impl Deliveries {
    /// No attempts yet.
    #[must_use]
    pub fn new(senders: Senders) -> Self {
        Self { senders, tasks: JoinSet::new(), in_flight: HashMap::new() }
    }

    /// Whether a receiver may be tried now; if so, its place is taken, and [`Self::begin`] is to follow.
    pub fn take_place(&mut self, receiver: &Receiver) -> bool {
        let count = self.in_flight.entry(receiver.clone()).or_default();
        let free = *count < MAX_IN_FLIGHT_PER_RECEIVER;
        *count += usize::from(free);
        free
    }

    /// Begins an attempt.
    pub fn begin(&mut self, attempt: Attempt, now_us: i64) {
        self.tasks.spawn(self.senders.clone().send(attempt, now_us));
    }

    /// The next attempt that ended; waits for it, for ever if there is none. Cancel-safe.
    pub async fn next(&mut self) -> Result<(Attempt, Outcome), tokio::task::JoinError> {
        match self.tasks.join_next().await {
            Some(ended) => self.note(ended),
            None => std::future::pending().await,
        }
    }

    /// The next attempt that ended already.
    pub fn try_next(&mut self) -> Option<Result<(Attempt, Outcome), tokio::task::JoinError>> {
        self.tasks.try_join_next().map(|ended| self.note(ended))
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn note(
        &mut self,
        ended: Result<(Attempt, Outcome), tokio::task::JoinError>,
    ) -> Result<(Attempt, Outcome), tokio::task::JoinError> {
        if let Ok((attempt, _)) = &ended
            && let Some(count) = self.in_flight.get_mut(&attempt.receiver)
        {
            *count = count.saturating_sub(1);
        }
        ended
    }
}

#[cfg(test)]
mod tests;
