//! Servers that die, hang or are away, and writers that come back from the dead.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_bus::{AppendError, Bus, FencedWriter, Lease, OutputLane, Stream, WriteError};
use atalaya_model::Books;
use atalaya_servers::{Process, wait_until};
use tempfile::TempDir;

use crate::lanes::{check_lanes, lane, parts, position, read_lanes, resume, write_lanes};
use crate::{connect, fence, fill, filter, outgoing, server};

const LANES: usize = 4;

/// Kills while the lanes write.
const KILLS: u64 = 5;

/// How long the server is away.
const OUTAGE: Duration = Duration::from_secs(10);

/// The lease of a writer that is held.
const TTL: Duration = Duration::from_secs(2);

/// Set in the process that is held: the server's URL.
const URL: &str = "ATALAYA_HELD_WRITER";

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_and_restart_under_load() {
    const POSITIONS: u64 = 400;
    let directory = TempDir::new().unwrap();
    let mut server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    let reading = tokio::spawn(async move { read_lanes(reader.as_mut(), LANES, POSITIONS).await.len() });
    let mut lanes = write_lanes(&bus, LANES, POSITIONS, 20_000, Duration::from_millis(10));
    let mut alive_at_kill = 0;
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(500 + 170 * kill)).await;
        alive_at_kill += usize::from(bus.info(Stream::Evt).await.unwrap().messages < 800 * LANES as u64);
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            std::thread::sleep(Duration::from_millis(100 * kill));
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
    }
    while let Some(ended) = lanes.join_next().await {
        ended.unwrap();
    }
    assert!(alive_at_kill >= 3, "only {alive_at_kill} kills met writers");
    let read = reading.await.unwrap();
    check_lanes(bus.as_ref(), LANES, POSITIONS).await;
    assert_eq!(bus.info(Stream::Evt).await.unwrap().messages, read as u64);
}

/// Writes under a lease until it is fenced. Does nothing when it is run as a test.
#[tokio::test]
async fn held_writer() {
    let Ok(url) = std::env::var(URL) else { return };
    let bus: Arc<dyn Bus> = Arc::new(atalaya_bus::nats::Nats::connect(&url, &crate::options()).await.unwrap());
    let leases = bus.bucket("leases").await.unwrap();
    let mut lease = Lease::acquire(leases, "evt.c1-0", "held", TTL).await.unwrap().unwrap();
    let mut writer = resume(&bus, &lane(0)).await;
    loop {
        let sequence = writer.position().map_or(1, |position| position.sequence + 1);
        match writer.write(position(sequence), parts(&lane(0), sequence, 0, 100), Books::default()).await {
            Ok(()) => println!("wrote {sequence}"),
            Err(error) => {
                let fenced = matches!(error, WriteError::Fenced { .. });
                println!("{} {}", if fenced { "fenced" } else { "broken" }, lease.renew().await.unwrap());
                return;
            }
        }
        // Renewed after writing: a writer that was held for long does not know it when it writes.
        lease.renew().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_writer_that_was_held_is_fenced() {
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "faults::held_writer", "--nocapture"]).env(URL, server.url());
    let mut held = Process::start(command, directory.path(), "held").unwrap();
    let log = held.log();
    let said = |what: &str| std::fs::read_to_string(&log).unwrap().contains(what);
    held.wait_ready(SOON, || Ok(said("wrote 10"))).unwrap();
    held.signal("STOP").unwrap();
    let leases = bus.bucket("leases").await.unwrap();
    let start = Instant::now();
    let lease = loop {
        match Lease::acquire(Arc::clone(&leases), "evt.c1-0", "next", SOON).await.unwrap() {
            Some(lease) => break lease,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert!(start.elapsed() < SOON, "the lease of a held writer does not run out");
    };
    let moved = start.elapsed();
    assert!(moved < Duration::from_secs(5), "a lease of {TTL:?} moved after {moved:?}");
    let mut writer = resume(&bus, &lane(0)).await;
    let from = writer.position().unwrap().sequence + 1;
    for sequence in from..from + 5 {
        let stored = writer.unfinished().map_or(0, |unfinished| unfinished.stored.len() as u64);
        writer.write(position(sequence), parts(&lane(0), sequence, stored, 100), Books::default()).await.unwrap();
    }
    held.signal("CONT").unwrap();
    wait_until(SOON, "the held writer to be fenced", || Ok(said("fenced"))).unwrap();
    assert!(said("fenced false") && !said("broken"), "{}", held.log_tail());
    check_lanes(bus.as_ref(), 1, from + 4).await;
    drop(lease);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let mut server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    let mut writer = resume(&bus, &lane(0)).await;
    writer.write(position(1), parts(&lane(0), 1, 0, 100), Books::default()).await.unwrap();
    let mut reader = bus.read(Stream::Evt, &filter("evt.*.c1-0.>"), 0).await.unwrap();
    reader.next().await.unwrap();
    server.kill();
    let writing = tokio::spawn(async move {
        let start = Instant::now();
        writer.write(position(2), parts(&lane(0), 2, 0, 100), Books::default()).await.map(|()| start.elapsed())
    });
    let asked = Instant::now();
    let fence = fence(Stream::Alert, "alert.0", "alert.0");
    let unanswered = bus.append(&fence, 0, outgoing("x", 10)).await;
    assert!(matches!(unanswered, Err(AppendError::Unanswered(_))), "{unanswered:?}");
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    tokio::time::sleep(OUTAGE.saturating_sub(asked.elapsed())).await;
    let server = tokio::task::spawn_blocking(move || server.restart().map(|()| server)).await.unwrap().unwrap();
    let waited = tokio::time::timeout(SOON, writing).await.unwrap().unwrap().unwrap();
    assert!(waited >= OUTAGE - Duration::from_secs(1), "{waited:?}");
    for wanted in ["1.1", "2.0", "2.1", "2.2"] {
        let message = tokio::time::timeout(SOON, reader.next()).await.unwrap().unwrap();
        assert_eq!(message.headers.id, wanted);
    }
    assert_eq!(fill(bus.as_ref(), &fence, 0, 3, 10).await, 3);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    let mut writer = FencedWriter::resume(Arc::clone(&bus), OutputLane::evt(&lane(0))).await.unwrap();
    writer.write(position(1), parts(&lane(0), 1, 0, 100), Books::default()).await.unwrap();
    server.pause().unwrap();
    let writing =
        tokio::spawn(async move { writer.write(position(2), parts(&lane(0), 2, 0, 100), Books::default()).await });
    // Longer than an answer may take: what was sent lies in the server's socket, and is tried again.
    tokio::time::sleep(Duration::from_secs(7)).await;
    server.resume().unwrap();
    tokio::time::timeout(SOON, writing).await.unwrap().unwrap().unwrap();
    check_lanes(bus.as_ref(), 1, 2).await;
}
