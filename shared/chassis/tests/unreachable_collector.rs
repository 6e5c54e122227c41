//! A collector that is not there costs a warning and a count, never the process's end.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::time::{Duration, Instant};

use atalaya_chassis::telemetry;

#[test]
fn a_collector_that_never_answers_holds_nobody_up() {
    // Accepts connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let place = tempfile::tempdir().unwrap();
    let settings = format!("telemetry: {{otlp: {{endpoint: '{endpoint}', interval_ms: 100}}}}");
    std::fs::write(place.path().join("atalaya.yaml"), settings).unwrap();
    let directory = atalaya_chassis::config::Directory::load(Some(place.path())).unwrap();
    let prometheus = telemetry::install(&directory.section("telemetry").unwrap()).unwrap();
    let begun = Instant::now();
    for _ in 0..50_000 {
        let _span = tracing::info_span!(target: "atalaya_test", "work").entered();
        metrics::counter!("atalaya_test_total").increment(1);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "work waits for nobody: {:?}", begun.elapsed());
    let failed = "atalaya_telemetry_export_failures_total{signal=\"traces\"}";
    while !prometheus.render().contains(failed) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", prometheus.render());
        std::thread::sleep(Duration::from_millis(20));
    }
    let begun = Instant::now();
    telemetry::shutdown();
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert!(prometheus.render().contains("atalaya_test_total 50000\n"));
}
