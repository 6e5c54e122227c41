//! A bus restarted on an empty store and on a copy from before, under the whole system: noticed, repaired with
//! `atalaya bus repair`, and gone on with: nothing twice, nothing lost that the spool or the archive still has.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_servers::{NatsOptions, NatsServer};
use serde_json::Value;

use crate::atalaya::{Atalaya, PATIENCE, Running};
use crate::kill::line;

/// The system over an embedded bus, tailing a log that grows.
struct World {
    atalaya: Atalaya,
    config: PathBuf,
    log: File,
    written: usize,
}

impl World {
    fn new() -> Self {
        let atalaya = Atalaya::new();
        let log = atalaya.path("dns.log");
        let source = format!("name: dns\nkind: zeek\npath: {}\ntail: true\n", log.display());
        let config = atalaya.config(&[("dns", source)]);
        Self { log: File::create(log).unwrap(), atalaya, config, written: 0 }
    }

    /// The same over a NATS server.
    fn on_nats() -> (Self, NatsServer) {
        let world = Self::new();
        let server = NatsServer::start(&world.atalaya.path("nats"), &NatsOptions::default()).unwrap();
        let mut settings = File::options().append(true).open(world.config.join("atalaya.yaml")).unwrap();
        writeln!(settings, "bus: '{}'", server.url()).unwrap();
        (world, server)
    }

    fn write(&mut self, lines: usize) {
        let text: String = (self.written..self.written + lines).map(line).collect();
        self.log.write_all(text.as_bytes()).unwrap();
        self.written += lines;
    }

    /// Rows of the archive, and how many different events they are.
    fn rows(&self) -> Option<(u64, u64)> {
        let sql = "select count(*) n, count(distinct event_id) ids from dns_activity";
        let output = self.atalaya.run(&["sql", sql, "--format", "json"]);
        let row: Value = serde_json::from_str(String::from_utf8(output.stdout).ok()?.lines().next()?).ok()?;
        Some((row["n"].as_u64()?, row["ids"].as_u64()?))
    }

