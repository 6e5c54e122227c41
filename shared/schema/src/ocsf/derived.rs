//! What OCSF wants beside the values of columns: added on the way out, recognised on the way in.

use atalaya_model::Class;
use serde_json::{Map, Value, json};

use super::OCSF_VERSION;

/// The product's uid where the product is not known: OCSF wants a name or a uid.
const UNKNOWN_PRODUCT: &str = "unknown";

/// Attributes that an object must have beside those that columns give: object, attribute, value where it is missing.
const FIXED: &[(&str, &str, i64)] = &[
    ("connection_info", "direction_id", 0),
    ("tls.ja3_hash", "algorithm_id", 1),
    ("tls.certificate.fingerprints[0]", "algorithm_id", 3),
    ("ja4_fingerprint_list[0]", "type_id", 1),
    ("device", "type_id", 0),
    ("finding_info.analytic", "type_id", 1),
    ("process.file", "type_id", 1),
];

/// Attributes that come with a profile, and the profile.
const PROFILES: &[(&str, &str)] = &[
    ("time_dt", "datetime"),
    ("device", "host"),
    ("actor", "host"),
    ("osint", "osint"),
    ("confidence_id", "security_control"),
    ("is_alert", "security_control"),
];

const HASHES: &str = "process.file.hashes";

/// A vulnerability finding is named by its CVE.
const CVE: &str = "/vulnerabilities/0/cve/uid";

/// An indicator's type where no column has it: a post is known by its URL.
fn indicator_type(class: Class) -> i64 {
    if class == Class::BaseEvent { 5 } else { 0 }
}

/// OCSF's number of a hash algorithm, by the hash's length in hexadecimal digits.
fn hash_algorithm(hash: &str) -> i64 {
    match hash.len() {
        32 => 1,
        40 => 2,
        64 => 3,
        128 => 4,
        _ => 99,
    }
}

fn object<'a>(event: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    event.pointer_mut(&format!("/{}", path.replace('.', "/").replace("[0]", "/0")))
}

fn add(event: &mut Value, path: &str, attribute: &str, value: impl Into<Value>) {
    if let Some(Value::Object(object)) = object(event, path) {
        object.entry(attribute).or_insert_with(|| value.into());
    }
}

/// Adds what is missing to an event that has the values of its columns.
pub(super) fn complete(class: Class, event: &mut Value) {
    for &(path, attribute, value) in FIXED {
        add(event, path, attribute, value);
    }
    add(event, "osint[0]", "type_id", indicator_type(class));
    add(event, "osint[0].malware[0]", "classification_ids", json!([0]));
    if let Some(Value::Array(hashes)) = object(event, HASHES) {
        for hash in hashes {
            hash["algorithm_id"] = hash_algorithm(hash["value"].as_str().unwrap_or_default()).into();
        }
    }
    if class == Class::DetectionFinding {
        event["is_alert"] = true.into();
    }
    if class == Class::VulnerabilityFinding {
        event["finding_info"] = json!({ "uid": event.pointer(CVE) });
    }
    if event["metadata"]["product"]["name"].is_null() {
        event["metadata"]["product"]["uid"] = UNKNOWN_PRODUCT.into();
    }
    let mut profiles: Vec<_> =
        PROFILES.iter().filter(|(attribute, _)| event.get(attribute).is_some()).map(|(_, profile)| *profile).collect();
    profiles.dedup();
    event["metadata"]["profiles"] = profiles.into();
}

/// Whether a value at a path says no more than the row does without it.
pub(super) fn is_derived(class: Class, event: &Map<String, Value>, path: &str, value: &Value) -> bool {
    let uid = i64::from(class.uid());
    let activity_id = || event.get("activity_id").and_then(Value::as_i64).unwrap_or(0);
    match path {
        "class_uid" => value == &Value::from(uid),
        "category_uid" => value == &Value::from(class.category_uid()),
        "type_uid" => value == &Value::from(uid * 100 + activity_id()),
        "is_alert" => class == Class::DetectionFinding && value == &Value::Bool(true),
        "metadata.version" => value == OCSF_VERSION,
        "metadata.product.uid" => value == UNKNOWN_PRODUCT,
        "finding_info.uid" if class == Class::VulnerabilityFinding => {
            event.get("vulnerabilities").and_then(|found| found.pointer(CVE.trim_start_matches("/vulnerabilities")))
                == Some(value)
        }
        "osint[0].type_id" => value == &Value::from(indicator_type(class)),
        "osint[0].malware[0].classification_ids[0]" => value == &Value::from(0),
        _ if path.starts_with("metadata.profiles[") => PROFILES.iter().any(|(_, profile)| value == profile),
        _ => FIXED.iter().any(|&(object, attribute, fixed)| {
            let attribute_of = |path: &str| path.strip_prefix(object)?.strip_prefix('.').map(|rest| rest == attribute);
            value == &Value::from(fixed) && attribute_of(path) == Some(true)
        }),
    }
}

/// Whether an attribute of an element of an array follows from the element's value.
pub(super) fn is_derived_of_element(array: &str, attribute: &str, element: &Map<String, Value>) -> bool {
    let algorithm = || hash_algorithm(element.get("value").and_then(Value::as_str).unwrap_or_default());
    array == HASHES && attribute == "algorithm_id" && element[attribute] == algorithm()
}
