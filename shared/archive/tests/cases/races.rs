//! Several writers, dead writers, and answers that never come: rows are there once each.

use std::sync::Arc;
use std::time::Duration;

use atalaya_archive::{Archive, ArchiveError, Swept};
use futures::StreamExt;
use object_store::ObjectStore;

use crate::common::faulty::{Fault, FaultyStore};
use crate::common::place::Place;
use crate::common::{CLASS, covered, expected, identities, message, scope, stored_files};

pub async fn writers_of_different_partitions_all_commit(place: &Place) {
    let writers = (0..4u16).map(|partition| {
        let archive = place.open();
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
    let archive = place.open();
    let all: Vec<_> =
        (0..4).flat_map(|partition| (1..=8).map(move |sequence| message(partition, sequence, 5))).collect();
    assert_eq!(identities(&archive).await, expected(&all));
    let files = archive.snapshot(CLASS).await.unwrap().unwrap().files.len();
    assert_eq!(stored_files(archive.store().as_ref()).await.len(), files, "lost races leave no files behind");
}

pub async fn two_writers_of_one_partition_write_every_row_once(place: &Place) {
    let writers = (0..2).map(|_| {
        let archive = place.open();
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
    let archive = place.open();
    let all: Vec<_> = (1..=20).map(|sequence| message(0, sequence, 5)).collect();
    assert_eq!(identities(&archive).await, expected(&all));
}

pub async fn a_zombie_with_an_old_snapshot_is_refused(place: &Place) {
    let store = place.below(0);
    let (zombie, successor) = (Archive::over(Arc::clone(&store)).unwrap(), Archive::over(Arc::clone(&store)).unwrap());
    zombie.append(CLASS, &[message(0, 1, 5)], &[covered(0, 1)]).await.unwrap();
    successor.append(CLASS, &[message(0, 2, 5), message(0, 3, 5)], &[covered(0, 3)]).await.unwrap();
    let late = zombie.append(CLASS, &[message(0, 2, 5)], &[covered(0, 2)]).await.unwrap();
    assert_eq!(late.rows, 0);
    assert_eq!(successor.position(CLASS, &scope(0)).await.unwrap(), Some(3));
    assert_eq!(identities(&zombie).await, expected(&[message(0, 1, 5), message(0, 2, 5), message(0, 3, 5)]));
    assert_eq!(stored_files(store.as_ref()).await.len(), 2);
}

/// Walks every write of an append: table creation, data files, commit. After each death a successor appends the same.
pub async fn a_death_at_any_step_loses_nothing_and_doubles_nothing(place: &Place) {
    let messages = [message(0, 1, 100), message(1, 2, 30)];
    let covering = [covered(0, 1), covered(1, 2)];
    for (at, fault) in [(0, Fault::CrashBefore), (100, Fault::CrashAfter)] {
        let mut writes = 0;
        loop {
            let inner = place.below(at + writes);
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
pub async fn a_lost_answer_is_found_out(place: &Place) {
    let messages = [message(0, 1, 100), message(1, 2, 30)];
    let covering = [covered(0, 1), covered(1, 2)];
    for writes in 0..6 {
        let inner = place.below(writes);
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
pub async fn a_commit_in_between_restarts_the_append_at_its_check(place: &Place) {
    for rounds in 1..=3 {
        let store = place.below(rounds);
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

/// Everything rests on an object being created once: a store without that is found out before the first append.
pub async fn the_store_passes_the_self_test_and_one_that_overwrites_does_not(place: &Place) {
    place.open().self_test().await.unwrap();
    let overwriting = Arc::new(FaultyStore::new(place.below(0), Fault::Overwrites, 0));
    let refused = Archive::over(overwriting).unwrap().self_test().await.unwrap_err();
    assert!(matches!(refused, ArchiveError::NotAtomic(_)) && refused.is_permanent(), "{refused}");
    assert!(place.below(0).list(None).next().await.is_none(), "the test leaves nothing behind");
}

/// A writer dies between its data files and its commit: they are found, and removed once they are old enough.
pub async fn files_without_a_commit_are_swept_by_age(place: &Place) {
    let (first, second) = ([message(0, 1, 100)], [message(0, 2, 100)]);
    let store = place.below(0);
    let archive = Archive::over(Arc::clone(&store)).unwrap();
    assert_eq!(archive.sweep(Duration::ZERO).await.unwrap(), Swept::default());
    archive.append(CLASS, &first, &[covered(0, 1)]).await.unwrap();
    let named = stored_files(store.as_ref()).await;
    let dying = FaultyStore::new(Arc::clone(&store), Fault::CrashBefore, named.len() as i64);
    let dead = Archive::over(Arc::new(dying)).unwrap().append(CLASS, &second, &[covered(0, 2)]).await;
    assert!(matches!(dead, Err(ArchiveError::Unanswered { .. })), "{dead:?}");
    archive.append(CLASS, &second, &[covered(0, 2)]).await.unwrap();

    assert_eq!(archive.orphans(CLASS, Duration::from_secs(3_600)).await.unwrap().len(), 0, "they are too young");
    let orphans = archive.orphans(CLASS, Duration::ZERO).await.unwrap();
    assert_eq!(orphans.len(), named.len());
    assert_eq!(archive.sweep(Duration::from_secs(3_600)).await.unwrap(), Swept::default());
    let swept = archive.sweep(Duration::ZERO).await.unwrap();
    let bytes = orphans.iter().map(|object| object.size).sum();
    assert_eq!(swept, Swept { files: orphans.len() as u64, bytes, ..Swept::default() });
    assert_eq!(archive.orphans(CLASS, Duration::ZERO).await.unwrap().len(), 0);
    let fresh = Archive::over(store).unwrap();
    assert_eq!(identities(&fresh).await, expected(&[message(0, 1, 100), message(0, 2, 100)]));
}
