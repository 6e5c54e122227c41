use atalaya_model::{AlertState, Class, Level};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{SECOND_US, batch, shared_lines, zeek};
use crate::sigma::{RuleFile, load};

mod pack;
mod replay;

const BACKFILL: &str = "backfill-1";

fn limits() -> Limits {
    Limits { groups_per_rule: 1_000, idle_us: 60 * SECOND_US }
}

fn compiled(files: &[RuleFile]) -> Arc<Compiled> {
    let set = load(files);
    assert_eq!(set.refused, []);
    Arc::new(Compiled::new(set).unwrap())
}

fn detector(text: &str) -> Detector {
    Detector::new(compiled(&[RuleFile { path: "test.yml".to_owned(), text: text.to_owned() }]), limits())
}

fn arrival(received_us: i64) -> Arrival<'static> {
    Arrival { lane: "c1-0", input: 1, domain: BACKFILL, received_us }
}

fn control(entry: Entry) -> RawHeader {
    RawHeader {
        entry: entry.into(),
        tenant: "default".to_owned(),
        domain: BACKFILL.to_owned(),
        domain_inputs: 1,
        lateness_us: 5 * SECOND_US,
        ..RawHeader::default()
    }
}

/// Plays batches as one backfill of one input.
fn play(detector: &mut Detector, batches: &[EventBatch]) -> Vec<Alert> {
    let mut alerts = detector.control(&arrival(0), &control(Entry::Open)).alerts;
    batches.iter().for_each(|batch| alerts.extend(detector.events(&arrival(0), batch).alerts));
    alerts.extend(detector.control(&arrival(0), &control(Entry::Close)).alerts);
    assert_eq!(detector.groups(), 0, "a backfill that is over leaves nothing behind");
    alerts
}

fn opened(alerts: &[Alert]) -> Vec<&Alert> {
    alerts.iter().filter(|alert| alert.state == AlertState::Opened).collect()
}

const FAILED: &str = "
title: Failed
id: f
author: Jane Doe
level: low
logsource: {category: authentication}
detection: {sel: {status_id: 2}, condition: sel}
atalaya: {message: '{user} failed at {device}'}
";

const GUESSING: &str = "
title: Guessing
id: g
level: high
tags: [attack.t1110]
correlation: {type: event_count, rules: [f], group-by: [src_ip, user], timespan: 10s, condition: {gte: 3}}
";

fn login(second: i64, src_ip: &str, user: &str, status_id: i32) -> Value {
    json!({"time": second * SECOND_US, "src_ip": src_ip, "user": user, "status_id": status_id, "device": "dc1"})
}

#[test]
fn a_plain_rule_makes_one_incident_an_entity() {
    let events = [login(0, "10.0.0.1", "eve", 2), login(1, "10.0.0.1", "bob", 2), login(2, "10.0.0.2", "eve", 2)];
    let more = [login(3, "10.0.0.3", "eve", 1), login(700, "10.0.0.1", "ann", 2)];
    let batches = [batch(Class::Authentication, &events), batch(Class::Authentication, &more)];
    let alerts = play(&mut detector(FAILED), &batches);
    let found: Vec<_> = opened(&alerts).iter().map(|alert| (alert.group_key.as_str(), alert.event_count)).collect();
    assert_eq!(found, [("src_ip=10.0.0.1", 2), ("src_ip=10.0.0.2", 1), ("src_ip=10.0.0.1", 1)]);
    let first = &alerts[0];
    assert_eq!((first.message.as_str(), first.rule_author.as_str()), ("eve failed at dc1", "Jane Doe"));
    assert_eq!((first.level, first.domain.as_str(), first.evidence.len()), (Level::Low, BACKFILL, 2));
    assert_eq!(alerts.iter().filter(|alert| alert.state == AlertState::Closed).count(), 3);
}

#[test]
fn a_correlation_counts_by_group_and_mutes_what_it_counts() {
    let mut events: Vec<Value> = (0..4).map(|second| login(second, "10.0.0.1", "eve", 2)).collect();
    events.extend((0..9).map(|second| login(second * 6, "10.0.0.2", "eve", 2)));
    let alerts = play(&mut detector(&format!("{FAILED}---{GUESSING}")), &[batch(Class::Authentication, &events)]);
    let [alert] = opened(&alerts)[..] else { unreachable!("one incident: {alerts:?}") };
    assert_eq!((alert.rule_id.as_str(), alert.group_key.as_str()), ("g", "src_ip=10.0.0.1,user=eve"));
    assert_eq!((alert.observed, alert.threshold, alert.event_count), (4.0, 3.0, 4));
    assert_eq!((alert.window_start_us, alert.window_end_us), (0, 3 * SECOND_US));
    assert_eq!(alert.message, "Guessing (src_ip=10.0.0.1,user=eve): 4 within 10 seconds");
    assert_eq!(alert.attack_ids, ["T1110"]);
}

