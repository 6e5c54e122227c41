//! The services of a mesh as processes, started again whenever they are found ended.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atalaya_servers::{Process, mesh};

use crate::place::Place;
use crate::say;
use crate::servers::password;

/// How long a service may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long one may take to drain; above its own deadline of 25 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked whether all run.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a process is told besides its configuration.
pub(crate) type Variables = Vec<(String, String)>;

/// One process of a service.
pub(crate) struct Worker {
    /// Such as `normalizer-2`.
    pub(crate) name: String,
    service: &'static str,
    health: u16,
    variables: Variables,
    state: Mutex<State>,
    /// Its last words when it ended by itself, so that they are told once.
    told: Mutex<String>,
}

enum State {
    Running(Process),
    /// Killed, and to be started again by whoever killed it; or not started yet.
    Down,
    /// Ended for good.
    Ended,
}

/// All of them.
pub(crate) struct Processes {
    binaries: PathBuf,
    configuration: PathBuf,
    work: PathBuf,
    logs: PathBuf,
    passwords: Vec<(&'static str, String)>,
    workers: Vec<Worker>,
}

impl Worker {
    /// A process that is not started yet; it listens for questions about its health at a free port.
    pub(crate) fn new(service: &'static str, number: usize, mut variables: Variables) -> anyhow::Result<Self> {
        let health = atalaya_servers::free_port()?;
        variables.push(("ATALAYA_HEALTH_LISTEN".to_owned(), format!("127.0.0.1:{health}")));
        let name = format!("{service}-{number}");
        Ok(Self { name, service, health, variables, state: Mutex::new(State::Down), told: Mutex::default() })
    }

    /// Its process id; none while it does not run.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &*self.state() {
            State::Running(process) => Some(process.pid()),
            State::Down | State::Ended => None,
        }
    }

    /// kill -9.
    pub(crate) fn kill(&self) {
        *self.state() = State::Down;
    }

    /// Sends it a signal by its name without `SIG`; one that ended by itself takes none.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        if self.ended_by_itself() {
            return Ok(());
        }
        match &*self.state() {
            State::Running(process) => process.signal(name),
            State::Down | State::Ended => Ok(()),
        }
    }

    /// Whether it ended without having been told to.
    fn ended_by_itself(&self) -> bool {
        match &mut *self.state() {
            State::Running(process) => !process.is_alive(),
            State::Down | State::Ended => false,
        }
    }

    /// Ends it in order and for good.
    pub(crate) fn drain(&self) {
        let state = std::mem::replace(&mut *self.state(), State::Ended);
        if let State::Running(mut process) = state {
            process.terminate(DRAIN_WITHIN);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes {
    /// Nothing is started yet. `configuration` is a copy of `examples/mesh`.
    pub(crate) fn new(place: &Place, configuration: &Path, workers: Vec<Worker>) -> anyhow::Result<Self> {
        let work = place.join("work");
        std::fs::create_dir_all(work.join(mesh::LOGS))?;
        let passwords = mesh::SERVICES.iter().map(|service| Ok((*service, password(place, service)?)));
        let passwords = passwords.collect::<anyhow::Result<_>>()?;
        let (binaries, configuration, logs) = (binaries()?, configuration.to_owned(), place.logs());
        Ok(Self { binaries, configuration, work, logs, passwords, workers })
    }

    /// Starts all, waits until they are ready, and from then on starts again what ends by itself, as a supervisor does.
    pub(crate) async fn start(self) -> anyhow::Result<Arc<Self>> {
        for worker in &self.workers {
            self.launch(worker)?;
        }
        let until = Instant::now() + READY_WITHIN;
        for worker in &self.workers {
            while !mesh::is_ready(worker.health) {
                let waits = !worker.ended_by_itself() && Instant::now() < until;
                ensure!(waits, "{} is not ready: {}", worker.name, self.tail(worker));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let processes = Arc::new(self);
        let watched = Arc::downgrade(&processes);
        tokio::spawn(async move {
            while let Some(processes) = watched.upgrade() {
                processes.workers.iter().for_each(|worker| processes.look(worker));
                drop(processes);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Ok(processes)
    }

    /// Starts one that is down; does not wait.
    pub(crate) fn launch(&self, worker: &Worker) -> anyhow::Result<()> {
        let password = self.passwords.iter().find(|(service, _)| *service == worker.service);
        let (_, password) = password.context("a service without a password")?;
        let mut command = mesh::command(&self.binaries, worker.service, &self.configuration, password);
        command.current_dir(&self.work).envs(worker.variables.iter().cloned());
        *worker.state() = State::Running(Process::start(command, &self.logs, &worker.name)?);
        Ok(())
    }

    fn look(&self, worker: &Worker) {
        if !worker.ended_by_itself() {
            return;
        }
        let last = self.tail(worker);
        let before = std::mem::replace(&mut *worker.told.lock().unwrap_or_else(PoisonError::into_inner), last.clone());
        if before != last {
            say(&format!("{} ended by itself, and is started again: {last}", worker.name));
        }
        if let Err(error) = self.launch(worker) {
            say(&format!("{}: {error:#}", worker.name));
        }
    }

    /// The last line of its log.
    fn tail(&self, worker: &Worker) -> String {
        let text = std::fs::read_to_string(self.logs.join(format!("{}.log", worker.name))).unwrap_or_default();
        text.lines().last().unwrap_or("it says nothing").to_owned()
    }

    pub(crate) fn all(&self) -> &[Worker] {
        &self.workers
    }

    /// The processes of one service.
    pub(crate) fn of(&self, service: &str) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(move |worker| worker.service == service)
    }

    /// The directory that they run in.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// No process may have panicked, whatever was done to it.
    pub(crate) fn check_logs(&self) -> anyhow::Result<()> {
        for worker in &self.workers {
            let text = std::fs::read_to_string(self.logs.join(format!("{}.log", worker.name)))?;
            let panic = text.lines().find(|line| line.contains("panicked at"));
            ensure!(panic.is_none(), "{} panicked: {panic:?}", worker.name);
        }
        Ok(())
    }
}

/// Where the services' binaries are: this test's own is in `deps` beside them.
fn binaries() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(Path::parent).context("the target directory")?.to_owned();
    let missing = mesh::SERVICES.iter().find(|service| !directory.join(format!("atalaya-{service}")).is_file());
    ensure!(
        missing.is_none(),
        "{} has no atalaya-{}: cargo xtask test real builds it",
        directory.display(),
        missing.unwrap_or(&"")
    );
    Ok(directory)
}
