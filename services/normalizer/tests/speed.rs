//! temp
use std::io::Read;
use std::sync::Arc;
fn cpu() -> f64 { std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9 }
struct Instant(f64);
impl Instant { fn now() -> Self { Self(cpu()) } fn elapsed(&self) -> std::time::Duration { std::time::Duration::from_secs_f64(cpu() - self.0) } }

use atalaya_normalizer::*;
use atalaya_proto::raw::*;
use atalaya_proto::raw_v1::*;
#[test]
fn speed() {
    for (file, n) in std::env::var("F").map_or(vec![("dns.json.gz", 4), ("dns.log.gz", 4), ("ssl.json.gz", 2), ("notice.json.gz", 100)], |f| vec![(&*f.leak(), 6)]) {
        let bytes = std::fs::read(format!("/work/shared/data/zeek/{file}")).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        let (mut ctx, mut lines) = (Vec::new(), Vec::new());
        for l in plain.split(|b| *b == b'\n').filter(|l| !l.is_empty()) { if l[0] == b'#' { ctx.extend_from_slice(l); ctx.push(b'\n'); } else { lines.push(l); } }
        let bodies: Vec<_> = lines.chunks(1000).map(|c| { let mut b = Block::default(); c.iter().for_each(|l| b.push(l)); b.encode(RawHeader { collector_lane: "c1-0".into(), epoch_ms: 1, offset: 1, entry: 1, source: "s".into(), kind: "zeek".into(), tenant: "default".into(), domain: "r".into(), received_time_us: 1_800_000_000_000_000, context: ctx.clone(), ..Default::default() }) }).collect();
        let mut nz = Normalizer::new(Arc::new(Mappings::built_in().unwrap()), Arc::new(Enrichment::default()), 16);
        for round in 0..2 {
        let (mut dec, mut norm, mut enc, mut bytes_out) = (0.0, 0.0, 0.0, 0);
        let mut rows = 0;
        for _ in 0..n { for b in &bodies {
            let t = Instant::now();
            let raw = RawBody::decode(b).unwrap();
            dec += t.elapsed().as_secs_f64();
            let t = Instant::now();
            let out = nz.normalize(&raw).unwrap();
            norm += t.elapsed().as_secs_f64();
            rows += out.counts.normalized;
            let t = Instant::now();
            for e in out.events { for (_, b) in e.events.split(1000, 128 << 10).unwrap() { bytes_out += b.len(); } }
            enc += t.elapsed().as_secs_f64();
        }}
        if round == 1 {
        let r = rows as f64;
        println!("{file}: decode {:.2} us/row, normalise {:.2} us/row ({:.0} rows/s), encode {:.2} us/row, {:.0} B/row", dec / r * 1e6, norm / r * 1e6, r / norm, enc / r * 1e6, bytes_out as f64 / r);
        }}
    }
}
