//! The service dies, hangs and comes back while rows are appended: a writer that tries again loses and doubles nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atalaya_archive::{Archive, S3Options};
use atalaya_servers::S3;

use crate::common::{CLASS, covered, expected, identities, message, stored_files};
use crate::server::{fresh_url, options};

/// How long the service is away or hangs; longer than one request may take.
const AWAY: Duration = Duration::from_secs(7);

/// What a writer did.
#[derive(Debug, Default)]
struct Written {
    last: u64,
    failures: u32,
}

/// Appends one message after the other, each until it is answered, as the cold archive does.
async fn write(archive: Archive, stop: Arc<AtomicBool>) -> Written {
    let mut written = Written::default();
    while !stop.load(Ordering::Relaxed) {
        let sequence = written.last + 1;
        match archive.append(CLASS, &[message(0, sequence, 5)], &[covered(0, sequence)]).await {
            Ok(_) => written.last = sequence,
            Err(error) => {
                assert!(!error.is_permanent(), "an outage is not the end: {error}");
                written.failures += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_outlast_a_service_that_is_killed_and_one_that_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let mut s3 = S3::start(directory.path()).unwrap();
    let options = S3Options { timeout_ms: 4_000, ..options(&s3) };
    let archive = Archive::open_with(&fresh_url(), &options).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(archive.clone(), Arc::clone(&stop)));
    let outages = tokio::task::spawn_blocking(move || {
        let between = || std::thread::sleep(Duration::from_millis(700));
        for _ in 0..2 {
            between();
            s3.kill();
            std::thread::sleep(AWAY);
            s3.restart().unwrap();
        }
        between();
        s3.signal("STOP").unwrap();
        std::thread::sleep(AWAY);
        s3.signal("CONT").unwrap();
        between();
        s3
    });
    let s3 = outages.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    assert!(written.failures >= 3, "every outage was felt: {written:?}");
    assert!(written.last >= 10, "rows came in between: {written:?}");
    let all: Vec<_> = (1..=written.last).map(|sequence| message(0, sequence, 5)).collect();
    let fresh = Archive::open_with(archive.root().as_str(), &options).unwrap();
    assert_eq!(identities(&fresh).await, expected(&all));
    fresh.sweep(Duration::ZERO).await.unwrap();
    let files = fresh.snapshot(CLASS).await.unwrap().unwrap().files.len();
    assert_eq!(stored_files(fresh.store().as_ref()).await.len(), files);
    assert_eq!(identities(&fresh).await, expected(&all), "the sweep took nothing that a commit names");
    drop(s3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_or_refuses_is_no_end_but_said_soon() {
    let directory = tempfile::tempdir().unwrap();
    let mut s3 = S3::start(directory.path()).unwrap();
    let (url, options) = (fresh_url(), options(&s3));
    let strangers_key = directory.path().join("another");
    std::fs::write(&strangers_key, "guessed").unwrap();
    let stranger = S3Options { secret_key: Some(atalaya_model::SecretRef::File(strangers_key)), ..options.clone() };
    let refused = Archive::open_with(&url, &stranger).unwrap().self_test().await.unwrap_err();
    assert!(refused.is_refusal() && !refused.is_permanent(), "{refused:?}");
    s3.kill();
    let began = std::time::Instant::now();
    let away = Archive::open_with(&url, &options).unwrap().self_test().await.unwrap_err();
    assert!(!away.is_permanent() && !away.is_refusal(), "{away:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
