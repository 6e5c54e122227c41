//! Puts rules together: unique ids, and correlations that know the rules they count.

use std::collections::HashMap;

use super::{Kind, Refused, Rule, hex};

/// Refuses rules whose id is taken, looks up what correlations refer to, and decides which rules write alerts.
pub(super) fn link(rules: &mut Vec<Rule>, refused: &mut Vec<Refused>) {
    refuse_where(rules, refused, &taken_ids(rules));
    // Refusing a correlation moves the rules behind it, so looking up is repeated until all that is left is found.
    loop {
        let reasons = look_up(rules, refused);
        if reasons.iter().all(Option::is_none) {
            break;
        }
        refuse_where(rules, refused, &reasons);
    }
    decide_alerts(rules);
}

fn refuse_where(rules: &mut Vec<Rule>, refused: &mut Vec<Refused>, reasons: &[Option<String>]) {
    let mut reasons = reasons.iter();
    rules.retain(|rule| {
        let Some(Some(reason)) = reasons.next() else { return true };
        let (id, title) = (Some(rule.id.clone()), Some(rule.title.clone()));
        refused.push(Refused { path: rule.path.clone(), id, title, reason: reason.clone() });
        false
    });
}

fn taken_ids(rules: &[Rule]) -> Vec<Option<String>> {
    let mut first: HashMap<&str, &str> = HashMap::new();
    let each = rules.iter().map(|rule| {
        let path = first.insert(&rule.id, &rule.path);
        path.map(|path| format!("id: {} is taken by a rule in {path}", rule.id))
    });
    each.collect()
}

/// Sets what correlations count; answers with what is wrong, by rule.
fn look_up(rules: &mut [Rule], refused: &[Refused]) -> Vec<Option<String>> {
    let mut named: HashMap<String, usize> = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        named.insert(rule.id.clone(), index);
        if let Some(name) = &rule.name {
            named.entry(name.clone()).or_insert(index);
        }
    }
    let found = |rules: &[Rule], reference: &String| match named.get(reference) {
        Some(&index) if matches!(rules[index].kind, Kind::Detection(_)) => Ok(index),
        Some(_) => Err(format!("correlation.rules: '{reference}' is a correlation: chains are not supported yet")),
        None if refused.iter().any(|other| other.id.as_ref() == Some(reference)) => {
            Err(format!("correlation.rules: '{reference}' was not loaded itself"))
        }
        None => Err(format!("correlation.rules: there is no rule with id or name '{reference}'")),
    };
    let mut reasons = vec![None; rules.len()];
    for index in 0..rules.len() {
        let Kind::Correlation(correlation) = &rules[index].kind else { continue };
        match correlation.references.iter().map(|reference| found(rules, reference)).collect::<Result<Vec<_>, _>>() {
            Ok(counted) => set(rules, index, counted),
            Err(reason) => reasons[index] = Some(reason),
        }
    }
    reasons
}

fn set(rules: &mut [Rule], index: usize, counted: Vec<usize>) {
    let known = rules[index].rev.split('+').next().unwrap_or_default().to_owned();
    let revs: Vec<&[u8]> = counted.iter().map(|&of| rules[of].rev.as_bytes()).collect();
    let rev = format!("{known}+{}", hex(&revs));
    rules[index].rev = rev;
    if let Kind::Correlation(correlation) = &mut rules[index].kind {
        correlation.rules = counted;
    }
}

/// A rule that is counted writes no alerts of its own, unless a correlation that counts it says `generate`.
fn decide_alerts(rules: &mut [Rule]) {
    let mut counted: Vec<(usize, bool)> = Vec::new();
    for rule in rules.iter() {
        if let Kind::Correlation(correlation) = &rule.kind {
            counted.extend(correlation.rules.iter().map(|&index| (index, correlation.generate)));
        }
    }
    counted.iter().for_each(|&(index, _)| rules[index].alerts = false);
    counted.iter().filter(|(_, generate)| *generate).for_each(|&(index, _)| rules[index].alerts = true);
}
