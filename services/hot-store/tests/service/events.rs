//! Events: filed once, counted once.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_filed_and_counted() {
    let (bus_dir, hot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::random(71, 80).unwrap();
    let (bus, hot) = (journal(bus_dir.path()), hot(hot_dir.path()).await);
    write_events(&bus, &world, 0..40).await;
    let service = Running::start(&bus, &hot);
    wait_until_counted(&bus, rows(&world, 0..40)).await;
    write_events(&bus, &world, 40..60).await;
    wait_until_counted(&bus, rows(&world, 0..60)).await;
    service.drain().await;
    let service = Running::start(&bus, &hot);
    write_events(&bus, &world, 60..80).await;
    wait_until_counted(&bus, rows(&world, 0..80)).await;
    service.drain().await;
    check_all(&hot, &world).await;
    let last = bus.info(Stream::Evt).await.unwrap().last;
    let floors = floors(&bus, Stream::Evt).await;
    assert_eq!(floors.iter().map(|(_, floor)| floor.position.sequence).max(), Some(last));
    assert_eq!(counted(&bus).await, Counts { hot: rows(&world, 0..80), ..Counts::default() });
}

/// The service dies wherever it is, again and again, and its store with it: nothing is lost or counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_goes_on_where_its_floor_is() {
    let (bus_dir, hot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::random(72, 200).unwrap();
    let bus = journal(bus_dir.path());
    for round in 0..8_u64 {
        let hot = hot(hot_dir.path()).await;
        let service = Running::start(&bus, &hot);
        let at = usize::try_from(round).unwrap() * 25;
        write_events(&bus, &world, at..at + 25).await;
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        service.kill().await;
        let store = Arc::downgrade(&hot);
        drop(hot);
        wait_until("the store to be let go", async || store.strong_count() == 0).await;
    }
    let hot = hot(hot_dir.path()).await;
    let service = Running::start(&bus, &hot);
    wait_until_counted(&bus, rows(&world, 0..200)).await;
    service.drain().await;
    check_all(&hot, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_share_the_partitions() {
    let (bus_dir, hot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::random(73, 90).unwrap();
    let (bus, hot) = (journal(bus_dir.path()), hot(hot_dir.path()).await);
    let (one, other) = (Running::start(&bus, &hot), Running::start(&bus, &hot));
    write_events(&bus, &world, 0..30).await;
    wait_until_counted(&bus, rows(&world, 0..30)).await;
    one.kill().await;
    write_events(&bus, &world, 30..60).await;
    let died = Instant::now();
    wait_until_counted(&bus, rows(&world, 0..60)).await;
    assert!(died.elapsed() < Duration::from_secs(5), "taking over took {:?}", died.elapsed());
    let third = Running::start(&bus, &hot);
    other.drain().await;
    write_events(&bus, &world, 60..90).await;
    wait_until_counted(&bus, rows(&world, 0..90)).await;
    third.drain().await;
    check_all(&hot, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_on_arrival_is_counted_as_expired() {
    let (bus_dir, hot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut world = World::random(74, 10).unwrap();
    // The world is of 2024.
    for message in &mut world.messages[..4] {
        message.received_time_us = atalaya_bus::now_us();
    }
    let bus = journal(bus_dir.path());
    let hot = atalaya_hot::open(&format!("file:{}?retention=30d", hot_dir.path().display())).await.unwrap();
    write_events(&bus, &world, 0..10).await;
    let service = Running::start(&bus, &hot);
    wait_until_counted(&bus, rows(&world, 0..10)).await;
    service.drain().await;
    let expected = Counts { hot: rows(&world, 0..4), expired: rows(&world, 4..10), ..Counts::default() };
    assert_eq!(counted(&bus).await, expected);
}
