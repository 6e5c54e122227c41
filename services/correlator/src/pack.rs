//! The rules that are built in, and rule files as they are found on disk.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::sigma::RuleFile;

/// Rule files read from a directory at most.
pub(crate) const MAX_RULE_FILES: usize = 100_000;

/// Directories within each other at most.
const MAX_DEPTH: usize = 16;

macro_rules! pack {
    ($($name:literal),+ $(,)?) => {
        [$((concat!("builtin/", $name), include_str!(concat!("../rules/", $name)))),+]
    };
}

const PACK: [(&str, &str); 6] = pack![
    "dns_tunnel.yml",
    "login_guessing.yml",
    "network_flood.yml",
    "network_host_scan.yml",
    "network_port_scan.yml",
    "web_sql_injection.yml",
];

/// The rule pack that is built in.
#[must_use]
pub fn built_in_rules() -> Vec<RuleFile> {
    PACK.iter().map(|(path, text)| RuleFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
}

/// The rule files of these paths: files as they are, directories with every `.yml` and `.yaml` file in them.
///
/// # Errors
/// If one cannot be read, or there are more than [`MAX_RULE_FILES`].
pub fn read_rules(paths: &[PathBuf]) -> anyhow::Result<Vec<RuleFile>> {
    let mut files = Vec::new();
    for path in paths {
        read(path, 0, &mut files)?;
    }
    Ok(files)
}

fn read(path: &Path, depth: usize, files: &mut Vec<RuleFile>) -> anyhow::Result<()> {
    let place = || path.display().to_string();
    anyhow::ensure!(depth <= MAX_DEPTH, "{}: more than {MAX_DEPTH} directories within each other", place());
    if !path.is_dir() {
        anyhow::ensure!(files.len() < MAX_RULE_FILES, "{}: more than {MAX_RULE_FILES} rule files", place());
        let text = std::fs::read_to_string(path).with_context(place)?;
        files.push(RuleFile { path: place(), text });
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(place)?.collect::<Result<Vec<_>, _>>().with_context(place)?;
    let mut inside: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    inside.sort();
    let is_rule = |path: &Path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
    inside.iter().filter(|path| path.is_dir() || is_rule(path)).try_for_each(|path| read(path, depth + 1, files))
}
