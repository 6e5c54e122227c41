//! Correlation rules: how many events, or how many different values, within a timespan.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::rule::{Kind, Rule, extension, head};
use super::yaml;

/// The largest number a condition may name where different values are counted, or where it waits for the end of the
/// window. Counting is exact up to twice as many.
pub const MAX_THRESHOLD: u64 = 1_024;

/// The largest number a condition may name where events are counted as they arrive.
pub const MAX_EVENT_THRESHOLD: u64 = 1_000_000;

/// The longest timespan: 31 days in microseconds.
pub const MAX_SPAN_US: i64 = 31 * 86_400_000_000;

/// Fields to group by at most.
pub const MAX_GROUP_FIELDS: usize = 8;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Events.
    Events,
    /// Different values of a field.
    Values(String),
}

/// A correlation.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// What is counted.
    pub counted: Counted,
    /// The rules whose matches are counted: indexes in the rule set, set when it is put together.
    pub rules: Vec<usize>,
    /// Those rules as they are named, by id or name.
    pub references: Vec<String>,
    /// Fields whose values make a group.
    pub group_by: Vec<String>,
    /// Field names that differ by rule: alias → rule as referenced → its field.
    pub aliases: BTreeMap<String, BTreeMap<String, String>>,
    /// How long the window is, microseconds.
    pub span_us: i64,
    /// What the count must be.
    pub bounds: Bounds,
    /// Whether the rules it counts write alerts of their own as well.
    pub generate: bool,
}

/// What a count must be: every part of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so much.
    pub min: u64,
    /// At most so much.
    pub max: Option<u64>,
    /// But none of these.
    pub not: Vec<u64>,
    /// The number as the rule writes it, for people.
    pub written: u64,
}

impl Bounds {
    /// Whether a count is within.
    #[must_use]
    pub fn hold(&self, count: u64) -> bool {
        count >= self.min && self.max.is_none_or(|max| count <= max) && !self.not.contains(&count)
    }

    /// Whether more events can only make it truer, so that it can be judged as they arrive.
    #[must_use]
    pub fn rising(&self) -> bool {
        self.max.is_none() && self.not.is_empty()
    }

    fn parse(condition: &Map<String, Value>) -> Result<Self, String> {
        let mut bounds = Self { min: 1, max: None, not: Vec::new(), written: 0 };
        let mut parts = 0;
        for (operator, value) in condition.iter().filter(|(key, _)| *key != "field") {
            let place = |reason: &str| format!("correlation.condition.{operator}: {reason}");
            let number = value.as_u64().ok_or_else(|| place("a whole number is expected"))?;
            if number > MAX_EVENT_THRESHOLD {
                return Err(place(&format!("more than {MAX_EVENT_THRESHOLD}")));
            }
            match operator.as_str() {
                "gt" => bounds.min = bounds.min.max(number + 1),
                "gte" => bounds.min = bounds.min.max(number),
                "lt" => bounds.limit(number.checked_sub(1).ok_or_else(|| place("no count is less than 0"))?),
                "lte" => bounds.limit(number),
                "eq" => {
                    bounds.min = bounds.min.max(number);
                    bounds.limit(number);
                }
                "neq" => bounds.not.push(number),
                _ => return Err(place("is none of gt, gte, lt, lte, eq, neq")),
            }
            bounds.written = if parts == 0 { number } else { bounds.written };
            parts += 1;
        }
        if parts == 0 {
            return Err("correlation.condition: names no number".to_owned());
        }
        match bounds.max {
            Some(max) if max < bounds.min => Err("correlation.condition: no count of 1 or more can meet it".to_owned()),
            _ => Ok(bounds),
        }
    }

    fn limit(&mut self, max: u64) {
        self.max = Some(self.max.map_or(max, |known| known.min(max)));
    }
}

const KEYS: [&str; 7] = ["type", "rules", "group-by", "timespan", "condition", "aliases", "generate"];

/// Reads a correlation rule; what it refers to is looked up later.
pub(super) fn parse(document: &Map<String, Value>, path: &str) -> Result<Rule, String> {
    let section = document.get("correlation").and_then(Value::as_object).ok_or("correlation: a map is expected")?;
    let place = |reason: String| format!("correlation.{reason}");
    yaml::only(section, &KEYS).map_err(place)?;
    let condition = section.get("condition").and_then(Value::as_object);
    let field = condition.map(|condition| yaml::texts(condition, "field")).transpose().map_err(place)?;
    let counted = counted(&yaml::text(section, "type").map_err(place)?.unwrap_or_default(), field.unwrap_or_default())?;
    let condition = condition.ok_or("correlation.condition: a map such as {gte: 10} is expected")?;
    let span_us = yaml::span_us(section, "timespan").map_err(place)?.ok_or("correlation.timespan: is missing")?;
    if span_us > MAX_SPAN_US {
        return Err("correlation.timespan: more than 31 days".to_owned());
    }
    let group_by = yaml::texts(section, "group-by").map_err(place)?;
    if group_by.len() > MAX_GROUP_FIELDS {
        return Err(format!("correlation.group-by: more than {MAX_GROUP_FIELDS} fields"));
    }
    let references = yaml::texts(section, "rules").map_err(place)?;
    if references.is_empty() {
        return Err("correlation.rules: is missing".to_owned());
    }
    let generate =
        section.get("generate").or_else(|| document.get("generate")).and_then(Value::as_bool).unwrap_or(false);
    let correlation = Correlation {
        counted,
        rules: Vec::new(),
        references,
        group_by,
        aliases: aliases(section)?,
        span_us,
        bounds: Bounds::parse(condition)?,
        generate,
    };
    if (correlation.counted != Counted::Events || !correlation.bounds.rising())
        && [correlation.bounds.min, correlation.bounds.written].iter().any(|number| *number > MAX_THRESHOLD + 1)
    {
        return Err(format!("correlation.condition: at most {MAX_THRESHOLD} can be counted exactly"));
    }
    let message = extension(document, &["message"])?.message;
    head(document, path, Kind::Correlation(correlation), message)
}

