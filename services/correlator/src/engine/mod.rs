//! The engine: which rows of a batch match which rules.
//!
//! Rules are parted by class. A class's predicates are numbered once, however many rules ask them; each is decided once
//! per distinct value of a batch, all tests of a column together (one hash look-up for exact values, one Aho–Corasick
//! pass for literals, one set of regular expressions); conditions then run over sets of rows, most of which are empty.

mod bitmap;
mod facts;
mod matcher;
mod program;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_model::Class;
use atalaya_schema::EventBatch;
use rustc_hash::FxHashMap;

pub use bitmap::Bitmap;
use facts::{Collector, Keys, Tests};
use matcher::{Matcher, PredicateId};

use crate::sigma::{Expr, Kind, Part, RuleSet, Source, SourceTest, Test};

/// The detection rules of a set, compiled.
#[derive(Debug)]
pub struct Engine {
    classes: BTreeMap<Class, ClassPlan>,
}

/// What is asked of the events of one class.
#[derive(Debug, Default)]
struct ClassPlan {
    predicates: usize,
    columns: Vec<(usize, Tests)>,
    joined: Vec<(Arc<[Part]>, Tests)>,
    keys: Keys,
    any: Option<Tests>,
    any_columns: Vec<usize>,
    /// Index in the rule set and condition, in the order of the rule set.
    rules: Vec<(usize, Expr<PredicateId>)>,
}

impl Engine {
    /// Compiles the detection rules of a set.
    ///
    /// # Errors
    /// If the rules are together more than a matcher can hold.
    pub fn new(set: &RuleSet) -> Result<Self, String> {
        let mut by_class: BTreeMap<Class, Vec<(usize, &Expr<SourceTest>)>> = BTreeMap::new();
        for (index, rule) in set.rules.iter().enumerate() {
            if let Kind::Detection(detection) = &rule.kind {
                for route in &detection.routes {
                    by_class.entry(route.class).or_default().push((index, &route.condition));
                }
            }
        }
        let classes = by_class.into_iter().map(|(class, rules)| Ok((class, ClassPlan::new(class, &rules)?)));
        Ok(Self { classes: classes.collect::<Result<_, String>>()? })
    }

    /// Which rows match which rules, in the order of the rule set; rules without a match are left out.
    #[must_use]
    pub fn matches(&self, batch: &EventBatch) -> Vec<(usize, Bitmap)> {
        let Some(plan) = self.classes.get(&batch.class) else { return Vec::new() };
        let rows = batch.rows.num_rows();
        let facts = plan.facts(batch);
        let rules = plan.rules.iter();
        rules.filter_map(|(index, condition)| Some((*index, program::evaluate(condition, &facts, rows)?))).collect()
    }

    /// How many different predicates there are, over all classes.
    #[must_use]
    pub fn predicates(&self) -> usize {
        self.classes.values().map(|plan| plan.predicates).sum()
    }
}

impl ClassPlan {
    fn new(class: Class, rules: &[(usize, &Expr<SourceTest>)]) -> Result<Self, String> {
        let mut numbers: FxHashMap<SourceTest, PredicateId> = FxHashMap::default();
        let mut numbered: Vec<SourceTest> = Vec::new();
        let mut number = |test: &SourceTest| {
            let id = *numbers.entry(test.clone()).or_insert_with(|| {
                numbered.push(test.clone());
                numbered.len() as PredicateId - 1
            });
            Expr::Leaf(id)
        };
        let rules = rules.iter().map(|(index, condition)| (*index, condition.map(&mut number))).collect();
        let mut plan = Self { predicates: numbered.len(), rules, ..Self::default() };
        let mut by_source: Vec<(&Source, Vec<(&Test, PredicateId)>)> = Vec::new();
        let mut places: FxHashMap<&Source, usize> = FxHashMap::default();
        for (id, SourceTest { source, test }) in numbered.iter().enumerate() {
            let at = *places.entry(source).or_insert_with(|| {
                by_source.push((source, Vec::new()));
                by_source.len() - 1
            });
            by_source[at].1.push((test, id as PredicateId));
        }
        for (source, tests) in by_source {
            plan.add(class, source, &tests)?;
        }
        Ok(plan)
    }

    fn add(&mut self, class: Class, source: &Source, tests: &[(&Test, PredicateId)]) -> Result<(), String> {
        let null = tests.iter().find(|(test, _)| **test == Test::Null).map(|(_, id)| *id);
        let tests = Tests { matcher: Matcher::new(tests.iter().copied())?, null };
        match source {
            Source::Column(index) => self.columns.push((*index, tests)),
            Source::Joined(parts) => self.joined.push((Arc::clone(parts), tests)),
            Source::Unmapped(key) => {
                self.keys.index.insert(key.as_ref().into(), self.keys.tests.len());
                self.keys.tests.push(tests);
            }
            Source::AnyText => {
                self.any = Some(tests);
                self.any_columns = values::text_columns(class).collect();
            }
        }
        Ok(())
    }

    fn facts(&self, batch: &EventBatch) -> Vec<Option<Bitmap>> {
        let mut collector = Collector::new(&batch.rows, self.predicates);
        self.columns.iter().for_each(|(index, tests)| collector.column(*index, tests));
        self.joined.iter().for_each(|(parts, tests)| collector.joined(parts, tests));
        if let Some(any) = &self.any {
            self.any_columns.iter().for_each(|&index| collector.column(index, any));
        }
        if self.any.is_some() || !self.keys.tests.is_empty() {
            collector.unmapped(&self.keys, self.any.as_ref());
        }
        collector.finish()
    }
}

#[cfg(test)]
mod tests;
