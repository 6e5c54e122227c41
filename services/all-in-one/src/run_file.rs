//! `run.json`: how other commands find the running instance.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

const NAME: &str = "run.json";

/// Only its owner may read it: it holds a token.
const MODE: u32 = 0o600;

/// What a running instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its process id.
    pub pid: u32,
    /// Address of the query gateway (gRPC).
    pub gateway: SocketAddr,
    /// Address of the ingest door (gRPC).
    pub ingest: SocketAddr,
    /// Address of `/live`, `/ready` and `/metrics`.
    pub health: SocketAddr,
    /// A token that is good while this process lives.
    pub token: String,
}

impl RunFile {
    /// Writes it below a data directory, whole or not at all.
    ///
    /// # Errors
    /// If the directory cannot be written to.
    pub fn write(&self, data: &Path) -> anyhow::Result<PathBuf> {
        let (path, new) = (data.join(NAME), data.join(".run.json.new"));
        let _ = std::fs::remove_file(&new);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new);
        serde_json::to_writer_pretty(file.with_context(|| new.display().to_string())?, self)?;
        std::fs::rename(&new, &path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// The instance that runs on a data directory; none if there is no file or its process is gone.
    ///
    /// # Errors
    /// If the file is there and says something else.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        let run: Self = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let alive = Path::new("/proc").join(run.pid.to_string()).exists() || !Path::new("/proc/self").exists();
        Ok(alive.then_some(run))
    }

    /// Removes the file if it is this process's.
    pub fn remove(data: &Path) {
        if let Ok(Some(run)) = Self::read(data)
            && run.pid == std::process::id()
        {
            let _ = std::fs::remove_file(data.join(NAME));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_found_while_the_process_lives() {
        let place = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:7400".parse().unwrap();
        let mut run =
            RunFile { pid: std::process::id(), gateway: address, ingest: address, health: address, token: "t".into() };
        let path = run.write(place.path()).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(RunFile::read(place.path()).unwrap(), Some(run.clone()));
        RunFile::remove(place.path());
        assert_eq!(RunFile::read(place.path()).unwrap(), None);
        run.pid = u32::MAX;
        run.write(place.path()).unwrap();
        assert_eq!(RunFile::read(place.path()).unwrap(), None);
    }
}
