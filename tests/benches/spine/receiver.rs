//! A customer's receiver: an HTTP server that takes webhooks, and notes what arrived when.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use crate::paced::{Heard, RULE, now_us};

/// The variable with the key that signs what is sent here, and the key.
pub const SECRET: (&str, &str) = ("BENCH_WEBHOOK_SECRET", "signed by the bench");

/// A receiver that runs as long as the bench.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

impl Receiver {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self { address: listener.local_addr()?, heard: Arc::default() };
        let router = Router::new().route("/alerts", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(receiver)
    }

    /// What the notifier is told: every marked alert goes here at once, and nothing else goes anywhere.
    pub fn variables(&self) -> Vec<(String, String)> {
        let (name, secret) = SECRET;
        let receiver = format!("{{webhook: {{url: 'http://{}/alerts', secret: 'env:{name}'}}}}", self.address);
        let routes = format!("[{{name: bench, rules: ['{RULE}'], receiver: {receiver}}}]");
        let variables = [("ATALAYA_ALERT_NOTIFIER_DEFAULT_ROUTES", routes), (name, secret.to_owned())];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// What arrived so far; begins anew.
    pub fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Alerts that arrived so far.
    pub fn count(&self) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

async fn take(State(receiver): State<Receiver>, body: String) {
    let at_us = now_us();
    receiver.heard.lock().unwrap_or_else(PoisonError::into_inner).note(&body, at_us);
}
