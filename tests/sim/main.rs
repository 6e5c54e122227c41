//! Many small worlds, each with its own seed, in which answers are lost, calls are late, reads fail, streams say that
//! they are full and processes die or are overtaken by their successors; at the end nothing is missing and nothing is
//! there twice.
//!
//! In each world the real services run as tasks over one journal, one hot store and one archive, fed with RAW messages
//! of two tenants in two lanes, live and of one backfill, some records of them broken. When everything was fed, nothing
//! goes wrong any more, and once every reader is at the end, what the stores hold is compared with what a pure pass over
//! the input gives.
//!
//! The seed decides the input, which call of a kind on a key meets which fate, and when processes die. How the tasks
//! fall in between each other is left to the machine: a seed that failed once may need several tries.
//! `ATALAYA_SIM_SEED=N` plays one seed, with the services' log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod alerts;
mod books;
mod expected;
mod feed;
mod input;
mod settle;
mod stage;
mod stores;
mod supervise;
mod world;

use std::time::Duration;

use futures::StreamExt;

use crate::input::Input;
use crate::world::World;

/// Worlds played.
const SEEDS: u64 = 200;

/// Worlds at a time: most of their time is spent waiting for leases to run out and for pauses to be over.
const WORLDS_AT_A_TIME: usize = 20;

/// Names the one seed to be played.
const SEED_VARIABLE: &str = "ATALAYA_SIM_SEED";

/// Longest that a world may take, all in all.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_nothing_is_there_twice() {
    let seeds: Vec<u64> = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => {
            drop(atalaya_chassis::telemetry::install(&Default::default()).unwrap());
            vec![seed.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={seed}: a number is needed"))]
        }
        Err(_) => (1..=SEEDS).collect(),
    };
    let played = futures::stream::iter(seeds).map(|seed| async move {
        let played = tokio::spawn(async move { tokio::time::timeout(PATIENCE, play(seed)).await });
        let failure = match played.await {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(error))) => format!("{error:#}"),
            Ok(Err(_)) => format!("not over after {PATIENCE:?}"),
            Err(panic) => panic.to_string(),
        };
        Some(format!("{SEED_VARIABLE}={seed}: {failure}"))
    });
    let failures: Vec<String> =
        played.buffer_unordered(WORLDS_AT_A_TIME).filter_map(std::future::ready).collect().await;
    assert!(failures.is_empty(), "{} worlds went wrong:\n{}", failures.len(), failures.join("\n"));
}

/// One world, from its input to the comparison.
async fn play(seed: u64) -> anyhow::Result<()> {
    let world = World::new(seed, Input::new(seed)?).await?;
    let mut running = supervise::start(&world);
    settle::fed(&world).await?;
    running.calm();
    tokio::select! {
        settled = settle::settled(&world) => settled?,
        error = running.failed() => return Err(error),
    }
    books::delivered(&world).await?;
    running.drain().await?;
    let expected = expected::of(&world.input)?;
    expected.check_archive(&world).await?;
    expected.check_hot(&world).await?;
    expected.check_parked(&world).await?;
    books::check(&world).await?;
    alerts::check(&world).await
}
