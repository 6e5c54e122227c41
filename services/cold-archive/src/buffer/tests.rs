use atalaya_archive::Feed;
use atalaya_model::{Counts, LedgerKey};
use atalaya_schema::{Rows, col};

use super::*;

fn scope(partition: u16) -> Scope {
    Scope { feed: Feed::Evt, incarnation: 1, partition }
}

fn key() -> LedgerKey {
    LedgerKey { source: "zeek".into(), tenant: "acme".into(), domain: "live".into() }
}

fn taken(sequence: u64, rows: u32, closes: bool) -> Taken {
    let mut builder = Rows::new(Class::DnsActivity);
    for _ in 0..rows {
        builder.begin();
        builder.text(col::TENANT, "acme");
        builder.end();
    }
    let mut books = Books::default();
    books.add(&key(), Counts { archived: rows.into(), ..Counts::default() });
    Taken {
        position: Position { incarnation: 1, sequence, id: format!("m{sequence}") },
        books,
        events: Some(Arc::new(EventBatch::new(Class::DnsActivity, builder.finish()).unwrap())),
        closes,
    }
}

fn buffer() -> Buffer {
    Buffer::new(&Config { flush_ms: 5_000, flush_rows: 10, ..Config::default() })
}

#[test]
fn the_first_row_sets_the_time_and_the_end_of_a_backfill_brings_it_forward() {
    let mut buffer = buffer();
    assert_eq!(buffer.due_ms(), None);
    buffer.add(100, scope(0), taken(1, 1, false));
    buffer.add(4_000, scope(1), taken(2, 1, false));
    assert_eq!(buffer.due_ms(), Some(5_100));
    buffer.add(4_100, scope(0), taken(3, 0, true));
    assert_eq!(buffer.due_ms(), Some(4_300));
    buffer.add(4_200, scope(0), taken(4, 0, true));
    assert_eq!(buffer.due_ms(), Some(4_300));
    buffer.take();
    assert_eq!(buffer.due_ms(), None);
}

#[test]
fn a_lot_has_the_rows_the_last_positions_and_the_books() {
    let mut buffer = buffer();
    for (partition, sequence, rows) in [(0, 1, 3), (1, 2, 4), (0, 5, 2), (1, 6, 0)] {
        assert!(!buffer.is_full());
        buffer.add(0, scope(partition), taken(sequence, rows, false));
    }
    buffer.add(0, scope(0), taken(7, 1, false));
    assert!(buffer.is_full());
    let lot = buffer.take();
    let sequences: Vec<_> = lot.batches[&Class::DnsActivity].iter().map(|batch| batch.sequence).collect();
    assert_eq!((sequences, lot.rows), (vec![1, 2, 5, 7], 10));
    let archived = |partition| lot.progress[&scope(partition)].books.total(|_| true).archived;
    assert_eq!((archived(0), archived(1)), (6, 4));
    assert_eq!(lot.progress[&scope(1)].position.sequence, 6);
    assert!(!buffer.is_full());
}

#[test]
fn a_forgotten_partition_leaves_nothing_behind() {
    let mut buffer = buffer();
    buffer.add(0, scope(0), taken(1, 9, false));
    buffer.add(0, scope(1), taken(2, 1, false));
    buffer.forget(&scope(0));
    assert!(!buffer.is_full());
    buffer.forget(&scope(2));
    let lot = buffer.take();
    assert_eq!((lot.rows, lot.progress.len()), (1, 1));
    buffer.add(0, scope(0), taken(1, 9, false));
    buffer.forget(&scope(0));
    assert_eq!(buffer.due_ms(), None);
}
