//! What processes use, as Linux counts it.

use std::process::Command;

use anyhow::{Context, ensure};

/// Clock ticks of /proc/PID/stat in a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One of our services, or all of them.
    Service,
    /// A server that a mesh needs.
    Server,
    /// Cassandra, which is stated apart.
    Cassandra,
}

/// A process that is measured.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub kind: Kind,
    pub pid: u32,
}

impl Member {
    /// CPU seconds used so far, user and system.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.read("stat")?;
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("/proc/PID/stat");
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// Resident memory in MB: now, and at its peak.
    pub fn memory_mb(&self) -> anyhow::Result<(f64, f64)> {
        let status = self.read("status")?;
        let kilobytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|field| field.parse::<f64>().ok()).context("/proc/PID/status")
        };
        Ok((kilobytes("VmRSS:")? / 1_024.0, kilobytes("VmHWM:")? / 1_024.0))
    }

    /// Sends it a signal by its name without `SIG`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().context("kill")?;
        ensure!(status.success(), "kill -s {name} {}: {status}", self.name);
        Ok(())
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| format!("{}: {path}", self.name))
    }
}

/// What one process used over some events.
#[derive(Clone, Debug)]
pub struct Used {
    pub name: String,
    pub kind: Kind,
    /// Microseconds of CPU per event.
    pub cpu_us: f64,
    /// Resident, before anything was asked of it, and at its peak.
    pub idle_mb: f64,
    pub peak_mb: f64,
}

/// A measurement that goes on: CPU of each process at its beginning.
pub struct Meter(Vec<f64>);

impl Meter {
    pub fn start(members: &[Member]) -> anyhow::Result<Self> {
        Ok(Self(members.iter().map(Member::cpu_seconds).collect::<anyhow::Result<_>>()?))
    }

    /// What each used since, per event. `idle_mb` is of each, too.
    pub fn stop(&self, members: &[Member], idle_mb: &[f64], events: u64) -> anyhow::Result<Vec<Used>> {
        let used = members.iter().zip(&self.0).zip(idle_mb).map(|((member, began), idle_mb)| {
            Ok(Used {
                name: member.name.clone(),
                kind: member.kind,
                cpu_us: (member.cpu_seconds()? - began) * 1e6 / events as f64,
                idle_mb: *idle_mb,
                peak_mb: member.memory_mb()?.1,
            })
        });
        used.collect()
    }
}
