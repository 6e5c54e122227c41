//! A mesh under load: the services of `examples/mesh` as processes, over servers started for it.

mod certificates;
mod configuration;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_servers::mesh::{LOGS, SERVICES, command, is_ready};
use atalaya_servers::{Cassandra, CassandraOptions, NatsServer, Process, S3, free_port};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

use crate::clients::Clients;
use crate::load::bytes_below;
use crate::receiver::Receiver;
use crate::system::System;
use crate::usage::{Kind, Member};
use configuration::Configuration;

/// How long a service may take until it is ready: one with 10,000 tenants reads 10,000 files.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long a service may take to drain; above its own deadline of 25 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Where the configuration keeps the archive, in the bucket.
const ARCHIVE: &str = "archive";

/// Java heap, MB: no test's, and no cluster's.
const HEAP_MB: u32 = 1_024;

/// How a mesh is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// When NATS syncs: `always`, or a span.
    pub sync: String,
    /// TLS at the doors of collector and gateway, and between services and NATS.
    pub tls: bool,
    /// So many tenants own the networks of the permuted stream's sources; nobody if none.
    pub tenants: Option<u32>,
}

impl std::fmt::Display for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mesh, NATS syncs {}", self.sync)?;
        if self.tls {
            f.write_str(", with TLS")?;
        }
        self.tenants.map_or(Ok(()), |tenants| write!(f, ", {tenants} tenants behind one shared source"))
    }
}

/// One that runs. Dropped, all of it is killed.
pub struct Mesh {
    pub system: System,
    services: Vec<Process>,
    // Held for their ends.
    _nats: NatsServer,
    s3: S3,
    cassandra: Cassandra,
    place: tempfile::TempDir,
}

impl Mesh {
    /// Starts one, everything on free ports and in a directory of its own; returns when all is ready.
    pub async fn start(options: &Options, receiver: &Receiver, binaries: Option<&Path>) -> anyhow::Result<Self> {
        let binaries = find(binaries)?;
        let place = tempfile::Builder::new().prefix("atalaya-bench-").tempdir()?;
        let configuration = Configuration::write(place.path(), options)?;
        let servers = place.path().join("servers");
        let nats =
            NatsServer::start_as(&servers.join("nats"), &configuration.nats(), &configuration.nats_variables()?)?;
        let java = CassandraOptions { heap_mb: HEAP_MB, quick: false, ..CassandraOptions::new()? };
        let mut cassandra = Cassandra::launch(&servers.join("cassandra"), java)?;
        let s3 = S3::start(&servers.join("s3"))?;
        cassandra.wait_ready()?;
        let mut variables = configuration.variables(&nats, &s3, &cassandra);
        variables.extend(receiver.variables());
        let [ingest, gateway] = [free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
        variables.push(("ATALAYA_COLLECTOR_LISTEN".to_owned(), ingest.clone()));
        variables.push(("ATALAYA_QUERY_GATEWAY_LISTEN".to_owned(), gateway.clone()));
        let services = services(place.path(), &binaries, &configuration, &variables)?;
        let member = |name: &str, kind, pid| Member { name: name.to_owned(), kind, pid };
        let own = SERVICES.iter().zip(&services);
        let mut members: Vec<_> = own.map(|(service, process)| member(service, Kind::Service, process.pid())).collect();
        members.push(member("nats-server", Kind::Server, nats.pid().context("NATS has ended")?));
        members.push(member("SeaweedFS", Kind::Server, s3.pid().context("SeaweedFS has ended")?));
        members.push(member("Cassandra", Kind::Cassandra, cassandra.process().pid()));
        let authority = configuration.authority()?;
        let clients = Clients::connect(&ingest, &gateway, configuration.token(), authority.as_deref()).await?;
        let system = System::new(options.to_string(), clients, members).await?;
        Ok(Self { system, services, _nats: nats, s3, cassandra, place })
    }

    /// Checks that the first and the last of so many tenants got what is theirs.
    pub async fn check_owners(&self, tenants: u32) -> anyhow::Result<()> {
        for tenant in [0, tenants - 1].map(configuration::name) {
            ensure!(self.system.clients.has_events(&tenant).await?, "{tenant} owns networks and has no events");
        }
        Ok(())
    }

    /// A file that the shared source will follow.
    pub fn followed(&self) -> PathBuf {
        self.place.path().join("work").join(LOGS).join("dns.log")
    }

    /// Drains it; bytes per event in hot store and archive. Cassandra's are what it writes out at its end.
    pub async fn stop(mut self) -> anyhow::Result<(f64, f64)> {
        let events = self.system.events().await? as f64;
        for service in &self.services {
            service.signal("TERM")?;
        }
        self.services.iter_mut().for_each(|service| service.terminate(DRAIN_WITHIN));
        let archive = stored(&self.s3).await?;
        self.cassandra.stop();
        let hot = bytes_below(&self.place.path().join("servers/cassandra/data/atalaya"));
        Ok((hot as f64 / events, archive as f64 / events))
    }
}

/// Starts the services one after the other, each when the one before is ready: two that make Cassandra's tables at once
/// are in each other's way.
fn services(
    place: &Path,
    binaries: &Path,
    configuration: &Configuration,
    variables: &[(String, String)],
) -> anyhow::Result<Vec<Process>> {
    let work = place.join("work");
    std::fs::create_dir_all(work.join(LOGS))?;
    let mut started = Vec::new();
    for service in SERVICES {
        let health = free_port()?;
        let mut command = command(binaries, service, &configuration.directory, &configuration.password(service)?);
        command.current_dir(&work).envs(variables.iter().cloned());
        command.env("ATALAYA_HEALTH_LISTEN", format!("127.0.0.1:{health}"));
        let mut process = Process::start(command, &place.join("logs"), service)?;
        process.wait_ready(READY_WITHIN, || Ok(is_ready(health)))?;
        started.push(process);
    }
    Ok(started)
}

/// Where the services' binaries are: this one's own is in `deps` beside them.
fn find(binaries: Option<&Path>) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().and_then(Path::parent).context("the target directory")?;
    let directory = binaries.unwrap_or(beside);
    for service in SERVICES {
        let binary = directory.join(format!("atalaya-{service}"));
        ensure!(binary.is_file(), "no {}: `cargo xtask bench spine --mesh` builds it", binary.display());
    }
    Ok(directory.canonicalize()?)
}

/// Bytes of the archive.
async fn stored(s3: &S3) -> anyhow::Result<u64> {
    let store = AmazonS3Builder::new()
        .with_endpoint(s3.endpoint())
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(S3::BUCKET)
        .with_access_key_id(s3.access_key())
        .with_secret_access_key(s3.secret_key())
        .build()?;
    let objects = store.list(Some(&ARCHIVE.into()));
    Ok(objects.try_fold(0, |sum, object| std::future::ready(Ok(sum + object.size))).await?)
}
