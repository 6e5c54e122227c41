//! Processes die and are drained at random points; the alerts are those of a run that nobody disturbed.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::Lease;
use atalaya_chassis::Shutdown;
use atalaya_correlator::run;
use atalaya_testkit::{FaultBus, Faults, Life};
use futures::future::join_all;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::core;
use crate::script::{RULES, Step, steps};
use crate::world::{World, config, lease, until};

const SEEDS: u64 = 12;
const STEPS: i64 = 400;

/// Longest pause of the feeder between two messages.
const MAX_PAUSE_MS: u64 = 10;

/// How long a process lives, unless it dies in the middle of a call before.
const LIFE_MS: std::ops::Range<u64> = 50..1_200;

/// Odds that a life ends with a drain.
const DRAINED: f64 = 0.4;

const FAULTS: Faults = Faults { crash: 0.002, ..Faults::ROUGH };

#[tokio::test(flavor = "multi_thread")]
async fn an_undisturbed_run_writes_what_the_core_says() {
    for seed in 1..=SEEDS {
        let world = World::new();
        world.lane().await.write_all(&steps(seed, 0..STEPS)).await;
        world.run(RULES).await;
        core::check(&world, RULES, |_| Vec::new()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crashes_change_no_alert() {
    let resumed: u64 = join_all((1..=SEEDS).map(play)).await.into_iter().sum();
    assert!(resumed > SEEDS, "only {resumed} lives went on from a snapshot");
}

/// Answers with how many lives began with a snapshot to go on from.
async fn play(seed: u64) -> u64 {
    let world = Arc::new(World::new());
    let mut random = SmallRng::seed_from_u64(seed);
    let feeding = tokio::spawn(feed(Arc::clone(&world), seed));
    let mut resumed = 0;
    for number in 0_u64.. {
        let fed = feeding.is_finished();
        let last_life = fed && number > 10;
        if last_life {
            world.break_leases().await;
            world.run(RULES).await;
            break;
        }
        resumed += u64::from(world.snapshots(0).len() > 1);
        live(&world, Life::new(seed << 32 | number, FAULTS), &mut random).await;
    }
    feeding.await.unwrap();
    core::check(&world, RULES, |_| Vec::new()).await;
    resumed
}

async fn feed(world: Arc<World>, seed: u64) {
    let mut random = SmallRng::seed_from_u64(!seed);
    let mut lane = world.lane().await;
    for step in steps(seed, 0..STEPS) {
        lane.write(&step).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..MAX_PAUSE_MS))).await;
    }
}

/// One life of the service.
async fn live(world: &World, life: Arc<Life>, random: &mut SmallRng) {
    world.break_leases().await;
    let (trigger, shutdown) = Shutdown::new();
    let deps = world.deps(FaultBus::new(world.bus(), Arc::clone(&life)));
    let own = Arc::clone(&life);
    let mut task = tokio::spawn(async move { own.run(run(config(RULES), deps, shutdown)).await });
    let ends = Duration::from_millis(random.random_range(LIFE_MS));
    let ended = tokio::time::timeout(ends, &mut task).await.is_ok();
    if !ended && random.random_bool(DRAINED) {
        trigger.request();
        // Died, drained, or neither in time.
        let _ = tokio::time::timeout(ends, &mut task).await;
    }
    life.crash();
    task.abort();
}

/// A partition that has much to compute again is not taken by another meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_held_while_catching_up() {
    let world = World::new();
    let mut lane = world.lane().await;
    lane.write_all(&(0..100).map(|number| Step::failures(0, number, 0..3, 1)).collect::<Vec<_>>()).await;
    let first = world.start(RULES);
    world.until_done().await;
    first.kill().await;
    // Only what was kept at the very beginning is left.
    world.snapshots(0).split_off(1).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    lane.write(&Step::failures(0, 101, 0..3, 1)).await;
    world.break_leases().await;
    let slow = Faults { delay: 1.0, max_delay: Duration::from_millis(20), ..Faults::NONE };
    let (_trigger, shutdown) = Shutdown::new();
    let deps = world.deps(FaultBus::new(world.bus(), Life::new(1, slow)));
    let second = tokio::spawn(run(config(RULES), deps, shutdown));
    let leases = world.bus().bucket("leases").await.unwrap();
    until("the lease", async || leases.get(&lease(0)).await.unwrap().is_some()).await;
    let begun = std::time::Instant::now();
    until("the last message", async || {
        let taken = Lease::acquire(Arc::clone(&leases), &lease(0), "another", Duration::from_millis(300)).await;
        assert!(taken.unwrap().is_none(), "taken while it was worked on");
        world.is_done(0).await
    })
    .await;
    assert!(begun.elapsed() > Duration::from_millis(600), "too quick to show anything");
    second.abort();
}
