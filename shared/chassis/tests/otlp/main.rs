//! Traces, logs and metrics reach a real OTLP collector over TLS, with a credential, and are all there after the end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use atalaya_chassis::config::Directory;
use atalaya_chassis::{telemetry, trace};
use serde_json::Value;

const CREDENTIAL: &str = "Bearer s3cret";

/// Packages of the collector: gRPC for Python, and the protocol's own definitions.
const PACKAGES: [&str; 2] = ["grpcio==1.85.1", "opentelemetry-proto==1.45.2"];

/// A collector in a process of its own, which ends with its standard input.
struct Collector(Child, u16);

impl Collector {
    fn start(place: &Path) -> Self {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(place.join("tls.crt"), key.cert.pem()).unwrap();
        std::fs::write(place.join("tls.key"), key.signing_key.serialize_pem()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/collector.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(place.join("received"))
            .arg(CREDENTIAL)
            .args(["tls.crt", "tls.key"].map(|name| place.join(name)))
            .env("PYTHONPATH", atalaya_servers::python(&PACKAGES).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self(child, port.trim().parse().unwrap())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything received below a key such as `spans`, at any depth.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Object(map) => map.iter().for_each(|(name, value)| match value {
            Value::Array(items) if name == key => found.extend(items),
            other => all(other, key, found),
        }),
        _ => {}
    }
}

fn named<'a>(values: &[&'a Value], name: &str) -> &'a Value {
    values.iter().find(|value| value["name"] == name).unwrap_or_else(|| panic!("no {name} in {values:#?}"))
}

/// Work as services do it: a batch is written within a span, and read elsewhere within a child of it.
fn work() -> String {
    let write = tracing::info_span!(target: "atalaya_collector", "write", records = 3);
    let traceparent = write.in_scope(trace::traceparent).unwrap();
    drop(write);
    let header = traceparent.clone();
    let reader = std::thread::spawn(move || {
        let read = tracing::info_span!(target: "atalaya_normalizer", "read");
        assert!(trace::set_parent(&read, Some(&header)));
        read.in_scope(|| tracing::warn!(target: "atalaya_normalizer", lane = "c1-0", "a record was parked"));
        tracing::info_span!(target: "h2", "not ours").in_scope(|| {});
        tracing::info!(target: "atalaya_normalizer", "below the level of the log");
    });
    reader.join().unwrap();
    metrics::counter!("atalaya_test_records_total", "lane" => "c1-0").increment(41);
    metrics::counter!("atalaya_test_records_total", "lane" => "c1-0").increment(1);
    metrics::gauge!("atalaya_test_lanes").set(4.0);
    metrics::histogram!("atalaya_test_flush_seconds").record(0.25);
    traceparent
}

#[test]
fn a_collector_gets_everything() {
    let place = tempfile::tempdir().unwrap();
    atalaya_chassis::install_tls_provider();
    let collector = Collector::start(place.path());
    std::fs::write(place.path().join("credential"), format!("{CREDENTIAL}\n")).unwrap();
    let at = |name: &str| format!("'file:{}'", place.path().join(name).display());
    let (credential, ca) = (at("credential"), at("tls.crt"));
    let endpoint = format!("https://localhost:{}", collector.1);
    let settings = format!(
        "telemetry: {{otlp: {{endpoint: '{endpoint}', headers: {{authorization: {credential}}}, ca: {ca}, interval_ms: 3600000}}}}"
    );
    std::fs::write(place.path().join("atalaya.yaml"), settings).unwrap();
    let directory = Directory::load(Some(place.path())).unwrap();
    let prometheus = telemetry::install_as("atalaya-test", &directory.section("telemetry").unwrap()).unwrap();
    let traceparent = work();
    assert!(!place.path().join("received").exists(), "the interval is an hour");
    telemetry::shutdown();
    telemetry::shutdown();
    let text = prometheus.render();
    assert!(text.contains("atalaya_test_records_total{lane=\"c1-0\"} 42\n"), "{text}");
    assert!(!text.contains("atalaya_telemetry_export_failures_total"), "{text}");
    check(&std::fs::read_to_string(place.path().join("received")).unwrap(), &traceparent);
}

fn check(received: &str, traceparent: &str) {
    let requests: Vec<Value> = received.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests = Value::Array(requests);
    let find = |key: &str| {
        let mut found = Vec::new();
        all(&requests, key, &mut found);
        found
    };
    let spans = find("spans");
    let (write, read) = (named(&spans, "write"), named(&spans, "read"));
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert_eq!((&read["traceId"], &read["parentSpanId"]), (&write["traceId"], &write["spanId"]));
    let logs = find("logRecords");
    assert_eq!(logs.len(), 1, "{logs:#?}");
    assert_eq!(logs[0]["body"]["stringValue"], "a record was parked");
    assert_eq!((&logs[0]["traceId"], &logs[0]["spanId"]), (&read["traceId"], &read["spanId"]));
    // The JSON form of the protocol has ids in base64: the text has the same ones.
    let hex = |id: &Value| id.as_str().map(decode_base64).unwrap();
    assert_eq!(traceparent, format!("00-{}-{}-01", hex(&write["traceId"]), hex(&write["spanId"])));
    let metrics = find("metrics");
    let records = &named(&metrics, "atalaya_test_records_total")["sum"]["dataPoints"][0];
    assert_eq!((&records["asInt"], &records["attributes"][0]["key"]), (&"42".into(), &"lane".into()));
    assert_eq!(named(&metrics, "atalaya_test_lanes")["gauge"]["dataPoints"][0]["asDouble"], 4.0);
    let flush = named(&metrics, "atalaya_test_flush_seconds");
    assert_eq!((&flush["unit"], &flush["histogram"]["dataPoints"][0]["sum"]), (&"s".into(), &0.25.into()));
    let services = find("attributes").into_iter().filter(|attribute| attribute["key"] == "service.name");
    let services: Vec<_> = services.map(|attribute| &attribute["value"]["stringValue"]).collect();
    assert_eq!(services, vec!["atalaya-test"; 3]);
}

/// Base64 as hexadecimal.
fn decode_base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|digit| *digit == byte));
    let bits: String = digits.map(|digit| format!("{digit:06b}")).collect();
    let bytes = bits.as_bytes().chunks_exact(8).map(|byte| std::str::from_utf8(byte).unwrap());
    bytes.map(|byte| format!("{:02x}", u8::from_str_radix(byte, 2).unwrap())).collect()
}
