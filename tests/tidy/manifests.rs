//! Who may import whom, as ARCHITECTURE.md says it.

use std::path::Path;

use toml::{Table, Value};

use crate::{Findings, tree};

/// Our crates that a crate in this folder may depend on, besides itself; `services/*` stands for every service.
fn allowed(folder: &str) -> &'static [&'static str] {
    const SHARED: &[&str] = &["model", "proto", "schema", "bus", "hot", "archive", "chassis"];
    const ALL_IN_ONE: &[&str] = &[
        "model",
        "proto",
        "schema",
        "bus",
        "hot",
        "archive",
        "chassis",
        "collector",
        "normalizer",
        "correlator",
        "alert-notifier",
        "hot-store",
        "cold-archive",
        "query-gateway",
    ];
    match folder {
        "shared/model" | "shared/chassis" | "shared/servers" => &[],
        "proto" | "shared/schema" => &["model"],
        "shared/bus" | "shared/hot" | "shared/archive" => &["model", "proto", "schema"],
        "shared/testkit" => &["model", "proto", "schema", "bus"],
        "services/all-in-one" => ALL_IN_ONE,
        "xtask" => &["servers"],
        service if service.starts_with("services/") => SHARED,
        _ => &[],
    }
}

/// What only tests may use, in any folder.
const TEST_ONLY: [&str; 2] = ["testkit", "servers"];

/// Every breach.
pub fn findings() -> Findings {
    tree::files("toml")
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .filter(|path| {
            path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.starts_with("fuzz"))
        })
        .flat_map(|path| of_manifest(path.parent().unwrap(), &tree::read(path)))
        .collect()
}

fn of_manifest(folder: &Path, text: &str) -> Findings {
    let folder = folder.to_str().unwrap();
    let manifest: Table = toml::from_str(text).unwrap();
    let mut findings = Findings::new();
    let mut find = |what: String| findings.push(format!("{folder}/Cargo.toml: {what}"));
    if manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&Value::Boolean(true)) {
        find("[lints] workspace = true is missing".to_owned());
    }
    let named = manifest["package"]["name"].as_str().unwrap();
    let expected = match folder {
        "xtask" => "xtask".to_owned(),
        "services/all-in-one" => "atalaya".to_owned(),
        _ => format!("atalaya-{}", folder.rsplit('/').next().unwrap()),
    };
    if named != expected {
        find(format!("package {named} should be {expected}"));
    }
    for (section, tests) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
        for (name, entry) in manifest.get(section).and_then(Value::as_table).into_iter().flatten() {
            if entry.get("workspace") != Some(&Value::Boolean(true)) {
                find(format!("{name} takes its version from elsewhere than the workspace"));
            }
            if let Some(edge) = name.strip_prefix("atalaya-").or((name == "atalaya").then_some("all-in-one"))
                && folder != "tests"
                && !allowed(folder).contains(&edge)
                && !(tests && (TEST_ONLY.contains(&edge) || folder.ends_with(edge)))
            {
                find(format!("{folder} may not depend on {name}"));
            }
        }
    }
    findings
}

#[test]
fn breaches_are_found() {
    let manifest = |name: &str, dependency: &str| {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n[dependencies]\n{dependency}\n")
    };
    let of = |folder: &str, name: &str, dependency: &str| of_manifest(Path::new(folder), &manifest(name, dependency));
    let edge = of("services/collector", "atalaya-collector", "atalaya-normalizer.workspace = true");
    assert_eq!(edge, ["services/collector/Cargo.toml: services/collector may not depend on atalaya-normalizer"]);
    let version = of("proto", "atalaya-proto", "prost = \"0.14\"");
    assert_eq!(version, ["proto/Cargo.toml: prost takes its version from elsewhere than the workspace"]);
    assert_eq!(of("shared/hot", "hot", "").len(), 1);
    assert_eq!(of("services/all-in-one", "atalaya", "atalaya-testkit.workspace = true").len(), 1);
    assert_eq!(of("services/collector", "atalaya-collector", "atalaya-bus.workspace = true").len(), 0);
}
