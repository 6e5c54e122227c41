//! What cannot be trusted stops its partition, and no other.

use std::time::Duration;

use atalaya_bus::{Fence, FencedWriter, Filter, Headers, Outgoing, OutputLane, Position, Stream, Subject};
use atalaya_model::Books;
use bytes::Bytes;

use crate::core;
use crate::script::{RULES, steps};
use crate::world::{World, lease, until};

/// Longer than a partition that failed waits, and shorter than one that is damaged.
const LOOKED_AT: Duration = Duration::from_millis(2_500);

/// The lease of a partition that stopped is free, and stays so.
async fn stays_away(world: &World, partition: u16) {
    let leases = world.bus().bucket("leases").await.unwrap();
    let mut revision = 0;
    until("the stop", async || {
        let entry = leases.get(&lease(partition)).await.unwrap();
        revision = entry.as_ref().map_or(0, |entry| entry.revision);
        entry.is_some_and(|entry| entry.value.is_empty())
    })
    .await;
    let until = tokio::time::Instant::now() + LOOKED_AT;
    while tokio::time::Instant::now() < until {
        // Given back, then run out.
        let entry = leases.get(&lease(partition)).await.unwrap();
        assert!(entry.is_none_or(|entry| entry.revision == revision), "taken again at once");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// ALERT stands at a place in another EVT: going on would skip events, or judge them twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_incarnation_stops_the_partition() {
    let world = World::new();
    world.lane().await.write_all(&steps(1, 0..60)).await;
    let mut writer = FencedWriter::resume(world.bus(), OutputLane::alert(0)).await.unwrap();
    writer.pass(Position { incarnation: 1, sequence: 3, id: "c1-0/3".into() }, Books::default());
    writer.flush().await.unwrap();
    let service = world.start(RULES);
    stays_away(&world, 0).await;
    until("the other partition", async || world.is_done(1).await).await;
    service.drain().await;
    let newest = world.bus().last(Stream::Alert, &Filter::new("alert.0").unwrap()).await.unwrap().unwrap();
    assert_eq!(newest.sequence, writer.last(), "something was written");
    assert!(world.snapshots(0).is_empty());
}

/// A message that cannot be read: what came before is told, and nothing after it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_message_stops_the_partition() {
    let world = World::new();
    let mut lane = world.lane().await;
    lane.write_all(&steps(1, 0..60)).await;
    let before = world.events(0).await;
    let subject = Subject::new("evt.0.c9-0.authentication").unwrap();
    let fence = Fence::new(Stream::Evt, subject, Filter::new("evt.0.c9-0.>").unwrap()).unwrap();
    let headers = Headers { id: "x".into(), end: true, rows: 1, ..Headers::default() };
    let message = Outgoing { headers, body: Bytes::from_static(b"no rows"), decoded: None };
    let unreadable = world.bus().append(&fence, 0, message).await.unwrap();
    lane.write_all(&steps(2, 60..120)).await;
    let service = world.start(RULES);
    stays_away(&world, 0).await;
    until("the other partition", async || world.is_done(1).await).await;
    service.drain().await;
    assert_eq!(world.alerts(0).await, core::alerts(&before, RULES, &[]));
    assert!(world.covered(0).await < unreadable);
}
