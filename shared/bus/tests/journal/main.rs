//! The conformance suite over the journal, and what only the journal can be asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod damage;
mod kill;
mod restart;

use std::sync::{Arc, Mutex};

use anyhow::Result;
use atalaya_bus::conformance::{self, Limits};
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, Fence, Filter, Headers, Outgoing, Sequence, Stream, Subject};
use tempfile::TempDir;

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

async fn suite(change: impl Fn(Options) -> Options) -> Result<()> {
    let directories = Mutex::new(Vec::new());
    let new_bus = async |limits: Limits| {
        let directory = TempDir::new()?;
        let Limits { max_bytes, partitions } = limits;
        let options = change(Options { max_bytes, partitions, ..Options::default() });
        let journal = Journal::open(directory.path(), &options)?;
        directories.lock().unwrap().push(directory);
        Ok(Arc::new(journal) as Arc<dyn Bus>)
    };
    conformance::suite(new_bus).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_from_memory() -> Result<()> {
    suite(|options| options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_from_disk() -> Result<()> {
    suite(|options| Options { tail_bytes: 0, sync: false, ..options }).await
}

#[tokio::test]
async fn conformance_on_one_thread() -> Result<()> {
    suite(|options| Options { tail_bytes: 100 << 10, ..options }).await
}
