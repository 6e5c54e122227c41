//! Rules of the repository that the compiler does not keep.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "a test")]

mod manifests;
mod metrics;
mod modules;
mod source;
mod tree;

/// What breaks a rule, one line each: `path:line: what`.
type Findings = Vec<String>;

fn check(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn files_and_functions_are_short_and_finished() {
    check("files under 500 lines, functions under 70, mains under 15, nothing unfinished", &source::findings());
}

#[test]
fn manifests_keep_the_import_rules() {
    check("who may import whom (ARCHITECTURE.md), versions and lints from the workspace", &manifests::findings());
}

#[test]
fn every_file_belongs_to_a_crate() {
    check("no .rs file that no crate root reaches", &modules::findings());
}

#[test]
fn metrics_are_documented() {
    check("every metric stands in docs/metrics.md as it is emitted, and no other", &metrics::findings());
}
