//! A receiver of webhooks that answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ring::hmac;

/// Never answers.
pub(crate) const HANG: u16 = 0;
/// Answers 429 with `Retry-After: 1`.
pub(crate) const WAIT_A_SECOND: u16 = 429;

#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) at: Instant,
    pub(crate) key: String,
    pub(crate) body: String,
    timestamp: String,
    signature: String,
}

impl Post {
    pub(crate) fn signature_holds(&self, secret: &str) -> bool {
        let Some(hex) = self.signature.strip_prefix("v1=") else { return false };
        let tag: Vec<_> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, format!("{}.{}", self.timestamp, self.body).as_bytes(), &tag).is_ok()
    }

    fn field(&self, name: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body[name].as_str().unwrap().to_owned()
    }

    pub(crate) fn occasion(&self) -> String {
        self.field("occasion")
    }

    pub(crate) fn group_key(&self) -> String {
        self.field("group_key")
    }
}

type Answer = fn(&Post, usize) -> u16;

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Post> {
        super::eventually(&format!("{count} posts"), || async { self.posts().len() >= count }).await;
        self.posts()
    }
}

pub(crate) async fn start(answer: Answer) -> Receiver {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver { address: listener.local_addr().unwrap(), posts: Arc::default() };
    let router = Router::new().route("/hook", post(take)).with_state((receiver.clone(), answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    receiver
}

async fn take(State((receiver, answer)): State<(Receiver, Answer)>, headers: HeaderMap, body: String) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let post = Post {
        at: Instant::now(),
        key: header("Idempotency-Key"),
        timestamp: header("X-Atalaya-Timestamp"),
        signature: header("X-Atalaya-Signature"),
        body,
    };
    let status = {
        let mut posts = receiver.posts.lock().unwrap();
        posts.push(post.clone());
        answer(&post, posts.len() - 1)
    };
    match status {
        HANG => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            StatusCode::OK.into_response()
        }
        WAIT_A_SECOND => (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "1")]).into_response(),
        status => StatusCode::from_u16(status).unwrap().into_response(),
    }
}
