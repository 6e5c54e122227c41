//! The conformance suite over a real NATS server, and what only a server can do to us.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod cluster;
mod damage;
mod faults;
mod lanes;
mod limits;
mod secure;

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use atalaya_bus::conformance::{self, Limits};
use atalaya_bus::nats::{MaxBytes, Nats, Options};
use atalaya_bus::{Bus, Fence, Filter, Headers, Outgoing, Sequence, Stream, Subject};
use atalaya_servers::{NatsOptions, NatsServer};
use tempfile::TempDir;

/// Bytes each stream may hold where a test does not care.
const MAX_BYTES: u64 = 64 << 20;

fn fence(stream: Stream, subject: &str, filter: &str) -> Fence {
    Fence::new(stream, Subject::new(subject).unwrap(), Filter::new(filter).unwrap()).unwrap()
}

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

fn outgoing(id: &str, bytes: usize) -> Outgoing {
    let headers = Headers { version: 1, id: id.to_owned(), end: true, ..Headers::default() };
    // Not all the same, so that a flipped byte is one.
    let body: Vec<u8> = (0..bytes).map(|n| (n * 31 % 251) as u8).collect();
    Outgoing { headers, body: body.into(), decoded: None }
}

/// Appends messages of so many bytes on one lane; the last sequence.
async fn fill(bus: &dyn Bus, fence: &Fence, mut last: Sequence, count: usize, bytes: usize) -> Sequence {
    for id in 0..count {
        last = bus.append(fence, last, outgoing(&id.to_string(), bytes)).await.unwrap();
    }
    last
}

fn options() -> Options {
    Options { max_bytes: MaxBytes::each(MAX_BYTES), partitions: 4, ..Options::default() }
}

fn server(directory: &Path) -> NatsServer {
    NatsServer::start(directory, &NatsOptions::default()).unwrap()
}

async fn connect(server: &NatsServer) -> Nats {
    Nats::connect(&server.url(), &options()).await.unwrap()
}

/// Each test on a server of its own; the one before is ended then.
async fn suite() -> Result<()> {
    let running = Mutex::new(None);
    let new_bus = async |limits: Limits| {
        let directory = TempDir::new()?;
        let server = NatsServer::start(directory.path(), &NatsOptions::default())?;
        let Limits { max_bytes, partitions } = limits;
        let options = Options { max_bytes: MaxBytes::each(max_bytes), partitions, ..Options::default() };
        let bus = Nats::connect(&server.url(), &options).await?;
        // The server ends before its directory.
        *running.lock().unwrap() = Some((server, directory));
        Ok(Arc::new(bus) as Arc<dyn Bus>)
    };
    conformance::suite(new_bus).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() -> Result<()> {
    suite().await
}

#[tokio::test]
async fn conformance_on_one_thread() -> Result<()> {
    suite().await
}
