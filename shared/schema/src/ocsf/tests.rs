use std::io::Read;

use arrow::array::RecordBatch;
use atalaya_model::Class;
use serde_json::{Map, Value, json};

use super::path::{Form, Index, OURS, form, steps};
use super::*;
use crate::{Rows, col, columns, row_json, sample};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

fn read(event: &Value, assigned: &[usize]) -> RecordBatch {
    let event = event.as_object().unwrap();
    let mut rows = Rows::new(ocsf_class(event));
    rows.begin();
    from_ocsf(event, &mut rows, assigned);
    rows.end();
    rows.finish()
}

/// The compiled schema.
fn schema() -> Value {
    let path = format!("{DATA}/ocsf-schema/ocsf-1.8.0.json.gz");
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("the shared data is missing: {path}: {error}"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn rows_come_back_from_ocsf() {
    for class in Class::ALL {
        let rows = sample::rows(class, &["acme", "globex"]);
        for row in 0..2 {
            let event = to_ocsf(class, &rows, row);
            let back = read(&event, &[]);
            assert_eq!(row_json(&back, 0), row_json(&rows, row), "{}: {event:#}", class.name());
        }
    }
}

#[test]
fn rows_of_the_archive_do_as_well() {
    let batch = sample::batch(Class::DnsActivity, &["acme"]);
    let stored = crate::to_stored(&batch, 3, 4).unwrap();
    assert_eq!(to_ocsf(Class::DnsActivity, &stored, 0), to_ocsf(Class::DnsActivity, &batch.rows, 0));
}

#[test]
fn what_ocsf_requires_is_there() {
    let schema = schema();
    for class in Class::ALL {
        let event = to_ocsf(class, &sample::rows(class, &["acme"]), 0);
        let definition = &schema["classes"][class.name()];
        assert_eq!(definition["uid"], class.uid(), "{}", class.name());
        for path in [
            "activity_id",
            "category_uid",
            "class_uid",
            "type_uid",
            "severity_id",
            "time",
            "metadata/version",
            "metadata/product/name",
        ] {
            assert!(
                event.pointer(&format!("/{path}")).is_some_and(|value| !value.is_null()),
                "{}: {path}",
                class.name()
            );
        }
        let attributes = definition["attributes"].as_object().unwrap();
        let profiles = event["metadata"]["profiles"].as_array().unwrap();
        for (name, attribute) in attributes.iter().filter(|(_, attribute)| attribute["requirement"] == "required") {
            let asked = attribute["profile"].is_null() || profiles.contains(&attribute["profile"]);
            assert!(!asked || event.get(name).is_some(), "{}: {name}", class.name());
        }
    }
}

#[test]
fn an_empty_row_has_what_needs_no_value() {
    let mut rows = Rows::new(Class::DnsActivity);
    rows.begin();
    rows.end();
    let event = to_ocsf(Class::DnsActivity, &rows.finish(), 0);
    assert_eq!(
        event,
        json!({
            "class_uid": 4003, "category_uid": 4, "activity_id": 0, "type_uid": 400_300, "severity_id": 0,
            "metadata": { "version": "1.8.0", "product": { "uid": "unknown" }, "profiles": [] },
        })
    );
}

/// What is wrong with a value somewhere below an object of the schema, by path.
fn faults(schema: &Value, attributes: &Value, object: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    for (name, value) in object {
        let (path, attribute) = (format!("{path}.{name}"), &attributes[name]);
        if attribute.is_null() {
            found.push(format!("{path}: no such attribute"));
            continue;
        }
        let (is_array, values) = match value {
            Value::Array(values) => (true, values.as_slice()),
            value => (false, std::slice::from_ref(value)),
        };
        if is_array != (attribute["is_array"] == true) {
            found.push(format!("{path}: array or not"));
        }
        for value in values {
            let kind = attribute["type"].as_str().unwrap();
            match value {
                _ if kind == "object" => {}
                Value::Object(object) if schema["objects"].get(kind).is_some() => {
                    faults(schema, &schema["objects"][kind]["attributes"], object, &path, found);
                }
                value if has_type(value, &schema["types"], kind) => {}
                _ => found.push(format!("{path}: {value} is no {kind}")),
            }
        }
    }
}

fn has_type(value: &Value, types: &Value, name: &str) -> bool {
    let base = types[name]["type"].as_str().unwrap_or(name);
    match base {
        "integer_t" | "long_t" => value.is_i64(),
        "float_t" => value.is_number(),
        "boolean_t" => value.is_boolean(),
        "string_t" => value.is_string(),
        _ => false,
    }
}

#[test]
fn every_attribute_stands_in_the_schema_and_has_its_type() {
    let schema = schema();
    let mut found = Vec::new();
    for class in Class::ALL {
        let event = to_ocsf(class, &sample::rows(class, &["acme"]), 0);
        let attributes = &schema["classes"][class.name()]["attributes"];
        faults(&schema, attributes, event.as_object().unwrap(), class.name(), &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn columns_without_a_place_in_ocsf_stand_under_their_name() {
    for column in Class::ALL.into_iter().flat_map(columns) {
        assert!(column.ocsf.strip_prefix(OURS).is_none_or(|name| name == column.name), "{}", column.name);
        let lists = steps(column.ocsf).iter().filter(|step| step.index == Index::Each).count();
        assert_eq!(lists, usize::from(column.kind.name().starts_with("list")), "{}", column.name);
    }
    let dns = columns(Class::DnsActivity);
    assert_eq!((form(&dns[col::dns::RTT_US]), form(&dns[col::TIME])), (Form::Duration, Form::Time));
}

#[test]
fn a_sender_cannot_set_what_the_platform_sets() {
    let event = json!({
        "class_uid": 4003, "activity_id": 6, "time": 1_521_911_720_865i64,
        "metadata": { "tenant_uid": "victim", "uid": "abababababababababababababababab", "version": "1.3.0" },
        "query": { "hostname": "example.org", "class": "IN" },
        "src_endpoint": { "ip": "::ffff:10.0.0.1", "port": "53" },
        "dst_endpoint": { "ip": "not an address", "port": 70_000_000_000i64 },
        "answers": [{ "rdata": "10.0.0.2", "ttl": 60, "type": "A" }, { "rdata": 5 }],
        "unmapped": { "id.orig_h": "kept", "deep": { "er": [true, null] } },
        "type_uid": 400_306, "category_uid": 4,
    });
    let mut rows = Rows::new(Class::DnsActivity);
    rows.begin();
    rows.text(col::TENANT, "acme");
    from_ocsf(event.as_object().unwrap(), &mut rows, ASSIGNED);
    rows.end();
    let expected = json!({
        "tenant": "acme", "time": "2018-03-24T17:15:20.865000Z", "class_uid": 4003, "activity_id": 6,
        "unmapped": {
            "metadata.tenant_uid": "victim", "metadata.uid": "abababababababababababababababab",
            "metadata.version": "1.3.0", "query.class": "IN", "dst_endpoint.ip": "not an address",
            "dst_endpoint.port": "70000000000", "answers[0].type": "A", "answers[1].rdata": "5",
            "id.orig_h": "kept", "deep.er[0]": "true",
        },
        "src_ip": "10.0.0.1", "src_port": 53, "query": "example.org", "answers": ["10.0.0.2"], "ttls": [60],
    });
    assert_eq!(Value::Object(row_json(&rows.finish(), 0)), expected);
}

#[test]
fn exact_twins_win_in_any_order() {
    let event = json!({
        "class_uid": 4001, "time": 1_521_911_720_001i64, "time_dt": "2018-03-24T17:15:20.001234Z", "duration": 5,
        "unmapped": { "atalaya": { "duration_us": 5678 } },
    });
    let row = row_json(&read(&event, &[]), 0);
    assert_eq!((&row["time"], &row["duration_us"]), (&json!("2018-03-24T17:15:20.001234Z"), &json!(5678)));
    assert!(!row.contains_key("unmapped"));
    let rounded = json!({ "class_uid": 4001, "time": 1_521_911_720_001i64, "duration": 5, "time_dt": "never" });
    let row = row_json(&read(&rounded, &[]), 0);
    assert_eq!((&row["time"], &row["duration_us"]), (&json!("2018-03-24T17:15:20.001000Z"), &json!(5000)));
    assert_eq!(row["unmapped"], json!({ "time_dt": "never" }));
}

#[test]
fn events_of_other_classes_keep_everything() {
    let row = row_json(&read(&json!({ "class_uid": 6003, "api": { "operation": "List" } }), ASSIGNED), 0);
    assert_eq!(
        Value::Object(row),
        json!({ "class_uid": 0, "unmapped": { "class_uid": "6003", "api.operation": "List" } })
    );
}

/// Events that others made of real Zeek records; one has comments.
#[test]
fn foreign_events_are_read() {
    let directory = format!("{DATA}/ocsf-pairs");
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut read_events = 0;
    for path in
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "ocsf"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let text: String = text.lines().map(|line| line.split("  // ").next().unwrap()).collect();
        let event: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let row = row_json(&read(&event, ASSIGNED), 0);
        assert!(row["time"].as_str().unwrap().starts_with("2024-"), "{}: {row:#?}", path.display());
        assert!(row.contains_key("product") && row.contains_key("unmapped"), "{}: {row:#?}", path.display());
        assert!(!row.contains_key("tenant") && !row.contains_key("event_id"));
        read_events += 1;
    }
    assert!(read_events > 0, "no events in {directory}");
}
