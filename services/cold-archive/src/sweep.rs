//! Before the first append: does the store create objects atomically? And from then on: what did crashes leave behind?

use std::time::Duration;

use anyhow::Context;
use atalaya_archive::{Archive, SWEEP_AGE, Swept};
use atalaya_chassis::Shutdown;

/// Between two sweeps of what crashes left behind.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// First pause after a self test without an answer; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between two self tests.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Refusals after which a start fails: a service that only just came up may not know its keys yet.
const MAX_REFUSALS: u32 = 5;

/// Waits until the store answers, and proves that it creates objects atomically. False if the drain comes first.
///
/// # Errors
/// If it does not, or refuses whoever asks.
pub(crate) async fn prove(archive: &Archive, drain: &Shutdown) -> anyhow::Result<bool> {
    let (mut pause, mut refusals) = (FIRST_PAUSE, 0);
    while !drain.is_requested() {
        let error = match archive.self_test().await {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        refusals += u32::from(error.is_refusal());
        if error.is_permanent() || refusals >= MAX_REFUSALS {
            return Err(error).with_context(|| format!("self test of {}", archive.root()));
        }
        unanswered(archive, &error);
        drain.unless_requested(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    Ok(false)
}

/// Sweeps now and then, for ever.
pub(crate) async fn keep_swept(archive: Archive) -> std::convert::Infallible {
    loop {
        match archive.sweep(SWEEP_AGE).await {
            Ok(found) => swept(&found),
            Err(error) => sweep_failed(&error),
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

fn unanswered(archive: &Archive, error: &atalaya_archive::ArchiveError) {
    tracing::warn!(root = %archive.root(), "no self test yet, to be tried again: {error}");
    metrics::counter!("archive_self_test_failures").increment(1);
}

fn swept(found: &Swept) {
    let Swept { files, bytes, uploads, tests } = *found;
    if *found == Swept::default() {
        tracing::debug!("swept: nothing was left behind");
    } else {
        tracing::info!(files, bytes, uploads, tests, "swept what crashes left behind");
    }
    metrics::counter!("archive_swept_files").increment(files);
    metrics::counter!("archive_swept_bytes").increment(bytes);
    metrics::counter!("archive_swept_uploads").increment(uploads);
}

fn sweep_failed(error: &atalaya_archive::ArchiveError) {
    tracing::warn!("not swept, to be tried again: {error}");
    metrics::counter!("archive_sweep_failures").increment(1);
}
