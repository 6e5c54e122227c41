//! A whole mesh on this machine: the servers, and the seven processes with the configuration of `examples/mesh`.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_servers::Process;
use atalaya_servers::mesh::{LOGS, S3_ACCESS_KEY, S3_SECRET_KEY, SERVICES, command, copy, example, is_ready, needs_s3};

use crate::running::{self, Running};
use crate::servers::{self, Action};
use crate::suites::{build_services, cargo, say};

/// Port of the first service's `/ready` and `/metrics`; the others' follow.
const FIRST_HEALTH_PORT: u16 = 7491;

/// What people and sources reach a service by.
fn door(service: &str) -> &'static str {
    match service {
        "collector" => "127.0.0.1:7410 (ingest)",
        "query-gateway" => "127.0.0.1:7400 (queries)",
        _ => "-",
    }
}

/// The tenants of the example, and what the token that each is given may do.
const TENANTS: [(&str, &str); 3] = [("acme", "ingest,reader"), ("globex", "ingest,reader"), ("operations", "operator")];

/// How long a service may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long a service may drain; above its own deadline of 25 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn run(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Up => up()?,
        Action::Down => {
            running::end(&SERVICES, DRAIN_WITHIN)?;
            servers::down()?;
        }
        Action::Status => {
            let all = [servers::SERVERS.as_slice(), &SERVICES].concat();
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
    std::fs::create_dir_all(work.join(LOGS))?;
    let mut started = Vec::new();
    for (service, health) in SERVICES.into_iter().zip(FIRST_HEALTH_PORT..) {
        if Running::find(service)?.is_some_and(|process| process.is_alive()) {
            say(&format!("{service}: runs already"));
            continue;
        }
        servers::expect_free((Ipv4Addr::LOCALHOST, health).into())?;
        started.push((service, health, start(service, &binaries, &config, &work)?));
    }
    for (service, health, process) in &mut started {
        process.wait_ready(READY_WITHIN, || Ok(is_ready(*health)))?;
        Running::note(service, process.pid(), door(service), &process.log())?;
        say(&format!("{service}: ready, metrics on http://127.0.0.1:{health}/metrics"));
    }
    started.into_iter().for_each(|(_, _, process)| servers::leave(process));
    doors(&home);
    Ok(())
}

/// Builds the services; answers where their binaries are.
fn build() -> anyhow::Result<PathBuf> {
    ensure!(build_services()?, "the services do not compile");
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
    copy(&example(), &config)?;
    for (tenant, role) in TENANTS {
        let file = config.join("tenants").join(format!("{tenant}.yaml"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        std::fs::write(&file, format!("{text}\n{}\n", token(home, binaries, tenant, role)?))?;
    }
    Ok(config)
}

/// The lines of a tenant's file that make its token good; the token itself is in `secrets/token-TENANT`.
fn token(home: &Path, binaries: &Path, tenant: &str, role: &str) -> anyhow::Result<String> {
    let (secret, lines) = (token_file(home, tenant), home.join("secrets").join(format!("token-{tenant}.yaml")));
    if let Ok(known) = std::fs::read_to_string(&lines) {
        return Ok(known);
    }
    let output =
        Command::new(binaries.join("atalaya")).args(["token", "new", "--tenant", tenant, "--role", role]).output();
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

fn start(service: &str, binaries: &Path, config: &Path, work: &Path) -> anyhow::Result<Process> {
    let mut command = command(binaries, service, config, &servers::secret(&format!("nats-{service}"))?);
    command.current_dir(work);
    if needs_s3(config, service)? {
        let [access_key, secret_key] = servers::s3_keys()?;
        command.env(S3_ACCESS_KEY, access_key).env(S3_SECRET_KEY, secret_key);
    }
    Process::start(command, &running::home()?.join("logs"), service)
}

fn doors(home: &Path) {
    say("");
    say("ingest   http://127.0.0.1:7410   queries   http://127.0.0.1:7400");
    say(&format!("files    put Zeek logs into {}", home.join("work").join(LOGS).display()));
    say(&format!("alerts   {}", home.join("logs/alert-notifier.log").display()));
    for (tenant, role) in TENANTS {
        say(&format!("token    of {tenant} ({role}): {}", token_file(home, tenant).display()));
    }
    say("end it   cargo xtask mesh down");
}
