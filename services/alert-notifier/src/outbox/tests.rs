use atalaya_bus::journal::{Journal, Options};
use atalaya_model::{Alert, AlertState, Counts};

use super::*;
use crate::episode::{End, Place};
use crate::grouping::tests::{of_entity, way};

const PARTITION: u16 = 0;

/// A bus in a directory that goes with it.
fn bus() -> (tempfile::TempDir, Journal) {
    let place = tempfile::tempdir().unwrap();
    let options = Options { partitions: 1, sync: false, ..Options::default() };
    let bus = Journal::open(place.path().join("bus"), &options).unwrap();
    (place, bus)
}

async fn open(bus: &Journal) -> (Outbox, Vec<Episode>) {
    Outbox::open(bus, PARTITION).await.unwrap()
}

fn opening(number: u64) -> Alert {
    of_entity(number, &format!("10.0.0.{number}"), AlertState::Opened)
}

/// An episode of one alert, which waits for its message.
fn waiting(number: u64, place: Place) -> Episode {
    let opening = opening(number);
    let mut episode = Episode::begin(&opening, place, vec![way("a", 0, 60)]);
    episode.take(&opening, false, 0, |_| false);
    episode.write_due(0);
    episode
}

/// The same, told.
fn told(mut episode: Episode) -> Episode {
    episode.end(0, End::Delivered, 1);
    episode
}

fn at(sequence: u64) -> Position {
    Position { incarnation: 1, sequence, id: format!("alert.{sequence}") }
}

fn books(episodes: &[&Episode]) -> Books {
    let mut books = Books::default();
    episodes.iter().for_each(|episode| books.add(&episode.group.ledger_key(), episode.settled.counts()));
    books
}

/// What others are told, with these episodes held.
async fn published(outbox: &mut Outbox, episodes: &[Episode]) -> Counts {
    outbox.publish(&books(&episodes.iter().collect::<Vec<_>>())).await.unwrap();
    outbox.floor.floor().unwrap().books.total(|_| true)
}

fn one() -> Counts {
    Counts { notified: 1, ..Counts::default() }
}

#[tokio::test]
async fn an_entry_that_comes_back_is_not_counted_again() {
    let (_place, bus) = bus();
    let (mut outbox, _) = open(&bus).await;
    let begun = waiting(1, (1, 0));
    let (id, done) = (begun.id(), told(begun.clone()));
    outbox.store(vec![(id, &begun)]).await.unwrap();
    outbox.advance(at(1), &Books::default()).await.unwrap();
    let (_, resumed) = open(&bus).await;
    assert_eq!(resumed, std::slice::from_ref(&begun));
    outbox.store(vec![(id, &done)]).await.unwrap();
    outbox.forget(&[id], &books(&[&done])).await.unwrap();
    outbox.advance(at(2), &Books::default()).await.unwrap();
    for older in [&begun, &done] {
        outbox.bucket.put(&episode_key(PARTITION, id), encode(older).unwrap(), 0, None).await.unwrap();
        let (mut next, resumed) = open(&bus).await;
        assert_eq!(resumed, []);
        assert_eq!(published(&mut next, &resumed).await, one());
        assert!(next.bucket.list("episode.").await.unwrap().is_empty(), "what remains is removed");
    }
}

#[tokio::test]
async fn whoever_was_overtaken_brings_nothing_back() {
    let (_place, bus) = bus();
    let (mut overtaken, _) = open(&bus).await;
    let (mut outbox, _) = open(&bus).await;
    let begun = waiting(1, (1, 0));
    let (id, done) = (begun.id(), told(begun.clone()));
    outbox.store(vec![(id, &begun)]).await.unwrap();
    outbox.advance(at(1), &Books::default()).await.unwrap();
    outbox.store(vec![(id, &done)]).await.unwrap();
    outbox.forget(&[id], &books(&[&done])).await.unwrap();
    overtaken.store(vec![(id, &begun)]).await.unwrap();
    let refused = overtaken.advance(at(1), &Books::default()).await.unwrap_err();
    assert!(matches!(refused, BucketError::Conflict { .. }), "{refused}");
    let (mut next, resumed) = open(&bus).await;
    assert_eq!(resumed, []);
    assert_eq!(published(&mut next, &resumed).await, one());
}

#[tokio::test]
async fn an_episode_that_no_position_covers_yet_counts() {
    let (_place, bus) = bus();
    let (mut outbox, _) = open(&bus).await;
    let begun = waiting(1, (7, 3));
    outbox.store(vec![(begun.id(), &begun)]).await.unwrap();
    let (mut next, resumed) = open(&bus).await;
    assert_eq!(resumed, std::slice::from_ref(&begun));
    next.advance(at(7), &Books::default()).await.unwrap();
    let (_, resumed) = open(&bus).await;
    assert_eq!(resumed, [begun]);
}

#[tokio::test]
async fn an_entry_that_is_named_and_missing_is_an_error() {
    let (_place, bus) = bus();
    let (mut outbox, _) = open(&bus).await;
    let begun = waiting(1, (1, 0));
    outbox.store(vec![(begun.id(), &begun)]).await.unwrap();
    outbox.advance(at(1), &Books::default()).await.unwrap();
    outbox.bucket.delete(&episode_key(PARTITION, begun.id())).await.unwrap();
    let Err(error) = Outbox::open(&bus, PARTITION).await else { panic!("it opened") };
    assert!(error.to_string().contains(&begun.id().to_string()), "{error}");
}
