//! A bus that is not the one the tables know: a partition stands until it is repaired, and what comes again is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails so")]

mod common;

use std::time::Duration;

use atalaya_archive::Feed;
use atalaya_bus::repair::{self, Witness};
use atalaya_bus::{Position, Stream};
use atalaya_model::Class;
use common::{Lane, World, quick};

/// Everything that the tables know of the streams.
async fn witnesses(world: &World) -> Vec<Witness> {
    let positions = world.reopened().positions().await.unwrap();
    let of = |feed| if feed == Feed::Evt { Stream::Evt } else { Stream::Alert };
    let witnesses = positions.into_iter().map(|(scope, sequence)| Witness {
        name: scope.to_string(),
        stream: of(scope.feed),
        position: Position { incarnation: scope.incarnation, sequence, id: String::new() },
    });
    witnesses.collect()
}

async fn repaired(world: &World) {
    let plans = repair::plan(world.bus.as_ref(), &witnesses(world).await).await.unwrap();
    let damaged: Vec<_> = plans.iter().filter(|plan| plan.is_damaged()).map(|plan| plan.stream).collect();
    assert_eq!(damaged, [Stream::Evt]);
    repair::carry_out(&world.bus, &plans).await.unwrap();
    let again = repair::plan(world.bus.as_ref(), &witnesses(world).await).await.unwrap();
    assert!(!again.iter().any(repair::StreamPlan::is_damaged), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_bus_is_taken_once_it_is_repaired() {
    let mut world = World::new();
    let mut lane = Lane::new(&world, "c1-0").await;
    let service = world.start(quick());
    lane.events(Class::DnsActivity, &[0, 1, 2, 3], 20).await;
    world.until_archived(80).await;
    service.drain().await;
    let before = lane.sorted();

    world.lose_the_bus();
    let mut again = Lane::new(&world, "c1-0").await;
    again.events(Class::DnsActivity, &[0, 1, 2, 3], 20).await;
    again.events(Class::DnsActivity, &[0, 1, 2, 3], 5).await;
    let service = world.start(quick());
    tokio::time::sleep(Duration::from_secs(1)).await;
    service.drain().await;
    assert_eq!((world.archived().await, world.ids(Class::DnsActivity).await), (0, before));

    repaired(&world).await;
    let service = world.start(quick());
    world.until_archived(100).await;
    service.drain().await;
    assert_eq!(world.ids(Class::DnsActivity).await, again.sorted());
}
