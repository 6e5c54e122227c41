//! `cargo xtask bench spine`: the pipeline in one process on embedded stores, and as a mesh on real servers; per stage
//! and whole.

#![allow(unreachable_pub, missing_docs, clippy::print_stdout, reason = "a bench prints its table")]

mod arguments;
mod clients;
mod load;
mod mesh;
mod paced;
mod parts;
mod print;
mod process;
mod receiver;
mod stages;
mod system;
mod usage;
mod whole;

use arguments::{Arguments, EXAMPLES};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Figures of the whole pipeline, in one process and as a mesh.
#[derive(Parser)]
#[command(name = "cargo xtask bench spine", after_help = EXAMPLES)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> anyhow::Result<()> {
    atalaya_chassis::install_tls_provider();
    if process::serve_if_asked()? {
        return Ok(());
    }
    let Command { arguments } = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (sample, receiver) = (load::sample()?, receiver::Receiver::start().await?);
        parts::Bench { arguments, sample, receiver }.run().await
    })
}
