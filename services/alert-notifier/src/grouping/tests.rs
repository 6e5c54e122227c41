use std::collections::HashMap;

use atalaya_model::{AlertId, Level, Route, SecretRef};

use super::*;
use crate::silences::Silence;

const SECOND: i64 = 1_000_000;

/// An alert of one group; `event_count` says which.
pub(crate) fn alert(number: u64, state: AlertState) -> Alert {
    Alert {
        id: AlertId::of("test", &[&number.to_le_bytes()]),
        version: if state == AlertState::Opened { 1 } else { 2 },
        state,
        tenant: "acme".parse().unwrap(),
        domain: "live".into(),
        rule_id: "rule-1".into(),
        rule_rev: "1".into(),
        rule_author: "us".into(),
        title: "Port scan".into(),
        level: Level::High,
        group_key: "src_ip=10.0.0.1".into(),
        entities: vec![("src_ip".into(), "10.0.0.1".into())],
        time_us: 3_723 * SECOND,
        window_start_us: 0,
        window_end_us: 0,
        received_time_us: 0,
        event_count: number,
        evidence: Vec::new(),
        attack_ids: Vec::new(),
        observed: 120.0,
        threshold: 30.0,
        message: "many ports\u{1b}[2J".into(),
        retroactive: false,
    }
}

pub(crate) fn of_entity(number: u64, entity: &str, state: AlertState) -> Alert {
    let entities = vec![("src_ip".to_owned(), entity.to_owned())];
    Alert { group_key: format!("src_ip={entity}"), entities, ..alert(number, state) }
}

pub(crate) fn way(name: &str, group_wait_s: i64, repeat_s: i64) -> Way {
    Way {
        name: name.into(),
        group_wait_us: group_wait_s * SECOND,
        repeat_us: repeat_s * SECOND,
        receiver: Receiver::Stdout {},
    }
}

const RETRY: Retry = Retry { max_attempts: 3, max_age_us: 600 * SECOND, base_us: SECOND, cap_us: 10 * SECOND };

fn route(name: &str, min_level: Level, receiver: Receiver) -> Route {
    let (group_wait, repeat_interval) = ("5s".to_owned(), "1h".to_owned());
    Route { name: name.into(), min_level, rules: Vec::new(), group_wait, repeat_interval, receiver }
}

fn routes() -> Routes {
    let hook = Receiver::Webhook { url: "http://localhost/".into(), secret: SecretRef::Env("KEY".into()) };
    let acme = vec![route("screen", Level::Low, Receiver::Stdout {}), route("grave", Level::Critical, hook)];
    Routes::new(&HashMap::from([("acme".parse().unwrap(), acme)]), &[]).unwrap()
}

fn grouping(entries: Vec<Episode>) -> Grouping {
    Grouping::resume(routes(), RETRY, entries, 0)
}

