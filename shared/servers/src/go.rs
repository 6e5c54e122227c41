//! Tools written in Go: built by the Go command from the module proxy, once, into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cache;

/// A command of a Go module at a version.
struct Tool {
    binary: &'static str,
    version: &'static str,
    package: &'static str,
    /// A go.mod around it, for a module that `go install` refuses because its own go.mod replaces others.
    wrapper: Option<&'static str>,
}

const HELM: Tool = Tool { binary: "helm", version: "v3.22.0", package: "helm.sh/helm/v3/cmd/helm", wrapper: None };

const HELM_UNITTEST: Tool = Tool {
    binary: "helm-unittest",
    version: "v1.1.2",
    package: "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
    wrapper: Some(
        "module atalaya/tool

go 1.26

require github.com/helm-unittest/helm-unittest v1.1.2

replace github.com/vmware-labs/yaml-jsonpath v0.3.2 => github.com/helm-unittest/yaml-jsonpath v0.4.0
",
    ),
};

/// The helm program.
///
/// # Errors
/// If there is no Go, or it cannot be built.
pub fn helm() -> anyhow::Result<PathBuf> {
    HELM.built()
}

/// The helm-unittest program; it needs no helm.
///
/// # Errors
/// If there is no Go, or it cannot be built.
pub fn helm_unittest() -> anyhow::Result<PathBuf> {
    HELM_UNITTEST.built()
}

impl Tool {
    fn built(&self) -> anyhow::Result<PathBuf> {
        let directory = cache()?.join("go").join(format!("{}-{}", self.binary, self.version));
        let program = directory.join("bin").join(self.binary);
        if directory.join(".complete").exists() {
            return Ok(program);
        }
        std::fs::create_dir_all(directory.join("bin")).with_context(|| directory.display().to_string())?;
        // One process builds, the others wait.
        let lock = std::fs::File::create(directory.join(".lock"))?;
        lock.lock()?;
        if directory.join(".complete").exists() {
            return Ok(program);
        }
        let mut command = match self.wrapper {
            None => self.install(&directory),
            Some(module) => self.build(&directory, module)?,
        };
        let output = command.output().with_context(|| {
            format!("{} is built by Go, and there is no `go` in PATH: install Go 1.26 or newer", self.binary)
        })?;
        if !output.status.success() {
            bail!("go could not build {} {}: {}", self.binary, self.version, tail(&output.stderr));
        }
        std::fs::write(directory.join(".complete"), "")?;
        Ok(program)
    }

    fn install(&self, directory: &Path) -> Command {
        let mut command = go(directory, &["install"]);
        command.env("GOBIN", directory.join("bin")).arg(format!("{}@{}", self.package, self.version));
        command
    }

    fn build(&self, directory: &Path, module: &str) -> anyhow::Result<Command> {
        let place = directory.join("module");
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("go.mod"), module)?;
        let mut command = go(&place, &["build", "-mod=mod", "-o"]);
        command.arg(directory.join("bin").join(self.binary)).arg(self.package);
        Ok(command)
    }
}

/// A Go command that runs in a directory, for a small program without paths of this machine.
fn go(directory: &Path, arguments: &[&str]) -> Command {
    let (verb, rest) = arguments.split_at(1);
    let mut command = Command::new("go");
    command.current_dir(directory).args(verb).args(["-trimpath", "-buildvcs=false", "-ldflags=-s -w"]).args(rest);
    // A wrapper is a module of its own; a go.work above the cache is none of its business.
    command.env("GOWORK", "off").env_remove("GOFLAGS");
    command
}

/// The last lines of what a failed build said: the first are downloads.
fn tail(stderr: &[u8]) -> String {
    const LINES: usize = 12;
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_names_the_version_that_is_pinned() {
        let module = HELM_UNITTEST.wrapper.unwrap();
        let (path, _) = HELM_UNITTEST.package.split_once("/cmd/").unwrap();
        assert!(module.contains(&format!("require {path} {}\n", HELM_UNITTEST.version)), "{module}");
    }

    #[test]
    fn an_error_shows_the_end() {
        let said: String = (0..40).map(|line| format!("go: downloading {line}\n")).collect();
        assert_eq!(tail(said.as_bytes()).lines().next(), Some("go: downloading 28"));
    }
}
