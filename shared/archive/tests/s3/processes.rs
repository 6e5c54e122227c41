//! Writers that are processes of their own: two at a time, and one that is killed at every step.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use atalaya_archive::{Archive, S3Options, StoredBatch, open_store};
use atalaya_servers::S3;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::child::Task;
use crate::common::{CLASS, covered, expected, identities, message, scope, stored_files};
use crate::server::{fresh_url, options, shared};

const SIGKILL: i32 = 9;

/// Rows of the append that is walked: two days, and so two files and more.
const ROWS: u32 = 60;

/// Objects copied at a time.
const COPIES: usize = 8;

/// The rows that a process says it committed; and the signal that ended it, if one did.
fn outcome(child: std::process::Child) -> (u64, Option<i32>) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let rows = text.lines().filter_map(|line| line.strip_prefix("committed ")).map(|rows| rows.parse::<u64>().unwrap());
    let signal = output.status.signal();
    assert!(signal.is_some() || output.status.success(), "{text}");
    (rows.sum(), signal)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_one_partition_write_every_row_once() {
    let (server, url) = (shared(), fresh_url());
    let children = [(); 2].map(|()| Task::new(&server.s3, &url, 1, 20).start());
    let rows: u64 = children.into_iter().map(|child| outcome(child).0).sum();
    assert_eq!(rows, 100, "each row was written by one of them");
    let archive = Archive::over(open_store(&url, &options(&server.s3)).unwrap()).unwrap();
    let all: Vec<_> = (1..=20).map(|sequence| message(0, sequence, 5)).collect();
    assert_eq!(identities(&archive).await, expected(&all));
    let files = archive.snapshot(CLASS).await.unwrap().unwrap().files.len();
    assert_eq!(stored_files(archive.store().as_ref()).await.len(), files, "lost races leave no files behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_different_partitions_all_commit() {
    let (server, url) = (shared(), fresh_url());
    let start = |partition| Task { partition, ..Task::new(&server.s3, &url, 1, 8) }.start();
    let children = [0, 1, 2].map(start);
    for child in children {
        assert_eq!(outcome(child), (40, None));
    }
    let archive = Archive::over(open_store(&url, &options(&server.s3)).unwrap()).unwrap();
    let all: Vec<_> = (0..3).flat_map(|partition| (1..=8).map(move |at| message(partition, at, 5))).collect();
    assert_eq!(identities(&archive).await, expected(&all));
}

/// Copies everything below one URL to another one of the same bucket.
async fn copy(from: &str, to: &str, options: &S3Options) {
    let bucket = format!("s3://{}/", S3::BUCKET);
    let path = |url: &str| Path::from(url.strip_prefix(&bucket).unwrap());
    let (from, to, store) = (path(from), path(to), open_store(&bucket, options).unwrap());
    let (store, to) = (store.as_ref(), &to);
    let copies = store.list(Some(&from)).map_ok(|object| {
        let within: Vec<_> =
            object.location.prefix_match(&from).unwrap().map(|part| part.as_ref().to_owned()).collect();
        let target = Path::from_iter(to.parts().map(|part| part.as_ref().to_owned()).chain(within));
        async move { store.copy(&object.location, &target).await }
    });
    copies.try_buffer_unordered(COPIES).try_collect::<Vec<()>>().await.unwrap();
}

/// Kills a process that appends a message at each of its calls to the store in turn; `before` is what the table holds
/// by then. After each death a successor appends the same.
async fn walk(before: u64, least_steps: u64) {
    let server = shared();
    let rows = |sequence| if sequence > before { ROWS } else { 1 };
    let messages: Vec<StoredBatch> = (1..=before + 1).map(|sequence| message(0, sequence, rows(sequence))).collect();
    let earlier = fresh_url();
    let archive = Archive::over(open_store(&earlier, &options(&server.s3)).unwrap()).unwrap();
    for message in &messages[..messages.len() - 1] {
        archive.append(CLASS, std::slice::from_ref(message), &[covered(0, message.sequence)]).await.unwrap();
    }
    let mut orphans = 0;
    for after in [false, true] {
        let mut step = 0;
        loop {
            let url = fresh_url();
            copy(&earlier, &url, &options(&server.s3)).await;
            let store = open_store(&url, &options(&server.s3)).unwrap();
            let successor = Archive::over(Arc::clone(&store)).unwrap();
            let task = Task::new(&server.s3, &url, before + 1, before + 1);
            let (_, signal) = outcome(Task { rows: ROWS, death: Some((step, after)), ..task }.start());
            assert!(signal.is_none_or(|signal| signal == SIGKILL), "{signal:?}");

            successor.append(CLASS, &messages[messages.len() - 1..], &[covered(0, before + 1)]).await.unwrap();
            assert_eq!(successor.position(CLASS, &scope(0)).await.unwrap(), Some(before + 1));
            let fresh = Archive::over(Arc::clone(&store)).unwrap();
            assert_eq!(identities(&fresh).await, expected(&messages), "killed at call {step}, after: {after}");
            orphans += strays(&fresh, store.as_ref()).await;
            if signal.is_none() {
                break;
            }
            step += 1;
        }
        assert!(step >= least_steps, "{step} calls were walked, not {least_steps}");
    }
    assert!(orphans > 0, "deaths between files and commit leave files behind");
}

/// Files in the store that no commit names; the archive finds the same.
async fn strays(archive: &Archive, store: &dyn ObjectStore) -> usize {
    let files = archive.snapshot(CLASS).await.unwrap().unwrap().files.len();
    let strays = stored_files(store).await.len() - files;
    assert_eq!(archive.orphans(CLASS, Duration::ZERO).await.unwrap().len(), strays);
    strays
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_step_of_a_first_append_loses_and_doubles_nothing() {
    // List, creation, reads, two files, commit.
    walk(0, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_step_of_an_append_with_a_checkpoint_loses_and_doubles_nothing() {
    // Loading the log, two files, commit, loading again, checkpoint, hint, cleaning of the log.
    walk(19, 12).await;
}
