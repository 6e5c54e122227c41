//! A node that is killed, and one that is asked too much: filing waits and is retried, and nothing is lost.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use atalaya_hot::FiledMessage;

use super::*;

const LONGEST: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(50);
const WRITERS: usize = 4;
const CHUNK: usize = 4;

/// What happened while messages were filed.
#[derive(Default)]
struct Progress {
    filed: AtomicUsize,
    errors: AtomicUsize,
}

/// Files as a service does: the same messages again until they are filed and synced.
async fn file(hot: &Cassandra, messages: &[FiledMessage], progress: &Progress) {
    let started = Instant::now();
    for chunk in messages.chunks(CHUNK) {
        while let Err(error) = hot.file(chunk).await {
            assert!(matches!(error, HotError::Io(_)) && started.elapsed() < LONGEST, "{error}");
            progress.errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        hot.sync().await.unwrap();
        progress.filed.fetch_add(chunk.len(), Ordering::Relaxed);
    }
}

/// Files all messages with several writers, while `meanwhile` goes on.
async fn file_all(hot: &Cassandra, world: &World, meanwhile: impl AsyncFnOnce(&Progress)) -> Progress {
    let progress = Progress::default();
    let shares = world.messages.chunks(world.messages.len().div_ceil(WRITERS));
    let writers = shares.map(|share| file(hot, share, &progress));
    tokio::join!(futures::future::join_all(writers), meanwhile(&progress));
    progress
}

async fn reach(progress: &Progress, filed: usize) {
    while progress.filed.load(Ordering::Relaxed) < filed {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_nothing_it_acknowledged() {
    kill_under_load(node().await, 400).await;
}

/// A node that acknowledges first and syncs later.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_that_syncs_later_loses_nothing_it_acknowledged() {
    let mut node = node().await;
    restart(&mut node, |options| {
        for (key, value) in [("commitlog_sync", "periodic"), ("commitlog_sync_period", "400ms")] {
            options.settings.insert(key.to_owned(), value.to_owned());
        }
    });
    kill_under_load(node, 80).await;
}

async fn kill_under_load(mut node: Node, messages: usize) {
    let hot = open(&url(&node), &options()).await;
    let world = World::random(71, messages).unwrap();
    let progress = file_all(&hot, &world, async |progress| {
        for share in [4, 2] {
            reach(progress, world.messages.len() / share).await;
            tokio::task::block_in_place(|| {
                node.kill();
                node.restart().unwrap();
            });
        }
    })
    .await;
    assert!(progress.errors.into_inner() > 0, "nobody noticed");
    check_all(&hot, &world).await;
    // A new writer, which remembers nothing, files it all again.
    let again = open(&format!("cassandra://{}/{}", node.address(), hot.keyspace()), &options()).await;
    for messages in world.messages.chunks(50) {
        again.file(messages).await.unwrap();
    }
    check_all(&again, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_slows_filing_and_loses_nothing() {
    let mut node = node().await;
    let url = url(&node);
    drop(open(&url, &options()).await);
    restart(&mut node, |options| {
        for (key, value) in [("write_request_timeout", "10ms"), ("concurrent_writes", "2")] {
            options.settings.insert(key.to_owned(), value.to_owned());
        }
    });
    let impatient = Options { request_timeout_ms: 15, ..options() };
    let hot = open(&url, &impatient).await;
    let calm = hot.pressure();
    let world = World::random(72, 240).unwrap();
    let mut lowest = usize::MAX;
    let progress = file_all(&hot, &world, async |progress| {
        for tenth in 1..10 {
            reach(progress, world.messages.len() * tenth / 10).await;
            node.process().signal("STOP").unwrap();
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            lowest = lowest.min(hot.pressure().writes_in_flight);
            node.process().signal("CONT").unwrap();
        }
    })
    .await;
    let (errors, pressure) = (progress.errors.into_inner(), hot.pressure());
    println!("overload: {errors} errors, {} back-offs, {lowest} in flight at least", pressure.backoffs);
    assert!(errors > 0, "a node that stands still for longer than all tries take was not noticed");
    assert!(pressure.backoffs > calm.backoffs && lowest < calm.writes_in_flight / 4, "{lowest} in flight at least");
    restart(&mut node, |_| ());
    check_all(&open(&url, &options()).await, &world).await;
}
