//! The connection: requests that end, one way or the other.
//!
//! The client sends again nothing by itself and forgets no request that is never answered. So a request waits for the
//! connection before it is sent, ends when the connection is lost, and a client that has seen too much of that is
//! replaced by a new one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, Request, ServerAddr};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::options::Options;
use crate::{BucketError, BusError};

/// Pause between two looks whether the connection is there again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Pause before a first connection is tried again.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How often a question that changes nothing is asked at most, and the pause in between, times the tries so far.
const TRIES: u32 = 4;
const TRY_PAUSE: Duration = Duration::from_millis(200);

/// Requests without an answer after which a client is replaced.
const MAX_UNANSWERED: u32 = 10_000;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It may or may not have been carried out.
    #[error("{0}")]
    Unanswered(String),
    /// The server's own error.
    #[error("{text} ({code})")]
    Refused {
        /// The server's number for it.
        code: u64,
        /// Its words.
        text: String,
    },
    /// Never sent.
    #[error("{0}")]
    TooLarge(String),
}

impl Fault {
    /// The server's number for it; 0 if it did not say.
    pub(super) fn code(&self) -> u64 {
        match self {
            Self::Refused { code, .. } => *code,
            _ => 0,
        }
    }
}

impl From<Fault> for BusError {
    fn from(fault: Fault) -> Self {
        Self::Io(fault.to_string())
    }
}

impl From<Fault> for BucketError {
    fn from(fault: Fault) -> Self {
        Self::Io(fault.to_string())
    }
}

/// One client and what it went through.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    /// How often the connection was lost.
    losses: watch::Receiver<u64>,
    unanswered: AtomicU32,
    worn: Arc<Outages>,
}

/// When the connection was lost, and whether it ever was for long.
struct Outages {
    /// What is long.
    long_outage: Duration,
    since: Mutex<Option<Instant>>,
    long: AtomicU32,
}

/// The way to the servers.
pub(super) struct Link {
    servers: Vec<ServerAddr>,
    pub(super) options: Options,
    session: RwLock<Arc<Session>>,
    renewing: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    async fn connect(servers: &[ServerAddr], options: &Options) -> Result<Self, ConnectFault> {
        let (lost, losses) = watch::channel(0);
        let (lost, worn) = (Arc::new(lost), Arc::new(Outages::new(options)));
        let outages = Arc::clone(&worn);
        let note = move |event| {
            let (lost, outages) = (Arc::clone(&lost), Arc::clone(&outages));
            async move { outages.note(&event, &lost) }
        };
        let client = options.client().await.map_err(ConnectFault::Final)?.event_callback(note);
        let client = client.connect(servers).await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                ConnectFault::Final(BusError::Io(format!("NATS refuses us: {}", error.kind())))
            }
            ConnectErrorKind::Tls => ConnectFault::Final(BusError::Io(format!("NATS over TLS: {error}"))),
            _ => ConnectFault::Unreachable(error.to_string()),
        })?;
        let jetstream = ContextBuilder::new().timeout(options.answer()).build(client.clone());
        Ok(Self { client, jetstream, losses, unanswered: AtomicU32::new(0), worn })
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn is_worn(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) > MAX_UNANSWERED || self.worn.long.load(Ordering::Relaxed) > 0
    }

    /// Changes whenever the connection is lost from now on.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        let mut losses = self.losses.clone();
        losses.mark_unchanged();
        losses
    }
}

enum ConnectFault {
    /// Trying again is of use.
    Unreachable(String),
    /// It is not.
    Final(BusError),
}

impl Outages {
    fn new(options: &Options) -> Self {
        let long_outage = Duration::from_secs(options.long_outage_seconds.into());
        Self { long_outage, since: Mutex::new(None), long: AtomicU32::new(0) }
    }

    fn note(&self, event: &Event, lost: &watch::Sender<u64>) {
        match event {
            Event::Disconnected => {
                *locked(&self.since) = Some(Instant::now());
                lost.send_modify(|count| *count += 1);
                tracing::warn!("the connection to NATS is lost");
            }
            Event::Connected => {
                if let Some(since) = locked(&self.since).take() {
                    let outage = since.elapsed();
                    self.long.fetch_add(u32::from(outage > self.long_outage), Ordering::Relaxed);
                    tracing::info!(outage_ms = outage.as_millis(), "connected to NATS again");
                }
            }
            Event::SlowConsumer(_) => tracing::warn!("messages of NATS came faster than they were read: read again"),
            Event::ServerError(error) => tracing::warn!(%error, "NATS"),
            Event::LameDuckMode => tracing::info!("the NATS server is about to end"),
            Event::ClientError(error) => tracing::debug!(%error, "NATS"),
            Event::Draining | Event::Closed => {}
        }
    }
}

