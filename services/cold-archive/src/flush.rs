//! A flush: every table's commit, then the floors.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use atalaya_archive::{Archive, Covered, Scope, StoredBatch};
use atalaya_bus::{BucketError, Floor, FloorEntry};
use atalaya_chassis::Shutdown;
use atalaya_model::Class;
use futures::{StreamExt, TryStreamExt, stream};

use crate::buffer::{Lot, Progress};
use crate::telemetry;

/// Tables written at a time: bounds the memory of encoding.
const PARALLEL_TABLES: usize = 3;

/// First pause after an append that failed; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Tries of an append once the drain is asked for.
const DRAIN_TRIES: u32 = 5;

/// How far the clocks of a collector and of who repaired the bus may lie apart, microseconds.
const CLOCKS_APART_US: i64 = 600_000_000;

/// A partition's floor on its way.
pub(crate) struct Held {
    /// Which reading of the partition it belongs to.
    pub(crate) generation: u64,
    /// The entry.
    pub(crate) entry: FloorEntry,
}

/// A floor that was to be moved.
pub(crate) struct Moved {
    pub(crate) scope: Scope,
    pub(crate) generation: u64,
    /// The entry at its new place.
    pub(crate) entry: Result<FloorEntry, BucketError>,
}

/// Commits a lot to its tables, then moves the floors of its partitions. Nothing is lost by an error: what the floors
/// do not cover is read again. What was received before the bus was last repaired may have come before: rows that the
/// tables hold already are left out.
///
/// # Errors
/// If a table is of a kind that must not be written to, or the drain ends first.
pub(crate) async fn flush(
    archive: Archive,
    lot: Lot,
    mut floors: HashMap<Scope, Held>,
    repaired_us: i64,
    drain: Shutdown,
) -> anyhow::Result<Vec<Moved>> {
    let started = Instant::now();
    let covered: Vec<_> = lot
        .progress
        .iter()
        .map(|(scope, progress)| Covered { scope: *scope, sequence: progress.position.sequence })
        .collect();
    let appends: Vec<_> = lot
        .batches
        .into_iter()
        .map(|(class, batches)| append(archive.clone(), class, batches, covered.clone(), repaired_us, drain.clone()))
        .collect();
    stream::iter(appends).buffer_unordered(PARALLEL_TABLES).try_collect::<Vec<()>>().await?;
    // Partitions that are no longer held have no floor here: they are read again by whoever holds them.
    let held = lot.progress.into_iter().filter_map(|(scope, progress)| Some((scope, floors.remove(&scope)?, progress)));
    let moves: Vec<_> = held.map(|(scope, held, progress)| advance(scope, held, progress)).collect();
    let moved = futures::future::join_all(moves).await;
    telemetry::flushed(lot.rows, lot.bytes, started.elapsed());
    Ok(moved)
}

async fn advance(scope: Scope, held: Held, progress: Progress) -> Moved {
    let Held { generation, mut entry } = held;
    let mut books = entry.floor().map(|floor| floor.books.clone()).unwrap_or_default();
    books.merge(&progress.books);
    let result = entry.set(Floor { position: progress.position, books }).await;
    Moved { scope, generation, entry: result.map(|()| entry) }
}

async fn append(
    archive: Archive,
    class: Class,
    mut batches: Vec<StoredBatch>,
    covered: Vec<Covered>,
    repaired_us: i64,
    drain: Shutdown,
) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    let mut tries_draining = 0;
    // Once, before the first try: the rows of a try without an answer are this lot's own.
    let mut new = repaired_us == 0;
    loop {
        let appended = async {
            if !new {
                let before_us = repaired_us.saturating_add(CLOCKS_APART_US);
                let dropped;
                (batches, dropped) = archive.without_held(class, batches.clone(), before_us).await?;
                telemetry::held_already(class, dropped);
                new = true;
            }
            archive.append(class, &batches, &covered).await
        };
        match appended.await {
            Ok(committed) => {
                telemetry::committed(class, &committed);
                return Ok(());
            }
            Err(error) if error.is_permanent() => return Err(error).context("nothing more can be archived"),
            Err(error) => telemetry::append_failed(class, &error),
        }
        if drain.is_requested() {
            tries_draining += 1;
            anyhow::ensure!(tries_draining < DRAIN_TRIES, "the store does not answer during the drain");
        }
        drain.unless_requested(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
