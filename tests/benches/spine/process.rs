//! The instance under load: this binary again, as a process of its own, so that its CPU and memory can be told apart.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atalaya::{Instance, Options, Roles, RunFile, Session};

use crate::load::text;

/// The word that makes this binary an instance.
const SERVE: &str = "--serve-instance";

/// How long an instance may take to start.
const START: Duration = Duration::from_secs(30);

/// Runs an instance if this process was started to be one.
pub fn serve_if_asked() -> anyhow::Result<bool> {
    let mut arguments = std::env::args().skip_while(|argument| argument != SERVE).skip(1);
    let Some(data) = arguments.next() else { return Ok(false) };
    let config = arguments.next().map(Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = Options { config, ..Options::for_command(data.into(), Roles::All) };
        let instance = Instance::start(options).await?;
        atalaya_chassis::signalled().await?;
        instance.stop().await
    })?;
    Ok(true)
}

/// A running instance.
pub struct Served {
    child: Child,
    /// Where it is.
    pub run: RunFile,
}

impl Served {
    /// Starts one.
    pub fn start(data: &Path, config: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).arg(data).args(config).env("RUST_LOG", "warn");
        let mut child = command.spawn().context("the instance")?;
        let began = Instant::now();
        loop {
            if let Some(run) = RunFile::read(data)?.filter(|run| run.pid == child.id()) {
                return Ok(Self { child, run });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the instance ended: {status}");
            }
            if began.elapsed() > START {
                let _ = child.kill();
                bail!("the instance did not start within {START:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The way to it.
    pub async fn session(&self) -> anyhow::Result<Session> {
        Session::of(&self.run, None).await
    }

    /// CPU seconds used so far, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = text(&format!("/proc/{}/stat", self.child.id()));
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    /// Resident memory in MB: now, and at its peak.
    pub fn memory_mb(&self) -> (f64, f64) {
        let status = text(&format!("/proc/{}/status", self.child.id()));
        let kilobytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default()
        };
        (kilobytes("VmRSS:") / 1_024.0, kilobytes("VmHWM:") / 1_024.0)
    }

    /// Ends it, drained.
    pub fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { bail!("the instance ended: {status}") }
    }
}