/// Counts a request that ends without an answer, also where whoever asked no longer waits.
struct Waiting<'a>(Option<&'a Session>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Link {
    /// Connects, trying again for as long as the options say.
    pub(super) async fn connect(servers: Vec<ServerAddr>, options: Options) -> Result<Self, BusError> {
        // A client of TLS needs a provider; who runs us may have chosen one.
        let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
        let start = Instant::now();
        let session = loop {
            match Session::connect(&servers, &options).await {
                Ok(session) => break session,
                Err(ConnectFault::Final(error)) => return Err(error),
                Err(ConnectFault::Unreachable(reason)) if start.elapsed() >= options.first_connect() => {
                    let names: Vec<_> = servers.iter().map(ServerAddr::as_url_str).collect();
                    return Err(BusError::Io(format!("no NATS server at {}: {reason}", names.join(", "))));
                }
                Err(ConnectFault::Unreachable(_)) => tokio::time::sleep(CONNECT_PAUSE).await,
            }
        };
        let (session, renewing) = (RwLock::new(Arc::new(session)), tokio::sync::Mutex::new(()));
        Ok(Self { servers, options, session, renewing })
    }

    pub(super) fn current(&self) -> Arc<Session> {
        Arc::clone(&self.session.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A client that is connected; waits for it, but not longer than for an answer.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Fault> {
        let start = Instant::now();
        loop {
            let session = self.current();
            if session.is_connected() {
                return Ok(if session.is_worn() { self.renew(session).await } else { session });
            }
            if start.elapsed() >= self.options.answer() {
                return Err(Fault::Unanswered("no connection to NATS".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A new client for a worn one; the old one if that fails, or if somebody else is at it.
    async fn renew(&self, worn: Arc<Session>) -> Arc<Session> {
        let Ok(_renewing) = self.renewing.try_lock() else { return worn };
        let current = self.current();
        if !Arc::ptr_eq(&current, &worn) {
            return current;
        }
        let connected = Session::connect(&self.servers, &self.options);
        match tokio::time::timeout(self.options.answer(), connected).await {
            Ok(Ok(session)) => {
                let session = Arc::new(session);
                *self.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&session);
                session
            }
            _ => worn,
        }
    }

    /// Asks once.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<async_nats::Message, Fault> {
        let session = self.session().await?;
        let mut losses = session.losses();
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let mut waiting = Waiting(Some(&session));
        let answer = tokio::time::timeout(self.options.answer(), session.client.send_request(subject, request));
        let answer = tokio::select! {
            answer = answer => answer.map_err(|_| Fault::Unanswered("no answer from NATS in time".to_owned()))?,
            _ = losses.changed() => return Err(Fault::Unanswered("the connection to NATS was lost".to_owned())),
        };
        waiting.0 = None;
        answer.map_err(|error| match error.kind() {
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                Fault::TooLarge(error.to_string())
            }
            RequestErrorKind::NoResponders => Fault::Unanswered("nobody in NATS answers for this stream".to_owned()),
            _ => Fault::Unanswered(error.to_string()),
        })
    }

    /// Asks JetStream something that may be asked twice, again and again for a while.
    pub(super) async fn ask<T: DeserializeOwned>(&self, subject: &str, question: &impl Serialize) -> Result<T, Fault> {
        let question = serde_json::to_vec(question).map_err(|error| Fault::TooLarge(error.to_string()))?;
        let question = Bytes::from(question);
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.request(format!("$JS.API.{subject}"), None, question.clone()).await;
            match answer.and_then(|answer| decode(&answer.payload)) {
                Err(Fault::Unanswered(_)) if tries < TRIES => tokio::time::sleep(TRY_PAUSE * tries).await,
                answer => return answer,
            }
        }
    }
}

/// The server's number for "no leader now" and the like: to be asked again.
const UNAVAILABLE: u64 = 10_008;

/// Reads an answer of JetStream.
pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Fault> {
    #[derive(Deserialize)]
    struct Failed {
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    let unreadable = |error: serde_json::Error| Fault::Unanswered(format!("an answer that is no JetStream's: {error}"));
    match serde_json::from_slice::<Failed>(payload).map_err(unreadable)?.error {
        Some(error) if error.err_code == UNAVAILABLE => Err(Fault::Unanswered(error.description)),
        Some(error) => Err(Fault::Refused { code: error.err_code, text: error.description }),
        None => serde_json::from_slice(payload).map_err(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use atalaya_servers::{NatsOptions, NatsServer};

    use super::*;

    #[tokio::test]
    async fn a_client_is_replaced_after_a_long_outage() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = NatsServer::start(directory.path(), &NatsOptions::default()).unwrap();
        for (long_outage_seconds, replaced) in [(60, false), (0, true)] {
            let options = Options { long_outage_seconds, ..Options::default() };
            let (servers, options) = options.with_url(&server.url()).unwrap();
            let link = Link::connect(servers, options).await.unwrap();
            let before = link.session().await.ok().unwrap();
            server.kill();
            server.restart().unwrap();
            // What is asked while the connection is being lost may go unanswered.
            while link.ask::<serde_json::Value>("INFO", &()).await.is_err() || *before.losses.borrow() == 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let _: serde_json::Value = link.ask("INFO", &()).await.unwrap();
            assert_eq!(!Arc::ptr_eq(&before, &link.current()), replaced);
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let code = |text: &str| decode::<serde_json::Value>(text.as_bytes()).map_err(|fault| fault.code());
        assert!(code(r#"{"stream":"RAW","seq":5}"#).is_ok());
        let refused = r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"seq":0}"#;
        assert_eq!(code(refused), Err(10_071));
        assert_eq!(code(r#"{"error":{"code":503,"err_code":10008,"description":"unavailable"}}"#), Err(0));
        assert_eq!(code("hello"), Err(0));
    }
}
