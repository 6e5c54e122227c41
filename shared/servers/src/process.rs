//! A process that a test or a local mesh starts: it logs into a file, and never outlives whoever started it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

/// Pause between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Bytes of a log that an error shows.
const LOG_TAIL_BYTES: usize = 2_000;

/// Where ports are looked for: below the range systems take outgoing ports from, so that a server that was ended finds
/// its port free when it is started again.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Whether what is started from now on stays when this process ends.
static OUTLIVES: AtomicBool = AtomicBool::new(false);

/// Has every process that is started from now on stay when this one ends, for a command that starts servers and
/// returns. Dropped, a [`Process`] is killed all the same: leak it.
pub fn outlive() {
    OUTLIVES.store(true, Ordering::Relaxed);
}

/// A running process. Dropped, it is killed, also where a test panics; on Linux it ends with its parent, too.
pub struct Process {
    child: Mutex<Child>,
    pid: u32,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a command, with stdout and stderr appended to `<directory>/<name>.log`.
    ///
    /// # Errors
    /// If the log cannot be opened, or the program cannot be started.
    pub fn start(command: Command, directory: &Path, name: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
        let program = command.get_program().to_owned();
        let mut command = tied_to_parent(command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = spawn(command).with_context(|| format!("{name}: {}", program.display()))?;
        Ok(Self { pid: child.id(), child: Mutex::new(child), name: name.to_owned(), log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file it logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// Whether it runs (a stopped one does).
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child();
        // Fails only if it is gone already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Asks it to end (SIGTERM), and kills it if it has not by then.
    pub fn terminate(&mut self, within: Duration) {
        let asked = self.signal("TERM").is_ok();
        let ended = || Ok(matches!(self.child().try_wait(), Ok(Some(_))));
        if !asked || wait_until(within, "its end", ended).is_err() {
            self.kill();
        }
    }

    /// Sends a signal by its name without `SIG`, such as `STOP`.
    ///
    /// # Errors
    /// If it has ended, or there is no `kill` command.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        // Under the lock, and only if it was not waited for: its id is no other's then.
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            bail!("{} has ended: it takes no signal", self.name);
        }
        let status = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().context("kill")?;
        if status.success() { Ok(()) } else { bail!("kill -s {name} {}: {status}", self.pid) }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// If it ends before, or takes longer; the error shows the end of its log.
    pub fn wait_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let waited = wait_until(within, &format!("{} to be ready", self.name), || {
            if let Some(status) = self.child().try_wait()? {
                bail!("{} ended: {status}", self.name);
            }
            ready()
        });
        waited.with_context(|| format!("{} ends with:\n{}", self.log.display(), self.log_tail()))
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command, run so that the system kills it when this process dies without dropping it.
fn tied_to_parent(command: Command) -> Command {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    let try_out = || {
        let tried = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    if OUTLIVES.load(Ordering::Relaxed) {
        // Of its own group: what the terminal sends to this process is not for it.
        let mut command = command;
        command.process_group(0);
        return command;
    }
    if !*AVAILABLE.get_or_init(try_out) {
        return command;
    }
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        tied.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

type Spawn = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts a command from a thread that never ends: to the system the parent is the thread that started a process, not
/// the process of that thread.
fn spawn(command: Command) -> anyhow::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Spawn>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, commands) = mpsc::channel::<Spawn>();
        std::thread::spawn(move || {
            for (mut command, answer) in commands {
                // Whoever asked waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = mpsc::channel();
    spawner.send((command, answer)).ok().context("the thread that starts processes has ended")?;
    Ok(answered.recv()??)
}

/// A port of the loopback address that is free now. Two calls of one process never give the same.
///
/// # Errors
/// If there is none.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let start = || {
        // Tests of several processes look at once: each begins elsewhere.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        AtomicU32::new(std::process::id().wrapping_mul(7_919) ^ (nanos / 1_000))
    };
    for _ in 0..PORTS {
        let next = NEXT.get_or_init(start).fetch_add(1, Ordering::Relaxed) % u32::from(PORTS);
        let port = FIRST_PORT + u16::try_from(next)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {FIRST_PORT} to {} is free", FIRST_PORT + PORTS)
}

/// Waits until something is true.
///
/// # Errors
/// If it takes longer, naming `what` was waited for; or at once if `ready` fails.
pub fn wait_until(within: Duration, what: &str, mut ready: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() >= within {
            bail!("waited {:.1} s for {what}", start.elapsed().as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn sleeper(directory: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo up; exec sleep 100"]);
        Process::start(command, directory, "sleeper").unwrap()
    }

    /// Whether a process is there and no zombie.
    fn runs(pid: u32) -> bool {
        Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = sleeper(directory.path());
        let log = process.log();
        process.wait_ready(SOON, || Ok(std::fs::read_to_string(&log)? == "up\n")).unwrap();
        let pid = process.pid();
        assert!(process.is_alive() && runs(pid));
        drop(process);
        assert!(!runs(pid));
    }

    #[test]
    fn it_outlives_the_thread_that_started_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let mut process = std::thread::spawn(move || sleeper(&path)).join().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(process.is_alive());
        process.terminate(SOON);
        assert!(!process.is_alive() && process.signal("TERM").is_err());
    }

    #[test]
    fn an_early_end_shows_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out of luck; exit 3"]);
        let mut process = Process::start(command, directory.path(), "unlucky").unwrap();
        let error = format!("{:#}", process.wait_ready(SOON, || Ok(false)).unwrap_err());
        assert!(error.contains("out of luck") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn ports_differ() {
        let ports: std::collections::HashSet<_> = (0..20).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 20);
    }
}
