//! All tests of one source at once: one value in, the predicates it meets out.

use std::net::IpAddr;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::{RegexSet, RegexSetBuilder};
use rustc_hash::FxHashMap;

use crate::sigma::pattern::{Pattern, Shape};
use crate::sigma::{Compare, Net, Test};

/// A predicate's number within its class.
pub(crate) type PredicateId = u32;

/// Bytes of literals up to which the search is a full table: fastest, and some 200 bytes of memory per literal byte.
const MAX_TABLE_LITERAL_BYTES: usize = 16 << 10;

/// Bytes the regular expressions of one source may take when compiled.
const MAX_REGEX_SET_BYTES: usize = 256 << 20;

/// Bytes the regular expressions of one source may use for the states they build as they go.
const MAX_REGEX_CACHE_BYTES: usize = 16 << 20;

/// The tests of one source.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    folded: Literals,
    cased: Literals,
    regexes: Option<(RegexSet, Vec<PredicateId>)>,
    nets: Vec<(Net, PredicateId)>,
    compares: Vec<(Compare, f64, PredicateId)>,
    any_value: Vec<PredicateId>,
}

/// Text patterns over values in one case.
#[derive(Debug, Default)]
struct Literals {
    exact: FxHashMap<Box<str>, Vec<PredicateId>>,
    search: Option<AhoCorasick>,
    /// What a literal that was found decides, by its number in the search.
    checks: Vec<Vec<Check>>,
    /// Patterns without any literal.
    bare: Vec<(Pattern, PredicateId)>,
}

#[derive(Debug)]
enum Check {
    Contains(PredicateId),
    Prefix(PredicateId),
    Suffix(PredicateId),
    Glob(Pattern, PredicateId),
}

impl Matcher {
    /// A matcher of these tests; null tests are the caller's.
    pub(crate) fn new<'t>(tests: impl Iterator<Item = (&'t Test, PredicateId)>) -> Result<Self, String> {
        let mut matcher = Self::default();
        let (mut folded, mut cased) = (Builder::default(), Builder::default());
        let (mut regexes, mut regex_ids) = (Vec::new(), Vec::new());
        for (test, id) in tests {
            match test {
                Test::Text { pattern, .. } if pattern.shape() == Shape::Anything => matcher.any_value.push(id),
                Test::Text { pattern, cased: true } => cased.add(pattern, id),
                Test::Text { pattern, cased: false } => folded.add(pattern, id),
                Test::Regex(text) => {
                    regexes.push(text);
                    regex_ids.push(id);
                }
                Test::Cidr(net) => matcher.nets.push((*net, id)),
                Test::Compare(compare, number) => matcher.compares.push((*compare, number.get(), id)),
                Test::Null => {}
            }
        }
        matcher.folded = folded.build()?;
        matcher.cased = cased.build()?;
        if !regexes.is_empty() {
            let mut builder = RegexSetBuilder::new(regexes);
            let set = builder.size_limit(MAX_REGEX_SET_BYTES).dfa_size_limit(MAX_REGEX_CACHE_BYTES).build();
            matcher.regexes = Some((set.map_err(|error| error.to_string())?, regex_ids));
        }
        Ok(matcher)
    }

    /// The predicates a value meets are added to `found`; some may be added twice.
    pub(crate) fn find(&self, value: &str, lower: &mut String, found: &mut Vec<PredicateId>) {
        found.extend_from_slice(&self.any_value);
        if !self.folded.is_empty() {
            self.folded.find(fold(value, lower), found);
        }
        if !self.cased.is_empty() {
            self.cased.find(value, found);
        }
        if let Some((set, ids)) = &self.regexes {
            found.extend(set.matches(value).into_iter().map(|at| ids[at]));
        }
        if !self.nets.is_empty()
            && let Ok(address) = value.parse::<IpAddr>()
        {
            found.extend(self.nets.iter().filter(|(net, _)| net.contains(address)).map(|(_, id)| id));
        }
        if !self.compares.is_empty()
            && let Ok(number) = value.parse::<f64>()
        {
            found.extend(
                self.compares.iter().filter(|(compare, other, _)| compare.holds(number, *other)).map(|(.., id)| id),
            );
        }
    }
}

/// A value in lower case; copied only where that changes it.
fn fold<'v>(value: &'v str, lower: &'v mut String) -> &'v str {
    if !value.is_ascii() {
        *lower = value.to_lowercase();
        return lower;
    }
    if !value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return value;
    }
    lower.clear();
    lower.push_str(value);
    lower.make_ascii_lowercase();
    lower
}

impl Literals {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.search.is_none() && self.bare.is_empty()
    }

    fn find(&self, value: &str, found: &mut Vec<PredicateId>) {
        if let Some(ids) = self.exact.get(value) {
            found.extend_from_slice(ids);
        }
        if let Some(search) = &self.search {
            for hit in search.find_overlapping_iter(value) {
                for check in &self.checks[hit.pattern().as_usize()] {
                    let id = match check {
                        Check::Contains(id) => Some(*id),
                        Check::Prefix(id) => (hit.start() == 0).then_some(*id),
                        Check::Suffix(id) => (hit.end() == value.len()).then_some(*id),
                        Check::Glob(pattern, id) => pattern.matches(value).then_some(*id),
                    };
                    found.extend(id);
                }
            }
        }
        found.extend(self.bare.iter().filter(|(pattern, _)| pattern.matches(value)).map(|(_, id)| id));
    }
}

#[derive(Default)]
struct Builder {
    exact: FxHashMap<Box<str>, Vec<PredicateId>>,
    numbers: FxHashMap<Box<str>, usize>,
    literals: Vec<Box<str>>,
    checks: Vec<Vec<Check>>,
    bare: Vec<(Pattern, PredicateId)>,
}

impl Builder {
    fn add(&mut self, pattern: &Pattern, id: PredicateId) {
        match pattern.shape() {
            Shape::Exact(text) => self.exact.entry(text.into()).or_default().push(id),
            Shape::Contains(text) => self.search(text, Check::Contains(id)),
            Shape::Prefix(text) => self.search(text, Check::Prefix(id)),
            Shape::Suffix(text) => self.search(text, Check::Suffix(id)),
            Shape::Glob(Some(witness)) => self.search(witness, Check::Glob(pattern.clone(), id)),
            Shape::Glob(None) | Shape::Anything => self.bare.push((pattern.clone(), id)),
        }
    }

    fn search(&mut self, literal: &str, check: Check) {
        let at = *self.numbers.entry(literal.into()).or_insert_with(|| {
            self.literals.push(literal.into());
            self.checks.push(Vec::new());
            self.literals.len() - 1
        });
        self.checks[at].push(check);
    }

    fn build(self) -> Result<Literals, String> {
        let bytes: usize = self.literals.iter().map(|literal| literal.len()).sum();
        let kind = (bytes <= MAX_TABLE_LITERAL_BYTES).then_some(AhoCorasickKind::DFA);
        let mut builder = AhoCorasick::builder();
        let search = builder.match_kind(MatchKind::Standard).kind(kind);
        let search = (!self.literals.is_empty()).then(|| search.build(self.literals.iter().map(AsRef::<str>::as_ref)));
        let search = search.transpose().map_err(|error| error.to_string())?;
        Ok(Literals { exact: self.exact, search, checks: self.checks, bare: self.bare })
    }
}
