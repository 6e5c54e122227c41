//! temporary
use super::*;
use atalaya_hot::FiledMessage;
use atalaya_hot::conformance::world::Dice;
use atalaya_model::{Class, EventId, Origin};
use atalaya_schema::{EventBatch, Rows, col};

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn rss() -> u64 {
    let s = std::fs::read_to_string("/proc/self/statm").unwrap();
    s.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}
fn du(p: &Path) -> u64 {
    std::fs::read_dir(p)
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            let m = e.metadata().unwrap();
            if m.is_dir() {
                du(&e.path())
            } else {
                use std::os::unix::fs::MetadataExt;
                m.blocks() * 512
            }
        })
        .sum()
}

fn message(n: u64, permuted: bool) -> FiledMessage {
    let mut dice = Dice::new(n);
    let raw_id = format!("c1-0.1700000000000.{n}");
    let origin = Origin::parse(&raw_id).unwrap();
    let received = 1_700_000_000_000_000 + n as i64 * 10_000;
    let mut rows = Rows::new(Class::DnsActivity);
    for r in 0..1000u32 {
        let id: EventId = origin.event_id(r, 0);
        rows.begin();
        rows.id(col::EVENT_ID, id.as_bytes());
        rows.text(col::TENANT, "default");
        rows.time(col::TIME, received - dice.below(600_000_000) as i64);
        rows.time(col::INGEST_TIME, received);
        rows.int32(col::CLASS_UID, 4003);
        rows.int32(col::ACTIVITY_ID, 6);
        rows.int32(col::SEVERITY_ID, 1);
        rows.text(col::SOURCE, "zeek");
        rows.text(col::VENDOR, "Zeek");
        rows.text(col::PRODUCT, "Zeek");
        rows.text(col::LOG_NAME, "dns");
        rows.text(col::PARSER_VERSION, "zeek.dns 1");
        rows.text(col::RAW_REF, &format!("{raw_id}/{r}"));
        let x = dice.any();
        let skew = |n: u64| {
            let a = x % n;
            (a * a) / n
        };
        let (src, dst, dom) = if permuted {
            (x % 100_000, (x >> 20) % 20, (x >> 30) % 1_000_000)
        } else {
            (skew(28 + 4), (x >> 20) % 20, ((x >> 30) % 57 * ((x >> 40) % 57)) / 57 + n % 400)
        };
        rows.text(col::dns::SRC_IP, &format!("10.{}.{}.{}", src >> 16, (src >> 8) & 255, src & 255));
        rows.int32(col::dns::SRC_PORT, (x >> 8) as i32 & 0xffff);
        rows.text(col::dns::DST_IP, &format!("10.47.1.{dst}"));
        rows.int32(col::dns::DST_PORT, 53);
        rows.text(col::dns::PROTO, "udp");
        rows.text(col::dns::QUERY, &format!("www{}.domain{dom}.com", x % 3));
        rows.text(col::dns::QUERY_DOMAIN, &format!("domain{dom}.com"));
        rows.text(col::dns::QUERY_TYPE, "A");
        rows.text(col::dns::RCODE, "NOERROR");
        rows.texts(col::dns::ANSWERS, ["10.1.2.3"].into_iter());
        rows.int64s(col::dns::TTLS, [60].into_iter());
        rows.int64(col::dns::RTT_US, (x >> 50) as i64);
        rows.unmapped("uid", &format!("C{:x}", dice.any()));
        rows.end();
    }
    let batch = EventBatch::new(Class::DnsActivity, rows.finish()).unwrap();
    FiledMessage {
        partition: 0,
        sequence: n,
        id: format!("{raw_id}/0/dns_activity/0"),
        raw_id,
        received_time_us: received,
        body: batch.encode(),
        batch: Arc::new(batch),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measure"]
async fn measure() {
    for permuted in [false, true] {
        if std::env::var("ONLY").is_ok_and(|only| only != permuted.to_string()) {
            continue;
        }

        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        println!("rss before {} MB", rss());
        let hot = open_in(directory.path()).await;
        println!("rss open {} MB", rss());
        let total: u64 = std::env::var("N").map_or(1000, |n| n.parse().unwrap());
        let (mut used, mut wall, mut body) = (0.0, 0.0, 0);
        let mut commit = 0.0;
        for start in (0..total).step_by(16) {
            let messages: Vec<_> = (start..start + 16).map(|n| message(n, permuted)).collect();
            body += messages.iter().map(|m| m.body.len()).sum::<usize>();
            let (c, t) = (cpu(), std::time::Instant::now());
            hot.file(&messages).await.unwrap();
            commit += t.elapsed().as_secs_f64();
            hot.sync().await.unwrap();
            used += cpu() - c;
            wall += t.elapsed().as_secs_f64();
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let events = total as f64 * 1000.0;
        println!(
            "permuted {permuted}: {events} events, {:.0} events/s wall, file only {:.0}/s, {:.2} us cpu/event, body {:.1} B/event, disk {:.1} B/event, rss {} MB",
            events / wall,
            events / commit,
            used * 1e6 / events,
            body as f64 / events,
            du(directory.path()) as f64 / events,
            rss()
        );
        for k in std::fs::read_dir(directory.path().join("keyspaces")).unwrap() {
            let k = k.unwrap();
            println!("  keyspace {:?} {:.1} B/event", k.file_name(), du(&k.path()) as f64 / events);
        }
        for (kind, value) in [
            (LookupKind::SrcIp, "10.0.0.3"),
            (LookupKind::Domain, "domain77.com"),
            (LookupKind::Domain, "domain13.com"),
            (LookupKind::Tenant, ""),
            (LookupKind::Ip, "10.47.1.3"),
            (LookupKind::Cidr, "10.0.0.0/24"),
        ] {
            for limit in [20, 100, 1000] {
                let t = std::time::Instant::now();
                let page = hot.lookup(&lookup("default", kind, value, limit)).await.unwrap();
                let a = t.elapsed();
                let t = std::time::Instant::now();
                hot.lookup(&lookup("default", kind, value, limit)).await.unwrap();
                println!("  {kind:?} {value} limit {limit}: {} rows {:?}, again {:?}", page.rows.len(), a, t.elapsed());
            }
        }
        for back in [1, 10, total / 2, total - 1] {
            let m = message(total - back, permuted);
            let id = Origin::parse(&m.raw_id).unwrap().event_id(500, 0);
            let t = std::time::Instant::now();
            let page = hot.lookup(&lookup("default", LookupKind::Event, &id.to_string(), 1)).await.unwrap();
            println!("  event {back} back: {} {:?}", page.rows.len(), t.elapsed());
        }
    }
}
