//! kill -9 of `atalaya run` while it tails a growing file: nothing lost, nothing twice.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::atalaya::{Atalaya, PATIENCE};

const LINES: usize = 30_000;
const LINES_A_WRITE: usize = 150;
const KILLS: usize = 3;

/// A record of a log of DNS.
pub fn line(number: usize) -> String {
    let (second, micro) = (1_700_000_000 + number / 100, number % 100 * 10_000);
    format!(
        "{{\"_path\":\"dns\",\"ts\":{second}.{micro:06},\"uid\":\"C{number}\",\"id.orig_h\":\"10.0.{}.{}\",\"id.orig_p\":5353,\"id.resp_h\":\"10.0.0.53\",\"id.resp_p\":53,\"query\":\"n{}.example\"}}\n",
        number % 7,
        number % 200,
        number % 50
    )
}

fn count(atalaya: &Atalaya) -> Option<u64> {
    let output = atalaya.run(&["sql", "select count(*) n from dns_activity", "--format", "json"]);
    let text = String::from_utf8(output.stdout).ok()?;
    serde_json::from_str::<Value>(text.lines().next()?).ok()?["n"].as_u64()
}

#[test]
fn a_killed_instance_loses_and_repeats_nothing() {
    let atalaya = Atalaya::new();
    let log = atalaya.path("dns.log");
    let mut file = File::create(&log).unwrap();
    let source = format!("name: dns\nkind: zeek\npath: {}\ntail: true\n", log.display());
    let config = atalaya.config(&[("dns", source)]);
    let mut running = Some(atalaya.start(&config));
    for (write, numbers) in (0..LINES).collect::<Vec<_>>().chunks(LINES_A_WRITE).enumerate() {
        // A write may end in the middle of a line, as a real logger's does.
        let text: String = numbers.iter().map(|&number| line(number)).collect();
        let (head, tail) = text.split_at(text.len() / 2);
        file.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        file.write_all(tail.as_bytes()).unwrap();
        let every = LINES / LINES_A_WRITE / (KILLS + 1);
        if write % every == every - 1 && write / every < KILLS {
            running.take().unwrap().kill();
            running = Some(atalaya.start(&config));
        }
    }
    let began = Instant::now();
    while count(&atalaya) != Some(LINES as u64) {
        assert!(began.elapsed() < PATIENCE, "{:?} of {LINES} rows", count(&atalaya));
        std::thread::sleep(Duration::from_millis(500));
    }
    // Longer than any flush: what would come twice has come by then.
    std::thread::sleep(Duration::from_secs(7));
    let rows =
        atalaya.rows(&["sql", "select count(*) n, count(distinct event_id) ids from dns_activity", "--format", "json"]);
    assert_eq!((rows[0]["n"].as_u64(), rows[0]["ids"].as_u64()), (Some(LINES as u64), Some(LINES as u64)));
    let hot = atalaya.rows(&["lookup", "dst_ip", "10.0.0.53", "--limit", "1000000", "--format", "json"]);
    let ids: BTreeSet<_> = hot.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    assert_eq!((hot.len(), ids.len()), (LINES, LINES));
    assert!(running.take().unwrap().stop());
    assert!(atalaya.run(&["status"]).status.success(), "the books do not balance");
}
