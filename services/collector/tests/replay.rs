//! Files taken in as one domain: what is new comes in, what is known is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test fails so")]

mod support;

use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use support::{OPERATOR, READER, Rig, SENSOR, shared};

const DNS_ROWS: u64 = 53_615;

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn packed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{{\"_path\":\"dns\",\"ts\":{n},\"uid\":\"C{n}\"}}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_log_is_taken_in_once() {
    let rig = Rig::new();
    let running = rig.start().await;
    let json = shared("zeek/dns.json.gz");
    let begun = std::time::Instant::now();
    assert_eq!(running.replayed(&[&json]).await, (DNS_ROWS, 0, 0));
    println!("{DNS_ROWS} records in {:?}", begun.elapsed());
    let raw = running.raw().await;
    assert_eq!(raw.records().len() as u64, DNS_ROWS);
    assert!(raw.0.iter().filter(|(body, _)| !body.is_empty()).all(|(body, _)| body.header.context == b"dns"));
    assert_eq!(running.replayed(&[&json]).await, (DNS_ROWS, DNS_ROWS, 0));
    assert_eq!(running.raw().await.records().len() as u64, DNS_ROWS);
    running.stop().await;
    let running = rig.start().await;
    assert_eq!(running.replayed(&[&json]).await, (DNS_ROWS, DNS_ROWS, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tsv_travels_with_its_header() {
    let rig = Rig::new();
    let running = rig.start().await;
    let log = shared("zeek/dns.log.gz");
    assert_eq!(running.replayed(&[&log]).await, (DNS_ROWS, 0, 0));
    assert_eq!(running.replayed(&[&log]).await, (DNS_ROWS, DNS_ROWS, 0));
    let raw = running.raw().await;
    let text = unpacked(&log);
    let lines: Vec<_> = text.split(|&b| b == b'\n').collect();
    for (body, _) in raw.0.iter().filter(|(body, _)| !body.is_empty()) {
        assert!(body.header.context.starts_with(b"#separator \\x09\n"));
        for (at, record) in body.records().enumerate() {
            assert_eq!(record, lines[body.line_of(at) as usize - 1]);
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_recompressed_or_grown_gives_only_what_is_new() {
    let rig = Rig::new();
    let running = rig.start().await;
    let original = shared("zeek/rdp.json.gz");
    let (received, known, _) = running.replayed(&[&original]).await;
    assert_eq!(known, 0);
    let mut text = unpacked(&original);
    let plain = rig.path("rdp.json");
    std::fs::write(&plain, &text).unwrap();
    assert_eq!(running.replayed(&[&plain]).await, (received, received, 0));
    text.extend_from_slice(lines(0..10).as_bytes());
    let grown = rig.path("grown/rdp.json.gz");
    let half = text.len() / 2;
    std::fs::write(&grown, [packed(&text[..half], 1), packed(&text[half..], 9)].concat()).unwrap();
    assert_eq!(running.replayed(&[&grown]).await, (received + 10, received, 0));
    assert_eq!(running.replayed(&[&grown]).await, (received + 10, received + 10, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_begin_alike_stay_two() {
    let rig = Rig::new();
    let running = rig.start().await;
    let (a, b, copy) = (rig.path("a.json"), rig.path("b.json"), rig.path("copy.json"));
    std::fs::write(&a, lines(0..100) + &lines(1_000..2_000)).unwrap();
    std::fs::write(&b, lines(0..100) + &lines(5_000..6_000)).unwrap();
    std::fs::copy(&b, &copy).unwrap();
    assert_eq!(running.replayed(&[&a]).await, (1_100, 0, 0));
    // Side by side, a file and its copy are still one.
    assert_eq!(running.replayed(&[&b, &copy]).await, (2_200, 1_100, 0));
    assert_eq!(running.replayed(&[&a, &b]).await, (2_200, 2_200, 0));
    let short = rig.path("short.json");
    std::fs::write(&short, lines(0..50)).unwrap();
    assert_eq!(running.replayed(&[&short]).await, (50, 0, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_fill_several_lanes() {
    let rig = Rig::new();
    let running = rig.start().await;
    let directory = shared("zeek");
    let (received, known, dropped) = running.replayed(&[&directory]).await;
    assert_eq!((known, dropped), (0, 0));
    // The twins differ in their bytes, so both count.
    assert!(received > 2 * (DNS_ROWS + 49_474), "{received}");
    let raw = running.raw().await;
    let mut lanes: Vec<_> = raw.0.iter().map(|(body, _)| body.header.collector_lane.clone()).collect();
    lanes.sort();
    lanes.dedup();
    assert_eq!(lanes, ["c1-0", "c1-1", "c1-2", "c1-3"]);
    let (again, known, _) = running.replayed(&[&directory]).await;
    assert_eq!((again, known), (received, received));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_leaves_what_was_read() {
    let rig = Rig::new();
    let running = rig.start().await;
    let whole = std::fs::read(shared("zeek/dns.json.gz")).unwrap();
    let (cut, good) = (rig.path("dns.json.gz"), rig.path("good.json"));
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    std::fs::write(&good, lines(0..10)).unwrap();
    let report = running.replay(&[&cut, &good], OPERATOR).await.unwrap();
    assert!(report.received > 20_000 && report.received < DNS_ROWS, "{}", report.received);
    assert_eq!(report.errors.len(), 1);
    let error = &report.errors[0];
    let place = format!("{}, line {} (byte ", cut.display(), report.received - 10);
    assert!(error.starts_with(&place) && error.contains("truncated"), "{error}");
    // The same again is known, and whole it gives the rest.
    let again = running.replay(&[&cut], OPERATOR).await.unwrap();
    assert_eq!((again.received, again.known, again.errors.len()), (report.received - 10, report.received - 10, 1));
    std::fs::write(&cut, &whole).unwrap();
    assert_eq!(running.replayed(&[&cut]).await, (DNS_ROWS, report.received - 10, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_dropped_and_counted() {
    let rig = Rig::new();
    let running = rig.start().await;
    let path = rig.path("dns.json");
    let long = "x".repeat(3 << 20);
    std::fs::write(&path, format!("{}{long}\n{}{long}", lines(0..3), lines(3..5))).unwrap();
    assert_eq!(running.replayed(&[&path]).await, (7, 0, 2));
    let raw = running.raw().await;
    let (body, _) = raw.0.iter().find(|(body, _)| !body.is_empty()).unwrap();
    assert_eq!((0..5).map(|at| body.line_of(at)).collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
    assert_eq!(running.replayed(&[&path]).await, (7, 7, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_admits_once_and_closes_the_domain() {
    let rig = Rig::new();
    let json = shared("zeek/dns.json.gz");
    let small = rig.path("small.json");
    std::fs::write(&small, lines(0..10)).unwrap();
    let mut known_before = 0;
    let mut domains = Vec::new();
    for crash_at in [1, 9_000, 30_000] {
        let running = rig.start().await;
        let paths = [json.display().to_string(), small.display().to_string()];
        let request =
            atalaya_proto::ingest_v1::ReplayRequest { paths: paths.into(), kind: "zeek".into(), ..Default::default() };
        let mut client = running.client().await;
        // A client that is gone would stop the replay.
        let mut reports = client.replay(support::bearing(request, OPERATOR)).await.unwrap().into_inner();
        let domain = reports.message().await.unwrap().unwrap().domain;
        running.until(|raw| (raw.records().len() >= crash_at.max(known_before)).then_some(())).await;
        running.crash().await;
        drop(reports);
        domains.push(domain);
        let running = rig.start().await;
        for domain in &domains {
            running.until(|raw| raw.domain_is_closed(domain).then_some(())).await;
        }
        known_before = running.raw().await.records().len();
        running.crash().await;
    }
    let running = rig.start().await;
    let (received, known, _) = running.replayed(&[&json, &small]).await;
    assert_eq!(received, DNS_ROWS + 10);
    assert!(known >= 30_000, "{known}");
    let records = running.raw().await.sorted();
    let mut expected: Vec<_> = String::from_utf8(unpacked(&json)).unwrap().lines().map(str::to_owned).collect();
    expected.extend(lines(0..10).lines().map(str::to_owned));
    expected.sort();
    assert_eq!(records.len(), expected.len());
    assert!(records == expected, "every record once");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_refused_with_a_reason() {
    let rig = Rig::new();
    let running = rig.start().await;
    let json = shared("zeek/ssh.json.gz");
    let refusal = async |paths: &[&Path], secret: &str| running.replay(paths, secret).await.unwrap_err();
    assert_eq!(refusal(&[&json], SENSOR).await.code(), tonic::Code::PermissionDenied);
    assert_eq!(refusal(&[&json], READER).await.code(), tonic::Code::PermissionDenied);
    assert_eq!(refusal(&[&json], "wrong").await.code(), tonic::Code::Unauthenticated);
    let missing = refusal(&[&rig.path("none.log")], OPERATOR).await;
    assert!(missing.message().ends_with("none.log: no such file or directory"), "{}", missing.message());
    assert_eq!(refusal(&[Path::new("relative.log")], OPERATOR).await.code(), tonic::Code::InvalidArgument);
    std::fs::write(rig.path("empty/readme.txt"), "no log").unwrap();
    let nothing = refusal(&[&rig.path("empty")], OPERATOR).await;
    assert!(nothing.message().contains("nothing here is a zeek file"), "{}", nothing.message());
    running.stop().await;
}
