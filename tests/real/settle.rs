//! Waiting until a mesh has taken everything in, and until nothing in it moves any more.

use std::time::{Duration, Instant};

use anyhow::ensure;
use atalaya_model::Counts;
use atalaya_proto::query_v1::StatusResponse;

use crate::gateway::{books, total};
use crate::mesh::Mesh;
use crate::say;

/// How long the mesh may take until its books balance, everything taken in; then until all readers are at the end.
const BALANCED_WITHIN: Duration = Duration::from_secs(120);
const QUIET_WITHIN: Duration = Duration::from_secs(40);

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks between two words of progress.
const SAY_EVERY: u32 = 10;

/// Returns when so many records are everywhere, the collector has drained, and every reader is at the end.
pub(crate) async fn settle(mesh: &Mesh, records: usize) -> anyhow::Result<()> {
    say("waiting for the books to balance");
    wait(mesh, BALANCED_WITHIN, |status| taken_in(status, records as u64)).await?;
    // Open inputs have a heartbeat each second; without them the streams come to an end.
    say("draining the collector");
    tokio::task::block_in_place(|| mesh.processes.of("collector").for_each(|collector| collector.drain()));
    wait(mesh, QUIET_WITHIN, |status| taken_in(status, records as u64).or_else(|| behind(status))).await
}

/// Asks every gateway until what `open` says of each is nothing.
async fn wait(mesh: &Mesh, within: Duration, open: impl Fn(&StatusResponse) -> Option<String>) -> anyhow::Result<()> {
    let (until, mut looks) = (Instant::now() + within, 0_u32);
    loop {
        let mut waits_for = None;
        for gateway in &mesh.gateways {
            let found = match gateway.status().await {
                Ok(status) => open(&status),
                Err(error) => Some(format!("{error:#}")),
            };
            waits_for = waits_for.or(found.map(|found| format!("{}: {found}", gateway.name)));
        }
        let Some(waits_for) = waits_for else { return Ok(()) };
        ensure!(Instant::now() < until, "not settled after {within:?}: {waits_for}");
        if looks.is_multiple_of(SAY_EVERY) {
            say(&waits_for);
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is not taken in yet, or not balanced.
fn taken_in(status: &StatusResponse, records: u64) -> Option<String> {
    let sum = total(status);
    let new = sum.received.saturating_sub(sum.known);
    if new != records {
        return Some(format!("{new} of {records} records received"));
    }
    let open = books(status).into_iter().find(|(_, counts)| !counts.balanced());
    open.map(|(key, counts)| format!("{} of {} in {}: {}", key.source, key.tenant, key.domain, in_flight(&counts)))
}

fn in_flight(counts: &Counts) -> String {
    format!(
        "in flight are {} records, {} events to the archive, {} to the hot store, {} alerts",
        counts.records_in_flight(),
        counts.archive_in_flight(),
        counts.hot_in_flight(),
        counts.alerts_in_flight()
    )
}

/// A reader that is not at the end.
fn behind(status: &StatusResponse) -> Option<String> {
    let behind = status.readers.iter().find(|reader| reader.lag > 0)?;
    Some(format!("{} {} is {} behind", behind.reader, behind.partition, behind.lag))
}
