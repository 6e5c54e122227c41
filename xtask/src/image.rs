//! The container image: built with buildah, and looked at.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};

use crate::suites::say;

/// Bytes of an image at most.
const MAX_IMAGE_BYTES: u64 = 400 << 20;

/// How an image of ours starts.
const ENTRYPOINT: &str = "/usr/local/bin/service";

/// Builds the image of a package with buildah and checks it. Without buildah nothing is checked, and that is said.
pub(crate) fn run(package: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    if Command::new("buildah").arg("--version").output().is_err() {
        say("image: SKIPPED, there is no `buildah` in PATH: the Dockerfile was not built");
        say("0 passed, 0 failed, 1 skipped");
        return Ok(ExitCode::SUCCESS);
    }
    let tag = format!("localhost/{package}:check");
    let checked = build(package, &tag, arguments).and_then(|()| check(&tag));
    match &checked {
        Ok(()) => say("1 passed, 0 failed, 0 skipped"),
        Err(error) => say(&format!("image: FAILED: {error:#}\n0 passed, 1 failed, 0 skipped")),
    }
    Ok(if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(package: &str, tag: &str, arguments: &[String]) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("buildah");
    command.args(["build", "--tag", tag, "--build-arg", &format!("PACKAGE={package}")]).args(arguments).arg(&root);
    say(&format!("image: {command:?}"));
    let status = command.status().context("buildah build")?;
    ensure!(status.success(), "buildah build: {status}");
    Ok(())
}

fn check(tag: &str) -> anyhow::Result<()> {
    let image: serde_json::Value = serde_json::from_str(&said(&["inspect", "--type", "image", tag])?)?;
    let config = &image["OCIv1"]["config"];
    let user = config["User"].as_str().unwrap_or_default();
    let number = user.split(':').next().and_then(|user| user.parse::<u32>().ok());
    ensure!(number.is_some_and(|number| number > 0), "user '{user}' is no number above 0");
    ensure!(config["Entrypoint"] == serde_json::json!([ENTRYPOINT]), "entry point {}", config["Entrypoint"]);
    let images: serde_json::Value = serde_json::from_str(&said(&["images", "--json", tag])?)?;
    let bytes = bytes(images[0]["size"].as_str().context("buildah tells no size")?)?;
    ensure!(bytes <= MAX_IMAGE_BYTES, "{bytes} bytes, more than {MAX_IMAGE_BYTES}");
    let container = said(&["from", "--pull-never", tag])?;
    let container = container.trim();
    // The product's own word, from inside, without a shell.
    let runs = said(&["run", "--user", user, container, "--", ENTRYPOINT, "--help"]);
    let shell = said(&["run", container, "--", "/bin/sh", "-c", "true"]);
    said(&["rm", container])?;
    let help = runs?;
    ensure!(help.contains("--config"), "{ENTRYPOINT} --help says: {help}");
    ensure!(shell.is_err(), "the image has a shell");
    say(&format!("image: {tag}, user {user}, {} MB, runs, no shell", bytes / 1_000_000));
    Ok(())
}

fn said(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("buildah").args(arguments).output().context("buildah")?;
    if !output.status.success() {
        bail!("buildah {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Bytes of a size such as `83.5 MB`.
fn bytes(size: &str) -> anyhow::Result<u64> {
    let (number, unit) = size.split_once(' ').with_context(|| format!("size '{size}'"))?;
    let factor = match unit.to_ascii_uppercase().as_str() {
        "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => bail!("size '{size}'"),
    };
    let number: f64 = number.parse().with_context(|| format!("size '{size}'"))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size that a person reads")]
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("83.5 MB").unwrap(), 83_500_000);
        assert_eq!(bytes("9 B").unwrap(), 9);
        assert!(bytes("83").is_err() && bytes("83 MiB").is_err());
    }
}
