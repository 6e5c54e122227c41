//! The mesh on real servers: NATS, SeaweedFS and Cassandra, and the services as processes, each with the configuration
//! of `examples/mesh` on ports of its own, two of what scales by leases and two gateways.
//!
//! Real logs are taken in, as files that grow, as files that are there, and pushed, while processes and servers are
//! killed, held beyond their leases and started again. Then everything settles, and what the stores hold is compared
//! with what a pure pass over the input gives. A smaller mesh shows that two share the work, and that the one left takes
//! over a killed one's in time.
//!
//! The seed decides what is killed when and for how long; where a kill meets a process is left to the machine.
//! `ATALAYA_REAL_SEED=N` plays one seed again. The services' binaries are found beside this one's target directory:
//! `cargo xtask test real` builds them first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod checks;
mod feed;
mod gateway;
mod input;
mod mesh;
mod place;
mod processes;
mod pushed;
mod servers;
mod settle;
mod shares;
mod trouble;

use std::io::Write;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::Mutex;

use crate::place::Place;

/// Names the seed to be played.
const SEED_VARIABLE: &str = "ATALAYA_REAL_SEED";

/// Two meshes at once would be slow on two cores, not wrong.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_is_there_twice() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={seed}: a number is needed")),
        Err(_) => u64::from(rand::random::<u32>()),
    };
    let place = Place::new().unwrap();
    say(&format!("{SEED_VARIABLE}={seed}, everything is in {}", place.path().display()));
    let played = play(seed, &place).await;
    place.judge(played.with_context(|| format!("{SEED_VARIABLE}={seed}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_share_the_work_and_the_one_left_takes_over() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let place = Place::new().unwrap();
    let shared = shares::play(&place).await;
    place.judge(shared);
}

/// A mesh from its start to the comparison.
async fn play(seed: u64, place: &Place) -> anyhow::Result<()> {
    let input = input::Input::read()?;
    let mesh = mesh::whole(place).await?;
    let feeding = feed::start(&mesh, &input)?;
    trouble::make(&mesh, seed).await?;
    feeding.done().await?;
    settle::settle(&mesh, input.len()).await?;
    checks::check(&mesh, &input).await
}

/// Tells whoever waits how far it is; tests' own output is held back.
fn say(text: &str) {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let second = BEGAN.elapsed().as_secs();
    // Nobody is left to tell where the standard error is closed.
    let _ = writeln!(std::io::stderr(), "real {second:>4} s  {text}");
}
