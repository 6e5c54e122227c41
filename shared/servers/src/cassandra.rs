//! A real Cassandra node from its published jars: fetched once into the user's cache, started on loopback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::{Process, cache, free_port};

/// The version of `org.apache.cassandra:cassandra-all`.
const VERSION: &str = "5.0.9";

/// The Java release that version runs on.
const JAVA: &str = "17";

/// How long a node may take until it answers: a busy machine needs ten times a quiet one's four seconds.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long a node may take to write out what it has and end.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How long a look at the native port may take.
const LOOK: Duration = Duration::from_millis(500);

/// Protocol 4, stream 0, OPTIONS, no body; and the opcode of the answer, SUPPORTED.
const OPTIONS_FRAME: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];
const SUPPORTED: u8 = 6;

/// Packages of the JDK that Cassandra reaches into.
const EXPORTS: &str = "java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi \
    java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref \
    jdk.unsupported/sun.misc jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach";
const OPENS: &str = "java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref \
    java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module \
    java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch \
    java.base/java.io java.base/java.lang.reflect jdk.compiler/com.sun.tools.javac java.base/java.lang \
    java.base/java.util";

const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

/// What cassandra.yaml says of every node; paths, addresses and options come besides.
const SETTINGS: &[(&str, &str)] = &[
    ("cluster_name", "atalaya"),
    ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"),
    ("num_tokens", "1"),
    ("auto_bootstrap", "false"),
    ("auto_snapshot", "false"),
    ("endpoint_snitch", "SimpleSnitch"),
    // Synced before it is acknowledged: `periodic` loses what came since, where a node is killed.
    ("commitlog_sync", "batch"),
    ("commitlog_segment_size", "16MiB"),
    // Expiry past 2038 needs it.
    ("storage_compatibility_mode", "NONE"),
    ("memtable_heap_space", "64MiB"),
    ("memtable_offheap_space", "64MiB"),
    ("file_cache_size", "64MiB"),
    ("networking_cache_size", "32MiB"),
    ("key_cache_size", "16MiB"),
    ("concurrent_reads", "16"),
    ("concurrent_writes", "32"),
    ("concurrent_compactors", "1"),
    ("sai_options", "{segment_write_buffer_size: 64MiB}"),
    ("sstable", "{selected_format: bti}"),
    (
        "memtable",
        "{configurations: {skiplist: {class_name: SkipListMemtable}, trie: {class_name: TrieMemtable}, \
         default: {inherits: trie}}}",
    ),
];

/// How a node is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CassandraOptions {
    /// Address of every port but JMX's.
    pub listen: Ipv4Addr,
    /// Port of the native protocol.
    pub native_port: u16,
    /// Port of the nodes among themselves; the same on every node of a cluster.
    pub storage_port: u16,
    /// Port of JMX, for nodetool, on 127.0.0.1.
    pub jmx_port: u16,
    /// The node's token.
    pub initial_token: i64,
    /// Nodes to join by, `ADDRESS:STORAGE_PORT`; the node itself if there is none.
    pub seeds: Vec<String>,
    /// Whether a user and a password are asked for: `cassandra`, `cassandra` at first.
    pub authentication: bool,
    /// Keystore of the native port, PKCS12, and its password; no TLS without.
    pub keystore: Option<(PathBuf, String)>,
    /// Java heap, MB.
    pub heap_mb: u32,
    /// Start quicker and run slower: for tests, never for measurements.
    pub quick: bool,
    /// Further settings of cassandra.yaml, or others instead of these.
    pub settings: BTreeMap<String, String>,
}

