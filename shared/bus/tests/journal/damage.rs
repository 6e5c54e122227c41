//! Damage is named, and what was trimmed gives its disk back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, BusError, Stream};
use tempfile::TempDir;

use crate::{fence, fill, filter};

/// Nothing from memory, no sync: only the files matter.
fn options() -> Options {
    Options { tail_bytes: 0, sync: false, ..Options::default() }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Files of values, oldest first.
fn value_files(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        files(directory).into_iter().filter(|path| path.to_string_lossy().contains("/blobs/")).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_flipped_byte_is_found_and_named() {
    let directory = TempDir::new().unwrap();
    let fence = fence(Stream::Raw, "raw.a.zeek", "raw.a.>");
    let journal = Journal::open(directory.path(), &options()).unwrap();
    fill(&journal, &fence, 0, 60, 500_000).await;
    for _ in 0..200 {
        if !value_files(directory.path()).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Closing waits for the flush under way.
    journal.close().await.unwrap();
    let path = value_files(directory.path()).into_iter().next().expect("no values on disk");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let journal = Journal::open(directory.path(), &options()).unwrap();
    let mut reader = journal.read(Stream::Raw, &filter("raw.a.>"), 0).await.unwrap();
    let mut last = 0;
    let error = loop {
        match reader.next().await {
            Ok(message) => last = message.sequence,
            Err(error) => break error,
        }
    };
    let BusError::Damaged { sequence, .. } = error else { panic!("{error}") };
    assert_eq!(sequence, last + 1);
    assert!(last > 0 && last < 60, "{last}");
    assert!(matches!(journal.get(Stream::Raw, sequence).await, Err(BusError::Damaged { .. })));
    assert!(journal.get(Stream::Raw, sequence + 1).await.unwrap().is_some());
}

#[tokio::test]
async fn trimmed_messages_give_their_disk_back() {
    const ROUNDS: u64 = 12;
    const MESSAGES: usize = 100;
    const BYTES: usize = 300_000;
    let directory = TempDir::new().unwrap();
    let fence = fence(Stream::Raw, "raw.a.zeek", "raw.a.>");
    let journal = Journal::open(directory.path(), &options()).unwrap();
    let mut last = 0;
    for _ in 0..ROUNDS {
        last = fill(&journal, &fence, last, MESSAGES, BYTES).await;
        journal.trim(Stream::Raw, last, &[filter("raw.a.>")]).await.unwrap();
    }
    let size = || -> u64 {
        value_files(directory.path()).iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
    };
    let written = ROUNDS * (MESSAGES * BYTES) as u64;
    let info = journal.info(Stream::Raw).await.unwrap();
    assert_eq!((info.messages, info.first), (1, last));
    assert!(size() < written / 2, "{} of {written} bytes are still there", size());
}
