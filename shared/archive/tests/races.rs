//! Several writers, dead writers, and answers that never come: rows are there once each.

mod common;

use std::sync::Arc;

use atalaya_archive::{Archive, ArchiveError};
use common::faulty::{Fault, FaultyStore};
use common::{CLASS, covered, expected, identities, message, stored_files};
use object_store::ObjectStore;
use object_store::memory::InMemory;

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_different_partitions_all_commit() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().display());
    let writers = (0..4u16).map(|partition| {
        let archive = Archive::open(&url).unwrap();
        tokio::spawn(async move {
            for sequence in 1..=8 {
                let messages = [message(partition, sequence, 5)];
                let committed = archive.append(CLASS, &messages, &[covered(partition, sequence)]).await.unwrap();
                assert_eq!(committed.rows, 5);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let archive = Archive::open(&url).unwrap();
    let all: Vec<_> =
        (0..4).flat_map(|partition| (1..=8).map(move |sequence| message(partition, sequence, 5))).collect();
    assert_eq!(identities(&archive).await, expected(&all));
    let files = archive.snapshot(CLASS).await.unwrap().unwrap().files.len();
    assert_eq!(stored_files(archive.store().as_ref()).await.len(), files, "lost races leave no files behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_partition_write_every_row_once() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().display());
    let writers = (0..2).map(|_| {
        let archive = Archive::open(&url).unwrap();
        tokio::spawn(async move {
            let mut rows = 0;
            for sequence in 1..=20 {
                rows += archive.append(CLASS, &[message(0, sequence, 5)], &[covered(0, sequence)]).await.unwrap().rows;
            }
            rows
        })
    });
    let mut rows = 0;
    for writer in writers.collect::<Vec<_>>() {
        rows += writer.await.unwrap();
    }
    assert_eq!(rows, 100, "each row was written by one of them");
    let archive = Archive::open(&url).unwrap();
    let all: Vec<_> = (1..=20).map(|sequence| message(0, sequence, 5)).collect();
    assert_eq!(identities(&archive).await, expected(&all));
}

#[tokio::test]
async fn a_zombie_with_an_old_snapshot_is_refused() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (zombie, successor) = (Archive::over(Arc::clone(&store)).unwrap(), Archive::over(Arc::clone(&store)).unwrap());
    zombie.append(CLASS, &[message(0, 1, 5)], &[covered(0, 1)]).await.unwrap();
    successor.append(CLASS, &[message(0, 2, 5), message(0, 3, 5)], &[covered(0, 3)]).await.unwrap();
    let late = zombie.append(CLASS, &[message(0, 2, 5)], &[covered(0, 2)]).await.unwrap();
    assert_eq!(late.rows, 0);
    assert_eq!(successor.position(CLASS, &common::scope(0)).await.unwrap(), Some(3));
    assert_eq!(identities(&zombie).await, expected(&[message(0, 1, 5), message(0, 2, 5), message(0, 3, 5)]));
    assert_eq!(stored_files(store.as_ref()).await.len(), 2);
}

/// Walks every write of an append: table creation, data files, commit. After each death a successor appends the same.
#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_doubles_nothing() {
    let messages = [message(0, 1, 100), message(1, 2, 30)];
    let covering = [covered(0, 1), covered(1, 2)];
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        let mut writes = 0;
        loop {
            let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faulty = Arc::new(FaultyStore::new(Arc::clone(&inner), fault, writes));
            let dying = Archive::over(Arc::clone(&faulty) as Arc<dyn ObjectStore>).unwrap();
            let outcome = dying.append(CLASS, &messages, &covering).await;
            if let Err(error) = &outcome {
                assert!(!error.is_permanent(), "{error}");
            }
            let successor = Archive::over(Arc::clone(&inner)).unwrap();
            successor.append(CLASS, &messages, &covering).await.unwrap();
            assert_eq!(identities(&successor).await, expected(&messages), "{fault:?} after {writes} writes");
            if !faulty.has_failed() {
                assert!(writes >= 5, "creation, three data files and a commit were walked, not {writes}");
                break;
            }
            writes += 1;
        }
    }
}

/// The same with only an answer lost: the writer itself finds out, and nothing is left behind.
#[tokio::test]
async fn a_lost_answer_is_found_out() {
    let messages = [message(0, 1, 100), message(1, 2, 30)];
    let covering = [covered(0, 1), covered(1, 2)];
    for writes in 0..6 {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&inner), Fault::LostAnswer, writes));
        let archive = Archive::over(faulty).unwrap();
        let mut outcome = archive.append(CLASS, &messages, &covering).await;
        if matches!(outcome, Err(ArchiveError::Store(_))) {
            outcome = archive.append(CLASS, &messages, &covering).await;
        }
        outcome.unwrap();
        assert_eq!(identities(&archive).await, expected(&messages), "{writes} writes");
        let files = archive.snapshot(CLASS).await.unwrap().unwrap().files.len();
        assert_eq!(stored_files(inner.as_ref()).await.len(), files, "{writes} writes: no file without a commit");
    }
}

/// Another writer commits between the check and the commit of an append: the append starts again at the check.
#[tokio::test]
async fn a_commit_in_between_restarts_the_append_at_its_check() {
    for rounds in 1..=3 {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (one, other) = (Archive::over(Arc::clone(&store)).unwrap(), Archive::over(Arc::clone(&store)).unwrap());
        one.append(CLASS, &[message(0, 1, 5)], &[covered(0, 1)]).await.unwrap();
        let (stale, fresh) = ([message(0, 2, 5)], [message(0, 2, 5), message(0, 3, 5)]);
        let (to_two, to_three) = ([covered(0, 2)], [covered(0, 3)]);
        let (first, second) = tokio::join!(one.append(CLASS, &stale, &to_two), other.append(CLASS, &fresh, &to_three));
        assert_eq!(first.unwrap().rows + second.unwrap().rows, 10, "round {rounds}");
        assert_eq!(identities(&one).await, expected(&[message(0, 1, 5), message(0, 2, 5), message(0, 3, 5)]));
        let files = one.snapshot(CLASS).await.unwrap().unwrap().files.len();
        assert_eq!(stored_files(store.as_ref()).await.len(), files);
    }
}
