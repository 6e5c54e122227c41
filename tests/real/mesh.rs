//! A mesh: servers, processes, and the ways in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::Bus;
use atalaya_bus::nats::{MaxBytes, Nats, Options};
use atalaya_chassis::config::Directory;
use atalaya_model::SecretRef;
use atalaya_normalizer::Enrichment;
use atalaya_servers::mesh::{ADMIN, copy, example};
use atalaya_servers::{free_port, key_file};

use crate::gateway::Gateway;
use crate::input::Input;
use crate::place::Place;
use crate::processes::{Processes, Variables, Worker};
use crate::say;
use crate::servers::Servers;

/// How long leases last: whole seconds on NATS.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// The tenant that pushes, the one whose files are there, and the one that sees everything.
const PUSHER: &str = "acme";
const OWNER: &str = "globex";
const OPERATOR: &str = "default";

/// A mesh that runs.
pub(crate) struct Mesh {
    pub(crate) servers: Arc<Servers>,
    pub(crate) processes: Arc<Processes>,
    /// The bus, as its administrator.
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) gateways: Vec<Gateway>,
    /// URL of the ingest door.
    pub(crate) ingest: String,
    /// The token of [`PUSHER`].
    pub(crate) token: String,
    /// What normalizers know of owners.
    pub(crate) enrichment: Arc<Enrichment>,
    /// A directory of the test's own.
    pub(crate) place: PathBuf,
}

/// Everything: the three servers, and of each service that scales by leases two processes.
pub(crate) async fn whole(place: &Place) -> anyhow::Result<Mesh> {
    say("starting NATS, SeaweedFS and Cassandra");
    let servers = tokio::task::block_in_place(|| Servers::start(place, true))?;
    let (once, twice) = (["alert-notifier", "hot-store", "cold-archive"], ["normalizer", "correlator"]);
    let services: Vec<_> = once.into_iter().chain(twice.into_iter().flat_map(|service| [service; 2])).collect();
    start(place, servers, &services, 2).await
}

/// What RAW and EVT need: NATS, a collector, and two of each that share.
pub(crate) async fn small(place: &Place) -> anyhow::Result<Mesh> {
    say("starting NATS");
    let servers = tokio::task::block_in_place(|| Servers::start(place, false))?;
    start(place, servers, &["normalizer", "normalizer", "correlator", "correlator"], 0).await
}

async fn start(place: &Place, servers: Servers, services: &[&'static str], gateways: usize) -> anyhow::Result<Mesh> {
    let configuration = place.join("config");
    let token = configure(place, &configuration)?;
    if gateways > 0 {
        fill(place, &configuration)?;
    }
    let mut common = servers.variables();
    common.extend(settings(place, gateways > 0));
    let ingest = format!("127.0.0.1:{}", free_port()?);
    let mut workers =
        vec![Worker::new("collector", 1, [common.clone(), pair("ATALAYA_COLLECTOR_LISTEN", &ingest)].concat())?];
    for (at, service) in services.iter().copied().enumerate() {
        let number = 1 + services[..at].iter().filter(|other| **other == service).count();
        workers.push(Worker::new(service, number, common.clone())?);
    }
    let mut doors = Vec::new();
    for number in 1..=gateways {
        let door = format!("127.0.0.1:{}", free_port()?);
        let variables = [common.clone(), pair("ATALAYA_QUERY_GATEWAY_LISTEN", &door)].concat();
        workers.push(Worker::new("query-gateway", number, variables)?);
        doors.push(Gateway::new(&format!("query-gateway-{number}"), &door, &secret(place, OPERATOR)?)?);
    }
    say(&format!("starting {} processes", workers.len()));
    let processes = Processes::new(place, &configuration, workers)?.start().await?;
    say("all are ready");
    let bus = Arc::new(administrator(place, &servers.bus()).await?);
    let directory = Directory::load(Some(&configuration.join("normalizer")))?;
    let enrichment = Arc::new(atalaya_normalizer::Config::read(&directory)?.enrichment()?);
    let (servers, ingest, place) = (Arc::new(servers), format!("http://{ingest}"), place.path().to_owned());
    Ok(Mesh { servers, processes, bus, gateways: doors, ingest, token, enrichment, place })
}

/// What every process is told besides its configuration: what is waited for is short.
fn settings(place: &Place, with_stores: bool) -> Variables {
    let lease_ms = LEASE.as_millis().to_string();
    let mut settings = pair("ATALAYA_COLLECTOR_SPOOL", &place.join("spool").display().to_string());
    for section in ["NORMALIZER", "CORRELATOR", "HOT_STORE", "COLD_ARCHIVE"] {
        settings.extend(pair(&format!("ATALAYA_{section}_LEASE_MS"), &lease_ms));
    }
    settings.extend(pair("ATALAYA_COLD_ARCHIVE_FLUSH_MS", "1000"));
    settings.extend(pair("ATALAYA_CORRELATOR_SNAPSHOT_MS", "2000"));
    if !with_stores {
        settings.extend(pair("ATALAYA_STATE", &format!("file:{}", place.join("state").display())));
    }
    settings
}

fn pair(name: &str, value: &str) -> Variables {
    vec![(name.to_owned(), value.to_owned())]
}

/// The configuration of `examples/mesh` with tokens in it; answers with the pusher's.
fn configure(place: &Place, configuration: &Path) -> anyhow::Result<String> {
    copy(&example(), configuration)?;
    for (tenant, roles) in [(PUSHER, "[ingest]"), (OPERATOR, "[operator]")] {
        let file = configuration.join("tenants").join(format!("{tenant}.yaml"));
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        let hash = atalaya_model::sha256_hex(&secret(place, tenant)?);
        write(&file, &format!("{known}\ntokens: [{{name: real, sha256: '{hash}', roles: {roles}}}]\n"))?;
    }
    secret(place, PUSHER)
}

/// Files that are there before the collector is, and the source that reads them.
fn fill(place: &Place, configuration: &Path) -> anyhow::Result<()> {
    let directory = place.join("there");
    std::fs::create_dir_all(&directory)?;
    for file in Input::files()? {
        std::fs::copy(&file, directory.join(file.file_name().context("a file's name")?))?;
    }
    let (path, source) = (directory.display(), configuration.join("sources/there.yaml"));
    write(&source, &format!("kind: zeek\npath: {path}\ntail: false\ntenant: {OWNER}\n"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn secret(place: &Place, tenant: &str) -> anyhow::Result<String> {
    let secrets = place.join("tokens");
    std::fs::create_dir_all(&secrets)?;
    key_file(&secrets.join(tenant))
}

/// The bus for the test itself; the streams are as `examples/mesh` says.
async fn administrator(place: &Place, url: &str) -> anyhow::Result<Nats> {
    let options = Options {
        user: Some(ADMIN.to_owned()),
        password: Some(SecretRef::File(place.join("secrets").join(ADMIN))),
        max_bytes: MaxBytes { raw: 2 << 30, evt: 2 << 30, alert: 256 << 20, dlq: 256 << 20 },
        ..Options::default()
    };
    Nats::connect(url, &options).await.with_context(|| url.to_owned())
}
