//! The instance under load: this binary again, as a process of its own, so that its CPU and memory can be told apart.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atalaya::{Instance, Options, Roles, RunFile};

use crate::clients::Clients;
use crate::load::bytes_below;
use crate::paced;
use crate::receiver::Receiver;
use crate::system::System;
use crate::usage::{Kind, Member};

/// The word that makes this binary an instance.
const SERVE: &str = "--serve-instance";

/// How long an instance may take to start.
const START: Duration = Duration::from_secs(30);

/// Runs an instance if this process was started to be one.
pub fn serve_if_asked() -> anyhow::Result<bool> {
    let mut arguments = std::env::args().skip_while(|argument| argument != SERVE).skip(1);
    let Some(data) = arguments.next() else { return Ok(false) };
    let config = arguments.next().map(Into::into);
    atalaya_chassis::telemetry::install(&atalaya_chassis::telemetry::Config::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = Options { config, ..Options::for_command(data.into(), Roles::All) };
        let instance = Instance::start(options).await?;
        atalaya_chassis::signalled().await?;
        instance.stop().await
    })?;
    Ok(true)
}

/// A running instance on stores of its own.
pub struct Served {
    child: Child,
    place: tempfile::TempDir,
    pub system: System,
}

impl Served {
    /// Starts one whose marked alerts go to a receiver.
    pub async fn start(receiver: &Receiver) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let (data, config) = (place.path().join("data"), place.path().join("config"));
        paced::write_rule(&config.join("rules"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).args([&data, &config]).envs(receiver.variables());
        let mut child = command.spawn().context("the instance")?;
        let run = match started(&mut child, &data) {
            Ok(run) => run,
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                return Err(error);
            }
        };
        let (ingest, gateway) = (run.ingest.to_string(), run.gateway.to_string());
        let clients = Clients::connect(&ingest, &gateway, &run.token, None).await?;
        let member = Member { name: "all seven, one process".to_owned(), kind: Kind::Service, pid: child.id() };
        let system = System::new("all-in-one on embedded stores".to_owned(), clients, vec![member]).await?;
        Ok(Self { child, place, system })
    }

    /// Ends it, drained; bytes per event in hot store and archive.
    pub async fn stop(mut self) -> anyhow::Result<(f64, f64)> {
        let events = self.system.events().await?;
        self.system.members.iter().try_for_each(|member| member.signal("TERM"))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the instance ended: {status}");
        }
        let per_event = |name: &str| bytes_below(&self.place.path().join("data").join(name)) as f64 / events as f64;
        Ok((per_event("hot"), per_event("archive")))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Ended and waited for already, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn started(child: &mut Child, data: &Path) -> anyhow::Result<RunFile> {
    let began = Instant::now();
    loop {
        if let Some(run) = RunFile::read(data)?.filter(|run| run.pid == child.id()) {
            return Ok(run);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the instance ended: {status}");
        }
        if began.elapsed() > START {
            bail!("the instance did not start within {START:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
