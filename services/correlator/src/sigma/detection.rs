//! The `detection` section: named selections and the condition over them.

use serde_json::{Map, Value};

use super::condition;
use super::logic::Expr;
use super::modifier::Modifiers;
use super::test::Test;

/// A question about one field; no field stands for all texts of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTest {
    /// The field as the rule names it.
    pub field: Option<Box<str>>,
    /// The question.
    pub test: Test,
}

/// Reads a `detection` section.
///
/// # Errors
/// With the path within the section and the reason.
pub fn parse(section: &Value) -> Result<Expr<FieldTest>, String> {
    let section = section.as_object().ok_or("detection: a map is expected")?;
    let (mut names, mut selections) = (Vec::new(), Vec::new());
    for (name, value) in section.iter().filter(|(name, _)| !matches!(name.as_str(), "condition" | "timeframe")) {
        names.push(name.clone());
        selections.push(selection(value).map_err(|reason| format!("detection.{name}{reason}"))?);
    }
    if section.contains_key("timeframe") {
        return Err("detection.timeframe: out of date: write a correlation rule".to_owned());
    }
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("detection.condition: a text is expected");
    let conditions = match section.get("condition") {
        Some(Value::Array(conditions)) => conditions.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        Some(condition) => vec![text(condition)?],
        None => return Err("detection.condition: is missing".to_owned()),
    };
    let conditions = conditions.iter().map(|text| condition::parse(text, &names)).collect::<Result<Vec<_>, _>>();
    let condition = Expr::any(conditions.map_err(|reason| format!("detection.condition: {reason}"))?);
    Ok(condition.map(&mut |&at: &usize| selections[at].clone()))
}

/// A map: all of it. A list: any of it, maps and keywords. Anything else: a keyword.
fn selection(value: &Value) -> Result<Expr<FieldTest>, String> {
    match value {
        Value::Object(map) => fields(map),
        Value::Array(items) if items.is_empty() => Err(": is empty".to_owned()),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let of = items.map(|(at, item)| selection(item).map_err(|reason| format!("[{at}]{reason}")));
            Ok(Expr::any(of.collect::<Result<Vec<_>, _>>()?))
        }
        keyword => keywords(&Modifiers::default(), keyword).map_err(|reason| format!(": {reason}")),
    }
}

fn fields(map: &Map<String, Value>) -> Result<Expr<FieldTest>, String> {
    if map.is_empty() {
        return Err(": is empty".to_owned());
    }
    let each = map.iter().map(|(key, value)| field(key, value).map_err(|reason| format!(".{key}: {reason}")));
    Ok(Expr::all(each.collect::<Result<Vec<_>, _>>()?))
}

fn field(key: &str, value: &Value) -> Result<Expr<FieldTest>, String> {
    let (name, modifiers) = key.split_once('|').unwrap_or((key, ""));
    let modifiers = Modifiers::parse(modifiers)?;
    if name.is_empty() {
        return keywords(&modifiers, value);
    }
    let name: Box<str> = name.into();
    let leaf = |test| Expr::Leaf(FieldTest { field: Some(name.clone()), test });
    if let Some(wanted) = modifiers.exists(value)? {
        let missing = leaf(Test::Null);
        return Ok(if wanted { missing.negate() } else { missing });
    }
    let one = |value: &Value| Ok::<_, String>(Expr::any(modifiers.tests(value)?.into_iter().map(leaf).collect()));
    let expr = each(value, modifiers.all, one)?;
    Ok(if modifiers.neq { expr.negate() } else { expr })
}

fn keywords(modifiers: &Modifiers, value: &Value) -> Result<Expr<FieldTest>, String> {
    let leaf = |test| Expr::Leaf(FieldTest { field: None, test });
    let one =
        |value: &Value| Ok::<_, String>(Expr::any(modifiers.keyword_tests(value)?.into_iter().map(leaf).collect()));
    each(value, modifiers.all, one)
}

fn each(
    value: &Value,
    all: bool,
    one: impl Fn(&Value) -> Result<Expr<FieldTest>, String>,
) -> Result<Expr<FieldTest>, String> {
    match value {
        Value::Array(values) if values.is_empty() => Err("the list is empty".to_owned()),
        Value::Array(values) => {
            let of = values.iter().map(one).collect::<Result<Vec<_>, _>>()?;
            Ok(if all { Expr::all(of) } else { Expr::any(of) })
        }
        value => one(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "json! stands in the call")]
    fn decide(detection: Value, event: &[(&str, &str)]) -> bool {
        parse(&detection).unwrap().decide(&mut |leaf: &FieldTest| match &leaf.field {
            Some(field) => {
                let value = event.iter().find(|(name, _)| *name == field.as_ref()).map(|(_, value)| *value);
                leaf.test.holds(value)
            }
            None => event.iter().any(|(_, value)| leaf.test.holds(Some(value))),
        })
    }

    #[test]
    fn maps_are_and_lists_are_or() {
        let detection = json!({"sel": {"a": ["1", "2"], "b|contains|all": ["x", "y"]}, "condition": "sel"});
        assert!(decide(detection.clone(), &[("a", "2"), ("b", "xxyy")]));
        assert!(!decide(detection.clone(), &[("a", "2"), ("b", "xx")]));
        assert!(!decide(detection, &[("a", "3"), ("b", "xxyy")]));
        let list = json!({"sel": [{"a": 1}, {"b": null}], "condition": "sel"});
        assert!(decide(list.clone(), &[("a", "2")]));
        assert!(!decide(list, &[("a", "2"), ("b", "")]));
    }

    #[test]
    fn keywords_are_looked_for_everywhere() {
        let detection = json!({"keywords": ["evil", "bad*thing"], "filter": {"a": "ok"},
            "condition": "keywords and not filter"});
        assert!(decide(detection.clone(), &[("a", "so EVIL")]));
        assert!(decide(detection.clone(), &[("a", "ok not"), ("b", "a bad old thing")]));
        assert!(!decide(detection.clone(), &[("a", "ok"), ("b", "evil")]));
        assert!(!decide(detection, &[("a", "good")]));
        let all = json!({"keywords": {"|all": ["a", "b"]}, "condition": "keywords"});
        assert!(decide(all.clone(), &[("x", "-a-"), ("y", "-b-")]));
        assert!(!decide(all, &[("x", "-a-")]));
    }

    #[test]
    fn neq_and_exists_negate() {
        let detection = json!({"sel": {"a|neq": ["1", "2"], "b|exists": true}, "condition": "sel"});
        assert!(decide(detection.clone(), &[("a", "3"), ("b", "")]));
        assert!(!decide(detection.clone(), &[("a", "2"), ("b", "")]));
        assert!(!decide(detection, &[("a", "3")]));
    }

    #[test]
    fn mistakes_name_their_place() {
        for (detection, place) in [
            (json!({"condition": "x"}), "detection.condition: search identifier 'x'"),
            (json!({"x": {"a|foo": 1}, "condition": "x"}), "detection.x.a|foo: modifier 'foo'"),
            (json!({"x": [{"a": 1}, {"b|cidr": "z"}], "condition": "x"}), "detection.x[1].b|cidr: 'z'"),
            (json!({"x": {}, "condition": "x"}), "detection.x: is empty"),
            (json!({"x": {"a": []}, "condition": "x"}), "detection.x.a: the list is empty"),
            (json!({"x": {"a": 1}}), "detection.condition: is missing"),
            (json!({"x": {"a": 1}, "timeframe": "5m", "condition": "x"}), "detection.timeframe"),
        ] {
            let error = parse(&detection).unwrap_err();
            assert!(error.starts_with(place), "{error}");
        }
    }
}
