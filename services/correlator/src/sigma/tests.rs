use std::path::Path;

use super::*;

const BASE: &str = "
title: Failed login
id: a1
name: failed
author: Somebody
tags: [attack.credential-access, attack.t1110.003]
level: low
logsource: {category: authentication}
detection: {sel: {status_id: 2}, condition: sel}
---
title: Spray
id: c1
level: high
correlation:
  type: value_count
  rules: [failed]
  group-by: [src_ip]
  timespan: 10m
  condition: {field: user, gte: 10}
atalaya: {message: '{src_ip} tried {observed} users'}
";

fn file(path: &str, text: &str) -> RuleFile {
    RuleFile { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_collection_is_loaded_whole() {
    let set = load(&[file("a.yml", BASE)]);
    assert_eq!(set.refused, []);
    let [base, spray] = set.rules.as_slice() else { unreachable!("two rules") };
    assert_eq!((base.author.as_str(), base.attack_ids.as_slice()), ("Somebody", ["T1110.003".to_owned()].as_slice()));
    assert!(!base.alerts && spray.alerts);
    let Kind::Correlation(correlation) = &spray.kind else { unreachable!("a correlation") };
    assert_eq!(correlation.rules, [0]);
}

#[test]
fn a_counted_rule_alerts_only_if_asked() {
    let text = BASE.replace("  timespan", "  generate: true\n  timespan");
    assert!(load(&[file("a.yml", &text)]).rules[0].alerts);
}

#[test]
fn the_hash_follows_what_rules_say() {
    let hash = |text: &str| load(&[file("a.yml", text)]).hash;
    assert_eq!(hash(BASE), hash(&format!("# a comment\n{BASE}")));
    assert_ne!(hash(BASE), hash(&BASE.replace("gte: 10", "gte: 11")));
    let revs = |text: &str| load(&[file("a.yml", text)]).rules.iter().map(|rule| rule.rev.clone()).collect::<Vec<_>>();
    let changed_base = revs(&BASE.replace("status_id: 2", "status_id: 3"));
    assert!(revs(BASE).iter().zip(&changed_base).all(|(before, after)| before != after));
}

#[test]
fn refusals_name_rule_file_and_field() {
    let other = "title: X\nid: a1\nlogsource: {category: dns}\ndetection: {a: {query: x}, condition: a}\n---\n\
                 title: Y\nid: y\nlogsource: {category: dns}\ndetection: {a: {query|expand: x}, condition: a}\n---\n\
                 title: Z\nid: z\ncorrelation: {type: event_count, rules: [y], timespan: 1m, condition: {gte: 2}}\n---\n\
                 title: N\nid: n\ncorrelation: {type: event_count, rules: [c1], timespan: 1m, condition: {gte: 2}}";
    let set = load(&[file("b.yml", other), file("a.yml", BASE), file("c.yml", "a: [")]);
    let reasons: Vec<_> = set.refused.iter().map(|refused| (refused.path.as_str(), refused.reason.as_str())).collect();
    for (path, reason) in [
        ("b.yml", "detection.a.query|expand: modifier 'expand' is not supported yet"),
        ("b.yml", "id: a1 is taken by a rule in a.yml"),
        ("b.yml", "correlation.rules: 'y' was not loaded itself"),
        ("b.yml", "correlation.rules: 'c1' is a correlation: chains are not supported yet"),
    ] {
        assert!(reasons.contains(&(path, reason)), "{reason}: {reasons:?}");
    }
    assert!(reasons.iter().any(|(path, reason)| *path == "c.yml" && reason.starts_with("no YAML")), "{reasons:?}");
    assert_eq!(set.rules.len(), 2);
}

fn read_dir(directory: &Path, files: &mut Vec<RuleFile>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_dir(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(RuleFile { path: path.to_string_lossy().into_owned(), text });
        }
    }
}

/// The public corpus loads, or says why not.
#[test]
fn the_corpus_loads() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma/rules"));
    assert!(corpus.is_dir(), "{} is missing: this test reads the shared data", corpus.display());
    let mut files = Vec::new();
    read_dir(corpus, &mut files);
    let set = load(&files);
    let mut reasons: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for refused in &set.refused {
        let reason = refused.reason.rsplit(": ").next().unwrap_or_default();
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    println!("{} files, {} rules, {} refused: {reasons:#?}", files.len(), set.rules.len(), set.refused.len());
    assert_eq!(set.rules.len() + set.refused.len(), 3_140);
    assert!(set.refused.len() < 40);
    let network = ["/rules/network/zeek/", "/rules/network/dns/", "/rules/network/firewall/", "/web/proxy", "/web/web"];
    let network = |path: &str| network.iter().any(|part| path.contains(part));
    let refused: Vec<_> = set.refused.iter().filter(|refused| network(&refused.path)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(set.rules.iter().filter(|rule| network(&rule.path)).count(), 71);
}
