//! Processes that stay when the command that started them returns: one file each says which they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use atalaya_servers::wait_until;

use crate::suites::say;

/// A process that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) name: String,
    pid: u32,
    /// When it began, as `ps` says it: another process of the same id began at another time.
    began: String,
    /// What it listens on.
    pub(crate) door: String,
    log: PathBuf,
}

/// Everything the mesh keeps outside the clone.
pub(crate) fn home() -> anyhow::Result<PathBuf> {
    let home = atalaya_servers::cache()?.join("mesh");
    std::fs::create_dir_all(home.join("running")).with_context(|| home.display().to_string())?;
    Ok(home)
}

impl Running {
    /// Notes a process that just started.
    pub(crate) fn note(name: &str, pid: u32, door: &str, log: &Path) -> anyhow::Result<()> {
        let began = began(pid).with_context(|| format!("{name} ended at once: see {}", log.display()))?;
        let text = format!("{pid}\n{began}\n{door}\n{}\n", log.display());
        Ok(std::fs::write(home()?.join("running").join(name), text)?)
    }

    /// What was started under this name, whether it still runs or not.
    pub(crate) fn find(name: &str) -> anyhow::Result<Option<Self>> {
        let Ok(text) = std::fs::read_to_string(home()?.join("running").join(name)) else { return Ok(None) };
        Ok(Self::parse(name, &text))
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        Some(Self {
            name: name.to_owned(),
            pid: lines.next()?.parse().ok()?,
            began: lines.next()?.to_owned(),
            door: lines.next()?.to_owned(),
            log: lines.next()?.into(),
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        began(self.pid).is_some_and(|began| began == self.began)
    }

    fn signal(&self, signal: &str) {
        // It may have ended by itself in this moment.
        let _ = Command::new("kill").args(["-s", signal, &self.pid.to_string()]).status();
    }
}

/// When a process began; none if it is gone or only not waited for.
fn began(pid: u32) -> Option<String> {
    let output = Command::new("ps").env("LC_ALL", "C").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let (state, began) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| began.trim().to_owned())
}

/// Ends what runs under these names: asks all, waits, and kills what is left.
pub(crate) fn end(names: &[&str], within: Duration) -> anyhow::Result<()> {
    let found = names.iter().map(|name| Running::find(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let found: Vec<_> = found.into_iter().flatten().collect();
    let alive: Vec<_> = found.iter().filter(|process| process.is_alive()).collect();
    alive.iter().for_each(|process| process.signal("TERM"));
    let gone = || Ok(!alive.iter().any(|process| process.is_alive()));
    if wait_until(within, "their end", gone).is_err() {
        for process in alive.iter().filter(|process| process.is_alive()) {
            say(&format!("{} did not end in {within:?}: killed", process.name));
            process.signal("KILL");
        }
    }
    for process in &found {
        let said = if alive.contains(&process) { "ended" } else { "had ended by itself" };
        say(&format!("{}: {said}", process.name));
        std::fs::remove_file(home()?.join("running").join(&process.name))?;
    }
    Ok(())
}

/// Prints what runs under these names; answers whether all do.
pub(crate) fn status(names: &[&str]) -> anyhow::Result<bool> {
    let mut all = true;
    say(&format!("{:<16} {:>8}  {:<8}  {:<28}  log", "process", "pid", "state", "door"));
    for name in names {
        let mut line = format!("{name:<16} ");
        match Running::find(name)? {
            Some(process) => {
                let alive = process.is_alive();
                all &= alive;
                let state = if alive { "running" } else { "ended" };
                let (pid, door, log) = (process.pid, &process.door, process.log.display());
                // Writing into a String never fails.
                let _ = write!(line, "{pid:>8}  {state:<8}  {door:<28}  {log}");
            }
            None => {
                all = false;
                let _ = write!(line, "{:>8}  {:<8}", "-", "down");
            }
        }
        say(line.trim_end());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_id_and_its_beginning() {
        let own = std::process::id();
        let text = format!("{own}\n{}\n127.0.0.1:1\n/tmp/log\n", began(own).unwrap());
        let mut process = Running::parse("x", &text).unwrap();
        assert!(process.is_alive());
        process.began = "Thu Jan  1 00:00:00 1970".to_owned();
        assert!(!process.is_alive(), "another process of the same id");
        assert_eq!(Running::parse("x", "no pid"), None);
    }
}
