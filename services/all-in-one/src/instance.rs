//! The composition root: the stores, the services over them, and their end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use atalaya_archive::Archive;
use atalaya_bus::Bus;
use atalaya_bus::journal::Journal;
use atalaya_chassis::config::Directory;
use atalaya_chassis::telemetry::Metrics;
use atalaya_chassis::{Service, Shutdown, Trigger, health};
use atalaya_hot::Hot;
use atalaya_model::{Principal, Principals, Role, Tenant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::RunFile;

/// How long a drain may take; shorter than Kubernetes' default grace period of 30 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);

/// Any free port of the loopback.
const ANY_PORT: &str = "127.0.0.1:0";

/// Random bytes of the token that lives as long as the process.
const SECRET_BYTES: usize = 32;

/// Which services an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// All seven.
    All,
    /// The query gateway alone: what a reading command needs.
    Readers,
}

/// How an instance is to be.
#[derive(Debug)]
pub struct Options {
    /// Where the embedded stores are.
    pub data: PathBuf,
    /// The configuration directory.
    pub config: Option<PathBuf>,
    /// Which services.
    pub roles: Roles,
    /// Whether the ports are those configured; any free ones otherwise.
    pub default_ports: bool,
    /// Whether `stdout` receivers write to the standard output; to nowhere otherwise.
    pub prints_alerts: bool,
    /// What `/metrics` shows.
    pub metrics: Option<Metrics>,
}

impl Options {
    /// For a command that ends by itself: free ports, nothing printed.
    #[must_use]
    pub fn for_command(data: PathBuf, roles: Roles) -> Self {
        Self { data, config: None, roles, default_ports: false, prints_alerts: false, metrics: None }
    }
}

type Ended = (&'static str, anyhow::Result<()>);

/// Services running in this process.
pub struct Instance {
    run: RunFile,
    data: PathBuf,
    trigger: Trigger,
    services: JoinSet<Ended>,
    spool: Option<Arc<Journal>>,
}

/// What the services share.
struct Stores {
    bus: Arc<dyn Bus>,
    hot: Arc<dyn Hot>,
    archive: Archive,
}

impl Instance {
    /// Opens the stores, binds the doors, starts the services, and writes `run.json`.
    ///
    /// # Errors
    /// If the configuration is wrong, another process holds the stores, or a port is taken.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let directory = directory(&options)?;
        std::fs::create_dir_all(&options.data).with_context(|| options.data.display().to_string())?;
        let stores = open(&directory).await?;
        let token = secret();
        let (trigger, shutdown) = Shutdown::new();
        let mut gateway = atalaya_query_gateway::Service::configure(&directory)?;
        let mut collector = atalaya_collector::Service::configure(&directory)?;
        collector.spool = options.data.join("spool");
        let health_config: health::Config = directory.section("health")?;
        health_config.validate()?;
        let mut health_address = health_config.listen;
        if !options.default_ports {
            // On loopback, for this process's own command.
            (gateway.tls, collector.tls) = (None, None);
            for address in [&mut gateway.listen, &mut collector.listen, &mut health_address] {
                ANY_PORT.clone_into(address);
            }
        }
        let doors = [bind(&gateway.listen).await?, bind(&collector.listen).await?, bind(&health_address).await?];
        let [at_gateway, at_ingest, at_health] = &doors;
        let run = RunFile {
            pid: std::process::id(),
            gateway: at_gateway.local_addr()?,
            ingest: at_ingest.local_addr()?,
            health: at_health.local_addr()?,
            token: token.clone(),
        };
        let [at_gateway, at_ingest, at_health] = doors;
        let principals = Arc::new(Principals::clone(&gateway.principals).with_secret(&token, operator()));
        let mut services = JoinSet::new();
        let ready = shutdown.health().clone();
        let served = health::serve(at_health, ready.clone(), options.metrics, shutdown.clone());
        services.spawn(async move { ("health", served.await.map_err(Into::into)) });
        let mut spool = None;
        if options.roles == Roles::All {
            let journal = Arc::new(atalaya_collector::open_spool(&collector.spool, collector.spool_max_bytes)?);
            spool = Some(Arc::clone(&journal));
            let deps = atalaya_collector::Deps {
                bus: Arc::clone(&stores.bus),
                spool: journal,
                principals: Arc::clone(&principals),
                listener: at_ingest,
            };
            spawn::<atalaya_collector::Service>(&mut services, collector, deps, &shutdown);
            start_stages(&mut services, &directory, &stores, options.prints_alerts, &shutdown).await?;
        }
        let Stores { bus, hot, archive } = stores;
        let deps = atalaya_query_gateway::Deps { bus, hot, archive, principals, listener: at_gateway };
        spawn::<atalaya_query_gateway::Service>(&mut services, gateway, deps, &shutdown);
        ready.set_ready(true);
        run.write(&options.data)?;
        Ok(Self { run, data: options.data, trigger, services, spool })
    }

    /// Where it is, and its token.
    #[must_use]
    pub fn run_file(&self) -> &RunFile {
        &self.run
    }

    /// Waits until a service ends without being asked to.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.services.join_next().await {
            Some(Ok((name, Err(error)))) => error.context(name),
            Some(Ok((name, Ok(())))) => anyhow!("{name} ended by itself"),
            Some(Err(error)) => anyhow!("a service's task: {error}"),
            None => anyhow!("no service is left"),
        }
    }

    /// Asks every service to drain, waits for them, and closes the stores.
    ///
    /// # Errors
    /// If a service failed, or the drain took too long.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        RunFile::remove(&self.data);
        self.trigger.request();
        let mut failed = Vec::new();
        let drained = tokio::time::timeout(DRAIN_DEADLINE, async {
            while let Some(ended) = self.services.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((name, Err(error))) => failed.push(format!("{name}: {error:#}")),
                    Err(error) => failed.push(error.to_string()),
                }
            }
        });
        let drained = drained.await;
        self.services.shutdown().await;
        if let Some(spool) = self.spool {
            spool.close().await?;
        }
        match drained {
            Err(_) => bail!("the drain took more than {DRAIN_DEADLINE:?}"),
            Ok(()) if failed.is_empty() => Ok(()),
            Ok(()) => bail!("{}", failed.join("; ")),
        }
    }
}