fn stored(grouping: &Grouping) -> Vec<Episode> {
    let text = serde_json::to_string(&grouping.episodes.values().collect::<Vec<_>>()).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn total(grouping: &Grouping, intakes: &[Intake]) -> Counts {
    let mut books = grouping.settled().clone();
    intakes.iter().for_each(|intake| books.merge(&intake.books));
    books.total(|key| key.source == "alerts")
}

fn deliver_all(grouping: &mut Grouping, now_us: i64) -> usize {
    grouping.write_due(now_us);
    let attempts = grouping.attempts(now_us, |_| true);
    for attempt in &attempts {
        assert_eq!(grouping.outcome(attempt, Outcome::Delivered, now_us), None);
    }
    attempts.len()
}

#[test]
fn a_flood_is_one_message() {
    let mut grouping = grouping(Vec::new());
    for sequence in 1..=50 {
        let alerts: Vec<_> = (0..100).map(|at| alert(sequence * 100 + at, AlertState::Opened)).collect();
        grouping.intake(sequence, &alerts, &Silences::default(), SECOND);
    }
    assert_eq!(deliver_all(&mut grouping, 5 * SECOND), 0);
    assert_eq!(grouping.next_after(5 * SECOND), Some(6 * SECOND));
    assert_eq!(deliver_all(&mut grouping, 6 * SECOND), 1);
    assert_eq!(total(&grouping, &[]), Counts { notified: 5_000, ..Counts::default() });
}

#[test]
fn taking_in_again_counts_nothing_twice() {
    let alerts = [
        of_entity(1, "a", AlertState::Opened),
        of_entity(2, "b", AlertState::Opened),
        of_entity(1, "a", AlertState::Closed),
        of_entity(3, "a", AlertState::Opened),
    ];
    let silences = Silences::default();
    let mut first = grouping(Vec::new());
    let lost = first.intake(9, &alerts, &silences, 0);
    let episodes = stored(&first);
    // A crash before the position is written: any part of the episodes may be there.
    for kept in 0..1 << episodes.len() {
        let part = episodes.iter().enumerate().filter(|(at, _)| kept & (1 << at) != 0);
        let mut second = grouping(part.map(|(_, episode)| episode.clone()).collect());
        let intake = second.intake(9, &alerts, &silences, 0);
        deliver_all(&mut second, 100 * SECOND);
        assert_eq!(total(&second, &[intake]), Counts { notified: 3, ..Counts::default() }, "{kept}");
    }
    assert_eq!(lost, Intake::default());
}

#[test]
fn an_incident_that_was_told_and_closed_makes_room_for_the_next() {
    let (mut grouping, silences) = (grouping(Vec::new()), Silences::default());
    grouping.intake(1, &[alert(1, AlertState::Opened)], &silences, 0);
    assert_eq!(deliver_all(&mut grouping, 5 * SECOND), 1);
    let next = [alert(1, AlertState::Closed), alert(2, AlertState::Opened)];
    grouping.intake(2, &next, &silences, 6 * SECOND);
    assert_eq!(grouping.episodes.len(), 2);
    let again = Grouping::resume(routes(), RETRY, stored(&grouping), 7 * SECOND);
    let mut again = again;
    again.intake(2, &next, &silences, 7 * SECOND);
    assert_eq!(deliver_all(&mut again, 60 * SECOND), 2, "the first one's closing, the second one's opening");
    assert_eq!(again.forgettable(1, 60 * SECOND, 10), Vec::new(), "its message is not covered yet");
    let ids = again.forgettable(2, 60 * SECOND, 10);
    assert_eq!(ids.len(), 1);
    let gone = again.forget(&ids);
    assert_eq!(gone.total(|_| true).notified, 1);
    assert_eq!(total(&again, &[]).notified, 1);
}

#[test]
fn silenced_without_route_and_routed() {
    let mut silences = Silences::default();
    let silence = Silence { entity: "b".into(), until_us: 10 * SECOND, ..Silence::default() };
    silences.add("acme".parse().unwrap(), silence);
    let mut grouping = grouping(Vec::new());
    let harmless = Alert { level: Level::Informational, rule_id: "other".into(), ..alert(3, AlertState::Opened) };
    let foreign = Alert { tenant: "globex".parse().unwrap(), ..alert(4, AlertState::Opened) };
    let alerts = [of_entity(1, "a", AlertState::Opened), of_entity(2, "b", AlertState::Opened), harmless, foreign];
    let intake = grouping.intake(1, &alerts, &silences, 0);
    assert_eq!(intake.books.total(|_| true), Counts { silenced: 3, ..Counts::default() });
    assert_eq!(grouping.episodes.len(), 1);
    let later = grouping.intake(2, &[of_entity(5, "b", AlertState::Opened)], &silences, 10 * SECOND);
    assert!(later.books.is_empty(), "the silence is over");
}

#[test]
fn a_silence_within_an_episode_is_counted_in_it() {
    let mut silences = Silences::default();
    silences.add("acme".parse().unwrap(), Silence { until_us: i64::MAX, ..Silence::default() });
    let mut grouping = grouping(Vec::new());
    grouping.intake(1, &[alert(1, AlertState::Opened)], &Silences::default(), 0);
    deliver_all(&mut grouping, 5 * SECOND);
    grouping.intake(2, &[alert(2, AlertState::Opened)], &silences, 6 * SECOND);
    assert_eq!(deliver_all(&mut grouping, 100_000 * SECOND), 0);
    assert_eq!(total(&grouping, &[]), Counts { notified: 1, silenced: 1, ..Counts::default() });
}

#[test]
fn attempts_end_after_their_maximum() {
    let mut grouping = grouping(Vec::new());
    grouping.intake(1, &[alert(1, AlertState::Opened)], &Silences::default(), 0);
    let (mut now, mut ids) = (5 * SECOND, Vec::new());
    for left in (0..3).rev() {
        grouping.write_due(now);
        let attempt = grouping.attempts(now, |_| true).remove(0);
        assert!(grouping.attempts(now, |_| true).is_empty(), "one at a time");
        let failed = Outcome::Failed { reason: "down".into(), retry_after_us: None };
        let given_up = grouping.outcome(&attempt, failed, now);
        assert_eq!(given_up.is_some(), left == 0);
        ids.push((attempt.id, attempt.payload));
        now = grouping.next_after(now).unwrap_or(now);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same id and the same text every time");
    assert_eq!(total(&grouping, &[]), Counts { undeliverable: 1, ..Counts::default() });
}

#[test]
fn a_busy_receiver_is_waited_for() {
    let mut grouping = grouping(Vec::new());
    for number in 0..3 {
        let one = of_entity(number, &number.to_string(), AlertState::Opened);
        grouping.intake(number + 1, &[one], &Silences::default(), 0);
    }
    grouping.write_due(5 * SECOND);
    let mut places = 2;
    let free = |_: &Receiver| {
        places -= 1;
        places >= 0
    };
    let begun = grouping.attempts(5 * SECOND, free);
    assert_eq!(begun.len(), 2);
    assert_eq!(grouping.next_after(5 * SECOND), None);
    assert_eq!(grouping.outcome(&begun[0], Outcome::Delivered, 5 * SECOND), None);
    assert_eq!(grouping.attempts(5 * SECOND, |_| true).len(), 1);
}

#[test]
fn bounds_are_kept_and_counted() {
    let mut grouping = grouping(Vec::new());
    let alerts: Vec<_> =
        (0..MAX_EPISODES as u64 + 5).map(|number| of_entity(number, &number.to_string(), AlertState::Opened)).collect();
    let intake = grouping.intake(1, &alerts, &Silences::default(), 0);
    assert_eq!((intake.refused, grouping.episodes.len()), (5, MAX_EPISODES));
    let beyond = (MAX_EPISODES - MAX_PENDING_PER_RECEIVER) as u64 + 5;
    assert_eq!(total(&grouping, &[intake]), Counts { undeliverable: beyond, ..Counts::default() });
    assert!(!grouping.forgettable(1, 0, 10).is_empty(), "what has nothing to tell makes room");
}
