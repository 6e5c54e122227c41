//! What is counted for which rule: the way from a matching row to its group.

use atalaya_model::Class;
use atalaya_schema::columns;
use rustc_hash::FxHashMap;

use super::group::Policy;
use crate::sigma::{Bounds, Correlation, Counted, Detection, Fields, Grouping, Kind, Route, Rule, RuleSet, Source};

/// A value by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The column, or the field where it has none.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) source: Source,
}

/// What makes a row's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The values of all of these. If one is missing, a row belongs to no group, or (`partial`) to one without it.
    All { of: Vec<Named>, partial: bool },
    /// The value of the first of these that has one.
    First(Vec<Named>),
}

/// Where a matching row of one class counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The rule that counts, by index.
    pub(crate) rule: usize,
    /// Its group.
    pub(crate) key: Key,
    /// The value that is counted; none where events are.
    pub(crate) value: Option<Source>,
    /// Other values that the rule's sentence names.
    pub(crate) fields: Vec<Named>,
}

/// Policies of all rules that write alerts, and what counts for them.
#[derive(Debug)]
pub(crate) struct Tracks {
    policies: Vec<Option<Policy>>,
    bindings: FxHashMap<(usize, Class), Vec<Binding>>,
}

impl Tracks {
    pub(crate) fn new(set: &RuleSet) -> Self {
        let mut tracks = Self { policies: Vec::with_capacity(set.rules.len()), bindings: FxHashMap::default() };
        for (index, rule) in set.rules.iter().enumerate() {
            tracks.policies.push(rule.alerts.then(|| policy(rule)));
            match &rule.kind {
                Kind::Detection(detection) if rule.alerts => tracks.detection(&set.entities, index, rule, detection),
                Kind::Detection(_) => {}
                Kind::Correlation(correlation) => tracks.correlation(set, index, rule, correlation),
            }
        }
        tracks
    }

    /// How a rule counts; none if it writes no alerts.
    pub(crate) fn policy(&self, rule: usize) -> Option<&Policy> {
        self.policies.get(rule)?.as_ref()
    }

    /// Where a row of a class that a rule matched counts.
    pub(crate) fn bindings(&self, rule: usize, class: Class) -> &[Binding] {
        self.bindings.get(&(rule, class)).map_or(&[], Vec::as_slice)
    }

    fn detection(&mut self, entities: &[String], index: usize, rule: &Rule, detection: &Detection) {
        for route in &detection.routes {
            let key = match &detection.group {
                Grouping::Fields(fields) => {
                    Key::All { of: fields.iter().map(|field| named(&route.fields, field)).collect(), partial: true }
                }
                Grouping::Entity => Key::First(entities.iter().map(|field| named(&route.fields, field)).collect()),
            };
            self.bind(index, route, Binding { rule: index, key, value: None, fields: sentence(rule, &route.fields) });
        }
    }

    fn correlation(&mut self, set: &RuleSet, index: usize, rule: &Rule, correlation: &Correlation) {
        for (&counted, reference) in correlation.rules.iter().zip(&correlation.references) {
            let Kind::Detection(detection) = &set.rules[counted].kind else { continue };
            let field =
                |name: &String| correlation.aliases.get(name).and_then(|by| by.get(reference)).unwrap_or(name).clone();
            for route in &detection.routes {
                let alias = |name: &String| Named { name: name.clone(), ..named(&route.fields, &field(name)) };
                let group = |name: &String| match correlation.aliases.contains_key(name) {
                    true => alias(name),
                    false => named(&route.fields, name),
                };
                let value = match &correlation.counted {
                    Counted::Events => None,
                    Counted::Values(name) => Some(named(&route.fields, &field(name)).source),
                };
                let key = Key::All { of: correlation.group_by.iter().map(group).collect(), partial: false };
                self.bind(counted, route, Binding { rule: index, key, value, fields: sentence(rule, &route.fields) });
            }
        }
    }

    fn bind(&mut self, matched: usize, route: &Route, binding: Binding) {
        self.bindings.entry((matched, route.class)).or_default().push(binding);
    }
}

fn policy(rule: &Rule) -> Policy {
    match &rule.kind {
        Kind::Detection(detection) => Policy {
            values: false,
            span_us: detection.quiet_us,
            bounds: Bounds { min: 1, max: None, not: Vec::new(), written: 1 },
            takes_late: true,
        },
        Kind::Correlation(correlation) => Policy {
            values: matches!(correlation.counted, Counted::Values(_)),
            span_us: correlation.span_us,
            bounds: correlation.bounds.clone(),
            takes_late: false,
        },
    }
}

/// A field where the class has it; of several places the first.
fn named(fields: &Fields, field: &str) -> Named {
    let source = fields.sources(field).swap_remove(0);
    let name = match &source {
        Source::Column(index) => columns(fields.class)[*index].name.to_owned(),
        _ => field.to_owned(),
    };
    Named { name, source }
}

fn sentence(rule: &Rule, fields: &Fields) -> Vec<Named> {
    let named_fields = rule.message.iter().flat_map(|message| message.fields());
    named_fields.map(|field| Named { name: field.to_owned(), ..named(fields, field) }).collect()
}
