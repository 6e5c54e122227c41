use proptest::prelude::*;

use super::super::window::tests::{naive_times, naive_values};
use super::*;

const SPAN_US: i64 = 10;

fn policy(values: bool, min: u64) -> Policy {
    let bounds = Bounds { min, max: None, not: Vec::new(), written: min };
    Policy { values, span_us: SPAN_US, bounds, takes_late: min == 1 }
}

fn occurrence(number: usize, time_us: i64, value: u64, watermark_us: i64) -> Occurrence {
    let id = EventId::of("test", &[&number.to_le_bytes()]);
    Occurrence { time_us, id, value, received_us: number as i64, watermark_us }
}

fn detail() -> Detail {
    Detail { key: "k".to_owned(), ..Detail::default() }
}

/// What happens to a group: an event, or a step of the watermark.
#[derive(Clone, Debug)]
enum Step {
    Event(i64, u64),
    Advance(i64),
}

/// An incident as the plain model sees it.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    opening: EventId,
    first_us: i64,
    last_us: i64,
    observed: u64,
}

/// The same semantics over all events ever, without pruning; closed incidents in the order of closing.
fn plain(steps: &[Step], policy: &Policy) -> Vec<Plain> {
    let (mut watermark_us, mut seen, mut open, mut closed) = (i64::MIN, Vec::new(), Vec::<Plain>::new(), Vec::new());
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Event(time_us, value) if time_us >= watermark_us => {
                seen.push((time_us, value));
                let times: Vec<i64> = seen.iter().map(|(time_us, _)| *time_us).collect();
                let crossing = match policy.values {
                    true => naive_values(&seen, time_us, SPAN_US, policy.bounds.min),
                    false => naive_times(&times, time_us, SPAN_US, policy.bounds.min),
                };
                let Some(crossing) = crossing else { continue };
                let near = |incident: &&mut Plain| {
                    crossing.from_us <= incident.last_us + SPAN_US && crossing.to_us >= incident.first_us - SPAN_US
                };
                let opening = occurrence(number, 0, 0, 0).id;
                let new =
                    Plain { opening, first_us: crossing.first_us, last_us: crossing.to_us, observed: crossing.count };
                match open.iter_mut().rev().find(near) {
                    Some(incident) => {
                        incident.first_us = incident.first_us.min(new.first_us);
                        incident.last_us = incident.last_us.max(new.last_us);
                        incident.observed = incident.observed.max(new.observed);
                    }
                    None => open.push(new),
                }
            }
            Step::Event(..) => {}
            Step::Advance(to_us) => {
                watermark_us = watermark_us.max(to_us);
                let due = |incident: &Plain| incident.last_us + SPAN_US <= watermark_us;
                closed.extend(open.iter().filter(|incident| due(incident)).cloned());
                open.retain(|incident| !due(incident));
            }
        }
    }
    closed.extend(open);
    closed
}

