//! Rows of the archive are the rows of EVT.

use arrow::array::RecordBatch;
use atalaya_archive::{Archive, Covered, Feed, Scope, StoredBatch};
use atalaya_model::EventId;
use atalaya_schema::{Rows, row_json};

use super::*;

const CLASS: Class = Class::DnsActivity;
const DAY_US: i64 = 86_400_000_000;
const START_US: i64 = 20_000 * DAY_US;
const INCARNATION: u64 = 1;

fn scope(feed: Feed, partition: u16) -> Scope {
    Scope { feed, incarnation: INCARNATION, partition }
}

/// Rows of two tenants, over two days; without records behind them they are alerts.
fn batch(class: Class, sequence: u64, rows: u32, records: bool) -> EventBatch {
    let mut builder = Rows::new(class);
    for row in 0..rows {
        builder.begin();
        let id = EventId::of("test", &[class.name().as_bytes(), &sequence.to_le_bytes(), &row.to_le_bytes()]);
        builder.id(col::EVENT_ID, id.as_bytes());
        builder.text(col::TENANT, if row % 3 == 0 { "globex" } else { "acme" });
        builder.time(col::TIME, START_US + i64::from(row % 2) * DAY_US - i64::from(row));
        builder.time(col::INGEST_TIME, START_US + 5 * DAY_US + sequence.cast_signed());
        builder.text(col::SOURCE, "zeek");
        if records {
            builder.text(col::RAW_REF, &format!("c1-0.7.{sequence}#{row}"));
        }
        if class == CLASS {
            builder.text(col::dns::QUERY, &format!("host{}.example.com", row % 10));
            builder.texts(col::dns::ANSWERS, ["192.0.2.1", ""].into_iter());
            builder.int64s(col::dns::TTLS, [60, i64::from(row)].into_iter());
        }
        builder.unmapped("row", &row.to_string());
        builder.end();
    }
    EventBatch::new(class, builder.finish()).unwrap()
}

async fn append(archive: &Archive, scope: Scope, sequence: u64, events: EventBatch) {
    let covered = Covered { scope, sequence };
    let class = events.class;
    let batch = StoredBatch { scope, sequence, events: Arc::new(events) };
    archive.append(class, &[batch], &[covered]).await.unwrap();
}

fn wanted(partition: u16, from: u64, to: u64) -> Wanted {
    Wanted { partition, incarnation: INCARNATION, gap: Gap { from, to } }
}

async fn read(archive: &Archive, class: Class, wanted: Wanted) -> Vec<FiledMessage> {
    let snapshot = archive.snapshot(class).await.unwrap().unwrap();
    let mut found = Vec::new();
    for file in files(&snapshot, &wanted) {
        for lot in lots(archive.store(), Arc::clone(&file), wanted).await.unwrap() {
            found.extend(messages(archive.store(), class, Arc::clone(&file), lot).await.unwrap());
        }
    }
    found
}

