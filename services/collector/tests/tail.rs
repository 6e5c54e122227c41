//! Files that are followed: growth, rotation, truncation, restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use atalaya_model::LIVE_DOMAIN;
use atalaya_proto::raw_v1::Entry;
use support::{Raw, Rig, Running, shared};

fn line(n: u32) -> String {
    format!("{{\"_path\":\"conn\",\"uid\":\"C{n:06}\"}}\n")
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(line).collect()
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Waits for exactly these records, once each.
async fn settled(running: &Running, expected: &str) -> Raw {
    let mut expected: Vec<_> = expected.lines().map(str::to_owned).collect();
    expected.sort();
    running.until(|raw| (raw.records().len() >= expected.len()).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let raw = running.raw().await;
    assert_eq!(raw.sorted(), expected);
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_file_is_followed_line_by_line() {
    let mut rig = Rig::new();
    let path = rig.path("conn.log");
    rig.follow(&path);
    let running = rig.start().await;
    append(&path, &lines(0..3));
    settled(&running, &lines(0..3)).await;
    let (half, rest) = (line(3), line(4));
    append(&path, &half[..9]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    settled(&running, &lines(0..3)).await;
    append(&path, &half[9..]);
    append(&path, &rest);
    let raw = settled(&running, &lines(0..5)).await;
    let numbers: Vec<_> = raw.0.iter().flat_map(|(body, _)| (0..body.len()).map(|at| body.line_of(at))).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // At the end of its data it says so, and in the end that it is closed.
    running.until(|raw| raw.inputs(LIVE_DOMAIN)[0].1.contains(&Entry::Heartbeat).then_some(())).await;
    running.stop().await;
    let running = rig.start().await;
    let inputs = running.raw().await.inputs(LIVE_DOMAIN);
    assert_eq!((inputs.len(), inputs[0].1.last()), (1, Some(&Entry::Close)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_file_is_read_to_its_end_and_its_successor_from_its_beginning() {
    let mut rig = Rig::new();
    let (path, old) = (rig.path("logs/conn.log"), rig.path("logs/conn.1.log"));
    rig.follow(path.parent().unwrap());
    let running = rig.start().await;
    append(&path, &lines(0..10));
    settled(&running, &lines(0..10)).await;
    std::fs::rename(&path, &old).unwrap();
    append(&old, &lines(10..20));
    append(&path, &lines(20..30));
    // A last line without an end is a record once the file has lost its name.
    append(&old, line(30).trim_end());
    let raw = settled(&running, &lines(0..31)).await;
    let inputs: Vec<_> = raw.inputs(LIVE_DOMAIN).into_iter().map(|(name, _)| name).collect();
    assert_eq!(inputs, [path.display().to_string(), path.display().to_string()]);
    assert_eq!(raw.counts(LIVE_DOMAIN).known, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_begins_anew() {
    let mut rig = Rig::new();
    let (path, copy) = (rig.path("conn.log"), rig.path("conn.log.copy"));
    rig.follow(&path);
    let running = rig.start().await;
    append(&path, &lines(0..10));
    settled(&running, &lines(0..10)).await;
    std::fs::copy(&path, &copy).unwrap();
    File::create(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    append(&path, &lines(10..12));
    settled(&running, &lines(0..12)).await;
    running.stop().await;
    // The copy is the old file, under another name.
    rig.sources[0].path = copy.display().to_string();
    let running = rig.start().await;
    let counts = running.until(|raw| Some(raw.counts(LIVE_DOMAIN)).filter(|counts| counts.known > 0)).await;
    assert_eq!((counts.received, counts.known), (22, 10));
    settled(&running, &lines(0..12)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_last_run_stood() {
    let mut rig = Rig::new();
    let path = rig.path("logs/conn.log");
    rig.follow(&rig.path("logs/*.log"));
    let (mut written, mut crashes) = (0, 0);
    append(&path, &lines(0..500));
    for round in 1..=8 {
        let running = rig.start().await;
        for _ in 0..20 {
            append(&path, &lines(500 + written * 7..507 + written * 7));
            written += 1;
            tokio::time::sleep(Duration::from_millis(3 + round)).await;
        }
        if round % 3 == 0 {
            running.stop().await;
        } else {
            crashes += 1;
            running.crash().await;
        }
    }
    assert!(crashes > 4);
    let running = rig.start().await;
    let raw = settled(&running, &lines(0..500 + written * 7)).await;
    // What it reads again of its own is not counted as known.
    assert_eq!(raw.counts(LIVE_DOMAIN).known, 0);
    let inputs = raw.inputs(LIVE_DOMAIN);
    let open = inputs.iter().filter(|(_, entries)| entries.last() != Some(&Entry::Close)).count();
    assert!(open <= 1, "{inputs:?}");
    assert!(inputs.iter().all(|(_, entries)| entries[0] == Entry::Open), "{inputs:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_files_in_a_followed_directory_are_read_once() {
    let mut rig = Rig::new();
    let packed = rig.path("logs/dns.2018-03-24.log.gz");
    rig.follow(packed.parent().unwrap());
    let whole = std::fs::read(shared("zeek/ntlm.log.gz")).unwrap();
    std::fs::write(&packed, &whole[..whole.len() / 2]).unwrap();
    let running = rig.start().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    std::fs::write(&packed, &whole).unwrap();
    running.until(|raw| (raw.records().len() == 422).then_some(())).await;
    running.stop().await;
    let running = rig.start().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let raw = running.raw().await;
    assert_eq!((raw.records().len(), raw.counts(LIVE_DOMAIN).received), (422, 422));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_followed_is_a_backfill() {
    let mut rig = Rig::new();
    rig.follow(&shared("zeek-apt29").join("*.log"));
    rig.sources[0].tail = false;
    let running = rig.start().await;
    let domain = running.until(|raw| raw.0.first().map(|(body, _)| body.header.domain.clone())).await;
    assert!(domain.starts_with("backfill-"), "{domain}");
    running.until(|raw| raw.domain_is_closed(&domain).then_some(())).await;
    let records = running.raw().await.records().len();
    assert!(records > 500);
    running.stop().await;
    // Unchanged files are not opened again.
    let running = rig.start().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let raw = running.raw().await;
    assert_eq!(raw.records().len(), records);
    assert!(raw.0.iter().all(|(body, _)| body.header.domain == domain));
    running.stop().await;
}
