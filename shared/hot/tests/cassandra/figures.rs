//! Figures of one node on this machine; run by name:
//! `cargo test -p atalaya-hot --features conformance --test cassandra -- --ignored --nocapture figures`.

use std::time::Instant;

use atalaya_hot::FiledMessage;
use atalaya_hot::conformance::world::{CLASSES, Dice, NOON_US, Seed};

use super::*;

const ROUNDS: usize = 96;
const MESSAGES: usize = 32;
const ROWS: usize = 1_000;
const LOOKUPS: usize = 2_000;
const WRITERS: usize = 4;

/// Seconds of CPU that a process has used: fields 14 and 15 of its line, in hundredths.
fn cpu_s(process: &str) -> f64 {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = line.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].map(|at| fields[at].parse::<f64>().unwrap()).iter().sum::<f64>() / 100.0
}

/// Messages as large as they are under load, of one tenant.
fn messages() -> World {
    let mut world = World::default();
    let mut dice = Dice::new(99);
    for at in 0..ROUNDS * MESSAGES {
        let time_us = NOON_US + i64::try_from(at).unwrap() * 1_000_000;
        let seed = |step: usize| Seed {
            tenant: TENANTS[0],
            time_us: time_us + i64::try_from(step).unwrap() * 1_000,
            values: dice.any(),
        };
        let seeds: Vec<_> = (0..ROWS).map(seed).collect();
        world.add(CLASSES[at % 3], &seeds).unwrap();
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, run by name"]
async fn figures() {
    let mut node = node().await;
    restart(&mut node, |options| {
        (options.quick, options.heap_mb) = (false, 1_024);
        if let Ok(extra) = std::env::var("H3_EXTRA") {
            for pair in extra.split(';') {
                let (key, value) = pair.split_once('=').unwrap();
                options.settings.insert(key.to_owned(), value.to_owned());
            }
        }
    });
    let hot = open(&url(&node), &options()).await;
    let world = messages();
    let lots: Vec<&[FiledMessage]> = world.messages.chunks(MESSAGES).collect();
    let server = node.process().pid().to_string();
    for half in lots.chunks(lots.len() / 4) {
        let started = Instant::now();
        let before = [cpu_s("self"), cpu_s(&server)];
        let writers = half.chunks(half.len().div_ceil(WRITERS)).map(async |lots| {
            for lot in lots {
                hot.file(lot).await.unwrap();
            }
        });
        futures::future::join_all(writers).await;
        let (rows, seconds) = (half.len() * MESSAGES * ROWS, started.elapsed().as_secs_f64());
        let [own, nodes] = [cpu_s("self") - before[0], cpu_s(&server) - before[1]].map(|s| s * 1e6 / rows as f64);
        println!("filed {rows} rows in {seconds:.1} s: {:.0} rows/s", rows as f64 / seconds);
        println!("CPU a row: {own:.1} µs of the writer, {nodes:.1} µs of the node");
    }
    for (kind, values) in [
        (LookupKind::SrcIp, world.values(LookupKind::SrcIp)),
        (LookupKind::Domain, world.values(LookupKind::Domain)),
        (LookupKind::Tenant, world.values(LookupKind::Tenant)),
    ] {
        let mut took = Vec::new();
        for value in values.iter().cycle().take(LOOKUPS / 4) {
            let started = Instant::now();
            hot.lookup(&lookup(TENANTS[0], kind, value, 50)).await.unwrap();
            took.push(started.elapsed());
        }
        took.sort_unstable();
        let [p50, p99] = [took.len() / 2, took.len() * 99 / 100].map(|at| took[at].as_secs_f64() * 1_000.0);
        println!("lookup by {} of 50 rows: p50 {p50:.2} ms, p99 {p99:.2} ms", kind.name());
    }
}
