//! The real servers of a local mesh: NATS, SeaweedFS and Cassandra, on the ports of `examples/mesh`.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atalaya_servers::{Cassandra, CassandraOptions, Process, S3, S3Ports, key_file, nats_server};
use clap::Subcommand;

use crate::running::{self, Running};
use crate::suites::say;

/// The servers, in the order they start.
pub(crate) const SERVERS: [&str; 3] = ["nats", "seaweedfs", "cassandra"];

/// The users of NATS, each with a password of its own.
const USERS: [&str; 8] =
    ["collector", "normalizer", "correlator", "alert-notifier", "hot-store", "cold-archive", "query-gateway", "admin"];

const NATS_PORT: u16 = 4222;
const S3_PORTS: S3Ports = S3Ports { s3: 8333, inner: [8334, 8335, 8336, 8337, 8338, 8339, 8340] };
const CASSANDRA_PORT: u16 = 9042;
const CASSANDRA_STORAGE_PORT: u16 = 7000;
const CASSANDRA_JMX_PORT: u16 = 7199;

/// How long NATS may take to recover its streams.
const NATS_WITHIN: Duration = Duration::from_secs(60);

/// How long the servers may take to write out what they have.
const END_WITHIN: Duration = Duration::from_secs(30);

/// What is done with the servers.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Start what does not run, and return when all are ready
    Up,
    /// End them; what they keep stays
    Down,
    /// Say what runs
    Status,
}

pub(crate) fn run(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Up => up()?,
        Action::Down => down()?,
        Action::Status => {
            let all = running::status(&SERVERS)?;
            return Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts what does not run; all of it outlives this command.
pub(crate) fn up() -> anyhow::Result<()> {
    atalaya_servers::outlive();
    let home = running::home()?;
    for name in SERVERS {
        if Running::find(name)?.is_some_and(|server| server.is_alive()) {
            say(&format!("{name}: runs already"));
            continue;
        }
        let began = Instant::now();
        let directory = home.join(name);
        std::fs::create_dir_all(&directory)?;
        match name {
            "nats" => nats(&directory)?,
            "seaweedfs" => seaweedfs(&directory)?,
            _ => cassandra(&directory)?,
        }
        say(&format!("{name}: ready after {:.1} s", began.elapsed().as_secs_f64()));
    }
    Ok(())
}

pub(crate) fn down() -> anyhow::Result<()> {
    running::end(&SERVERS, END_WITHIN)
}

/// A random key that stays from one start to the next.
pub(crate) fn secret(name: &str) -> anyhow::Result<String> {
    let directory = running::home()?.join("secrets");
    std::fs::create_dir_all(&directory)?;
    key_file(&directory.join(name))
}

/// Access key and secret key of S3.
pub(crate) fn s3_keys() -> anyhow::Result<[String; 2]> {
    let directory = running::home()?.join("seaweedfs");
    Ok([key_file(&directory.join("access-key"))?, key_file(&directory.join("secret-key"))?])
}

/// `examples/mesh` of this clone.
pub(crate) fn example() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    Ok(root.join("examples/mesh"))
}

fn nats(directory: &Path) -> anyhow::Result<()> {
    let address = loopback(NATS_PORT);
    expect_free(address)?;
    let mut command = Command::new(nats_server()?);
    command.arg("--config").arg(example()?.join("nats/nats.conf"));
    command.env("NATS_STORE", directory.join("store"));
    for user in USERS {
        let variable = format!("NATS_{}", user.to_uppercase().replace('-', "_"));
        command.env(variable, secret(&format!("nats-{user}"))?);
    }
    let mut process = Process::start(command, directory, "nats")?;
    process.wait_ready(NATS_WITHIN, || Ok(greets(address)))?;
    Running::note("nats", process.pid(), &format!("nats://{address}"), &process.log())?;
    leave(process);
    Ok(())
}

/// Whether a NATS server says what it is, which it does when it takes clients.
fn greets(address: SocketAddr) -> bool {
    const LOOK: Duration = Duration::from_millis(500);
    let mut greeting = [0; 4];
    let look = TcpStream::connect_timeout(&address, LOOK).and_then(|mut stream| {
        stream.set_read_timeout(Some(LOOK))?;
        stream.read_exact(&mut greeting)
    });
    look.is_ok() && &greeting == b"INFO"
}

fn seaweedfs(directory: &Path) -> anyhow::Result<()> {
    for port in S3_PORTS.inner.into_iter().chain([S3_PORTS.s3]) {
        expect_free(loopback(port))?;
    }
    let s3 = S3::start_at(directory, S3_PORTS)?;
    let pid = s3.pid().context("SeaweedFS ended")?;
    Running::note("seaweedfs", pid, &s3.endpoint(), &directory.join("seaweedfs.log"))?;
    leave(s3);
    Ok(())
}

fn cassandra(directory: &Path) -> anyhow::Result<()> {
    for port in [CASSANDRA_PORT, CASSANDRA_STORAGE_PORT, CASSANDRA_JMX_PORT] {
        expect_free(loopback(port))?;
    }
    let options = CassandraOptions {
        native_port: CASSANDRA_PORT,
        storage_port: CASSANDRA_STORAGE_PORT,
        jmx_port: CASSANDRA_JMX_PORT,
        quick: false,
        ..CassandraOptions::new()?
    };
    let cassandra = Cassandra::start(directory, options)?;
    let process = cassandra.process();
    Running::note("cassandra", process.pid(), &format!("cassandra://{}", cassandra.address()), &process.log())?;
    leave(cassandra);
    Ok(())
}

/// Lets a server run on: dropped, it would be killed.
pub(crate) fn leave<T>(server: T) {
    Box::leak(Box::new(server));
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Says who stands in the way before a server fails in its own words.
pub(crate) fn expect_free(address: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{address} cannot be listened on ({error}): end what has it, such as another mesh"),
    }
}
