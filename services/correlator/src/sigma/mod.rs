//! Sigma: rule files in, a rule set out. Pure.
//!
//! Understood: detection rules with every modifier but `expand`, `fieldref` and date parts; correlations `event_count`
//! and `value_count`. Whatever is not understood refuses its rule with the file, the field and the reason; the other
//! rules are loaded. Our own section `atalaya` of a rule may hold `message` (the sentence of its alerts), and for plain
//! detections `group-by` (what makes an incident; the entity otherwise) and `quiet` (when it ends; 10 minutes).

pub mod condition;
pub mod correlation;
pub mod detection;
pub mod logic;
pub mod logsource;
pub mod message;
pub mod modifier;
pub mod pattern;
pub mod rule;
pub mod test;
pub mod yaml;

mod link;

pub use correlation::{Bounds, Correlation, Counted};
pub use logic::Expr;
pub use logsource::{Fields, Form, Logsources, Part, Source};
pub use message::{Measures, Message};
pub use rule::{Detection, Grouping, Kind, Route, Rule, SourceTest};
pub use test::{Compare, Net, Number, Test};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Changes whenever the same files mean something else to this program; part of a rule set's hash.
const LANGUAGE_VERSION: &str = "atalaya rules 1";

/// A file of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFile {
    /// Where it was found, for people.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A rule that was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file.
    pub path: String,
    /// The rule's id, where it could be read.
    pub id: Option<String>,
    /// The rule's title, where it could be read.
    pub title: Option<String>,
    /// Why.
    pub reason: String,
}

/// The rules of some files. The same files and log sources give the same set, in the same order, with the same hash.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The rules that were loaded.
    pub rules: Vec<Rule>,
    /// Those that were not.
    pub refused: Vec<Refused>,
    /// Fields that say who or what an event is about, best first.
    pub entities: Vec<String>,
    /// Hash of what they mean, hexadecimal.
    pub hash: String,
}

/// Loads files of rules with the log sources that are built in.
#[must_use]
pub fn load(files: &[RuleFile]) -> RuleSet {
    load_with(files, &Logsources::built_in())
}

/// Loads files of rules with these log sources, in the order of the files' paths. A file may hold several documents.
#[must_use]
pub fn load_with(files: &[RuleFile], logsources: &Logsources) -> RuleSet {
    let mut files: Vec<&RuleFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut rules, mut refused) = (Vec::new(), Vec::new());
    for file in files {
        match yaml::documents(&file.text) {
            Ok(documents) => {
                for document in &documents {
                    match read(document, &file.path, logsources) {
                        Ok(rule) => rules.push(rule),
                        Err(reason) => refused.push(refuse(document, &file.path, reason)),
                    }
                }
            }
            Err(reason) => refused.push(Refused { path: file.path.clone(), id: None, title: None, reason }),
        }
    }
    link::link(&mut rules, &mut refused);
    let hash = hash_of(&rules, logsources);
    RuleSet { rules, refused, entities: logsources.entities.clone(), hash }
}

fn read(document: &Value, path: &str, logsources: &Logsources) -> Result<Rule, String> {
    let map = document.as_object().ok_or("a rule is a map")?;
    if map.contains_key("action") {
        return Err("action: rule collections by action are out of date: write every rule whole".to_owned());
    }
    let mut rule = match (map.contains_key("correlation"), map.contains_key("filter")) {
        (true, _) => correlation::parse(map, path)?,
        (false, true) => return Err("filter: filters are not supported yet".to_owned()),
        (false, false) => rule::parse(map, path, logsources)?,
    };
    rule.rev = hex(&[document.to_string().as_bytes()]);
    Ok(rule)
}

fn refuse(document: &Value, path: &str, reason: String) -> Refused {
    let text = |key| document.get(key).and_then(Value::as_str).map(str::to_owned);
    Refused { path: path.to_owned(), id: text("id"), title: text("title"), reason }
}

fn hash_of(rules: &[Rule], logsources: &Logsources) -> String {
    let ids = rules.iter().flat_map(|rule| [rule.id.as_bytes(), rule.rev.as_bytes()]);
    hex(&[LANGUAGE_VERSION.as_bytes(), logsources.text.as_bytes()].into_iter().chain(ids).collect::<Vec<_>>())
}

/// The first 8 bytes of BLAKE3 over length-prefixed parts, hexadecimal.
fn hex(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests;
