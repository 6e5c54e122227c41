//! temporary
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use std::sync::Arc;
use std::time::{Duration, Instant};
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::*;
fn rss() -> String { let s = std::fs::read_to_string("/proc/self/status").unwrap(); s.lines().filter(|l| l.starts_with("VmRSS")||l.starts_with("VmHWM")).map(|l| l.replace('\t'," ")).collect::<Vec<_>>().join(" ") }
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<_> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap()+f[12].parse::<f64>().unwrap())/100.0 }
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let lanes: usize = args[1].parse().unwrap(); let bytes: usize = args[2].parse().unwrap(); let secs: u64 = args[3].parse().unwrap(); let readers: usize = args[4].parse().unwrap(); let sync = args[5] == "sync";
    let dir = std::path::PathBuf::from("/tmp/perfjournal"); let _ = std::fs::remove_dir_all(&dir);
    let t = Instant::now();
    let j = Arc::new(Journal::open(&dir, &Options { sync, max_bytes: 40 << 30, ..Options::default() }).unwrap());
    println!("open {:?} {}", t.elapsed(), rss());
    let c0 = cpu(); let t = Instant::now(); let end = t + Duration::from_secs(secs);
    let mut rs = vec![];
    for r in 0..readers { let j = j.clone(); rs.push(tokio::spawn(async move { let mut rd = j.read(Stream::Evt, &Filter::new(&format!("evt.{}.>", r % 16)).unwrap(), 0).await.unwrap(); let mut n = 0u64; let mut lag = 0u64; while let Ok(Ok(m)) = tokio::time::timeout(Duration::from_millis(1500), rd.next()).await { n += 1; lag += m.body.len() as u64; } (n, lag) })); }
    let mut ws = vec![];
    for l in 0..lanes { let j = j.clone(); ws.push(tokio::spawn(async move {
        let filter = Filter::new(&format!("evt.*.c{l}.>")).unwrap(); let mut last = 0; let mut lat = vec![]; let body = bytes::Bytes::from((0..bytes).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>()); let mut i = 0u64;
        while Instant::now() < end { let f = Fence::new(Stream::Evt, Subject::new(&format!("evt.{}.c{l}.dns_activity", i % 16)).unwrap(), filter.clone()).unwrap();
            let s = Instant::now(); last = j.append(&f, last, Outgoing { headers: Headers { id: format!("m{i}"), ..Default::default() }, body: body.clone(), decoded: None }).await.unwrap(); lat.push(s.elapsed()); i += 1; }
        lat })); }
    let mut lat = vec![]; for w in ws { lat.extend(w.await.unwrap()); }
    let el = t.elapsed().as_secs_f64(); lat.sort();
    println!("{} appends, {:.0}/s, {:.0} MB/s, cpu {:.0} us/append, p50 {:?} p99 {:?} max {:?} {}", lat.len(), lat.len() as f64 / el, lat.len() as f64 * bytes as f64 / el / 1e6, (cpu()-c0)/lat.len() as f64*1e6, lat[lat.len()/2], lat[lat.len()*99/100], lat.last().unwrap(), rss());
    let mut total = 0; for r in rs { total += r.await.unwrap().0; } println!("read {total} cpu total {:.2} of {:.1}s", cpu()-c0, t.elapsed().as_secs_f64());
    let t = Instant::now(); j.close().await.unwrap(); drop(j); println!("close {:?}", t.elapsed());
    let t = Instant::now(); let j = Journal::open(&dir, &Options { max_bytes: 40 << 30, ..Options::default() }).unwrap(); println!("reopen {:?} {:?} {}", t.elapsed(), j.info(Stream::Evt).await.unwrap().messages, rss());
    let t = Instant::now(); let mut rd = j.read(Stream::Evt, &Filter::new("evt.3.>").unwrap(), 0).await.unwrap(); let mut n=0; while let Some(_) = rd.try_next().await.unwrap() { n += 1; } println!("1/16 read {n} in {:?}", t.elapsed());
    drop(rd); let t = Instant::now(); let last = j.info(Stream::Evt).await.unwrap().last; j.trim(Stream::Evt, last, &[]).await.unwrap(); println!("trim {:?}", t.elapsed());
}
