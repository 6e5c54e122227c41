//! Stores that went back, are empty, or have a hole: each is noticed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::repair::{self, Hole, StreamPlan};
use atalaya_bus::{Bus, BusError, ChainCheck, Position, Reader, Stream, WriteError, verify_position};
use atalaya_model::Books;
use atalaya_servers::NatsServer;
use tempfile::TempDir;

use crate::lanes::{lane, parts, position, resume, write_lane};
use crate::{connect, filter, server};

const SOON: Duration = Duration::from_secs(30);
const NO_PAUSE: Duration = Duration::ZERO;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

/// Starts the server on another store than its own.
fn restart_on(server: &mut NatsServer, store: Option<&Path>) {
    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    if let Some(store) = store {
        copy(store, &server.store());
    }
    server.restart().unwrap();
}

async fn newest(bus: &dyn Bus) -> Position {
    let message = bus.last(Stream::Evt, &filter(">")).await.unwrap().unwrap();
    let incarnation = bus.info(Stream::Evt).await.unwrap().incarnation;
    Position { incarnation, sequence: message.sequence, id: message.headers.id.clone() }
}

async fn read_to(reader: &mut dyn Reader, sequence: u64) {
    while reader.next().await.unwrap().sequence < sequence {}
}

async fn stopped(reader: &mut dyn Reader) -> BusError {
    tokio::time::timeout(SOON, reader.next()).await.expect("the reader notices nothing").unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_from_before_is_noticed() {
    let directory = TempDir::new().unwrap();
    let mut server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    write_lane(Arc::clone(&bus), lane(0), 20, 1_000, NO_PAUSE).await;
    let old = directory.path().join("old");
    // Held while it is copied: what was answered is in the files.
    server.pause().unwrap();
    copy(&server.store(), &old);
    server.resume().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut writer = resume(&bus, &lane(0)).await;
    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    for sequence in 21..=30 {
        writer.write(position(sequence), parts(&lane(0), sequence, 0, 1_000), Books::default()).await.unwrap();
    }
    let before = newest(bus.as_ref()).await;
    read_to(reader.as_mut(), before.sequence).await;
    verify_position(bus.as_ref(), Stream::Evt, &before).await.unwrap();

    restart_on(&mut server, Some(&old));
    let error = stopped(reader.as_mut()).await;
    assert!(matches!(error, BusError::Mismatch(_)), "{error}");
    let stale = writer.write(position(31), parts(&lane(0), 31, 0, 1_000), Books::default()).await;
    assert!(matches!(stale, Err(WriteError::Fenced { .. })), "{stale:?}");
    let fresh = connect(&server).await;
    let back = verify_position(&fresh, Stream::Evt, &before).await;
    assert!(matches!(back, Err(BusError::Mismatch(_))), "{back:?}");
    assert!(matches!(
        fresh.read(Stream::Evt, &filter(">"), before.sequence).await.map(|_| ()),
        Err(BusError::Mismatch(_))
    ));
    // The log grows beyond the position again, with other messages.
    write_lane(Arc::clone(&bus), lane(1), 40, 1_000, NO_PAUSE).await;
    let other = verify_position(&fresh, Stream::Evt, &before).await;
    assert!(matches!(&other, Err(BusError::Mismatch(reason)) if reason.contains("bus repair")), "{other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_is_noticed() {
    let directory = TempDir::new().unwrap();
    let mut server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    write_lane(Arc::clone(&bus), lane(0), 10, 1_000, NO_PAUSE).await;
    let before = newest(bus.as_ref()).await;
    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    read_to(reader.as_mut(), before.sequence).await;

    restart_on(&mut server, None);
    // Created by whoever starts first, and not by those who run.
    let error = stopped(reader.as_mut()).await;
    assert!(matches!(error, BusError::Mismatch(_)), "{error}");
    let fresh = connect(&server).await;
    write_lane(Arc::new(connect(&server).await), lane(0), 20, 1_000, NO_PAUSE).await;
    let other = verify_position(&fresh, Stream::Evt, &before).await;
    assert!(matches!(&other, Err(BusError::Mismatch(reason)) if reason.contains("incarnation")), "{other:?}");
}

/// Files with messages of EVT, oldest first.
fn blocks(server: &NatsServer) -> Vec<PathBuf> {
    let folder = server.store().join("jetstream/$G/streams/EVT/msgs");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut blocks: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "blk")).collect();
    blocks.sort_by_key(|path| path.file_stem().unwrap().to_string_lossy().parse::<u64>().unwrap());
    blocks
}

