//! Where a partition goes on: the newest snapshot that its alerts have reached, and the rules that were in force since.

use std::collections::VecDeque;
use std::sync::Arc;

use atalaya_bus::{BusError, FencedWriter, Filter, Position, Sequence, Stream, verify_position};

use crate::detect::Detector;
use crate::partitions::Shared;
use crate::state::{Snapshot, StateStore};
use crate::step::{Core, Stored};
use crate::telemetry;

/// A partition's place.
pub(crate) struct Resumed {
    pub(crate) core: Core,
    /// What the core has seen.
    pub(crate) position: Position,
    /// Output up to here is written: what is computed again up to here is not written again.
    pub(crate) written: Sequence,
    /// What is stored of the position after that, if it is half written.
    pub(crate) unfinished: Option<(Sequence, Stored)>,
    /// Whether there was no snapshot to go on from.
    pub(crate) fresh: bool,
}

/// Finds where a partition goes on.
pub(crate) async fn resume(shared: &Shared, partition: u16, writer: &FencedWriter) -> anyhow::Result<Resumed> {
    if let Some(position) = writer.position() {
        verify_position(&*shared.bus, Stream::Evt, position).await?;
    }
    let state = shared.state(partition);
    let (core, position, fresh) = match newest(shared, partition, &state, writer).await? {
        Some(snapshot) => {
            verify_position(&*shared.bus, Stream::Evt, &snapshot.position).await?;
            (restored(shared, partition, writer, &snapshot).await?, snapshot.position, false)
        }
        None => {
            if let Some(position) = writer.position() {
                telemetry::state_lost(partition, position.sequence);
            }
            let sequence = shared.bus.info(Stream::Evt).await?.first.saturating_sub(1);
            let detector = Detector::new(Arc::clone(&shared.configured), shared.limits.clone());
            let core = Core { detector, switches: VecDeque::new(), incarnation: shared.incarnation };
            (core, Position { incarnation: shared.incarnation, sequence, id: String::new() }, true)
        }
    };
    let written = writer.position().map_or(position.sequence, |written| written.sequence);
    telemetry::resumed(partition, position.sequence, written);
    let unfinished = match writer.unfinished() {
        Some(unfinished) => Some((unfinished.position.sequence, Stored::of(unfinished)?)),
        None => None,
    };
    Ok(Resumed { core, position, written, unfinished, fresh })
}

/// The newest snapshot at or below the last position whose alerts are written; before the first alert message there is
/// only the one of the beginning.
async fn newest(
    shared: &Shared,
    partition: u16,
    state: &StateStore,
    writer: &FencedWriter,
) -> anyhow::Result<Option<Snapshot>> {
    let mut names = state.snapshots().await?;
    match writer.position() {
        Some(written) => names.retain(|name| name.sequence <= written.sequence),
        None => names.reverse(),
    }
    for name in names {
        match state.load(&name).await {
            Ok(snapshot) if snapshot.position.incarnation == shared.incarnation => return Ok(Some(snapshot)),
            Ok(_) => {}
            Err(error) => telemetry::snapshot_unreadable(partition, name.as_str(), &error),
        }
    }
    Ok(None)
}

async fn restored(shared: &Shared, partition: u16, writer: &FencedWriter, snapshot: &Snapshot) -> anyhow::Result<Core> {
    let compiled = shared.rules(&snapshot.rule_set).await;
    let detector = Detector::from_image(&snapshot.image, compiled, shared.limits.clone())?;
    let mut switches = VecDeque::new();
    for (sequence, hash) in switched(shared, partition, snapshot, writer.last()).await? {
        switches.push_back((sequence, shared.rules(&hash).await));
    }
    Ok(Core { detector, switches, incarnation: shared.incarnation })
}

/// Before which messages of EVT the rules changed since a snapshot: the alert messages of those name the new ones.
async fn switched(
    shared: &Shared,
    partition: u16,
    snapshot: &Snapshot,
    last: Sequence,
) -> anyhow::Result<Vec<(Sequence, String)>> {
    let mut switches = Vec::new();
    let oldest = shared.bus.info(Stream::Alert).await?.first.saturating_sub(1);
    let after = snapshot.alert_sequence.max(oldest);
    if last <= after {
        return Ok(switches);
    }
    let filter = Filter::new(&format!("alert.{partition}"))?;
    let mut reader = shared.bus.read(Stream::Alert, &filter, after).await?;
    let mut rule_set = snapshot.rule_set.clone();
    while let Some(message) = reader.try_next().await? {
        let named = &message.headers.rule_set;
        if !named.is_empty() && *named != rule_set {
            rule_set.clone_from(named);
            let covers = message.headers.covers.as_ref().ok_or_else(|| BusError::Damaged {
                stream: Stream::Alert,
                sequence: message.sequence,
                reason: "alerts without a position".to_owned(),
            })?;
            switches.push((covers.sequence, rule_set.clone()));
        }
        if message.sequence >= last {
            break;
        }
    }
    Ok(switches)
}
