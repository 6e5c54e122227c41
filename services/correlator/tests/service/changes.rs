//! Rules that change: where, and what becomes of open incidents, whatever dies around it.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{Fence, Filter, Headers, Outgoing, Position, Stream, Subject};
use atalaya_chassis::Shutdown;
use atalaya_correlator::{MAX_ALERTS_PER_MESSAGE, run};
use atalaya_model::AlertState;
use atalaya_proto::alert_v1::Alerts;
use atalaya_testkit::{FaultBus, Faults, Life};
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::core;
use crate::script::{OTHER_RULES, RULES, Step, THIRD_RULES, steps};
use crate::world::{PARTITIONS, World, config, until};

const SEEDS: u64 = 8;
const FAULTS: Faults = Faults { crash: 0.03, ..Faults::ROUGH };
/// Lives that meet faults, before one that meets none.
const LIVES: u64 = 6;

/// Incidents of every rule that are open in both partitions, whatever came before.
fn open(number: i64) -> [Step; 2] {
    [0, 1].map(|partition| Step::failures(partition, number, 0..4, 3))
}

/// Several lives under these rules, until everything is covered.
async fn lives(world: &World, rules: &str, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    for number in 0..LIVES {
        world.break_leases().await;
        let life = Life::new(seed << 32 | number, FAULTS);
        let (_trigger, shutdown) = Shutdown::new();
        let deps = world.deps(FaultBus::new(world.bus(), Arc::clone(&life)));
        let process = life.run(run(config(rules), deps, shutdown));
        // Ended by its crash, or in the middle of whatever it does.
        let _ = tokio::time::timeout(Duration::from_millis(random.random_range(10..250)), process).await;
        life.crash();
    }
    world.break_leases().await;
    world.run(rules).await;
}

async fn lasts(world: &World) -> [u64; 2] {
    [world.last(0).await, world.last(1).await]
}

/// Incidents are closed that the change of rules leaves without a rule, and each message is judged by the rules of its
/// place, although processes die before, in and after the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_place_between_two_messages() {
    for seed in 1..=SEEDS {
        let world = World::new();
        let mut lane = world.lane().await;
        lane.write_all(&steps(seed, 0..60)).await;
        lane.write_all(&open(60)).await;
        world.run(RULES).await;
        let before = lasts(&world).await;
        lane.write_all(&steps(seed + 100, 61..120)).await;
        lives(&world, OTHER_RULES, seed).await;
        let changes = |partition: u16| vec![(before[usize::from(partition)], OTHER_RULES)];
        core::check(&world, RULES, changes).await;
        for partition in 0..PARTITIONS {
            let alerts = world.alerts(partition).await;
            let gone = alerts.iter().filter(|alert| alert.rule_id == "s").collect::<Vec<_>>();
            let of = |state| gone.iter().filter(|alert| alert.state == state).count();
            assert!(of(AlertState::Opened) > 0 && of(AlertState::Opened) == of(AlertState::Closed), "{gone:?}");
        }
    }
}

/// Rules change once more before any message came that could carry what the first change closes.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_for_what_the_one_before_closes() {
    for seed in 1..=SEEDS {
        let world = World::new();
        let mut lane = world.lane().await;
        lane.write_all(&steps(seed, 0..60)).await;
        lane.write_all(&open(60)).await;
        world.run(RULES).await;
        let before = lasts(&world).await;
        let kept = [0, 1].map(|partition| world.snapshots(partition).len());
        let second = world.start(OTHER_RULES);
        for partition in 0..PARTITIONS {
            let changed = async || {
                let newest = world.snapshots(partition).pop().unwrap();
                newest.extension().is_some_and(|change| change == "1")
            };
            until("the change", changed).await;
        }
        second.kill().await;
        assert!(kept.iter().all(|kept| *kept > 0));
        lane.write_all(&open(61)).await;
        let carried = lasts(&world).await;
        lane.write_all(&steps(seed + 100, 62..120)).await;
        lives(&world, THIRD_RULES, seed).await;
        let changes = |partition: u16| {
            let partition = usize::from(partition);
            vec![(before[partition], OTHER_RULES), (carried[partition], THIRD_RULES)]
        };
        core::check(&world, RULES, changes).await;
    }
}

/// A position whose alerts were half written is completed under the rules it was begun with.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_for_what_is_half_written() {
    let world = World::new();
    let mut lane = world.lane().await;
    lane.write_all(&steps(3, 0..60)).await;
    world.run(RULES).await;
    let many = u16::try_from(MAX_ALERTS_PER_MESSAGE).unwrap() + 40;
    lane.write(&Step::failures(0, 61, 100..100 + many, 1)).await;
    let before = [world.last(0).await, world.last(1).await];
    begin_output(&world).await;
    lane.write_all(&open(62)).await;
    world.run(OTHER_RULES).await;
    lane.write_all(&steps(103, 63..120)).await;
    world.run(OTHER_RULES).await;
    core::check(&world, RULES, |partition| vec![(before[usize::from(partition)], OTHER_RULES)]).await;
}

/// Writes the first part of the last position's alerts of partition 0, as a process does that dies after it.
async fn begin_output(world: &World) {
    let messages = world.events(0).await;
    let (last, seen) = messages.split_last().unwrap();
    let known = core::alerts(seen, RULES, &[]).len();
    let new = core::alerts(&messages, RULES, &[]).split_off(known);
    assert!(new.len() > MAX_ALERTS_PER_MESSAGE, "{} alerts fit into one message", new.len());
    let bus = world.bus();
    let incarnation = bus.info(Stream::Evt).await.unwrap().incarnation;
    let filter = Filter::new("alert.0").unwrap();
    let predecessor = bus.last(Stream::Alert, &filter).await.unwrap().unwrap().sequence;
    let headers = Headers {
        version: 1,
        id: format!("{}/alert/0", last.headers.id),
        covers: Some(Position { incarnation, sequence: last.sequence, id: last.headers.id.clone() }),
        predecessor,
        chain: predecessor,
        ..Headers::default()
    };
    let alerts = new.iter().take(MAX_ALERTS_PER_MESSAGE).map(Into::into).collect();
    let body = Alerts { alerts }.encode_to_vec().into();
    let fence = Fence::new(Stream::Alert, Subject::new("alert.0").unwrap(), filter).unwrap();
    bus.append(&fence, predecessor, Outgoing { headers, body, decoded: None }).await.unwrap();
}