async fn flip_a_byte(cleanly: bool) {
    let directory = TempDir::new().unwrap();
    let mut server = server(directory.path());
    let bus: Arc<dyn Bus> = Arc::new(connect(&server).await);
    // Several blocks, so that both ends look right.
    write_lane(Arc::clone(&bus), lane(0), 400, 50_000, NO_PAUSE).await;
    let info = bus.info(Stream::Evt).await.unwrap();
    drop(bus);
    if cleanly {
        server.stop();
    } else {
        server.kill();
    }
    let blocks = blocks(&server);
    assert!(blocks.len() >= 3, "{blocks:?}");
    let mut bytes = std::fs::read(&blocks[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blocks[1], bytes).unwrap();
    server.restart().unwrap();

    let bus = connect(&server).await;
    let after = bus.info(Stream::Evt).await.unwrap();
    assert_eq!((after.incarnation, after.last), (info.incarnation, info.last));
    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    let mut chains = ChainCheck::new(0);
    let mut read = 0;
    let error = loop {
        let message = match tokio::time::timeout(SOON, reader.next()).await.expect("it hangs") {
            Ok(message) => message,
            Err(error) => break error,
        };
        if let Err(error) = chains.check(&message) {
            break error;
        }
        read += 1;
        assert!(message.sequence < info.last, "{read} messages and no hole in {info:?}");
    };
    println!("{read} of {} messages, then: {error}", info.messages);
    assert!(matches!(error, BusError::Damaged { .. }), "{error}");
    assert!(read > 0 && read < info.messages);
    hole_is_passed_once_told(Arc::new(bus), info.messages).await;
}

/// A repair says what is gone; readers come to the end then, and whoever begins behind it never knew.
async fn hole_is_passed_once_told(bus: Arc<dyn Bus>, messages: u64) {
    let plans = repair::plan(bus.as_ref(), &[]).await.unwrap();
    let found = plans.iter().find(|plan| plan.stream == Stream::Evt).unwrap();
    assert!(found.is_damaged() && plans.iter().filter(|plan| plan.is_damaged()).count() == 1, "{plans:?}");
    let lost: u64 = found.life.holes.iter().map(Hole::messages).sum();
    let missed_by = repair::missed_by(bus.as_ref(), Stream::Evt, &found.life.holes[0]).await.unwrap();
    assert!(missed_by.is_empty(), "{missed_by:?}");
    repair::carry_out(&bus, &plans).await.unwrap();
    let again = repair::plan(bus.as_ref(), &[]).await.unwrap();
    assert!(!again.iter().any(StreamPlan::is_damaged), "{again:?}");

    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    let mut chains = ChainCheck::open(bus.as_ref(), Stream::Evt, 0).await.unwrap();
    let last = bus.info(Stream::Evt).await.unwrap().last;
    let mut read = 0;
    loop {
        let message = tokio::time::timeout(SOON, reader.next()).await.expect("it hangs").unwrap();
        chains.check(&message).unwrap();
        read += 1;
        if message.sequence == last {
            break;
        }
    }
    println!("{read} of {messages} messages, {lost} lost");
    assert_eq!(read + lost, messages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_noticed_after_a_kill() {
    flip_a_byte(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_noticed_after_a_stop() {
    flip_a_byte(true).await;
}