/// The configuration, with the embedded stores below the data directory where it names no others.
fn directory(options: &Options) -> anyhow::Result<Directory> {
    let data = std::path::absolute(&options.data).with_context(|| options.data.display().to_string())?;
    let mut directory = Directory::load(options.config.as_deref())?;
    for name in ["bus", "hot", "archive", "state"] {
        directory = directory.with_default_url(name, format!("file:{}", data.join(name).display()))?;
    }
    Ok(directory)
}

async fn open(directory: &Directory) -> anyhow::Result<Stores> {
    let url = |name| directory.section::<String>(name);
    Ok(Stores {
        bus: atalaya_bus::open(&url("bus")?).await.context("bus")?,
        hot: atalaya_hot::open(&url("hot")?).await.context("hot store")?,
        archive: atalaya_archive::open(&url("archive")?).await.context("archive")?,
    })
}

/// Every stage between the collector and the readers.
async fn start_stages(
    services: &mut JoinSet<Ended>,
    directory: &Directory,
    stores: &Stores,
    prints_alerts: bool,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let bus = || Arc::clone(&stores.bus);
    let config = atalaya_normalizer::Service::configure(directory)?;
    let deps = atalaya_normalizer::Deps { bus: bus(), enrichment: config.enrichment()? };
    spawn::<atalaya_normalizer::Service>(services, config, deps, shutdown);
    let config = atalaya_correlator::Service::configure(directory)?;
    let state = atalaya_correlator::open_state(&config.state)?;
    let deps = atalaya_correlator::Deps { bus: bus(), state };
    spawn::<atalaya_correlator::Service>(services, config, deps, shutdown);
    let config = atalaya_hot_store::Service::configure(directory)?;
    let (hot, archive) = (Arc::clone(&stores.hot), stores.archive.clone());
    let deps = atalaya_hot_store::Deps { bus: bus(), hot, archive };
    spawn::<atalaya_hot_store::Service>(services, config, deps, shutdown);
    let config = atalaya_cold_archive::Service::configure(directory)?;
    let deps = atalaya_cold_archive::Deps { bus: bus(), archive: stores.archive.clone() };
    spawn::<atalaya_cold_archive::Service>(services, config, deps, shutdown);
    let stdout: Box<dyn Write + Send> = if prints_alerts { Box::new(io::stdout()) } else { Box::new(io::sink()) };
    let config = atalaya_alert_notifier::Service::configure(directory)?;
    let deps = atalaya_alert_notifier::Deps { bus: bus(), stdout };
    spawn::<atalaya_alert_notifier::Service>(services, config, deps, shutdown);
    Ok(())
}

fn spawn<S: Service>(services: &mut JoinSet<Ended>, config: S::Config, deps: S::Deps, shutdown: &Shutdown) {
    let work = S::run(config, deps, shutdown.clone());
    services.spawn(async move { (S::NAME, work.await) });
}

async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address}: the port cannot be listened on"))
}

/// Whoever can read `run.json` runs this instance.
fn operator() -> Principal {
    Principal {
        name: "local".to_owned(),
        tenant: Tenant::default(),
        roles: vec![Role::Ingest, Role::Reader, Role::Operator],
    }
}

fn secret() -> String {
    let mut bytes = [0_u8; SECRET_BYTES];
    rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
