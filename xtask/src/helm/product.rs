//! The product reads what the chart writes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_servers::Process;

use super::{PRESETS, Preset, Tools, rendered, root, said, step, timed};
use crate::suites::{Totals, cargo, say};

/// How long the product may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What is another on this machine than in a pod: servers are directories, ports any free ones of the loopback, and the
/// certificates that the doors name are not here.
const OVERRIDES: [(&str, &str); 5] = [
    ("ATALAYA_HEALTH_LISTEN", "127.0.0.1:0"),
    ("ATALAYA_COLLECTOR_LISTEN", "127.0.0.1:0"),
    ("ATALAYA_COLLECTOR_TLS", "null"),
    ("ATALAYA_QUERY_GATEWAY_LISTEN", "127.0.0.1:0"),
    ("ATALAYA_QUERY_GATEWAY_TLS", "null"),
];

/// Configurations in `examples/`: what stands there has to be read, too.
const EXAMPLES: [&str; 8] = [
    "one-tenant",
    "mesh/collector",
    "mesh/normalizer",
    "mesh/correlator",
    "mesh/alert-notifier",
    "mesh/hot-store",
    "mesh/cold-archive",
    "mesh/query-gateway",
];

/// Starts the all-in-one, which reads every section, on each preset's configuration and on each example.
pub(super) fn checks(tools: &Tools, place: &Path) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let atalaya = match timed("build of the product", built) {
        Ok(atalaya) => atalaya,
        Err(error) => {
            say(&format!("build of the product: FAILED: {error:#}"));
            return Ok(Totals { failed: 1, ..totals });
        }
    };
    for preset in &PRESETS {
        totals += step(&format!("start on {}", preset.name), || {
            let directory = place.join(preset.name);
            let config = directory.join("config");
            mount(tools, place, preset, &config)?;
            starts(&atalaya, &config, &directory)
        });
    }
    for example in EXAMPLES {
        totals += step(&format!("start on examples/{example}"), || {
            starts(&atalaya, &root().join("examples").join(example), &place.join(example))
        });
    }
    Ok(totals)
}

/// The all-in-one's binary, compiled as the other suites compile it, so that nothing is compiled twice.
fn built() -> anyhow::Result<PathBuf> {
    let mut build = cargo(&["test", "--workspace", "--quiet", "--no-run", "--test", "pipeline"]);
    ensure!(build.status().context("cargo test --no-run")?.success(), "it does not compile");
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output().context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join("debug").join("atalaya"))
}

/// The configuration directory as the pod sees it.
fn mount(tools: &Tools, place: &Path, preset: &Preset, directory: &Path) -> anyhow::Result<()> {
    let mut command = tools.python();
    command.args(["-c", include_str!("mount.py")]).arg(rendered(place, preset)).arg(preset.workload).arg(directory);
    said(command).map(|_| ())
}

fn starts(atalaya: &Path, config: &Path, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let data = directory.join("data");
    let mut command = Command::new(atalaya);
    // Relative paths of a configuration lead below the suite's own directory.
    command.current_dir(directory).arg("run").arg("--config").arg(config).arg("--data").arg(&data).envs(OVERRIDES);
    for store in ["bus", "hot", "archive", "state"] {
        let url = format!("file:{}", data.join(store).display());
        command.env(format!("ATALAYA_{}", store.to_uppercase()), url);
    }
    let mut process = Process::start(command, directory, "atalaya")?;
    process.wait_ready(START_LIMIT, || Ok(data.join("run.json").exists()))
}