/// The group's own way, looked at only when its timer says so.
fn real(steps: &[Step], policy: &Policy) -> Vec<Told> {
    let (mut watermark_us, mut group, mut told) = (i64::MIN, Group::new(policy, detail), Vec::new());
    for (number, step) in steps.iter().chain([&Step::Advance(i64::MAX)]).enumerate() {
        match *step {
            Step::Event(time_us, value) => {
                let (touched, forgotten) = group.add(policy, &occurrence(number, time_us, value, watermark_us), detail);
                assert_eq!(forgotten, 0);
                if touched {
                    told.extend(group.tell(policy));
                }
            }
            Step::Advance(to_us) => {
                watermark_us = watermark_us.max(to_us);
                if group.due_us(policy).is_some_and(|due_us| due_us <= watermark_us) {
                    told.extend(group.advance(policy, watermark_us));
                    assert!(group.due_us(policy).is_none_or(|due_us| due_us > watermark_us));
                }
            }
        }
    }
    assert_eq!(group.due_us(policy), None);
    told
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..15_i64, 0..6_u64).prop_map(|(ahead, value)| Step::Event(ahead, value)),
        1 => (0..8_i64).prop_map(Step::Advance),
    ];
    // Times drift forward, so that incidents end and others begin.
    prop::collection::vec((step, 0..3_i64), 1..120).prop_map(|steps| {
        let mut now = 0;
        let place = |(step, ahead)| {
            now += ahead;
            match step {
                Step::Event(jitter, value) => Step::Event(now - jitter, value),
                Step::Advance(jitter) => Step::Advance(now - 12 - jitter),
            }
        };
        steps.into_iter().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn incidents_are_those_of_the_plain_model(steps in steps(), values: bool, min in 2..6_u64) {
        let policy = policy(values, min);
        let expected = plain(&steps, &policy);
        prop_assume!(expected.len() <= MAX_INCIDENTS);
        let told = real(&steps, &policy);
        let closed = told.iter().filter(|told| told.state == AlertState::Closed).map(|told| Plain {
            opening: told.incident.opening,
            first_us: told.incident.first_us,
            last_us: told.incident.last_us,
            observed: told.incident.observed,
        });
        prop_assert_eq!(closed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_incident_is_opened_once_and_closed_once(steps in steps(), values: bool, min in 1..5_u64) {
        let told = real(&steps, &policy(values, min));
        let mut versions: std::collections::HashMap<EventId, (u32, AlertState)> = std::collections::HashMap::new();
        for Told { state, incident } in told {
            let (version, before) = versions.get(&incident.opening).copied().unwrap_or((0, AlertState::Closed));
            prop_assert_eq!(incident.version, version + 1);
            prop_assert_eq!(state == AlertState::Opened, version == 0);
            prop_assert!(version == 0 || before != AlertState::Closed);
            prop_assert!(incident.evidence().count() <= 2 * MAX_EVIDENCE);
            versions.insert(incident.opening, (incident.version, state));
        }
        prop_assert!(versions.values().all(|(_, state)| *state == AlertState::Closed));
    }
}

fn states(told: &[Told]) -> Vec<(AlertState, u32, u64)> {
    told.iter().map(|told| (told.state, told.incident.version, told.incident.events)).collect()
}

#[test]
fn a_flood_is_one_incident_told_rarely() {
    let policy = policy(false, 3);
    let mut group = Group::new(&policy, detail);
    let mut told = Vec::new();
    for number in 0..1_000_usize {
        group.add(&policy, &occurrence(number, 0, 0, i64::MIN), detail);
        told.extend(group.tell(&policy));
    }
    let opened = (AlertState::Opened, 1, 3);
    assert_eq!(states(&told)[..3], [opened, (AlertState::Updated, 2, 6), (AlertState::Updated, 3, 12)]);
    assert_eq!(told.len(), 9);
    assert_eq!(told[0].incident.evidence().count(), 3);
    assert_eq!(told.last().unwrap().incident.evidence().count(), 2 * MAX_EVIDENCE);
    assert_eq!(group.advance(&policy, 9), []);
    assert_eq!(states(&group.advance(&policy, 10)), [(AlertState::Closed, 10, 1_000)]);
    assert_eq!(group.due_us(&policy), None);
}

#[test]
fn late_events_open_incidents_only_where_each_counts_for_itself() {
    let single = policy(false, 1);
    let mut group = Group::new(&single, detail);
    group.add(&single, &occurrence(1, 5, 0, 100), detail);
    group.add(&single, &occurrence(2, 6, 0, 100), detail);
    assert_eq!(states(&group.tell(&single)), [(AlertState::Opened, 1, 2)]);
    assert_eq!(group.advance(&single, 109), []);
    assert_eq!(states(&group.advance(&single, 110)), [(AlertState::Closed, 2, 2)]);
    let counted = policy(false, 2);
    let mut group = Group::new(&counted, detail);
    (0..9).for_each(|number| {
        let _ = group.add(&counted, &occurrence(number, 5, 0, 100), detail);
    });
    assert_eq!(group.tell(&counted), []);
}

#[test]
fn windows_judged_after_their_end_open_and_close_at_once() {
    let bounds = Bounds { min: 1, max: Some(2), not: Vec::new(), written: 3 };
    let policy = Policy { values: false, span_us: SPAN_US, bounds, takes_late: false };
    let mut group = Group::new(&policy, detail);
    for (number, time_us) in [0, 1, 2, 30, 31, 41, 90].into_iter().enumerate() {
        group.add(&policy, &occurrence(number, time_us, 0, i64::MIN), detail);
    }
    // 0–10 holds three and fails; 30–40 holds two; 41 and 90 stand alone.
    let (opened, closed) = (AlertState::Opened, AlertState::Closed);
    assert_eq!(states(&group.advance(&policy, 45)), [(opened, 1, 2), (closed, 2, 2)]);
    assert_eq!(states(&group.advance(&policy, i64::MAX)), [(opened, 1, 1), (closed, 2, 1)].repeat(2));
    assert_eq!(group.due_us(&policy), None);
}

#[test]
fn incidents_that_wait_are_bounded() {
    let policy = policy(false, 1);
    let mut group = Group::new(&policy, detail);
    let mut told = Vec::new();
    for number in 0..20_usize {
        group.add(&policy, &occurrence(number, number as i64 * 100, 0, i64::MIN), detail);
        told.extend(group.tell(&policy));
    }
    assert_eq!(group.incidents.len(), MAX_INCIDENTS);
    assert_eq!(told.iter().filter(|told| told.state == AlertState::Closed).count(), 20 - MAX_INCIDENTS);
    assert_eq!(group.close(&policy).len(), MAX_INCIDENTS);
}
