//! A mesh's services as processes: their configuration, their binaries, and whether they are ready.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

/// The services, in the order that data passes them: their directories in `examples/mesh`, their users of NATS, and
/// what follows `atalaya-` in their binaries.
pub const SERVICES: [&str; 7] =
    ["collector", "normalizer", "correlator", "alert-notifier", "hot-store", "cold-archive", "query-gateway"];

/// The user of NATS that may do everything.
pub const ADMIN: &str = "admin";

/// Where a local mesh looks for Zeek logs, below the directory that the collector runs in.
pub const LOGS: &str = "atalaya-mesh/logs";

/// The variable of the access key of S3.
pub const S3_ACCESS_KEY: &str = "S3_ACCESS_KEY";
/// The variable of S3's secret key.
pub const S3_SECRET_KEY: &str = "S3_SECRET_KEY";

/// How long a look at a health port may take.
const LOOK: Duration = Duration::from_secs(1);

/// The configuration of a whole local mesh: `examples/mesh` of this clone.
#[must_use]
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/mesh")
}

/// Copies a directory with everything below it; links stay links.
///
/// # Errors
/// If something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, target)?;
        } else if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The variable from which `nats.conf` takes a user's password.
#[must_use]
pub fn password_variable(user: &str) -> String {
    format!("NATS_{}", user.to_uppercase().replace('-', "_"))
}

/// Whether a service is to be given the keys of S3: its settings name them.
///
/// # Errors
/// If its settings cannot be read.
pub fn needs_s3(configuration: &Path, service: &str) -> anyhow::Result<bool> {
    let settings = configuration.join(service).join("atalaya.yaml");
    let text = std::fs::read_to_string(&settings).with_context(|| settings.display().to_string())?;
    Ok(text.contains(S3_ACCESS_KEY))
}

/// A service's binary on its directory of a configuration, as its own user of NATS; to be given the keys of S3 where it
/// [needs](needs_s3) them.
#[must_use]
pub fn command(binaries: &Path, service: &str, configuration: &Path, nats_password: &str) -> Command {
    let mut command = Command::new(binaries.join(format!("atalaya-{service}")));
    command.arg("--config").arg(configuration.join(service)).env("NATS_PASSWORD", nats_password);
    command
}

/// Whether a service says on its health port that it can do its work.
#[must_use]
pub fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut connection = TcpStream::connect_timeout(&address, LOOK)?;
        connection.set_read_timeout(Some(LOOK))?;
        connection.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_directory_and_its_password() {
        let given: Vec<_> = SERVICES.iter().filter(|service| needs_s3(&example(), service).unwrap()).collect();
        assert!(given.contains(&&"cold-archive") && !given.contains(&&"collector"), "{given:?}");
        let server = std::fs::read_to_string(example().join("nats/nats.conf")).unwrap();
        for service in SERVICES {
            assert!(example().join(service).join("atalaya.yaml").is_file(), "{service}");
            let said = format!("user: {service}, password: ${},", password_variable(service));
            assert!(server.contains(&said), "{said}");
        }
    }

    #[test]
    fn a_copy_has_files_directories_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir_all(from.join("deep")).unwrap();
        std::fs::write(from.join("deep/file"), "text").unwrap();
        std::os::unix::fs::symlink("deep", from.join("link")).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("link/file")).unwrap(), "text");
        assert!(to.join("link").is_symlink());
    }
}