fn counted(kind: &str, field: Vec<String>) -> Result<Counted, String> {
    match kind {
        "event_count" => Ok(Counted::Events),
        "value_count" => match <[String; 1]>::try_from(field) {
            Ok([field]) => Ok(Counted::Values(field)),
            Err(_) => Err("correlation.condition.field: value_count counts the values of one field".to_owned()),
        },
        "" => Err("correlation.type: is missing".to_owned()),
        "value_percentile" => Err(
            "correlation.type: 'value_percentile' is refused: the specification does not say whether its condition \
                 is a rank or a value"
                .to_owned(),
        ),
        "temporal" | "temporal_ordered" | "value_sum" | "value_avg" => {
            Err(format!("correlation.type: '{kind}' is not supported yet"))
        }
        other => Err(format!("correlation.type: '{other}' is unknown")),
    }
}

fn aliases(section: &Map<String, Value>) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let wrong = || "correlation.aliases: a map of alias to a map of rule to field is expected".to_owned();
    let Some(aliases) = section.get("aliases") else { return Ok(BTreeMap::new()) };
    let alias = |(name, by_rule): (&String, &Value)| {
        let by_rule = by_rule.as_object().ok_or_else(wrong)?.iter();
        let fields = by_rule.map(|(rule, field)| Ok((rule.clone(), field.as_str().ok_or_else(wrong)?.to_owned())));
        Ok((name.clone(), fields.collect::<Result<_, String>>()?))
    };
    aliases.as_object().ok_or_else(wrong)?.iter().map(alias).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "json! stands in the call")]
    fn read(correlation: Value) -> Result<Correlation, String> {
        let document = json!({"title": "t", "id": "i", "correlation": correlation});
        match parse(document.as_object().unwrap(), "p")?.kind {
            Kind::Correlation(correlation) => Ok(correlation),
            Kind::Detection(_) => Err("a detection".to_owned()),
        }
    }

    #[test]
    fn conditions_become_bounds() {
        for (condition, count, holds) in [
            (json!({"gte": 3}), 3, true),
            (json!({"gt": 3}), 3, false),
            (json!({"lt": 3}), 2, true),
            (json!({"lte": 3}), 4, false),
            (json!({"eq": 3}), 3, true),
            (json!({"eq": 3}), 4, false),
            (json!({"neq": 3}), 3, false),
            (json!({"gte": 3, "lt": 6}), 5, true),
            (json!({"gte": 3, "lt": 6}), 6, false),
        ] {
            let bounds = Bounds::parse(condition.as_object().unwrap()).unwrap();
            assert_eq!(bounds.hold(count), holds, "{condition} {count}");
            assert_eq!(bounds.rising(), condition.as_object().unwrap().keys().all(|key| key.starts_with('g')));
        }
    }

    #[test]
    fn correlations_are_read_whole() {
        let correlation = read(json!({"type": "value_count", "rules": ["a", "b"], "group-by": ["src_ip", "who"],
            "timespan": "5m", "condition": {"field": "user", "gte": 10}, "aliases": {"who": {"a": "user", "b": "device"}},
            "generate": true}))
        .unwrap();
        assert_eq!((correlation.counted, correlation.span_us), (Counted::Values("user".to_owned()), 300_000_000));
        assert_eq!(correlation.aliases["who"]["b"], "device");
        assert!(correlation.generate && correlation.group_by.len() == 2);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let base = json!({"type": "event_count", "rules": "a", "timespan": "5m", "condition": {"gte": 1}});
        for (key, value, reason) in [
            ("type", json!("temporal"), "not supported yet"),
            ("type", json!("value_percentile"), "rank or a value"),
            ("type", json!("sum"), "unknown"),
            ("type", json!("value_count"), "condition.field"),
            ("timespan", json!("5"), "correlation.timespan"),
            ("timespan", json!("0s"), "more than zero"),
            ("timespan", json!("99d"), "31 days"),
            ("rules", json!([]), "correlation.rules"),
            ("condition", json!({"lt": 99_999}), "exactly"),
            ("condition", json!({"gte": 9_999_999}), "more than"),
            ("condition", json!({"gte": "x"}), "whole number"),
            ("condition", json!({"about": 5}), "none of gt"),
            ("condition", json!({"gt": 5, "lt": 3}), "no count"),
            ("condition", json!({"lt": 1}), "no count"),
            ("window", json!("1m"), "unknown key"),
        ] {
            let mut correlation = base.clone();
            correlation[key] = value;
            let error = read(correlation.clone()).unwrap_err();
            assert!(error.contains(reason), "{correlation}: {error}");
        }
        assert!(read(base).is_ok());
    }
}
