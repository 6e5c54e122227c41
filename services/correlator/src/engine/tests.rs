use atalaya_schema::{Rows, col};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::values::each_text;
use super::*;
use crate::sigma::{RuleFile, load};

/// One event: some columns of http_activity, and fields without a column.
#[derive(Clone, Debug)]
struct Event {
    method: Option<String>,
    query: Option<String>,
    status: Option<i32>,
    src_ip: Option<String>,
    unmapped: Vec<(&'static str, String)>,
}

fn batch(events: &[Event]) -> EventBatch {
    let mut rows = Rows::new(Class::HttpActivity);
    for event in events {
        rows.begin();
        rows.text(col::TENANT, "default");
        let texts = [(col::http::METHOD, &event.method), (col::http::QUERY_STRING, &event.query)];
        for (index, value) in texts.into_iter().chain([(col::http::SRC_IP, &event.src_ip)]) {
            value.iter().for_each(|value| rows.text(index, value));
        }
        event.status.iter().for_each(|&status| rows.int32(col::http::STATUS, status));
        event.unmapped.iter().for_each(|(key, value)| rows.unmapped(key, value));
        rows.end();
    }
    EventBatch::new(Class::HttpActivity, rows.finish()).unwrap()
}

/// What a condition says of a row, asked value by value.
fn naive(condition: &Expr<SourceTest>, batch: &EventBatch, row: usize) -> bool {
    condition.decide(&mut |SourceTest { source, test }: &SourceTest| {
        let (mut seen, mut passed) = (false, false);
        each_text(batch.class, &batch.rows, source, row, &mut |text| {
            seen = true;
            passed |= test.holds(Some(text));
        });
        if *test == Test::Null { !seen } else { passed }
    })
}

fn check(files: &[RuleFile], batch: &EventBatch) {
    let set = load(files);
    assert_eq!(set.refused, []);
    let found: std::collections::HashMap<_, _> = Engine::new(&set).unwrap().matches(batch).into_iter().collect();
    for (index, rule) in set.rules.iter().enumerate() {
        let Kind::Detection(detection) = &rule.kind else { continue };
        for row in 0..batch.rows.num_rows() {
            let expected = naive(&detection.routes[0].condition, batch, row);
            let found = found.get(&index).is_some_and(|set| set.get(row));
            assert_eq!(found, expected, "{} row {row}", rule.title);
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    let piece = select(vec!["a", "b", "A", "É", "é", "1", "0", ".", "/", "-", " ", "x"]);
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn event() -> impl Strategy<Value = Event> {
    let optional = || prop::option::weighted(0.8, text());
    let address = prop::option::of(select(vec!["10.0.0.1", "10.1.0.9", "::1", "fe80::5", "x"]).prop_map(str::to_owned));
    let unmapped = prop::collection::vec((select(vec!["cs-cookie", "other", "third"]), text()), 0..3);
    (optional(), optional(), prop::option::of(0..12), address, unmapped).prop_map(
        |(method, query, status, src_ip, mut unmapped)| {
            unmapped.sort();
            unmapped.dedup_by_key(|(key, _)| *key);
            Event { method, query, status, src_ip, unmapped }
        },
    )
}

/// A value in a rule: text with wildcards and escapes.
fn wanted() -> impl Strategy<Value = Value> {
    let piece = select(vec!["a", "b", "B", "É", "1", "*", "?", r"\*", r"\", ".", "/", "-"]);
    let text = prop::collection::vec(piece, 0..5).prop_map(|pieces| json!(pieces.concat()));
    prop_oneof![6 => text, 1 => (0..12).prop_map(|number| json!(number)), 1 => Just(Value::Null)]
}

fn field_test() -> impl Strategy<Value = (String, Value)> {
    let field = select(vec!["cs-method", "cs-uri-query", "cs-uri", "sc-status", "src_ip", "cs-cookie", "other", ""]);
    let modifier = select(vec![
        "",
        "|contains",
        "|startswith",
        "|endswith",
        "|contains|all",
        "|cased",
        "|contains|cased",
        "|neq",
        "|windash",
        "|re",
        "|cidr",
        "|gte",
        "|lt",
        "|exists",
    ]);
    (field, modifier, prop::collection::vec(wanted(), 1..4)).prop_map(|(field, modifier, mut values)| {
        let modifier = if field.is_empty() { "|all" } else { modifier };
        match modifier {
            "|cidr" => values = vec![json!("10.0.0.0/9"), json!("fe80::/10")],
            "|re" => values = vec![json!("^[a-b]+1?$"), json!("(?i)É")],
            "|gte" | "|lt" => values = vec![json!(5)],
            "|exists" => return (format!("{field}{modifier}"), json!(values[0].is_string())),
            "" => {}
            _ => values.retain(|value| !value.is_null()),
        }
        if values.is_empty() {
            values.push(json!("a"));
        }
        (format!("{field}{modifier}"), json!(values))
    })
}

fn rule(number: usize) -> impl Strategy<Value = Value> {
    let selection = prop::collection::vec(field_test(), 1..3)
        .prop_map(|tests| json!(tests.into_iter().collect::<serde_json::Map<_, _>>()));
    let condition = select(vec![
        "s0",
        "s0 and s1",
        "s0 or s1",
        "not s0",
        "s0 and not s1",
        "1 of s*",
        "2 of s*",
        "all of them",
        "not (s0 or s1) and s2",
        "not 1 of s*",
        "s0 and not (s1 and not s2)",
    ]);
    (prop::collection::vec(selection, 3), condition).prop_map(move |(selections, condition)| {
        let mut detection = json!({"condition": condition});
        for (at, selection) in selections.into_iter().enumerate() {
            detection[format!("s{at}")] = selection;
        }
        let title = format!("{detection}");
        json!({"id": number.to_string(), "title": title, "logsource": {"category": "webserver"}, "detection": detection})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Random rules on random events: the engine says what asking every value on its own says.
    #[test]
    fn the_engine_equals_the_plain_meaning(
        rules in (0..4_usize).prop_flat_map(|count| (0..=count).map(rule).collect::<Vec<_>>()),
        events in prop::collection::vec(event(), 1..70),
    ) {
        let files: Vec<_> = rules.iter().enumerate().map(|(at, rule)| RuleFile { path: format!("{at:03}"), text: rule.to_string() }).collect();
        check(&files, &batch(&events));
    }
}

#[test]
fn predicates_are_shared_between_rules() {
    let rule = |id: &str, query: &str| {
        json!({"id": id, "title": id, "logsource": {"category": "dns"},
            "detection": {"a": {"query|contains": ["x.example", query], "query_type": "TXT"}, "condition": "a"}})
        .to_string()
    };
    let files: Vec<_> =
        ["1", "2"].map(|id| RuleFile { path: id.to_owned(), text: rule(id, &format!("q{id}")) }).to_vec();
    let engine = Engine::new(&load(&files)).unwrap();
    assert_eq!(engine.predicates(), 4);
}
