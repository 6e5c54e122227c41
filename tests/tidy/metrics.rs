//! Every metric that the code emits stands in `docs/metrics.md`, with its kind, unit and labels; and nothing else does.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{Findings, tree};

const LIST: &str = "docs/metrics.md";

/// The macros of crate `metrics` that emit.
const KINDS: [&str; 3] = ["counter", "gauge", "histogram"];

/// Units that the list may use.
const UNITS: [&str; 19] = [
    "1",
    "actions",
    "alarms",
    "alerts",
    "attempts",
    "bytes",
    "calls",
    "events",
    "failures",
    "files",
    "inputs",
    "lanes",
    "messages",
    "partitions",
    "records",
    "rows",
    "seconds",
    "times",
    "uploads",
];

/// What is known of a metric: where it stands first, its kind, unit (in the list) and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Metric {
    place: String,
    kind: String,
    unit: String,
    labels: Vec<String>,
}

type Metrics = BTreeMap<String, Metric>;

/// Every breach.
pub fn findings() -> Findings {
    let mut emitted = Emitted { path: String::new(), metrics: Metrics::new(), findings: Findings::new() };
    for path in tree::files("rs").iter().filter(|path| ships(path)) {
        emitted.path = path.display().to_string();
        if let Ok(file) = syn::parse_file(&tree::read(path)) {
            emitted.visit_file(&file);
        }
    }
    let (listed, mut findings) = listed(&tree::read(Path::new(LIST)));
    findings.append(&mut emitted.findings);
    findings.extend(differences(&emitted.metrics, &listed));
    findings
}

/// Whether a file is part of what runs, and no test.
fn ships(path: &Path) -> bool {
    let ours = path.starts_with("services") || path.starts_with("shared");
    let test = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
    ours && !test && path.file_name().is_some_and(|name| name != "tests.rs")
}

fn differences(emitted: &Metrics, listed: &Metrics) -> Findings {
    let mut findings = Findings::new();
    for (name, metric) in emitted {
        match listed.get(name) {
            None => findings.push(format!("{}: {name} is not in {LIST}", metric.place)),
            Some(line) if (&line.kind, &line.labels) != (&metric.kind, &metric.labels) => findings.push(format!(
                "{}: {name} is a {} with labels {:?}, {} says a {} with {:?}",
                metric.place, metric.kind, metric.labels, line.place, line.kind, line.labels
            )),
            Some(_) => {}
        }
    }
    let stale = listed.iter().filter(|(name, _)| !emitted.contains_key(*name));
    findings.extend(stale.map(|(name, line)| format!("{}: no code emits {name}", line.place)));
    findings
}

/// The rows `| name | kind | unit | labels | meaning |` of the list's tables.
fn listed(text: &str) -> (Metrics, Findings) {
    let (mut metrics, mut findings) = (Metrics::new(), Findings::new());
    for (line, number) in text.lines().zip(1..) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(name) = cells[0].strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        let place = format!("{LIST}:{number}");
        if cells.len() != 5 || cells[4].is_empty() {
            findings.push(format!("{place}: {name}: a row is | `name` | kind | unit | labels | meaning |"));
            continue;
        }
        if !UNITS.contains(&cells[2]) {
            findings.push(format!("{place}: {name}: '{}' is none of the units {UNITS:?}", cells[2]));
        }
        let mut labels: Vec<_> = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned()).collect();
        labels.retain(|label| !label.is_empty());
        labels.sort();
        let metric = Metric { place: place.clone(), kind: cells[1].into(), unit: cells[2].into(), labels };
        if metrics.insert(name.to_owned(), metric).is_some() {
            findings.push(format!("{place}: {name} is there twice"));
        }
    }
    (metrics, findings)
}

/// What the macros in the files visited emit.
struct Emitted {
    path: String,
    metrics: Metrics,
    findings: Findings,
}

impl<'a> Visit<'a> for Emitted {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| match &attribute.meta {
            syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
            _ => false,
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if KINDS.contains(&name.as_str()) {
            let place = format!("{}:{}", self.path, call.span().start().line);
            self.note(&name, &call.tokens, place);
        }
        visit::visit_macro(self, call);
    }
}

impl Emitted {
    fn note(&mut self, kind: &str, tokens: &TokenStream, place: String) {
        let Some((name, labels)) = name_and_labels(tokens) else {
            self.findings.push(format!("{place}: the name of a metric and its labels' keys are literals"));
            return;
        };
        let metric = Metric { place, kind: kind.to_owned(), unit: String::new(), labels };
        let first = self.metrics.entry(name.clone()).or_insert_with(|| metric.clone());
        if (&first.kind, &first.labels) != (&metric.kind, &metric.labels) {
            let other = first.place.clone();
            self.findings.push(format!("{}: {name} has another kind or other labels than at {other}", metric.place));
        }
    }
}

/// Of `"name", "key" => value, …`: the name, and the keys in order of their names.
fn name_and_labels(tokens: &TokenStream) -> Option<(String, Vec<String>)> {
    let arguments: Vec<Vec<TokenTree>> = tokens.clone().into_iter().fold(vec![Vec::new()], |mut all, token| {
        match &token {
            TokenTree::Punct(mark) if mark.as_char() == ',' => all.push(Vec::new()),
            _ => all.last_mut().into_iter().for_each(|argument| argument.push(token.clone())),
        }
        all
    });
    let mut literals = arguments.iter().filter(|argument| !argument.is_empty()).map(|argument| {
        let literal: syn::LitStr = syn::parse2(argument[0].clone().into()).ok()?;
        Some(literal.value())
    });
    let name = literals.next()??;
    let mut labels = literals.collect::<Option<Vec<_>>>()?;
    labels.sort();
    Some((name, labels))
}

#[test]
fn breaches_are_found() {
    let list = "
| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
| `a_total` | counter | records | `why`, `at` | all |
| `stale` | gauge | 1 | | none |
| `b_seconds` | counter | fortnights | | how long |
| `short` | gauge | 1 |
";
    let (listed, of_list) = listed(list);
    assert_eq!(of_list.len(), 2, "{of_list:?}");
    let mut emitted = Emitted { path: "x.rs".into(), metrics: Metrics::new(), findings: Findings::new() };
    let code = "
fn f() {
    metrics::counter!(\"a_total\", \"at\" => place, \"why\" => f(a, b)).increment(1);
    histogram!(\"b_seconds\").record(1.0);
    gauge!(\"new\").set(1.0);
    gauge!(name).set(1.0);
    gauge!(\"a_total\").set(1.0);
}
#[cfg(test)]
mod tests { fn g() { gauge!(\"in a test\").set(1.0); } }
";
    emitted.visit_file(&syn::parse_file(code).unwrap());
    assert_eq!(emitted.findings.len(), 2, "{:?}", emitted.findings);
    let found = differences(&emitted.metrics, &listed);
    for wanted in ["x.rs:4: b_seconds is a histogram", "x.rs:5: new is not in", "metrics.md:5: no code emits stale"] {
        assert!(found.iter().any(|line| line.contains(wanted)), "{wanted}: {found:?}");
    }
    assert_eq!(found.len(), 3, "{found:?}");
}
