//! OCSF events as JSON: columns by their OCSF paths, without a mapping of ours.

use serde_json::{Map, Value};

use super::Fault;
use crate::park::Reason;
use crate::time;

/// `parser_version` of events that came as OCSF.
pub(crate) const PARSER_VERSION: &str = "ocsf@1";

/// Microseconds in a millisecond, the unit of OCSF's times.
const US_PER_MS: i64 = 1_000;

/// Names of the hosts and domains an event is about, by OCSF path.
const NAMES: [&str; 4] = ["/query/hostname", "/http_request/url/hostname", "/tls/sni", "/dst_endpoint/hostname"];

/// Reads an event.
pub(crate) fn read(text: &str) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Object(event)) => Ok(event),
        Ok(_) => Err(Fault::new(Reason::NotAnObject, "the record is JSON, but no object")),
        Err(error) => {
            let whole = error.to_string();
            let message = whole.split(" at line ").next().unwrap_or_default();
            Err(Fault::new(Reason::BadJson, format!("column {}: {message}", error.column())))
        }
    }
}

/// The time of an event: `time_dt`, or `time` in milliseconds.
pub(crate) fn time_us(event: &Map<String, Value>) -> Result<i64, Fault> {
    let exact = event.get("time_dt").and_then(Value::as_str);
    let ms = event.get("time");
    if exact.is_none() && ms.is_none() {
        return Err(Fault::new(Reason::MissingTime, "attribute time is not set"));
    }
    let exact_us = exact.and_then(time::from_text);
    let us = exact_us.or_else(|| ms?.as_i64()?.checked_mul(US_PER_MS).and_then(time::bounded));
    us.ok_or_else(|| Fault::new(Reason::BadTime, "attribute time is no number of milliseconds since 1970"))
}

/// A text at a path.
pub(crate) fn text_at<'e>(event: &'e Map<String, Value>, path: &str) -> Option<&'e str> {
    let mut names = path.split('/').skip(1);
    let first = event.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name)).and_then(Value::as_str)
}

/// The names that can tell an event's owner.
pub(crate) fn names(event: &Map<String, Value>) -> impl Iterator<Item = &str> {
    NAMES.iter().filter_map(|path| text_at(event, path))
}
