//! Snapshots and kept rule sets that cannot be used.

use std::path::Path;

use atalaya_bus::{Filter, Floors, Stream};

use crate::core;
use crate::script::{OTHER_RULES, RULES, steps};
use crate::world::{Lane, PARTITIONS, World};

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// A world with a snapshot at each of some places, and events behind the last.
async fn world_of_several(seed: u64) -> (World, Lane) {
    let world = World::new();
    let mut lane = world.lane().await;
    for lot in 0..4 {
        lane.write_all(&steps(seed + 10 * lot, lot as i64 * 40..(lot as i64 + 1) * 40)).await;
        world.run(RULES).await;
    }
    (world, lane)
}

async fn floor(world: &World, partition: u16) -> u64 {
    let floors = Floors::open(world.bus().as_ref()).await.unwrap();
    let floor = floors.hold(Stream::Evt, "correlator", &partition.to_string()).await.unwrap();
    floor.floor().map_or(0, |floor| floor.position.sequence)
}

fn sequence(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// The one before is as good, and the floor never passes what can be read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_snapshot_is_passed_over() {
    let (world, mut lane) = world_of_several(1).await;
    let mut good = Vec::new();
    for partition in 0..PARTITIONS {
        let snapshots = world.snapshots(partition);
        let [.., before, newest] = snapshots.as_slice() else { panic!("{snapshots:?}") };
        damage(newest);
        good.push(sequence(before));
    }
    lane.write_all(&steps(50, 160..200)).await;
    world.run(RULES).await;
    core::check(&world, RULES, |_| Vec::new()).await;
    for partition in 0..PARTITIONS {
        assert!(floor(&world, partition).await >= good[usize::from(partition)]);
        assert!(!world.snapshots(partition).is_empty());
    }
}

/// Without any snapshot everything is computed again, as long as EVT has it.
#[tokio::test(flavor = "multi_thread")]
async fn with_every_snapshot_damaged_it_begins_anew() {
    let (world, mut lane) = world_of_several(2).await;
    for partition in 0..PARTITIONS {
        world.snapshots(partition).iter().for_each(|path| damage(path));
    }
    lane.write_all(&steps(50, 160..200)).await;
    world.run(RULES).await;
    core::check(&world, RULES, |_| Vec::new()).await;
}

/// What EVT has no longer is forgotten; the partition goes on all the same.
#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_left_it_goes_on() {
    let (world, mut lane) = world_of_several(3).await;
    for partition in 0..PARTITIONS {
        world.snapshots(partition).iter().for_each(|path| damage(path));
    }
    let written = [world.alerts(0).await, world.alerts(1).await];
    let (bus, last) = (world.bus(), world.last(0).await.max(world.last(1).await));
    let lane_fence = Filter::new("evt.*.c1-0.>").unwrap();
    assert!(bus.trim(Stream::Evt, last - 5, &[lane_fence]).await.unwrap() > 1);
    lane.write_all(&steps(50, 160..200)).await;
    world.run(RULES).await;
    for partition in 0..PARTITIONS {
        let alerts = world.alerts(partition).await;
        let before = &written[usize::from(partition)];
        assert_eq!(&alerts[..before.len()], before, "what was written is not written again");
        assert!(alerts.len() > before.len(), "nothing is detected any more");
    }
}

/// The rules of a snapshot are gone: what they counted is forgotten, and the partition goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_rule_set_that_cannot_be_read_holds_nothing_up() {
    let (world, mut lane) = world_of_several(4).await;
    let [kept] = world.kept_rules().try_into().unwrap();
    damage(&kept);
    lane.write_all(&steps(50, 160..200)).await;
    world.run(OTHER_RULES).await;
    for partition in 0..PARTITIONS {
        let alerts = world.alerts(partition).await;
        assert!(alerts.iter().any(|alert| alert.rule_id == "ok"), "nothing is detected under the new rules");
    }
}
