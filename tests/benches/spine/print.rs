//! The tables.

use crate::paced::{EVENTS_PER_SECOND, LATE_MS, Paced};
use crate::stages::Stage;
use crate::usage::{Kind, Used};
use crate::whole::Pass;

/// Width of what stands at the left.
const LEFT: usize = 44;

/// How many stalls are told, the longest first.
const STALLS: usize = 5;

pub fn stages(stages: &[Stage]) {
    println!("\n{:<LEFT$} {:>12} {:>12}", "stage, alone on one thread", "µs/event", "bytes/event");
    for stage in stages {
        let bytes = stage.bytes.map(|bytes| format!("{bytes:.1}")).unwrap_or_default();
        println!("{:<LEFT$} {:>12.2} {bytes:>12}", stage.name, stage.us);
    }
}

/// A pass of the whole, process by process and stage by stage.
pub fn pass(name: &str, pass: &Pass) {
    println!("\n{name}: {} events in {:.1} s, {} alerts", pass.events, pass.seconds, pass.alerts);
    println!("{:<LEFT$} {:>12} {:>12} {:>12} {:>12}", "", "events/s", "CPU µs/event", "MB idle", "MB at peak");
    let rate = |seconds: f64| pass.events as f64 / seconds;
    let of_one = |name: &str| pass.used.iter().find(|used| used.name == name);
    for (stage, seconds) in pass.stages.iter().filter(|(stage, _)| of_one(stage).is_none()) {
        row(&format!("  {stage}"), Some(rate(*seconds)), None);
    }
    for used in &pass.used {
        let seconds = pass.stages.iter().find(|(stage, _)| *stage == used.name);
        row(&format!("  {}", used.name), seconds.map(|(_, seconds)| rate(*seconds)), Some(used));
    }
    let without_hot = pass.stages.iter().filter(|(stage, _)| *stage != "hot-store").map(|(_, seconds)| *seconds);
    row("everything but the hot store", Some(rate(without_hot.fold(0.0, f64::max))), None);
    sums(&pass.used, Some(rate(pass.seconds)));
}

/// Sums over our processes, over those and servers, and over all; the last with the rate of the whole.
fn sums(used: &[Used], rate: Option<f64>) {
    let sum = |up_to: Kind| {
        let part = || used.iter().filter(move |used| used.kind <= up_to);
        let total = |figure: fn(&Used) -> f64| part().map(figure).sum();
        let (cpu_us, idle_mb, peak_mb) =
            (total(|used| used.cpu_us), total(|used| used.idle_mb), total(|used| used.peak_mb));
        Used { name: String::new(), kind: up_to, cpu_us, idle_mb, peak_mb }
    };
    if used.iter().any(|used| used.kind == Kind::Cassandra) {
        row("the seven services", None, Some(&sum(Kind::Service)));
        row("with NATS and SeaweedFS", None, Some(&sum(Kind::Server)));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let reckoned = cores as f64 * 1e6 / sum(Kind::Server).cpu_us;
        println!("  {cores} cores would do {reckoned:.0} events/s of that if Cassandra had others (from the CPU)");
    }
    row("the whole", rate, Some(&sum(Kind::Cassandra)));
}

fn row(name: &str, rate: Option<f64>, used: Option<&Used>) {
    let rate = rate.map(|rate| format!("{rate:.0}")).unwrap_or_default();
    let used = used.map(|used| format!("{:>12.2} {:>12.0} {:>12.0}", used.cpu_us, used.idle_mb, used.peak_mb));
    println!("{}", format!("{name:<LEFT$} {rate:>12} {}", used.unwrap_or_default()).trim_end());
}

/// What an event weighs.
pub fn weights(bus: Option<f64>, (hot, archive): (f64, f64)) {
    let bus = bus.map_or("trimmed".to_owned(), |bytes| format!("{bytes:.0}"));
    println!("bytes per event: bus {bus}, hot store {hot:.0}, archive {archive:.0}");
}

/// The time from event to receiver.
pub fn paced(name: &str, paced: &Paced) {
    println!("\n{name}: {EVENTS_PER_SECOND} events/s, open loop, {} of them marked", paced.sent);
    println!("{:<LEFT$} {:>12} {:>12} {:>12}", "from event in", "alerts", "p50 ms", "p99 ms");
    for (to, heard) in [("to the customer's receiver", &paced.received), ("to a watch at the gateway", &paced.watched)]
    {
        let quantile = |part: f64| heard[((heard.len() - 1) as f64 * part) as usize];
        if !heard.is_empty() {
            println!("{to:<LEFT$} {:>12} {:>12.1} {:>12.1}", heard.len(), quantile(0.5), quantile(0.99));
        }
    }
    let late = paced.stalls.iter().map(|stall| stall.alerts).sum::<usize>();
    println!("later than {LATE_MS} ms: {late} alerts, in {} stalls", paced.stalls.len());
    let mut stalls: Vec<_> = paced.stalls.iter().collect();
    stalls.sort_by(|a, b| b.longest_ms.total_cmp(&a.longest_ms));
    for stall in stalls.iter().take(STALLS) {
        println!("  at {:.2} s: {} alerts, the longest {:.1} ms", stall.at_s, stall.alerts, stall.longest_ms);
    }
    println!("{:<LEFT$} {:>12} {:>12} {:>12} {:>12}", "", "", "CPU µs/event", "MB idle", "MB at peak");
    paced.used.iter().for_each(|used| row(&format!("  {}", used.name), None, Some(used)));
    sums(&paced.used, None);
}

/// What TLS adds, process by process.
pub fn cost(name: &str, plain: &[Used], tls: &[Used]) {
    println!("\nwhat TLS adds, {name}");
    println!("{:<LEFT$} {:>12} {:>12} {:>12}", "CPU µs/event", "plain", "TLS", "difference");
    let line = |name: &str, plain: f64, tls: f64| {
        println!("  {name:<42} {plain:>12.2} {tls:>12.2} {:>+12.2}", tls - plain);
    };
    plain.iter().zip(tls).for_each(|(plain, tls)| line(&plain.name, plain.cpu_us, tls.cpu_us));
    let sum = |used: &[Used]| used.iter().map(|used| used.cpu_us).sum::<f64>();
    line("the whole", sum(plain), sum(tls));
}
