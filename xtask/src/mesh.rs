//! A whole mesh on this machine: the servers, and the seven processes with the configuration of `examples/mesh`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_servers::Process;

use crate::running::{self, Running};
use crate::servers::{self, Action};
use crate::suites::{FEATURES, cargo, say};

/// A service's own process.
struct Service {
    /// Its directory in `examples/mesh`, its user of NATS, and what follows `atalaya-` in its binary.
    name: &'static str,
    /// Port of `/ready` and `/metrics`.
    health: u16,
    /// What people and sources reach it by.
    door: &'static str,
    /// Whether it is given the keys of S3.
    s3: bool,
}

const fn service(name: &'static str, health: u16, door: &'static str, s3: bool) -> Service {
    Service { name, health, door, s3 }
}

const SERVICES: [Service; 7] = [
    service("collector", 7491, "127.0.0.1:7410 (ingest)", false),
    service("normalizer", 7492, "", false),
    service("correlator", 7493, "", true),
    service("alert-notifier", 7494, "", false),
    service("hot-store", 7495, "", false),
    service("cold-archive", 7496, "", true),
    service("query-gateway", 7497, "127.0.0.1:7400 (queries)", true),
];

/// The tenants of the example: each is given a token of its own.
const TENANTS: [&str; 2] = ["acme", "globex"];

/// How long a service may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long a service may drain; above its own deadline of 25 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// How long a look at a health port may take.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) fn run(action: Action) -> anyhow::Result<ExitCode> {
    let names: Vec<_> = SERVICES.iter().map(|service| service.name).collect();
    match action {
        Action::Up => up()?,
        Action::Down => {
            running::end(&names, DRAIN_WITHIN)?;
            servers::down()?;
        }
        Action::Status => {
            let all = [servers::SERVERS.as_slice(), &names].concat();
            let up = running::status(&all)?;
            return Ok(if up { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up() -> anyhow::Result<()> {
    let binaries = build()?;
    servers::up()?;
    let home = running::home()?;
    let config = configure(&home, &binaries)?;
    let work = home.join("work");
    std::fs::create_dir_all(work.join("atalaya-mesh/logs"))?;
    let mut started = Vec::new();
    for service in &SERVICES {
        if Running::find(service.name)?.is_some_and(|process| process.is_alive()) {
            say(&format!("{}: runs already", service.name));
            continue;
        }
        started.push((service, start(service, &binaries, &config, &work)?));
    }
    for (service, process) in &mut started {
        process.wait_ready(READY_WITHIN, || Ok(is_ready(service.health)))?;
        let door = format!("{}{}", service.door, if service.door.is_empty() { "-" } else { "" });
        Running::note(service.name, process.pid(), &door, &process.log())?;
        say(&format!("{}: ready, metrics on http://127.0.0.1:{}/metrics", service.name, service.health));
    }
    started.into_iter().for_each(|(_, process)| servers::leave(process));
    doors(&home);
    Ok(())
}

/// Builds the binaries; always the whole workspace, so that the suites find the same compiled crates.
fn build() -> anyhow::Result<PathBuf> {
    let mut build = cargo(&["build", "--workspace", "--bins"]);
    ensure!(build.args(FEATURES).status().context("cargo build")?.success(), "the services do not compile");
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output().context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join("debug"))
}

/// A copy of the example's configuration with a token for every tenant in it.
fn configure(home: &Path, binaries: &Path) -> anyhow::Result<PathBuf> {
    let config = home.join("config");
    if config.exists() {
        std::fs::remove_dir_all(&config).with_context(|| config.display().to_string())?;
    }
    copy(&servers::example()?, &config)?;
    for tenant in TENANTS {
        let file = config.join("tenants").join(format!("{tenant}.yaml"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        std::fs::write(&file, format!("{text}\n{}\n", token(home, binaries, tenant)?))?;
    }
    Ok(config)
}

/// The lines of a tenant's file that make its token good; the token itself is in `secrets/token-TENANT`.
fn token(home: &Path, binaries: &Path, tenant: &str) -> anyhow::Result<String> {
    let (secret, lines) = (token_file(home, tenant), home.join("secrets").join(format!("token-{tenant}.yaml")));
    if let Ok(known) = std::fs::read_to_string(&lines) {
        return Ok(known);
    }
    let output = Command::new(binaries.join("atalaya")).args(["token", "new", "--tenant", tenant]).output();
    let output = output.context("atalaya token new")?;
    let (made, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let at = said.find("tokens:").context("atalaya token new says no 'tokens:'")?;
    private(&secret, made.trim())?;
    private(&lines, &said[at..])?;
    Ok(said[at..].to_owned())
}

fn token_file(home: &Path, tenant: &str) -> PathBuf {
    home.join("secrets").join(format!("token-{tenant}"))
}

/// Writes a file that only its owner may read.
fn private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

/// Copies a directory; links stay links.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, target)?;
        } else if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn start(service: &Service, binaries: &Path, config: &Path, work: &Path) -> anyhow::Result<Process> {
    servers::expect_free((Ipv4Addr::LOCALHOST, service.health).into())?;
    let mut command = Command::new(binaries.join(format!("atalaya-{}", service.name)));
    command.arg("--config").arg(config.join(service.name)).current_dir(work);
    command.env("NATS_PASSWORD", servers::secret(&format!("nats-{}", service.name))?);
    if service.s3 {
        let [access_key, secret_key] = servers::s3_keys()?;
        command.env("S3_ACCESS_KEY", access_key).env("S3_SECRET_KEY", secret_key);
    }
    Process::start(command, &running::home()?.join("logs"), service.name)
}

/// Whether a service says that it can do its work.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut connection = TcpStream::connect_timeout(&address, LOOK)?;
        connection.set_read_timeout(Some(LOOK))?;
        connection.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
    };
    ask().unwrap_or(false)
}

fn doors(home: &Path) {
    say("");
    say("ingest   http://127.0.0.1:7410   queries   http://127.0.0.1:7400");
    say(&format!("files    put Zeek logs into {}", home.join("work/atalaya-mesh/logs").display()));
    say(&format!("alerts   {}", home.join("logs/alert-notifier.log").display()));
    for tenant in TENANTS {
        say(&format!("token    of {tenant}: {}", token_file(home, tenant).display()));
    }
    say("end it   cargo xtask mesh down");
}