impl CassandraOptions {
    /// One node on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// If no port is free.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            listen: Ipv4Addr::LOCALHOST,
            native_port: free_port()?,
            storage_port: free_port()?,
            jmx_port: free_port()?,
            initial_token: 0,
            seeds: Vec::new(),
            authentication: false,
            keystore: None,
            heap_mb: 512,
            quick: true,
            settings: BTreeMap::new(),
        })
    }

    /// Options of three nodes that are one cluster, on 127.0.0.1 to 127.0.0.3. Start all before waiting for any.
    ///
    /// # Errors
    /// If no port is free.
    pub fn cluster() -> anyhow::Result<[Self; 3]> {
        const TOKENS: [i64; 3] = [i64::MIN, -3_074_457_345_618_258_603, 3_074_457_345_618_258_602];
        let first = Self { heap_mb: 384, ..Self::new()? };
        let seeds = vec![format!("{}:{}", first.listen, first.storage_port)];
        let node = |at: u8| -> anyhow::Result<Self> {
            let listen = Ipv4Addr::new(127, 0, 0, at + 1);
            let (jmx_port, seeds) = (free_port()?, seeds.clone());
            Ok(Self { listen, jmx_port, seeds, initial_token: TOKENS[usize::from(at)], ..first.clone() })
        };
        Ok([node(0)?, node(1)?, node(2)?])
    }

    fn yaml(&self, directory: &Path) -> String {
        let mut settings: BTreeMap<&str, String> =
            SETTINGS.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        for (key, folder) in [
            ("data_file_directories", "data"),
            ("commitlog_directory", "commitlog"),
            ("saved_caches_directory", "saved_caches"),
            ("hints_directory", "hints"),
            ("cdc_raw_directory", "cdc_raw"),
        ] {
            let path = quoted(&directory.join(folder).display());
            settings.insert(key, if folder == "data" { format!("[{path}]") } else { path });
        }
        let own = format!("{}:{}", self.listen, self.storage_port);
        let seeds = if self.seeds.is_empty() { own } else { self.seeds.join(",") };
        let class = "org.apache.cassandra.locator.SimpleSeedProvider";
        settings.insert("seed_provider", format!("[{{class_name: {class}, parameters: [{{seeds: \"{seeds}\"}}]}}]"));
        settings.insert("initial_token", quoted(&self.initial_token));
        settings.insert("listen_address", self.listen.to_string());
        settings.insert("rpc_address", self.listen.to_string());
        settings.insert("storage_port", self.storage_port.to_string());
        settings.insert("native_transport_port", self.native_port.to_string());
        if self.authentication {
            settings.insert("authenticator", "{class_name: PasswordAuthenticator}".to_owned());
            settings.insert("authorizer", "{class_name: CassandraAuthorizer}".to_owned());
            settings.insert("role_manager", "{class_name: CassandraRoleManager}".to_owned());
        }
        if let Some((path, password)) = &self.keystore {
            let (path, password) = (quoted(&path.display()), quoted(password));
            let options = format!("enabled: true, optional: false, store_type: PKCS12, keystore: {path}");
            settings.insert("client_encryption_options", format!("{{{options}, keystore_password: {password}}}"));
        }
        settings.extend(self.settings.iter().map(|(key, value)| (key.as_str(), value.clone())));
        settings.iter().fold(String::new(), |mut yaml, (key, value)| {
            // Writing into a String never fails.
            let _ = writeln!(yaml, "{key}: {value}");
            yaml
        })
    }
}

