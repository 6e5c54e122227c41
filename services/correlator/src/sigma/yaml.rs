//! Rule files as values.

use serde_json::{Map, Value};

/// The documents of a file; empty ones are left out.
///
/// # Errors
/// With line and column, if the text is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| format!("no YAML: {error}"))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// A text, if the key is there.
///
/// # Errors
/// If it is something else.
pub fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("{key}: a text is expected")),
    }
}

/// A list of texts, or a single one; empty if the key is not there.
///
/// # Errors
/// If it is something else.
pub fn texts(map: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("{key}: a list of texts is expected")),
    };
    match map.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

/// A span of time in microseconds, if the key is there; more than zero.
///
/// # Errors
/// If it is no span.
pub fn span_us(map: &Map<String, Value>, key: &str) -> Result<Option<i64>, String> {
    let Some(span) = text(map, key)? else { return Ok(None) };
    match atalaya_model::parse_span(&span) {
        Ok(0) => Err(format!("{key}: more than zero is expected")),
        Ok(span_us) => Ok(Some(span_us)),
        Err(error) => Err(format!("{key}: {error}")),
    }
}

/// Refuses keys that mean nothing.
///
/// # Errors
/// With the first unknown key.
pub fn only(map: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{key}: unknown key; known are {}", known.join(", "))),
        None => Ok(()),
    }
}