    fn until_archived(&self, events: usize) {
        let (began, events) = (Instant::now(), events as u64);
        while self.rows() != Some((events, events)) {
            assert!(began.elapsed() < PATIENCE, "{:?} of {events} rows", self.rows());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Starts the system and waits until its log has every one of these texts.
    fn start_until(&self, texts: &[&str]) -> Running {
        let log = self.atalaya.path("run.log");
        let running = self.atalaya.start_logged(&self.config, &log);
        let began = Instant::now();
        loop {
            let told = std::fs::read_to_string(&log).unwrap();
            let missing: Vec<_> = texts.iter().filter(|text| !told.contains(**text)).collect();
            if missing.is_empty() {
                return running;
            }
            assert!(began.elapsed() < PATIENCE, "the log lacks {missing:?}:\n{told}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn repair(&self, more: &[&str]) -> Value {
        let config = self.config.to_str().unwrap();
        let arguments = [&["bus", "repair", "--config", config, "--json"], more].concat();
        serde_json::from_str(&self.atalaya.output(&arguments)).unwrap()
    }

    /// Repairs: refused while the services run, planned first, done once.
    fn repair_with(&self, running: Running) -> Value {
        let config = self.config.to_str().unwrap();
        let refused = self.atalaya.run(&["bus", "repair", "--config", config]);
        let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
        let says_why = reason.contains("stop them first") || reason.contains("in use by another process");
        assert!(!refused.status.success() && says_why, "{reason}");
        running.stop();
        let planned = self.repair(&["--dry-run"]);
        assert_eq!((&planned["damaged"], &planned["repaired"]), (&true.into(), &false.into()), "{planned}");
        let repaired = self.repair(&[]);
        assert_eq!((&repaired["damaged"], &repaired["repaired"]), (&true.into(), &true.into()), "{repaired}");
        assert_eq!(repaired["streams"], planned["streams"]);
        assert_eq!(self.repair(&[])["damaged"], Value::from(false), "repaired twice");
        repaired
    }

    fn write_for_two_seconds(&mut self) {
        for _ in 0..20 {
            self.write(50);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// After 3,000 records, of which the bus has 2,000 and the archive all.
    fn repair_a_copy(&mut self) {
        let running = self.start_until(&["the spool fills, until the bus is repaired", "the archive has it up to"]);
        let report = self.repair_with(running);
        assert!(sum(&report, "lost_messages") > 0, "{report}");
        for name in ["RAW", "EVT"] {
            let stream = stream(&report, name);
            assert_eq!(stream["lost_from"].as_u64(), stream["last"].as_u64().map(|last| last + 1), "{report}");
            assert!(stream["goes_on_after"].as_u64() >= stream["lost_to"].as_u64(), "{report}");
        }
        // What is lost on the bus had been archived by then.
        let running = self.start_until(&["raw was repaired", "lost in raw"]);
        self.write(500);
        self.settle(running, 3_500);
    }

    /// Everything once, in the archive and in the hot store, and the books balance.
    fn settle(&self, running: Running, events: usize) {
        self.until_archived(events);
        // Longer than any flush: what would come twice has come by then.
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(self.rows(), Some((events as u64, events as u64)));
        let hot = self.atalaya.rows(&["lookup", "dst_ip", "10.0.0.53", "--limit", "1000000", "--format", "json"]);
        let ids: BTreeSet<_> = hot.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
        assert_eq!((hot.len(), ids.len()), (events, events));
        let status = self.atalaya.run(&["status"]);
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        assert!(running.stop());
    }
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

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

fn sum(report: &Value, field: &str) -> u64 {
    report["lanes"].as_array().unwrap().iter().filter_map(|lane| lane[field].as_u64()).sum()
}

fn stream<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["streams"].as_array().unwrap().iter().find(|stream| stream["stream"] == name).unwrap()
}

#[test]
fn an_empty_store_is_repaired() {
    let (mut world, mut server) = World::on_nats();
    let running = world.atalaya.start(&world.config);
    world.write(3_000);
    world.until_archived(3_000);
    // Only the spool takes these.
    server.pause().unwrap();
    world.write(1_000);
    std::thread::sleep(Duration::from_secs(3));
    running.kill();
    restart_on(&mut server, None);

    let running = world.start_until(&["the spool fills, until the bus is repaired", "the archive has incarnation"]);
    let report = world.repair_with(running);
    assert!(sum(&report, "records_from_spool") >= 1_000, "{report}");
    assert!(stream(&report, "RAW")["lost_to"].as_u64().unwrap() > 0, "{report}");

    let running = world.atalaya.start(&world.config);
    world.write(500);
    world.settle(running, 4_500);
}

#[test]
fn a_copy_from_before_is_repaired() {
    let (mut world, mut server) = World::on_nats();
    let running = world.atalaya.start(&world.config);
    world.write(2_000);
    world.until_archived(2_000);
    let old = world.atalaya.path("old");
    // Held while it is copied: what was answered is in the files.
    server.pause().unwrap();
    copy(&server.store(), &old);
    server.resume().unwrap();
    world.write_for_two_seconds();
    world.until_archived(3_000);
    running.kill();
    restart_on(&mut server, Some(&old));
    world.repair_a_copy();
}

#[test]
fn an_embedded_bus_from_before_is_repaired() {
    let mut world = World::new();
    let running = world.atalaya.start(&world.config);
    world.write(2_000);
    world.until_archived(2_000);
    assert!(running.stop());
    let (bus, old) = (world.atalaya.path("data/bus"), world.atalaya.path("old"));
    copy(&bus, &old);
    let running = world.atalaya.start(&world.config);
    world.write_for_two_seconds();
    world.until_archived(3_000);
    running.kill();
    std::fs::remove_dir_all(&bus).unwrap();
    copy(&old, &bus);
    world.repair_a_copy();
}
