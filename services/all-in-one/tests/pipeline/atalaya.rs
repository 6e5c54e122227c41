//! The binary under test, and the real data it is fed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A data directory and the binary that works on it.
pub struct Atalaya {
    place: tempfile::TempDir,
}

impl Atalaya {
    pub fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    /// A path in the test's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atalaya"));
        command.args(arguments).env("ATALAYA_DATA", self.path("data")).env_remove("RUST_LOG");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The standard output of a command that must succeed.
    pub fn output(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "atalaya {arguments:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON objects a command prints, one a line.
    pub fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        self.output(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The report of a replay that must balance.
    pub fn replay(&self, paths: &[&str]) -> BTreeMap<String, Value> {
        let arguments = [&["replay"], paths, &["--source", "zeek", "--json"]].concat();
        let output = self.output(&arguments);
        serde_json::from_str(output.lines().last().unwrap()).unwrap()
    }

    /// Starts `atalaya run` and waits until it can be found.
    pub fn start(&self, config: &Path) -> Running {
        self.start_into(config, Stdio::inherit())
    }

    /// The same, with its log in a file.
    pub fn start_logged(&self, config: &Path, log: &Path) -> Running {
        self.start_into(config, std::fs::File::create(log).unwrap().into())
    }

    fn start_into(&self, config: &Path, log: Stdio) -> Running {
        let mut command = self.command(&["run", "--config", config.to_str().unwrap()]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut running = Running(child);
        let began = Instant::now();
        loop {
            let run = std::fs::read_to_string(self.path("data/run.json")).unwrap_or_default();
            let pid = serde_json::from_str::<Value>(&run).ok().and_then(|run| run["pid"].as_u64());
            if pid == Some(u64::from(running.0.id())) {
                return running;
            }
            assert!(running.0.try_wait().unwrap().is_none(), "atalaya run ended");
            assert!(began.elapsed() < PATIENCE, "atalaya run did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A configuration directory whose listeners take any free port, with these sources.
    pub fn config(&self, sources: &[(&str, String)]) -> PathBuf {
        let config = self.path("config");
        std::fs::create_dir_all(config.join("sources")).unwrap();
        let settings = "collector: {listen: '127.0.0.1:0'}\nquery_gateway: {listen: '127.0.0.1:0'}\nhealth: {listen: '127.0.0.1:0'}\n";
        std::fs::write(config.join("atalaya.yaml"), settings).unwrap();
        for (name, source) in sources {
            std::fs::write(config.join("sources").join(format!("{name}.yaml")), source).unwrap();
        }
        config
    }
}

/// A running instance, ended by its process id whatever becomes of the test.
pub struct Running(Child);

impl Running {
    /// kill -9.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM; answers whether the drain went well.
    pub fn stop(mut self) -> bool {
        Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        self.0.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file of the shared data.
pub fn shared(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    assert!(path.exists(), "{}: this test needs the shared data beside the project", path.display());
    path.into_os_string().into_string().unwrap()
}

/// The records of a gzipped JSON log of the shared data.
pub fn records(name: &str) -> Vec<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(shared(name)).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
