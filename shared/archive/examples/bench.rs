//! temp
use atalaya_archive::*;
use atalaya_model::*;
use atalaya_schema::*;
use std::sync::Arc;
use std::time::Instant;
#[tokio::main]
async fn main() {
    let class = Class::DnsActivity;
    let dir = std::env::args().nth(1).unwrap();
    let archive = Archive::open(&format!("file:{dir}")).unwrap();
    let scope = Scope { feed: Feed::Evt, incarnation: 1, partition: 0 };
    for round in 0..4u64 {
        let mut batches = vec![];
        for m in 0..250u64 {
            let mut rows = Rows::new(class);
            for r in 0..1000u64 {
                let n = round * 250_000 + m * 1000 + r;
                let h = (n.wrapping_mul(0x9E3779B97F4A7C15)) >> 20;
                rows.begin();
                rows.id(col::EVENT_ID, EventId::of("x", &[&n.to_le_bytes()]).as_bytes());
                rows.text(col::TENANT, "default");
                rows.time(col::TIME, 1_795_500_000_000_000 + (n as i64) * 100 + (h % 90_000_000) as i64);
                rows.time(col::INGEST_TIME, 1_795_500_000_000_000 + (n as i64) * 100);
                rows.int32(col::CLASS_UID, 4003);
                rows.int32(col::ACTIVITY_ID, 6);
                rows.int32(col::SEVERITY_ID, 1);
                rows.int32(col::STATUS_ID, if h % 9 == 0 { 2 } else { 1 });
                rows.text(col::SOURCE, "zeek");
                rows.text(col::VENDOR, "Zeek");
                rows.text(col::PRODUCT, "Zeek");
                rows.text(col::LOG_NAME, "dns");
                rows.text(col::PARSER_VERSION, "zeek/1");
                rows.text(col::RAW_REF, &format!("c1-0.1795500000000.{}#{}", round * 250 + m, r));
                rows.text(col::dns::SRC_IP, &format!("10.47.{}.{}", h % 4, h / 4 % 250));
                rows.int32(col::dns::SRC_PORT, (1024 + h % 60000) as i32);
                rows.text(col::dns::DST_IP, &format!("10.0.0.{}", h % 5));
                rows.int32(col::dns::DST_PORT, 53);
                rows.text(col::dns::PROTO, "udp");
                rows.text(col::dns::QUERY, &format!("host{}.example{}.com", h % 1651, h % 300));
                rows.text(col::dns::QUERY_DOMAIN, &format!("example{}.com", h % 300));
                rows.text(col::dns::QUERY_TYPE, "A");
                rows.text(col::dns::RCODE, "NOERROR");
                rows.texts(col::dns::ANSWERS, [format!("192.0.{}.{}", h % 3, h % 200).as_str()].into_iter());
                rows.int64s(col::dns::TTLS, [(h % 3600) as i64].into_iter());
                rows.int64(col::dns::RTT_US, (h % 200_000) as i64);
                rows.unmapped("uid", &format!("C{h:x}"));
                rows.unmapped("trans_id", &format!("{}", h % 65536));
                rows.end();
            }
            batches.push(StoredBatch {
                scope,
                sequence: round * 250 + m + 1,
                events: Arc::new(EventBatch::new(class, rows.finish()).unwrap()),
            });
        }
        let mem: usize = batches.iter().map(|b| b.events.rows.get_array_memory_size()).sum();
        let t = Instant::now();
        let c = archive.append(class, &batches, &[Covered { scope, sequence: (round + 1) * 250 }]).await.unwrap();
        println!(
            "{:?} in {:?} = {:.0} rows/s, {:.1} B/row, {} MB in memory",
            c,
            t.elapsed(),
            250_000.0 / t.elapsed().as_secs_f64(),
            c.bytes as f64 / 250_000.0,
            mem >> 20
        );
    }
}
