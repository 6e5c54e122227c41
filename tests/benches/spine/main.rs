//! `cargo xtask bench spine`: the pipeline on embedded stores, per stage and whole.

#![allow(unreachable_pub, missing_docs, clippy::print_stdout, reason = "a bench prints its table")]

mod load;
mod process;
mod stages;
mod whole;

use anyhow::Context;
use load::Variant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Copies of the sample (53,615 events each) for the stages alone, and for the whole unless `--copies N` is given.
const STAGE_COPIES: usize = 4;
const WHOLE_COPIES: usize = 40;

fn main() -> anyhow::Result<()> {
    atalaya_chassis::install_tls_provider();
    if process::serve_if_asked()? {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench())
}

fn copies() -> anyhow::Result<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--copies").skip(1);
    arguments.next().map_or(Ok(WHOLE_COPIES), |number| number.parse().context("--copies: a number is needed"))
}

async fn bench() -> anyhow::Result<()> {
    let (sample, copies) = (load::sample()?, copies()?);
    for (variant, name) in [(Variant::Sample, "sample"), (Variant::Permuted, "permuted: 10⁶ names, 10⁵ sources")] {
        println!("\n{name}\n\n{:<44} {:>9} {:>12}", "stage, alone on one thread", "µs/event", "bytes/event");
        for stage in stages::measure(&sample, STAGE_COPIES, variant).await? {
            let bytes = stage.bytes.map(|bytes| format!("{bytes:.1}")).unwrap_or_default();
            println!("{:<44} {:>9.2} {bytes:>12}", stage.name, stage.us);
        }
        let whole = whole::throughput(&sample, copies, variant).await?;
        println!("\nwhole, {} events in {:.1} s, {} alerts", whole.events, whole.seconds, whole.alerts);
        let rows = [
            ("events/s", whole.events as f64 / whole.seconds),
            ("µs of CPU per event", whole.cpu_us),
            ("bytes per event on the bus", whole.bus_bytes),
            ("bytes per event in the hot store", whole.hot_bytes),
            ("bytes per event in the archive", whole.archive_bytes),
            ("MB idle", whole.idle_mb),
            ("MB at the peak", whole.peak_mb),
        ];
        rows.iter().for_each(|(name, figure)| println!("{name:<44} {figure:>9.1}"));
    }
    let heard = whole::latencies(&sample).await?;
    let quantile = |part: f64| heard[((heard.len() - 1) as f64 * part) as usize];
    println!("\nevent in to alert heard at 20,000 events/s, open loop, {} alerts", heard.len());
    println!("{:<44} {:>9.1}\n{:<44} {:>9.1}", "p50 ms", quantile(0.5), "p99 ms", quantile(0.99));
    Ok(())
}
