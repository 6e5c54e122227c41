//! A snapshot and its rules as the first released version kept them are read, and the detector goes on as if nothing had
//! happened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atalaya_bus::Position;
use atalaya_model::{AlertState, Class, LIVE_DOMAIN};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use serde_json::{Value, json};

use crate::detect::{Arrival, Detector, Limits, Output};
use crate::fixtures::{SECOND_US, batch};
use crate::rules::Rules;
use crate::sigma::{Logsources, RuleFile};
use crate::snapshots::Snapshot;

/// The files may never change; a new version gets files of its own.
const SNAPSHOT: &str = "snapshot-v2.bin";
const KEPT_RULES: &str = "rules-v1.json";

/// A rule that counts every match, two counts that open as they are reached, one that waits for the watermark.
const RULES: &str = include_str!("../../../tests/testdata/logins.yml");

const BACKFILL: &str = "backfill-1795500000123-1";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name)
}

fn kept(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn rules() -> Rules {
    let file = RuleFile { path: "golden.yml".to_owned(), text: RULES.to_owned() };
    Rules::compile(vec![file], Logsources::built_in()).unwrap()
}

fn limits() -> Limits {
    Limits { groups_per_rule: 1_000, idle_us: 600 * SECOND_US }
}

fn login(tenant: &str, second: i64, ip: u8, user: u8) -> Value {
    let (src_ip, user) = (format!("10.0.0.{ip}"), format!("user{user}"));
    json!({"tenant": tenant, "time": second * SECOND_US, "src_ip": src_ip, "user": user, "status_id": 2})
}

/// What comes: an input's beginning or end, or failed logins, each by tenant, second, address and user.
enum Step {
    Control(&'static str, u64, Entry),
    Logins(&'static str, u64, &'static [(&'static str, i64, u8, u8)]),
}

/// Two domains, two tenants, three inputs.
const BEFORE: [Step; 6] = [
    Step::Control(LIVE_DOMAIN, 1, Entry::Open),
    Step::Logins(
        LIVE_DOMAIN,
        1,
        &[("acme", 100, 1, 1), ("acme", 101, 1, 2), ("acme", 102, 1, 2), ("globex", 102, 1, 1)],
    ),
    Step::Control(LIVE_DOMAIN, 2, Entry::Open),
    Step::Logins(LIVE_DOMAIN, 2, &[("acme", 103, 2, 3), ("acme", 104, 2, 4), ("globex", 104, 3, 1)]),
    Step::Control(BACKFILL, 3, Entry::Open),
    Step::Logins(BACKFILL, 3, &[("acme", 7, 1, 1), ("acme", 8, 1, 2)]),
];

/// Incidents go on and close, counts are reached, what waited for the watermark is told, a domain ends.
const AFTER: [Step; 7] = [
    Step::Logins(LIVE_DOMAIN, 1, &[("acme", 105, 1, 3), ("acme", 106, 2, 5), ("globex", 106, 1, 2)]),
    Step::Logins(BACKFILL, 3, &[("acme", 9, 1, 3)]),
    Step::Control(BACKFILL, 3, Entry::Close),
    Step::Logins(LIVE_DOMAIN, 2, &[("globex", 110, 3, 2), ("globex", 111, 3, 3), ("globex", 50, 9, 9)]),
    Step::Logins(LIVE_DOMAIN, 1, &[("acme", 900, 7, 7)]),
    Step::Logins(LIVE_DOMAIN, 2, &[("globex", 901, 7, 7)]),
    Step::Control(LIVE_DOMAIN, 1, Entry::Close),
];

fn apply(detector: &mut Detector, step: &Step) -> Output {
    let arrival = |domain, input, second: i64| Arrival { lane: "c1-0", input, domain, received_us: second * SECOND_US };
    match *step {
        Step::Control(domain, input, entry) => {
            let (tenant, domain_inputs) = ("shared".to_owned(), u32::from(domain != LIVE_DOMAIN));
            let lateness_us = 5 * SECOND_US;
            let (entry, said) = (entry.into(), domain.to_owned());
            let header = RawHeader { entry, tenant, domain: said, domain_inputs, lateness_us, ..RawHeader::default() };
            detector.control(&arrival(domain, input, 100), &header)
        }
        Step::Logins(domain, input, logins) => {
            let events: Vec<_> = logins.iter().map(|&(tenant, at, ip, user)| login(tenant, at, ip, user)).collect();
            let newest = logins.iter().map(|login| login.1).max().unwrap_or_default();
            detector.events(&arrival(domain, input, newest), &batch(Class::Authentication, &events))
        }
    }
}

/// The detector that the snapshot was made of.
fn before(rules: &Rules) -> Detector {
    let mut detector = Detector::new(Arc::clone(&rules.compiled), limits());
    BEFORE.iter().for_each(|step| drop(apply(&mut detector, step)));
    detector
}

fn position() -> Position {
    Position { incarnation: 1_795_500_000_000_001, sequence: 6, id: "c1-0.1795500000123.42/14/authentication/0".into() }
}

/// Writes the files that are missing, with today's code.
#[test]
#[ignore = "run by hand when a version gets files of its own"]
fn write_what_is_missing() {
    let rules = rules();
    let image = before(&rules).image().unwrap();
    let (hash, next_rules) = (rules.hash().to_owned(), "of-the-next-message".to_owned());
    let snapshot = Snapshot { position: position(), rules: hash, next_rules, image };
    for (name, bytes) in [(SNAPSHOT, snapshot.encode().unwrap()), (KEPT_RULES, rules.encode().unwrap())] {
        if !path(name).exists() {
            std::fs::write(path(name), bytes).unwrap();
        }
    }
}

#[test]
fn a_snapshot_of_the_first_release_is_read_and_goes_on() {
    let snapshot = Snapshot::decode(&kept(SNAPSHOT)).unwrap();
    assert_eq!((&snapshot.position, snapshot.next_rules.as_str()), (&position(), "of-the-next-message"));
    let kept_rules = Rules::decode(&kept(KEPT_RULES)).unwrap();
    assert_eq!(snapshot.rules, kept_rules.hash());
    let ids: Vec<_> = kept_rules.compiled.set.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["f", "g", "s", "q"]);
    let mut revived = Detector::from_image(&snapshot.image, Arc::clone(&kept_rules.compiled), limits()).unwrap();
    // With the log sources of then: today's may be others.
    let mut undisturbed = before(&kept_rules);
    assert!(revived.groups() > 10, "{} groups", revived.groups());
    assert_eq!(revived.image().unwrap(), undisturbed.image().unwrap());
    let mut told = Vec::new();
    let mut late = 0;
    for (step, number) in AFTER.iter().zip(1..) {
        let output = apply(&mut revived, step);
        assert_eq!(output, apply(&mut undisturbed, step), "step {number}");
        late += output.late;
        told.extend(output.alerts);
    }
    assert_eq!(revived.image().unwrap(), undisturbed.image().unwrap());
    // What it had counted is in what it tells: incidents go on at the version they had, and every rule speaks.
    assert!(told.iter().any(|alert| alert.version > 1 && alert.state == AlertState::Updated), "{told:?}");
    assert!(told.iter().any(|alert| alert.state == AlertState::Closed && alert.rule_id == "g"), "{told:?}");
    for (rule, tenant, domain) in [("s", "acme", LIVE_DOMAIN), ("q", "globex", LIVE_DOMAIN), ("g", "acme", BACKFILL)] {
        let tells = |alert: &&atalaya_model::Alert| {
            (alert.rule_id.as_str(), alert.tenant.as_str(), alert.domain.as_str()) == (rule, tenant, domain)
        };
        assert!(told.iter().any(|alert| tells(&alert)), "{rule} of {tenant} in {domain}: {told:?}");
    }
    assert_eq!(late, 1);
}
