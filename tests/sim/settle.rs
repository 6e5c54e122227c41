//! Waiting: until everything was fed, and until every reader is at the end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use atalaya_bus::{Filter, Floors, Message, OutputLane, Stream};

use crate::world::{PARTITIONS, World};

/// How long everything may take to be fed.
const FED_WITHIN: Duration = Duration::from_secs(60);

/// How long the readers may take to come to the end once nothing goes wrong any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(50);

/// Trouble goes on so long after the last message was fed.
const TROUBLE_AFTER: Duration = Duration::from_millis(700);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Returns when RAW has the whole input, and trouble went on for a while.
pub(crate) async fn fed(world: &World) -> anyhow::Result<()> {
    let mut feeding = world.feeding.subscribe();
    let fed = feeding.wait_for(|lanes| lanes.iter().all(|fed| *fed));
    ensure!(tokio::time::timeout(FED_WITHIN, fed).await.is_ok(), "RAW is not fed after {FED_WITHIN:?}");
    tokio::time::sleep(TROUBLE_AFTER).await;
    Ok(())
}

/// Returns when every reader is at the end of its stream, and nobody writes any more.
pub(crate) async fn settled(world: &World) -> anyhow::Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let behind = behind(world).await?;
        if behind.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "not at the end after {SETTLED_WITHIN:?}: {}", behind.join(", "));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Who is not at the end. From the first stream to the last: who writes the next one is looked at before its readers.
async fn behind(world: &World) -> anyhow::Result<Vec<String>> {
    let mut behind = Vec::new();
    for lane in world.input.lanes.iter().map(|lane| &lane.lane) {
        let raw = last(world, Stream::Raw, &Filter::new(&format!("raw.{lane}.>"))?).await?;
        covers(&mut behind, world, &OutputLane::evt(lane), &format!("normalizer {lane}"), raw.as_ref()).await?;
        reader(&mut behind, world, Stream::Raw, "normalizer", lane.as_str(), raw.as_ref()).await?;
    }
    for partition in 0..PARTITIONS {
        let scope = partition.to_string();
        let evt = last(world, Stream::Evt, &Filter::new(&format!("evt.{partition}.>"))?).await?;
        covers(&mut behind, world, &OutputLane::alert(partition), &format!("correlator {scope}"), evt.as_ref()).await?;
        for name in ["archive", "hot"] {
            reader(&mut behind, world, Stream::Evt, name, &scope, evt.as_ref()).await?;
        }
        let alert = last(world, Stream::Alert, &Filter::new(&format!("alert.{partition}"))?).await?;
        for name in ["archive", "hot", "notifier"] {
            reader(&mut behind, world, Stream::Alert, name, &scope, alert.as_ref()).await?;
        }
    }
    Ok(behind)
}

async fn last(world: &World, stream: Stream, filter: &Filter) -> anyhow::Result<Option<Message>> {
    Ok(world.bus.last(stream, filter).await?)
}

/// A writer's last output must cover its last input, whole.
async fn covers(
    behind: &mut Vec<String>,
    world: &World,
    output: &OutputLane,
    name: &str,
    input: Option<&Message>,
) -> anyhow::Result<()> {
    let Some(input) = input else { return Ok(()) };
    let newest = last(world, output.stream(), output.filter()).await?;
    let covered = newest.filter(|message| message.headers.end).and_then(|message| message.headers.covers.clone());
    let covered = covered.map_or(0, |position| position.sequence);
    if covered != input.sequence {
        behind.push(format!("{name} covers {covered} of {}", input.sequence));
    }
    Ok(())
}

/// A reader's floor must be at the last message.
async fn reader(
    behind: &mut Vec<String>,
    world: &World,
    stream: Stream,
    name: &str,
    scope: &str,
    input: Option<&Message>,
) -> anyhow::Result<()> {
    let Some(input) = input else { return Ok(()) };
    let floor = Floors::open(world.bus.as_ref()).await?.hold(stream, name, scope).await?;
    let at = floor.floor().map_or(0, |floor| floor.position.sequence);
    if at != input.sequence {
        behind.push(format!("{stream} {name} {scope} is at {at} of {}", input.sequence));
    }
    Ok(())
}
