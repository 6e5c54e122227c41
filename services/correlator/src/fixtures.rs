//! Events for tests.

use std::io::Read;
use std::path::PathBuf;

use atalaya_model::{Class, EventId};
use atalaya_schema::{EventBatch, Rows, col, column_index, parse_time_us, seconds_f64_to_us};
use serde_json::Value;

pub(crate) const SECOND_US: i64 = 1_000_000;

/// Rows of a class, given as JSON objects of column names; what is no column goes to `unmapped`.
pub(crate) fn batch(class: Class, events: &[Value]) -> EventBatch {
    let mut rows = Rows::new(class);
    for event in events {
        rows.begin();
        rows.id(col::EVENT_ID, EventId::of("test", &[event.to_string().as_bytes()]).as_bytes());
        let event = event.as_object().unwrap();
        rows.text(col::TENANT, event.get("tenant").and_then(Value::as_str).unwrap_or("default"));
        for (name, value) in event.iter().filter(|(name, _)| *name != "tenant") {
            set(&mut rows, class, name, value);
        }
        rows.end();
    }
    EventBatch::new(class, rows.finish()).unwrap()
}

fn set(rows: &mut Rows, class: Class, name: &str, value: &Value) {
    use atalaya_schema::ColumnType as Type;
    let Some(index) = column_index(class, name) else {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return rows.unmapped(name, &text);
    };
    match (atalaya_schema::columns(class)[index].kind, value) {
        (_, Value::Null) => {}
        (Type::Int32, value) => rows.int32(index, value.as_i64().unwrap() as i32),
        (Type::Int64, value) => rows.int64(index, value.as_i64().unwrap()),
        (Type::Time, value) => rows.time(index, value.as_i64().unwrap()),
        (Type::TextList, value) => rows.texts(index, value.as_array().unwrap().iter().filter_map(Value::as_str)),
        (_, value) => rows.text(index, value.as_str().unwrap()),
    }
}

/// The lines of a file of the shared data, unpacked.
pub(crate) fn shared_lines(path: &str) -> Vec<String> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let path = root.join(path);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: this test reads the shared data", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    text.lines().map(str::to_owned).collect()
}

/// Fields of Zeek's logs and the columns they go to here: enough for tests.
const ZEEK: [(&str, &str); 22] = [
    ("id.orig_h", "src_ip"),
    ("id_orig_h", "src_ip"),
    ("id.orig_p", "src_port"),
    ("id_orig_p", "src_port"),
    ("id.resp_h", "dst_ip"),
    ("id_resp_h", "dst_ip"),
    ("id.resp_p", "dst_port"),
    ("id_resp_p", "dst_port"),
    ("proto", "proto"),
    ("query", "query"),
    ("qtype_name", "query_type"),
    ("rcode_name", "rcode"),
    ("answers", "answers"),
    ("conn_state", "state"),
    ("method", "method"),
    ("host", "http_host"),
    ("status_code", "status"),
    ("user_agent", "user_agent"),
    ("referrer", "referrer"),
    ("username", "user"),
    ("client", "user"),
    ("service", "service"),
];

/// Zeek JSON lines as rows, in batches of at most so many.
pub(crate) fn zeek(class: Class, log: &str, lines: &[String], rows: usize) -> Vec<EventBatch> {
    let event = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap();
        let mut event = serde_json::Map::new();
        event.insert("product".into(), "Zeek".into());
        event.insert("log_name".into(), log.into());
        for (field, value) in record.as_object().unwrap() {
            match (field.as_str(), ZEEK.iter().find(|(known, _)| known == field)) {
                ("ts", _) => drop(event.insert("time".into(), time_us(value).into())),
                ("uri", _) => split_uri(&mut event, value.as_str().unwrap()),
                (_, Some((_, column))) => drop(event.insert((*column).into(), value.clone())),
                _ => drop(event.insert(field.clone(), value.clone())),
            }
        }
        if let Some(query) = event.get("query").and_then(Value::as_str) {
            let labels: Vec<&str> = query.rsplitn(3, '.').take(2).collect();
            let domain = labels.into_iter().rev().collect::<Vec<_>>().join(".");
            event.insert("query_domain".into(), domain.into());
        }
        if let Some("S0" | "REJ" | "SH" | "RSTOS0" | "RSTRH") = event.get("state").and_then(Value::as_str) {
            event.insert("status_id".into(), 2.into());
        }
        Value::Object(event)
    };
    let events: Vec<Value> = lines.iter().map(event).collect();
    events.chunks(rows).map(|events| batch(class, events)).collect()
}

fn time_us(value: &Value) -> i64 {
    let text = |text: &str| parse_time_us(text);
    value.as_str().map_or_else(|| seconds_f64_to_us(value.as_f64().unwrap()), text).unwrap()
}

fn split_uri(event: &mut serde_json::Map<String, Value>, uri: &str) {
    let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    event.insert("path".into(), path.into());
    query.into_iter().for_each(|query| drop(event.insert("query_string".into(), query.into())));
}
