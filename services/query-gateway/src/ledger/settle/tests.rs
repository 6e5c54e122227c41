use atalaya_bus::Position;
use atalaya_proto::raw_v1::Entry;

use super::*;
use crate::ledger::fold::tests::{alert_mark, alerts, books, events, input, mark, records, take};

fn floor(sequence: Sequence, counts: Counts) -> Floor {
    let position = Position { incarnation: 1, sequence, id: String::new() };
    Floor { position, books: books("dns", "r1", counts) }
}

/// A replay of two inputs in two lanes, ten records, one alert; and the floors of all readers.
fn story() -> (Folds, FloorView) {
    let mut folds = Folds::default();
    take(
        &mut folds.raw,
        &[
            input("c1-0", 1, "r1", Entry::Open, 2),
            input("c1-1", 2, "r1", Entry::Open, 2),
            records("c1-0", 3, "r1", 10),
            input("c1-1", 4, "r1", Entry::Close, 0),
            input("c1-0", 5, "r1", Entry::Close, 0),
            records("c1-0", 6, "live", 100),
        ],
    );
    let counts = Counts { events: 10, normalized: 10, ..Counts::default() };
    let control = Counts::default();
    take(&mut folds.evt, &[events((3, "c1-0"), 1, 3, "r1", counts), events((3, "c1-0"), 2, 5, "r1", control)]);
    take(&mut folds.evt, &[events((3, "c1-1"), 3, 4, "r1", control), mark("c1-1", 4, 9)]);
    take(&mut folds.alert, &[alerts(3, 1, 2, "r1", 1), alert_mark(3, 2, 3)]);
    let mut floors = FloorView::default();
    for (stream, reader, sequence, counts) in [
        (Stream::Evt, "archive", 3, Counts { archived: 10, ..Counts::default() }),
        (Stream::Evt, "hot", 3, Counts { hot: 9, expired: 1, ..Counts::default() }),
        (Stream::Alert, "archive", 1, Counts::default()),
        (Stream::Alert, "hot", 1, Counts::default()),
    ] {
        floors.add(stream, vec![(reader.to_owned(), "3".to_owned(), floor(sequence, counts))]);
    }
    let notified = books("alerts", "r1", Counts { notified: 1, ..Counts::default() });
    let notifier = Floor { books: notified, ..floor(2, Counts::default()) };
    floors.add(Stream::Alert, vec![("notifier".to_owned(), "3".to_owned(), notifier)]);
    (folds, floors)
}

fn look(folds: &Folds, floors: &FloorView) -> Result<(), Open> {
    settled("r1", folds, floors, &totals(folds, floors))
}

#[test]
fn a_settled_domain_is_closed() {
    let (folds, floors) = story();
    assert_eq!(look(&folds, &floors), Ok(()));
    assert_eq!(settled("r2", &folds, &floors, &totals(&folds, &floors)), Err(Open::Unknown));
    assert_eq!(settled("live", &folds, &floors, &totals(&folds, &floors)), Err(Open::Unknown));
}

#[test]
fn a_domain_without_records_is_closed_too() {
    let mut folds = Folds::default();
    take(&mut folds.raw, &[input("c1-0", 1, "r1", Entry::Open, 1), input("c1-0", 2, "r1", Entry::Close, 0)]);
    let floors = FloorView::default();
    assert_eq!(look(&folds, &floors), Err(open("normalizer", &"c1-0")));
    take(&mut folds.evt, &[events((3, "c1-0"), 1, 1, "r1", Counts::default())]);
    assert_eq!(look(&folds, &floors), Err(open("normalizer", &"c1-0")));
    take(&mut folds.evt, &[events((3, "c1-0"), 2, 2, "r1", Counts::default())]);
    assert_eq!(look(&folds, &floors), Err(open("correlator", &3)));
    take(&mut folds.alert, &[alert_mark(3, 1, 2)]);
    assert_eq!(look(&folds, &floors), Err(open("archive of EVT", &3)));
    let passed = |reader: &str| (reader.to_owned(), "3".to_owned(), floor(2, Counts::default()));
    let mut floors = floors;
    floors.add(Stream::Evt, vec![passed("archive"), passed("hot")]);
    assert_eq!(look(&folds, &floors), Ok(()));
}

#[test]
fn inputs_that_are_missing_or_open_keep_it_open() {
    let (mut folds, floors) = story();
    let whole = folds.raw.inputs["r1"].clone();
    for (opened, closed) in [(1, 1), (2, 1), (2, 0)] {
        let inputs = folds.raw.inputs.get_mut("r1").unwrap();
        (inputs.opened, inputs.closed) = (opened, closed);
        assert_eq!(look(&folds, &floors), Err(Open::Inputs { named: 2, opened, closed }));
    }
    folds.raw.inputs.insert("r1".into(), whole);
    assert_eq!(look(&folds, &floors), Ok(()));
}

#[test]
fn whoever_is_behind_keeps_it_open() {
    let (folds, floors) = story();
    let mut behind = folds.clone();
    behind.evt.covered.insert("c1-1".into(), 3);
    assert_eq!(look(&behind, &floors), Err(open("normalizer", &"c1-1")));
    let mut behind = folds.clone();
    behind.alert.covered.insert(3, 2);
    assert_eq!(look(&behind, &floors), Err(open("correlator", &3)));
    for (stream, reader) in
        EVT_READERS.map(|reader| (Stream::Evt, reader)).into_iter().chain(ALERT_READERS.map(|r| (Stream::Alert, r)))
    {
        let mut late = floors.clone();
        let place = (stream, reader.to_owned(), "3".to_owned());
        let held = late.0.get_mut(&place).unwrap();
        held.position.sequence = if stream == Stream::Evt { 2 } else { 0 };
        assert_eq!(look(&folds, &late), Err(open(&format!("{reader} of {stream}"), &3)));
        late.0.remove(&place);
        assert_eq!(look(&folds, &late), Err(open(&format!("{reader} of {stream}"), &3)));
    }
}

#[test]
fn books_that_do_not_balance_keep_it_open() {
    let (folds, mut floors) = story();
    floors.0.get_mut(&(Stream::Evt, "hot".into(), "3".into())).unwrap().books = Books::default();
    let found = look(&folds, &floors).unwrap_err().to_string();
    assert_eq!(found, "in flight: 0 records, 0 events to the archive, 10 to the hot store, 0 alerts");
}

#[test]
fn domains_that_are_no_longer_told_apart_are_one_row() {
    let (folds, mut floors) = story();
    floors.add(
        Stream::Evt,
        vec![(
            "archive".into(),
            "5".into(),
            Floor { books: books("dns", "ancient", Counts { archived: 4, ..Counts::default() }), ..Floor::default() },
        )],
    );
    let books = totals(&folds, &floors);
    assert_eq!(books.total(|key| key.domain == "past").archived, 4);
    assert_eq!(books.total(|key| key.domain == "ancient"), Counts::default());
}