/// Every row as JSON, which has its values and not how they are stored; sorted.
fn texts<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<String> {
    let rows =
        batches.into_iter().flat_map(|rows| (0..rows.num_rows()).map(|row| format!("{:?}", row_json(rows, row))));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn the_rows_of_a_gap_come_back() {
    let archive = Archive::open("memory:").unwrap();
    for sequence in 1..=6 {
        append(&archive, scope(Feed::Evt, 3), sequence, batch(CLASS, sequence, 10, true)).await;
    }
    append(&archive, scope(Feed::Evt, 2), 4, batch(CLASS, 40, 10, true)).await;
    let found = read(&archive, CLASS, wanted(3, 2, 5)).await;
    let expected: Vec<_> = (2..=5).map(|sequence| batch(CLASS, sequence, 10, true)).collect();
    assert_eq!(texts(found.iter().map(|found| &found.batch.rows)), texts(expected.iter().map(|batch| &batch.rows)));
    // A message with events of two days is two segments, each with a name of its own.
    let mut ids: Vec<_> = found.iter().map(|found| found.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8);
    assert!(ids.contains(&"c1-0.7.5/3/dns_activity/archived/5/2024-10-04"), "{ids:?}");
    for message in &found {
        assert_eq!((message.partition, message.raw_id.clone()), (3, format!("c1-0.7.{}", message.sequence)));
        assert_eq!(message.received_time_us, START_US + 5 * DAY_US + message.sequence.cast_signed());
        assert_eq!(EventBatch::decode(&message.body).unwrap(), *message.batch);
    }
}

/// The file holds more rows than a lot may have: every message comes back, each in one lot.
#[tokio::test]
async fn a_large_file_is_read_in_lots() {
    let archive = Archive::open("memory:").unwrap();
    let scope = scope(Feed::Evt, 0);
    let events = |sequence| Arc::new(batch(Class::BaseEvent, sequence, 1_000, true));
    let batches: Vec<_> = (1..=50).map(|sequence| StoredBatch { scope, sequence, events: events(sequence) }).collect();
    archive.append(Class::BaseEvent, &batches, &[Covered { scope, sequence: 50 }]).await.unwrap();
    let snapshot = archive.snapshot(Class::BaseEvent).await.unwrap().unwrap();
    let wanted = wanted(0, 5, 46);
    for file in files(&snapshot, &wanted) {
        assert!(file.rows > MAX_REFILL_ROWS);
        let cut = lots(archive.store(), Arc::clone(&file), wanted).await.unwrap();
        assert_eq!(cut.iter().map(|lot| (lot.gap.from, lot.gap.to)).collect::<Vec<_>>(), [(5, 37), (38, 46)]);
    }
    let found = read(&archive, Class::BaseEvent, wanted).await;
    let expected: Vec<_> = (5..=46).map(events).collect();
    assert_eq!(texts(found.iter().map(|found| &found.batch.rows)), texts(expected.iter().map(|batch| &batch.rows)));
}

#[tokio::test]
async fn alerts_are_not_taken_for_events() {
    let (archive, class) = (Archive::open("memory:").unwrap(), Class::DetectionFinding);
    append(&archive, scope(Feed::Alert, 0), 2, batch(class, 20, 3, false)).await;
    append(&archive, scope(Feed::Evt, 0), 2, batch(class, 2, 5, true)).await;
    let found = read(&archive, class, wanted(0, 1, 9)).await;
    assert_eq!(texts(found.iter().map(|found| &found.batch.rows)), texts([&batch(class, 2, 5, true).rows]));
}

#[tokio::test]
async fn files_older_than_the_stream_are_of_another_one() {
    let archive = Archive::open("memory:").unwrap();
    append(&archive, scope(Feed::Evt, 0), 2, batch(CLASS, 2, 5, true)).await;
    let snapshot = archive.snapshot(CLASS).await.unwrap().unwrap();
    let now_us = u64::try_from(atalaya_bus::now_us()).unwrap();
    let files = |incarnation| files(&snapshot, &Wanted { incarnation, ..wanted(0, 1, 9) }).len();
    assert_eq!((files(now_us - 1_000_000), files(now_us + 3_600_000_000)), (2, 0));
}

#[test]
fn lots_are_cut_between_messages() {
    let rows = |counts: &[u64]| (10..).zip(counts.iter().copied()).collect::<BTreeMap<u64, u64>>();
    let gap = |from, to| Gap { from, to };
    assert_eq!(cut(&rows(&[])), []);
    assert_eq!(cut(&rows(&[1_000; 3])), [gap(10, 12)]);
    assert_eq!(cut(&rows(&[1_000; 20])), [gap(10, 26), gap(27, 29)]);
    assert_eq!(cut(&rows(&[MAX_REFILL_ROWS; 2])), [gap(10, 10), gap(11, 11)]);
}