fn quoted(text: &impl ToString) -> String {
    format!("\"{}\"", text.to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

/// A running node.
pub struct Cassandra {
    directory: PathBuf,
    options: CassandraOptions,
    process: Process,
}

impl Cassandra {
    /// Starts a node with its data in a directory, and waits until it answers.
    ///
    /// # Errors
    /// If there is no Java 17 or no Maven, something cannot be fetched, or the node ends or takes too long.
    pub fn start(directory: &Path, options: CassandraOptions) -> anyhow::Result<Self> {
        let mut node = Self::launch(directory, options)?;
        node.wait_ready()?;
        Ok(node)
    }

    /// Starts a node and does not wait: nodes of a cluster come up together.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn launch(directory: &Path, options: CassandraOptions) -> anyhow::Result<Self> {
        let jars = jars()?;
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let process = spawn(&jars, &directory, &options, Sharing::Use)?;
        Ok(Self { directory, options, process })
    }

    /// Waits until the node answers on its native port.
    ///
    /// # Errors
    /// If it ends or takes too long.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        wait_ready(&mut self.process, &self.options)
    }

    /// Address and port of the native protocol.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.options.listen), self.options.native_port)
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &CassandraOptions {
        &self.options
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.process.terminate(STOP_WITHIN);
    }

    /// Starts it again on its data, after [`Self::kill`] or [`Self::stop`], and waits until it answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.restart_with(self.options.clone())
    }

    /// Starts it again on its data with other options; ends it first if it runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart_with(&mut self, options: CassandraOptions) -> anyhow::Result<()> {
        self.stop();
        self.process = spawn(&jars()?, &self.directory, &options, Sharing::Use)?;
        self.options = options;
        self.wait_ready()
    }
}

/// What the Java machine does with the archive of loaded classes that starts it quicker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Use,
    Write,
}

fn spawn(jars: &Path, directory: &Path, options: &CassandraOptions, sharing: Sharing) -> anyhow::Result<Process> {
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(format!("file://{}", path.display()))
    };
    let yaml = write("cassandra.yaml", &options.yaml(directory))?;
    let logback = write("logback.xml", LOGBACK)?;
    let mut command = without_locked_memory();
    command.arg("-cp").arg(class_path(jars)?);
    command.arg(format!("-javaagent:{}", jars.join("lib/jamm-0.4.0.jar").display()));
    command.args(["-Xms128m", &format!("-Xmx{}m", options.heap_mb), "-Xss256k", "-XX:+PerfDisableSharedMem"]);
    command.args(["-XX:+ExitOnOutOfMemoryError", "-Djdk.attach.allowAttachSelf=true"]);
    command.arg(if options.quick { "-XX:+UseSerialGC" } else { "-XX:+UseG1GC" });
    command.args(["-XX:+UnlockDiagnosticVMOptions", "-XX:+AllowArchivingWithJavaAgent"]);
    let archive = jars.join(ARCHIVE);
    match sharing {
        Sharing::Write => {
            command.arg(format!("-XX:ArchiveClassesAtExit={}", archive.display()));
        }
        Sharing::Use if archive.is_file() => {
            command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        Sharing::Use => {}
    }
    if options.quick {
        command.arg("-XX:TieredStopAtLevel=1");
    }
    for export in EXPORTS.split_whitespace() {
        command.args(["--add-exports", &format!("{export}=ALL-UNNAMED")]);
    }
    for open in OPENS.split_whitespace() {
        command.args(["--add-opens", &format!("{open}=ALL-UNNAMED")]);
    }
    command.args(["-Dio.netty.tryReflectionSetAccessible=true", "-Dio.netty.allocator.useCacheForAllThreads=true"]);
    command.args(["-Dio.netty.allocator.maxOrder=11", "-Djava.net.preferIPv4Stack=true"]);
    command.args(["-Dchronicle.analytics.disable=true", "-Dcassandra-foreground=yes"]);
    command.arg(format!("-Dlogback.configurationFile={logback}"));
    command.arg(format!("-Dcassandra.config={yaml}"));
    command.arg(format!("-Dcassandra.storagedir={}", directory.display()));
    command.arg(format!("-Dcassandra.logdir={}", directory.join("logs").display()));
    command.arg(format!("-Dcassandra.jmx.local.port={}", options.jmx_port));
    command.args(["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=0"]);
    command.args(["-Dcassandra.superuser_setup_delay_ms=0", "-Dcassandra.skip_paxos_state_rebuild=true"]);
    command.args(["-Dcassandra.shutdown_announce_in_ms=0", "org.apache.cassandra.service.CassandraDaemon"]);
    Process::start(command, directory, "cassandra")
}

