//! A full RAW holds the sources back, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::time::Duration;

use atalaya_bus::{Bus, OutputLane, Stream};
use support::{OPERATOR, Rig, bearing, shared};

const DNS_ROWS: usize = 53_615;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_raw_fills_the_spool_and_holds_the_source_back() {
    let mut rig = Rig::new();
    (rig.raw_max_bytes, rig.spool_max_bytes) = (512 << 10, 256 << 10);
    let running = rig.start().await;
    let request = atalaya_proto::ingest_v1::ReplayRequest {
        paths: vec![shared("zeek/dns.json.gz").display().to_string()],
        kind: "zeek".into(),
        ..Default::default()
    };
    let mut reports = running.client().await.replay(bearing(request, OPERATOR)).await.unwrap().into_inner();
    let mut received = 0;
    while let Ok(Ok(Some(report))) = tokio::time::timeout(Duration::from_millis(1_500), reports.message()).await {
        if report.received == received && received > 0 {
            break;
        }
        received = report.received;
    }
    assert!(received < DNS_ROWS as u64, "{received} records went in, more than there is room for");
    let (mut seen, mut after) = (Vec::new(), 0);
    let fences: Vec<_> =
        (0..4).map(|n| OutputLane::raw(&format!("c1-{n}").parse().unwrap()).filter().clone()).collect();
    // A reader that takes what is there and lets go of it.
    while seen.len() < DNS_ROWS {
        let raw = running.raw_after(after).await;
        after = raw.0.last().map_or(after, |(_, message)| message.sequence);
        seen.extend(raw.records());
        running.bus.trim(Stream::Raw, after + 1, &fences).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while let Some(report) = reports.message().await.unwrap() {
        received = report.received;
    }
    assert_eq!((received, seen.len()), (DNS_ROWS as u64, DNS_ROWS));
    seen.sort();
    let before = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), before, "no record twice");
    // What RAW has, the spool lets go.
    tokio::time::timeout(Duration::from_secs(10), async {
        while running.spool.info(Stream::Raw).await.unwrap().messages > 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_pressure_ends_soon_and_loses_nothing() {
    let mut rig = Rig::new();
    (rig.raw_max_bytes, rig.spool_max_bytes) = (512 << 10, 256 << 10);
    let running = rig.start().await;
    let json = shared("zeek/dns.json.gz");
    let request = atalaya_proto::ingest_v1::ReplayRequest {
        paths: vec![json.display().to_string()],
        kind: "zeek".into(),
        ..Default::default()
    };
    let mut reports = running.client().await.replay(bearing(request, OPERATOR)).await.unwrap().into_inner();
    let domain = reports.message().await.unwrap().unwrap().domain;
    running.until(|raw| (!raw.records().is_empty()).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = std::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    (rig.raw_max_bytes, rig.spool_max_bytes) = (1 << 30, 1 << 30);
    let running = rig.start().await;
    running.until(|raw| raw.domain_is_closed(&domain).then_some(())).await;
    let taken = running.raw().await.records().len() as u64;
    assert!(taken < DNS_ROWS as u64);
    assert_eq!(running.replayed(&[&json]).await, (DNS_ROWS as u64, taken, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_spool_begins_a_new_epoch() {
    let rig = Rig::new();
    let file = rig.path("dns.log");
    let write = |range: std::ops::Range<u32>| {
        let lines: String = range.map(|n| format!("{{\"n\":{n}}}\n")).collect();
        std::fs::write(&file, lines).unwrap();
    };
    let epochs = |raw: &support::Raw| {
        let mut epochs: Vec<_> = raw.0.iter().map(|(body, _)| body.header.epoch_ms).collect();
        epochs.dedup();
        epochs.len()
    };
    let (spool, copy) = (rig.directory.path().join("spool"), rig.directory.path().join("copy"));
    let running = rig.start().await;
    write(0..10);
    assert_eq!(running.replayed(&[&file]).await, (10, 0, 0));
    running.stop().await;
    let copied = std::process::Command::new("cp").arg("-r").args([&spool, &copy]).status().unwrap();
    assert!(copied.success());
    let running = rig.start().await;
    write(20..30);
    assert_eq!(running.replayed(&[&file]).await, (10, 0, 0));
    assert_eq!(epochs(&running.raw().await), 1);
    running.stop().await;
    std::fs::remove_dir_all(&spool).unwrap();
    std::fs::rename(&copy, &spool).unwrap();
    for round in 0..2 {
        let running = rig.start().await;
        write(40 + round * 10..50 + round * 10);
        assert_eq!(running.replayed(&[&file]).await, (10, 0, 0));
        let raw = running.raw().await;
        assert_eq!((epochs(&raw), raw.records().len()), (2, 30 + round as usize * 10));
        let mut ids: Vec<_> = raw.0.iter().map(|(_, message)| message.headers.id.clone()).collect();
        let before = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), before, "no name twice");
        running.stop().await;
    }
}
