//! Two of a service share the work by leases, and the one left takes over a killed one's in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atalaya_bus::{OutputLane, Stream};
use atalaya_model::LaneId;
use bytes::Bytes;

use crate::input::Input;
use crate::mesh::{self, Mesh};
use crate::place::Place;
use crate::processes::Worker;
use crate::pushed::Sender;
use crate::say;

/// Senders: so many that every lane has some.
const SENDERS: usize = 16;

/// Records that each sends before and after a kill.
const RECORDS: usize = 20;

/// How long the work may take to be shared once all are ready.
const SHARED_WITHIN: Duration = Duration::from_secs(20);

/// How long a killed one's work may lie: what is promised.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A service that scales, and which of the leases are its.
struct Scaled {
    service: &'static str,
    is_its: fn(&str) -> bool,
}

const SCALED: [Scaled; 2] = [
    Scaled { service: "normalizer", is_its: |lease| lease.starts_with("raw.") },
    Scaled { service: "correlator", is_its: |lease| lease.starts_with("evt.") && lease.ends_with(".correlator") },
];

pub(crate) async fn play(place: &Place) -> anyhow::Result<()> {
    let mesh = mesh::small(place).await?;
    let input = Input::read()?;
    let mut records = input.pushed.chunks(SENDERS * RECORDS);
    let mut push = async |round| send(&mesh, records.next().context("too few records")?, round).await;
    push(0).await?;
    caught_up(&mesh, SHARED_WITHIN).await?;
    for (round, scaled) in SCALED.iter().enumerate() {
        shared(&mesh, scaled).await?;
        let killed = busiest(&mesh, scaled).await?;
        let began = Instant::now();
        killed.kill();
        say(&format!("kill -9 {}", killed.name));
        push(round + 1).await?;
        let moved = taken_over(&mesh, scaled, began);
        let moved = moved.await.with_context(|| format!("{} was killed", killed.name))?;
        caught_up(&mesh, TAKEN_OVER_WITHIN.saturating_sub(began.elapsed())).await?;
        let worked = began.elapsed();
        say(&format!("its leases moved in {moved:.1?}, and everything was worked on after {worked:.1?}"));
        mesh.processes.launch(killed)?;
    }
    mesh.processes.check_logs()
}

/// Which process holds each of a service's leases.
async fn held(mesh: &Mesh, scaled: &Scaled) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut held = BTreeMap::new();
    for entry in mesh.bus.bucket("leases").await?.list("").await? {
        if (scaled.is_its)(&entry.key) && !entry.value.is_empty() {
            let holder: serde_json::Value = serde_json::from_slice(&entry.value)?;
            // SERVICE@HOST-PID-RANDOM
            let pid = holder["holder"].as_str().and_then(|name| name.rsplit('-').nth(1)?.parse().ok());
            held.insert(entry.key, pid.with_context(|| format!("holder {holder}"))?);
        }
    }
    Ok(held)
}

/// How many leases a service has to hold.
async fn leases(mesh: &Mesh, scaled: &Scaled) -> anyhow::Result<usize> {
    Ok(match scaled.service {
        "normalizer" => lanes(mesh).await?.len(),
        _ => mesh.bus.info(Stream::Evt).await?.partitions.into(),
    })
}

async fn lanes(mesh: &Mesh) -> anyhow::Result<Vec<LaneId>> {
    let entries = mesh.bus.bucket("lanes").await?.list("").await?;
    entries.iter().map(|entry| entry.key.parse().map_err(anyhow::Error::msg)).collect()
}

