//! Whether the alerts are those that the day deserves.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::day::Attack;

/// Which attack an alert is about: the one whose address is among the alert's entities.
#[must_use]
pub fn attack_of(alert: &Map<String, Value>) -> Option<Attack> {
    let key = alert.get("group_key").and_then(Value::as_str).unwrap_or_default();
    Attack::ALL.into_iter().find(|attack| key.split([',', '=']).any(|part| part == attack.address()))
}

/// Alerts by what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Titles and numbers of the alerts of each attack.
    pub found: BTreeMap<Attack, BTreeMap<String, u64>>,
    /// Alerts about nothing that was played.
    pub unexpected: Vec<String>,
}

impl Verdict {
    /// Sorts an alert in.
    pub fn add(&mut self, alert: &Map<String, Value>) {
        let text = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match attack_of(alert) {
            Some(attack) => *self.found.entry(attack).or_default().entry(text("title")).or_default() += 1,
            None => self.unexpected.push(format!("{} ({})", text("title"), text("group_key"))),
        }
    }

    /// The attacks nobody was told of.
    pub fn missed(&self) -> impl Iterator<Item = Attack> {
        Attack::ALL.into_iter().filter(|attack| !self.found.contains_key(attack))
    }

    /// Whether every attack was found, and nothing else.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.missed().next().is_none() && self.unexpected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(title: &str, group_key: &str) -> Map<String, Value> {
        let alert = serde_json::json!({"title": title, "group_key": group_key});
        alert.as_object().unwrap().clone()
    }

    #[test]
    fn alerts_are_sorted_by_address() {
        let mut verdict = Verdict::default();
        for attack in Attack::ALL {
            assert!(!verdict.is_right());
            verdict.add(&alert("x", &format!("src_ip={},dst_ip=10.0.0.1", attack.address())));
        }
        assert!(verdict.is_right());
        verdict.add(&alert("y", "src_ip=10.20.1.10"));
        assert_eq!(verdict.unexpected, ["y (src_ip=10.20.1.10)"]);
        assert!(!verdict.is_right());
    }
}