#[test]
fn tenants_and_domains_do_not_meet() {
    let event = |second, tenant| {
        let mut event = login(second, "10.0.0.1", "eve", 2);
        event["tenant"] = json!(tenant);
        event
    };
    let batch = batch(Class::Authentication, &[event(0, "acme"), event(1, "globex"), event(2, "acme")]);
    let mut detector = detector(&format!("{FAILED}---{GUESSING}"));
    assert_eq!(play(&mut detector, std::slice::from_ref(&batch)), []);
    // Two of acme's stand in the live domain, and two in a backfill.
    let live = Arrival { domain: LIVE_DOMAIN, ..arrival(3 * SECOND_US) };
    assert_eq!(detector.events(&live, &batch).alerts, []);
    assert_eq!(detector.events(&arrival(0), &batch).alerts, []);
    let found = detector.events(&live, &batch).alerts;
    assert_eq!(opened(&found).iter().map(|alert| alert.tenant.as_str()).collect::<Vec<_>>(), ["acme"]);
}

#[test]
fn the_watermark_closes_incidents_and_counts_what_is_late() {
    let mut detector = detector(&format!("{FAILED}---{GUESSING}"));
    detector.control(&arrival(0), &control(Entry::Open));
    let seconds = |seconds: &[i64]| {
        let events: Vec<Value> = seconds.iter().map(|&second| login(second, "10.0.0.1", "eve", 2)).collect();
        batch(Class::Authentication, &events)
    };
    let states = |output: &Output| output.alerts.iter().map(|alert| alert.state).collect::<Vec<_>>();
    let output = detector.events(&arrival(0), &seconds(&[100, 101, 102]));
    assert_eq!((states(&output), output.late), (vec![AlertState::Opened], 0));
    let output = detector.events(&arrival(0), &seconds(&[97, 96]));
    assert_eq!((states(&output), output.late), (vec![], 1), "5 seconds of lateness");
    let output = detector.events(&arrival(0), &seconds(&[117]));
    assert_eq!(states(&output), [AlertState::Closed], "10 seconds quiet");
    assert_eq!(output.alerts[0].event_count, 4);
}

#[test]
fn a_time_that_is_not_believed_moves_nothing() {
    let mut detector = detector(&format!("{FAILED}---{GUESSING}"));
    detector.control(&arrival(0), &control(Entry::Open));
    let mut events: Vec<Value> = (0..3).map(|second| login(second, "10.0.0.1", "eve", 2)).collect();
    events[1]["time"] = json!(9_000_000 * SECOND_US);
    events[1]["time_quality"] = json!("ahead");
    let output = detector.events(&arrival(0), &batch(Class::Authentication, &events));
    assert_eq!(opened(&output.alerts).len(), 1, "it counts at a time that is believed");
    let output = detector.events(&arrival(0), &batch(Class::Authentication, &[login(3, "10.0.0.9", "eve", 2)]));
    assert_eq!(output.late, 0);
}

#[test]
fn groups_are_bounded() {
    let small = Limits { groups_per_rule: 10, ..limits() };
    let files = [RuleFile { path: "a".to_owned(), text: format!("{FAILED}---{GUESSING}") }];
    let mut detector = Detector::new(compiled(&files), small);
    let mut events: Vec<Value> = vec![login(0, "10.9.9.9", "heavy", 2), login(0, "10.9.9.9", "heavy", 2)];
    events.extend((0..30).map(|number| login(0, "10.0.0.1", &format!("user{number}"), 2)));
    events.push(login(1, "10.9.9.9", "heavy", 2));
    let output = detector.events(&arrival(0), &batch(Class::Authentication, &events));
    assert_eq!((detector.groups(), output.forgotten), (10, 21));
    assert_eq!(opened(&output.alerts)[0].group_key, "src_ip=10.9.9.9,user=heavy", "what is heavy is kept");
}

#[test]
fn a_switch_keeps_unchanged_rules_and_closes_the_others() {
    let other = FAILED.replace("id: f", "id: other");
    let file = |text: &str| RuleFile { path: "a".to_owned(), text: text.to_owned() };
    let mut detector = Detector::new(compiled(&[file(&format!("{FAILED}---{other}"))]), limits());
    let events = batch(Class::Authentication, &[login(0, "10.0.0.1", "eve", 2)]);
    assert_eq!(opened(&detector.events(&arrival(0), &events).alerts).len(), 2);
    let closed =
        detector.switch(compiled(&[file(&format!("{other}---{}", FAILED.replace("level: low", "level: high")))]));
    let found: Vec<_> = closed.iter().map(|alert| (alert.rule_id.as_str(), alert.state, alert.version)).collect();
    assert_eq!(found, [("f", AlertState::Closed, 2)]);
    let again = detector.events(&arrival(0), &batch(Class::Authentication, &[login(1, "10.0.0.1", "eve", 2)])).alerts;
    let found: Vec<_> = again.iter().map(|alert| (alert.rule_id.as_str(), alert.state)).collect();
    assert_eq!(found, [("other", AlertState::Updated), ("f", AlertState::Opened)]);
}