/// Returns when all is held, and every process of the service holds some.
async fn shared(mesh: &Mesh, scaled: &Scaled) -> anyhow::Result<()> {
    let until = Instant::now() + SHARED_WITHIN;
    let all = leases(mesh, scaled).await?;
    let pids: BTreeSet<u32> = mesh.processes.of(scaled.service).filter_map(Worker::pid).collect();
    loop {
        let held = held(mesh, scaled).await?;
        let holders: BTreeSet<u32> = held.values().copied().collect();
        if held.len() == all && holders == pids {
            let of = |pid| held.values().filter(|holder| **holder == pid).count();
            let shares: Vec<_> = pids.iter().map(|pid| of(*pid)).collect();
            say(&format!("the {}s hold {shares:?} of {all} leases", scaled.service));
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "after {SHARED_WITHIN:?} the {}s {pids:?} do not share {all} leases: {held:?}",
            scaled.service
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The process that holds most.
async fn busiest<'m>(mesh: &'m Mesh, scaled: &Scaled) -> anyhow::Result<&'m Worker> {
    let held = held(mesh, scaled).await?;
    let count = |worker: &&Worker| held.values().filter(|pid| Some(**pid) == worker.pid()).count();
    mesh.processes.of(scaled.service).max_by_key(count).context("no process")
}

/// Returns when those left hold everything, with the time since the kill.
async fn taken_over(mesh: &Mesh, scaled: &Scaled, killed_at: Instant) -> anyhow::Result<Duration> {
    let all = leases(mesh, scaled).await?;
    let left: BTreeSet<u32> = mesh.processes.of(scaled.service).filter_map(Worker::pid).collect();
    loop {
        let held = held(mesh, scaled).await?;
        if held.len() == all && held.values().all(|pid| left.contains(pid)) {
            return Ok(killed_at.elapsed());
        }
        ensure!(
            killed_at.elapsed() < TAKEN_OVER_WITHIN,
            "after {TAKEN_OVER_WITHIN:?} the {}s left, {left:?}, hold of {all} leases: {held:?}",
            scaled.service
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Pushes records by several senders at the same time: each is an input, and inputs are spread over the lanes.
async fn send(mesh: &Mesh, records: &[Bytes], round: usize) -> anyhow::Result<()> {
    let senders = records.chunks(RECORDS).enumerate().map(|(number, records)| async move {
        let sender = Sender {
            door: mesh.ingest.clone(),
            token: mesh.token.clone(),
            producer: format!("sensor-{round}-{number}"),
            log: "ssl",
            batch: RECORDS,
            pause: Duration::ZERO,
        };
        sender.send(records).await
    });
    futures::future::try_join_all(senders).await.map(|_| ())
}

/// Returns when EVT covers all of RAW, and ALERT all of EVT.
async fn caught_up(mesh: &Mesh, within: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + within;
    loop {
        let open = behind(mesh).await?;
        if open.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "work lies longer than {within:?}: {}", open.join(", "));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn behind(mesh: &Mesh) -> anyhow::Result<Vec<String>> {
    let mut behind = Vec::new();
    for lane in lanes(mesh).await? {
        covers(&mut behind, mesh, Stream::Raw, OutputLane::raw(&lane).filter(), &OutputLane::evt(&lane)).await?;
    }
    for partition in 0..mesh.bus.info(Stream::Evt).await?.partitions {
        let input = atalaya_bus::Filter::new(&format!("evt.{partition}.>"))?;
        covers(&mut behind, mesh, Stream::Evt, &input, &OutputLane::alert(partition)).await?;
    }
    Ok(behind)
}

/// The last output must cover the last input, whole.
async fn covers(
    behind: &mut Vec<String>,
    mesh: &Mesh,
    stream: Stream,
    input: &atalaya_bus::Filter,
    output: &OutputLane,
) -> anyhow::Result<()> {
    let Some(last) = mesh.bus.last(stream, input).await? else { return Ok(()) };
    let newest = mesh.bus.last(output.stream(), output.filter()).await?.filter(|message| message.headers.end);
    let covered = newest.and_then(|message| message.headers.covers.clone()).map_or(0, |position| position.sequence);
    if covered != last.sequence {
        behind.push(format!("{} covers {covered} of {}", output.filter(), last.sequence));
    }
    Ok(())
}