/// Java; where this process may lock memory, without the right to: a locked heap takes three times the memory.
fn without_locked_memory() -> Command {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    const DROP: [&str; 3] = ["--bounding-set", "-ipc_lock", "--"];
    let try_out = || {
        let tried = Command::new("setpriv").args(DROP).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    if !*AVAILABLE.get_or_init(try_out) {
        return Command::new(java());
    }
    let mut command = Command::new("setpriv");
    command.args(DROP).arg(java());
    command
}

fn java() -> PathBuf {
    std::env::var_os("JAVA_HOME").map_or_else(|| "java".into(), |home| Path::new(&home).join("bin/java"))
}

/// Every jar by name, in order: an archive of classes is good for one class path only.
fn class_path(jars: &Path) -> anyhow::Result<String> {
    let entries = std::fs::read_dir(jars.join("lib"))?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.iter().map(|entry| entry.path().display().to_string()).collect();
    paths.retain(|path| path.ends_with(".jar"));
    paths.sort_unstable();
    Ok(paths.join(":"))
}

fn wait_ready(process: &mut Process, options: &CassandraOptions) -> anyhow::Result<()> {
    let address = SocketAddr::new(IpAddr::V4(options.listen), options.native_port);
    process.wait_ready(READY_WITHIN, || {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, LOOK) else { return Ok(false) };
        if options.keystore.is_some() {
            // The port opens when the node is ready; only a TLS client could ask more.
            return Ok(true);
        }
        stream.set_read_timeout(Some(LOOK))?;
        let mut header = [0; OPTIONS_FRAME.len()];
        let answered = stream.write_all(&OPTIONS_FRAME).and_then(|()| stream.read_exact(&mut header));
        Ok(answered.is_ok() && header[4] == SUPPORTED)
    })
}

const ARCHIVE: &str = "classes.jsa";

/// The folder with Cassandra's jars in `lib`, fetched if they are not there.
fn jars() -> anyhow::Result<PathBuf> {
    let directory = cache()?.join(format!("cassandra-{VERSION}"));
    let complete = directory.join(".complete");
    if complete.exists() {
        return Ok(directory);
    }
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    // One process fetches, the others wait: tests of several binaries may ask at once.
    let lock = std::fs::File::create(directory.join(".lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(directory);
    }
    check_java()?;
    fetch(&directory)?;
    archive_classes(&directory);
    std::fs::write(complete, "")?;
    Ok(directory)
}

fn check_java() -> anyhow::Result<()> {
    let needs = format!("Cassandra {VERSION} needs Java {JAVA} (on the PATH or by JAVA_HOME)");
    let output = Command::new(java()).arg("-version").output().with_context(|| needs.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let version = said.split('"').nth(1).unwrap_or_default();
    if version.split('.').next() != Some(JAVA) {
        bail!("{needs}, and {} is {version}", java().display());
    }
    Ok(())
}

fn fetch(directory: &Path) -> anyhow::Result<()> {
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>atalaya</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies><dependency><groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId>\
         <version>{VERSION}</version></dependency></dependencies></project>\n"
    );
    std::fs::write(directory.join("pom.xml"), pom)?;
    let output = Command::new("mvn")
        .args(["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", directory.join("lib").display()))
        .current_dir(directory)
        .output()
        .context("mvn: is Maven installed? Cassandra's jars are fetched by it")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("mvn could not fetch Cassandra {VERSION}: {}", String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// Runs a node once and has it write down the classes it loaded. Without them a start takes a second longer.
fn archive_classes(directory: &Path) {
    let run = || -> anyhow::Result<()> {
        let scratch = directory.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let options = CassandraOptions::new()?;
        let mut process = spawn(directory, &scratch, &options, Sharing::Write)?;
        wait_ready(&mut process, &options)?;
        process.terminate(READY_WITHIN);
        Ok(std::fs::remove_dir_all(scratch)?)
    };
    // The archive only saves time: a node starts without it.
    let _ = run();
}
