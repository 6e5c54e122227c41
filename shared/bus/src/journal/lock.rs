//! One process at a time: a locked file that names it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::BusError;

const LOCK_FILE: &str = "LOCK";

/// Holds a directory as long as it lives; the system lets go of it when the process dies, however that happens.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, BusError> {
        let path = directory.join(LOCK_FILE);
        let fail = |error: std::io::Error| BusError::Io(format!("{}: {error}", path.display()));
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let reason = match holder.trim() {
                    "" => "its lock names no process".to_owned(),
                    pid => format!("process {pid} holds it"),
                };
                return Err(BusError::InUse { path: directory.display().to_string(), reason });
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}
