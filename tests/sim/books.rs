//! The ledger: what the streams' headers and the readers' floors count must balance, source by source.

use std::time::{Duration, Instant};

use anyhow::ensure;
use atalaya_bus::{Floors, Stream};
use atalaya_model::{Books, Counts};

use crate::world::World;

/// How long the notifier may take to count what it delivered.
const BALANCED_WITHIN: Duration = Duration::from_secs(10);

/// The source that alerts stand under.
const ALERTS: &str = "alerts";

/// Received, normalised, parked and dropped, over everything.
pub(crate) async fn records(world: &World) -> anyhow::Result<Counts> {
    Ok(fold(world).await?.total(|key| key.source != ALERTS))
}

/// Every row of the books must be balanced, and its sums be those of the input.
pub(crate) async fn check(world: &World) -> anyhow::Result<()> {
    let books = fold(world).await?;
    for (key, counts) in books.iter() {
        ensure!(counts.balanced(), "the books of {key:?} do not balance: {counts:?}");
    }
    let (counts, input) = (books.total(|key| key.source != ALERTS), &world.input);
    ensure!(counts.received == input.good + input.broken, "{} received: {counts:?}", input.good + input.broken);
    ensure!(counts.normalized == input.good, "{} can be read: {counts:?}", input.good);
    ensure!(counts.events == input.good, "one event each of {}: {counts:?}", input.good);
    Ok(())
}

/// Returns when no alert is in flight any more.
pub(crate) async fn delivered(world: &World) -> anyhow::Result<()> {
    let until = Instant::now() + BALANCED_WITHIN;
    loop {
        let counts = fold(world).await?.total(|key| key.source == ALERTS);
        if counts.alerts_in_flight() == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "alerts are not delivered after {BALANCED_WITHIN:?}: {counts:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn fold(world: &World) -> anyhow::Result<Books> {
    let mut books = Books::default();
    for (stream, filter) in [(Stream::Raw, "raw.>"), (Stream::Evt, "evt.>"), (Stream::Alert, "alert.>")] {
        for message in world.all(stream, filter).await? {
            books.merge(&message.headers.books);
        }
        for (_, _, floor) in Floors::open(world.bus.as_ref()).await?.all(stream).await? {
            books.merge(&floor.books);
        }
    }
    Ok(books)
}
