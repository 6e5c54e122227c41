use super::*;
use crate::grouping::tests::{alert, way};

const SECOND: i64 = 1_000_000;

fn begun(ways: &[Way]) -> Episode {
    let opening = alert(1, AlertState::Opened);
    let mut episode = Episode::begin(&opening, (1, 0), ways.to_vec());
    episode.take(&opening, false, 0, |_| false);
    episode
}

fn deliver(episode: &mut Episode, leg: usize, now_us: i64) -> Option<Notification> {
    episode.write_due(now_us);
    let sent = episode.legs[leg].pending.clone();
    episode.end(leg, End::Delivered, now_us);
    sent
}

#[test]
fn an_alert_is_notified_when_every_receiver_has_it() {
    let mut episode = begun(&[way("a", 0, 60), way("b", 0, 60)]);
    episode.write_due(0);
    episode.end(0, End::Delivered, 1);
    assert_eq!(episode.settled, Settled::default());
    episode.end(1, End::Delivered, 2);
    assert_eq!(episode.settled, Settled { notified: 1, ..Settled::default() });
}

#[test]
fn an_alert_that_one_receiver_never_gets_is_undeliverable() {
    let mut episode = begun(&[way("a", 0, 60), way("b", 0, 60)]);
    episode.write_due(0);
    episode.end(0, End::Delivered, 1);
    episode.end(1, End::Undeliverable, 2);
    assert_eq!(episode.settled, Settled { undeliverable: 1, ..Settled::default() });
    episode.take(&alert(2, AlertState::Opened), false, 3, |_| false);
    assert!(deliver(&mut episode, 1, 3).is_some(), "the next alert is tried again");
    assert_eq!(episode.settled, Settled { notified: 1, undeliverable: 1, silenced: 0 });
}

#[test]
fn an_alert_that_came_after_a_failed_message_waits_for_the_next() {
    let mut episode = begun(&[way("a", 0, 60)]);
    episode.write_due(0);
    episode.take(&alert(2, AlertState::Opened), false, 1, |_| false);
    episode.end(0, End::Undeliverable, 2);
    assert_eq!(episode.settled, Settled { undeliverable: 1, ..Settled::default() });
    assert_eq!(deliver(&mut episode, 0, 3).map(|message| message.ordinal), Some(1));
    assert_eq!(episode.settled, Settled { notified: 1, undeliverable: 1, silenced: 0 });
}

#[test]
fn a_full_outbox_is_undeliverable_at_once() {
    let opening = alert(1, AlertState::Opened);
    let mut episode = Episode::begin(&opening, (1, 0), vec![way("a", 0, 60)]);
    episode.take(&opening, false, 0, |_| true);
    assert_eq!(episode.settled, Settled { undeliverable: 1, ..Settled::default() });
    assert!(!episode.has_due(i64::MAX) && episode.forget_at() < i64::MAX);
}

#[test]
fn opening_repeats_and_closing() {
    let mut episode = begun(&[way("a", 5, 60)]);
    assert!(deliver(&mut episode, 0, 4 * SECOND).is_none(), "the group is waited for");
    let opening = deliver(&mut episode, 0, 5 * SECOND).unwrap();
    assert_eq!((opening.ordinal, opening.closed), (0, false));
    for second in 6..60 {
        episode.take(&alert(1, AlertState::Updated), false, second * SECOND, |_| false);
        assert!(deliver(&mut episode, 0, second * SECOND).is_none(), "{second}");
    }
    let repeat = deliver(&mut episode, 0, 65 * SECOND).unwrap();
    assert_eq!((repeat.ordinal, repeat.closed, repeat.payload.contains("again: ")), (1, false, true));
    assert!(deliver(&mut episode, 0, 10_000 * SECOND).is_none(), "nothing new, nothing said");
    episode.take(&alert(1, AlertState::Closed), false, 10_001 * SECOND, |_| false);
    let closing = deliver(&mut episode, 0, 10_001 * SECOND).unwrap();
    assert_eq!((closing.ordinal, closing.closed, closing.payload.contains("over: ")), (2, true, true));
    assert!(episode.over && episode.forget_at() == 0);
    assert_eq!(episode.settled, Settled { notified: 1, ..Settled::default() });
}

#[test]
fn what_ends_before_its_opening_is_one_message_and_lingers() {
    let mut episode = begun(&[way("a", 5, 60)]);
    episode.take(&alert(1, AlertState::Closed), false, SECOND, |_| false);
    assert!(deliver(&mut episode, 0, 5 * SECOND).unwrap().closed);
    for id in 2..40 {
        for state in [AlertState::Opened, AlertState::Closed] {
            episode.take(&alert(id, state), false, 6 * SECOND, |_| false);
        }
        assert!(deliver(&mut episode, 0, 7 * SECOND).is_none());
    }
    assert_eq!(episode.settled.notified, 39);
    assert!(!episode.over && episode.forget_at() == i64::MAX, "the flood is still to be told");
    assert!(deliver(&mut episode, 0, 65 * SECOND).unwrap().payload.contains("+38 more"));
    assert_eq!(episode.forget_at(), 125 * SECOND);
}

#[test]
fn samples_are_the_opening_and_the_newest() {
    let mut episode = begun(&[way("a", 0, 60)]);
    for id in 2..300 {
        episode.take(&alert(id, AlertState::Opened), false, 0, |_| false);
    }
    let ids: Vec<_> = episode.samples.iter().map(|sample| sample.event_count).collect();
    assert_eq!(ids, [1, 296, 297, 298, 299]);
    assert_eq!((episode.open.len(), episode.open_unnamed), (MAX_OPEN_PER_EPISODE, 299 - MAX_OPEN_PER_EPISODE as u64));
}

#[test]
fn entries_read_back() {
    let mut episode = begun(&[way("a", 0, 60)]);
    episode.write_due(0);
    let text = serde_json::to_vec(&episode).unwrap();
    assert_eq!(serde_json::from_slice::<Episode>(&text).unwrap(), episode);
}
