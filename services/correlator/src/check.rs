//! Which rules load, and why the others do not.

use serde::Serialize;

use crate::sigma::{RuleFile, load};

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// Its id; empty where it could not be read.
    pub id: String,
    /// Its title; empty where it could not be read.
    pub title: String,
    /// The file it came from.
    pub path: String,
    /// Whether it was loaded.
    pub loaded: bool,
    /// Why not; empty if it was.
    pub reason: String,
}

/// Loads files of rules and reports on each rule, by path.
#[must_use]
pub fn check(files: &[RuleFile]) -> Vec<RuleReport> {
    let set = load(files);
    let loaded = set.rules.iter().map(|rule| RuleReport {
        id: rule.id.clone(),
        title: rule.title.clone(),
        path: rule.path.clone(),
        loaded: true,
        reason: String::new(),
    });
    let refused = set.refused.iter().map(|refused| RuleReport {
        id: refused.id.clone().unwrap_or_default(),
        title: refused.title.clone().unwrap_or_default(),
        path: refused.path.clone(),
        loaded: false,
        reason: refused.reason.clone(),
    });
    let mut reports: Vec<RuleReport> = loaded.chain(refused).collect();
    reports.sort_by(|a, b| a.path.cmp(&b.path));
    reports
}
