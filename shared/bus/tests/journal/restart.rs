//! What a new life of the journal finds, and what one life allows.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{AppendError, Bus, BusError, Lease, Outgoing, Sequence, Stream, StreamInfo};
use bytes::Bytes;
use tempfile::TempDir;

use crate::{fence, fill, filter, outgoing};

fn open(directory: &TempDir) -> Journal {
    Journal::open(directory.path(), &Options::default()).unwrap()
}

async fn infos(bus: &dyn Bus) -> Vec<StreamInfo> {
    let mut infos = Vec::new();
    for stream in Stream::ALL {
        infos.push(bus.info(stream).await.unwrap());
    }
    infos
}

#[tokio::test]
async fn everything_is_as_it_was() {
    let directory = TempDir::new().unwrap();
    let (a, b) = (fence(Stream::Raw, "raw.a.zeek", "raw.a.>"), fence(Stream::Raw, "raw.b.zeek", "raw.b.>"));
    let journal = open(&directory);
    let last_a = fill(&journal, &a, 0, 10, 3_000).await;
    let last_b = fill(&journal, &b, 0, 10, 300).await;
    journal.trim(Stream::Raw, last_b - 2, &[filter("raw.a.>"), filter("raw.b.>")]).await.unwrap();
    let gone = fence(Stream::Dlq, "dlq.normalizer.a", "dlq.normalizer.a");
    fill(&journal, &gone, 0, 5, 10).await;
    journal.trim(Stream::Dlq, Sequence::MAX, &[]).await.unwrap();
    let before = infos(&journal).await;
    let (bucket, leases) = (journal.bucket("cursors").await.unwrap(), journal.bucket("leases").await.unwrap());
    let revision = bucket.put("a", Bytes::from_static(b"1"), 0, None).await.unwrap();
    bucket.delete("a").await.unwrap();
    let hour = Duration::from_secs(3_600);
    assert!(Lease::acquire(leases, "raw.a", "me", hour).await.unwrap().is_some());
    journal.close().await.unwrap();

    let journal = open(&directory);
    assert_eq!(infos(&journal).await, before);
    assert!(before[0].incarnation > 1_600_000_000_000_000);
    assert_eq!(journal.last(Stream::Raw, &filter("raw.a.>")).await.unwrap().unwrap().sequence, last_a);
    let lost = journal.read(Stream::Raw, &filter("raw.a.>"), 3).await.unwrap().try_next().await;
    assert!(matches!(lost, Err(BusError::Gap { .. })), "{lost:?}");
    assert!(journal.read(Stream::Raw, &filter("raw.a.>"), last_a).await.unwrap().try_next().await.unwrap().is_none());
    assert!(journal.append(&a, 0, outgoing("x", 1)).await.is_err());
    assert_eq!(journal.append(&a, last_a, outgoing("x", 1)).await.unwrap(), last_b + 1);
    assert_eq!(journal.append(&gone, 0, outgoing("x", 1)).await.unwrap(), 6);
    let again = journal.bucket("cursors").await.unwrap().put("a", Bytes::new(), 0, None).await.unwrap();
    assert!(again > revision, "revision {again} after {revision}");
    let leases = journal.bucket("leases").await.unwrap();
    assert!(Lease::acquire(leases, "raw.a", "me", hour).await.unwrap().is_some(), "a dead process holds a lease");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = TempDir::new().unwrap();
    let journal = open(&directory);
    let second = Journal::open(directory.path(), &Options::default()).map(|_| ()).unwrap_err();
    let pid = std::process::id().to_string();
    assert!(matches!(&second, BusError::InUse { reason, .. } if reason.contains(&pid)), "{second}");
    drop(journal);
    let journal = open(&directory);
    journal.close().await.unwrap();
    journal.close().await.unwrap();
    open(&directory).close().await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let directory = TempDir::new().unwrap();
    open(&directory).close().await.unwrap();
    for partitions in [0, 8] {
        let options = Options { partitions, ..Options::default() };
        let refused = Journal::open(directory.path(), &options).map(|_| ());
        assert!(matches!(refused, Err(BusError::Mismatch(_))), "{refused:?}");
    }
    open(&directory).close().await.unwrap();
}

#[tokio::test]
async fn a_closed_journal_says_so() {
    let directory = TempDir::new().unwrap();
    let journal = Arc::new(open(&directory));
    let mut reader = journal.read(Stream::Raw, &filter(">"), 0).await.unwrap();
    let waiting = tokio::spawn(async move { reader.next().await });
    let bucket = journal.bucket("cursors").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    journal.close().await.unwrap();
    assert!(waiting.await.unwrap().is_err());
    let refused = journal.append(&fence(Stream::Raw, "raw.a.x", "raw.a.>"), 0, outgoing("x", 1)).await;
    assert!(matches!(refused, Err(AppendError::Unanswered(_))), "{refused:?}");
    assert!(bucket.get("a").await.is_err() && bucket.put("a", Bytes::new(), 0, None).await.is_err());
    assert!(journal.info(Stream::Raw).await.is_err() && journal.last(Stream::Raw, &filter(">")).await.is_err());
}

#[tokio::test]
async fn refused_messages_write_no_entry() {
    let directory = TempDir::new().unwrap();
    let journal = open(&directory);
    let fence = fence(Stream::Raw, "raw.a.x", "raw.a.>");
    let entry = |value: &'static str| vec![("seen".to_owned(), "k".to_owned(), Bytes::from_static(value.as_bytes()))];
    let last = journal.append_with(&fence, 0, outgoing("1", 10), entry("1")).await.unwrap();
    assert!(journal.append_with(&fence, 0, outgoing("2", 10), entry("2")).await.is_err());
    let found = journal.bucket("seen").await.unwrap().get("k").await.unwrap().unwrap();
    assert_eq!(found.value, "1");
    let bad_key = vec![("seen".to_owned(), "a b".to_owned(), Bytes::new())];
    let refused = journal.append_with(&fence, last, outgoing("2", 10), bad_key).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    let refused = journal.append(&fence, last, outgoing("2", 9 << 20)).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    assert_eq!(journal.info(Stream::Raw).await.unwrap().messages, 1);
}

#[tokio::test]
async fn decoded_bodies_are_handed_on() {
    let directory = TempDir::new().unwrap();
    let journal = open(&directory);
    let mut reader = journal.read(Stream::Evt, &filter("evt.1.>"), 0).await.unwrap();
    let decoded: Arc<dyn Any + Send + Sync> = Arc::new(vec![1, 2, 3]);
    let message = Outgoing { decoded: Some(Arc::clone(&decoded)), ..outgoing("1", 10) };
    journal.append(&fence(Stream::Evt, "evt.1.a.x", "evt.*.a.>"), 0, message).await.unwrap();
    let found = reader.next().await.unwrap().decoded.unwrap();
    assert!(Arc::ptr_eq(&found, &decoded));
}
