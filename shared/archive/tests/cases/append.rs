//! Appends, read back: rows once each, in order, in their partitions; checkpoints; tables of other shapes.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use atalaya_archive::{Archive, ArchiveError, Bound, DataFile, Feed, Scope, TableSnapshot, day_of};
use atalaya_model::Class;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::common::place::Place;
use crate::common::{CLASS, START_US, covered, expected, identities, message, read, scope, stored_files};

pub async fn rows_read_back_once_each_sorted_within_their_day(place: &Place) {
    let archive = place.open();
    assert!(archive.snapshot(CLASS).await.unwrap().is_none());
    let messages = [message(0, 1, 100), message(1, 2, 30), message(0, 3, 7)];
    let committed = archive.append(CLASS, &messages, &[covered(0, 3), covered(1, 2)]).await.unwrap();
    assert_eq!((committed.version, committed.rows), (1, 137));
    assert_eq!(identities(&archive).await, expected(&messages));

    let snapshot = archive.snapshot(CLASS).await.unwrap().unwrap();
    assert_eq!((snapshot.position(&scope(0)), snapshot.position(&scope(1))), (Some(3), Some(2)));
    assert_eq!(snapshot.files.len(), 3, "one file per day");
    for file in snapshot.files.iter() {
        let (min, max) = file.time_range().unwrap();
        assert_eq!((file.day, file.policy.as_deref()), (Some(day_of(min)), Some("standard")));
        assert_eq!(day_of(min), day_of(max));
        assert_eq!(file.range("tenant").unwrap().min, Some(Bound::Text("acme".into())));
        assert!(file.path.as_ref().starts_with("dns_activity/day=20"), "{}", file.path);
    }
    for batch in read(&archive).await {
        let tenants = batch.column_by_name("tenant").unwrap().as_string::<i32>();
        let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        let keys: Vec<_> = tenants.iter().zip(times.iter()).collect();
        assert!(keys.is_sorted(), "files are sorted by tenant and time");
    }
}

pub async fn what_was_appended_is_not_appended_again(place: &Place) {
    let archive = place.open();
    let first = [message(0, 1, 10), message(0, 2, 10)];
    let both = [message(0, 2, 10), message(0, 3, 10), message(1, 9, 10)];
    archive.append(CLASS, &first, &[covered(0, 2)]).await.unwrap();
    let again = archive.append(CLASS, &first, &[covered(0, 2)]).await.unwrap();
    assert_eq!((again.version, again.rows), (1, 0));
    let overlapping = archive.append(CLASS, &both, &[covered(0, 3), covered(1, 9)]).await.unwrap();
    assert_eq!(overlapping.rows, 20);
    let all = [message(0, 1, 10), message(0, 2, 10), message(0, 3, 10), message(1, 9, 10)];
    assert_eq!(identities(&archive).await, expected(&all));
    assert_eq!(archive.position(CLASS, &scope(1)).await.unwrap(), Some(9));
}

pub async fn another_stream_or_incarnation_has_positions_of_its_own(place: &Place) {
    let archive = place.open();
    let mut rows = 0;
    for (feed, incarnation) in [(Feed::Evt, 7), (Feed::Alert, 7), (Feed::Evt, 8)] {
        let scope = Scope { feed, incarnation, partition: 0 };
        let mut batch = message(0, 1, 10);
        batch.scope = scope;
        let covered = atalaya_archive::Covered { scope, sequence: 1 };
        rows += archive.append(CLASS, &[batch], &[covered]).await.unwrap().rows;
    }
    assert_eq!(rows, 30);
}

pub async fn rows_that_nothing_covers_are_refused(place: &Place) {
    let archive = place.open();
    archive.append(CLASS, &[message(0, 1, 1)], &[covered(0, 1)]).await.unwrap();
    for covering in [vec![], vec![covered(0, 1)], vec![covered(1, 5)]] {
        let refused = archive.append(CLASS, &[message(0, 2, 1)], &covering).await;
        assert!(matches!(refused, Err(ArchiveError::Uncovered { sequence: 2, .. })), "{refused:?}");
    }
}

pub async fn nothing_to_write_makes_no_commit(place: &Place) {
    let archive = place.open();
    archive.append(CLASS, &[], &[covered(0, 5)]).await.unwrap();
    assert!(archive.snapshot(CLASS).await.unwrap().is_none());
}

pub async fn checkpoints_carry_files_and_positions(place: &Place) {
    let archive = place.open();
    let mut messages = Vec::new();
    for sequence in 1..=45 {
        let partition = u16::try_from(sequence % 4).unwrap();
        messages.push(message(partition, sequence, 3));
        archive.append(CLASS, &messages[messages.len() - 1..], &[covered(partition, sequence)]).await.unwrap();
    }
    let checkpoint = Path::from("dns_activity/_delta_log/00000000000000000040.checkpoint.parquet");
    archive.store().head(&checkpoint).await.unwrap();
    let (live, fresh) = (archive.snapshot(CLASS).await.unwrap().unwrap(), place.open());
    let loaded = fresh.snapshot(CLASS).await.unwrap().unwrap();
    assert_eq!((loaded.version, loaded.rows()), (45, 135));
    assert_eq!(loaded.positions, live.positions);
    let sorted = |files: &[Arc<DataFile>]| {
        let mut files: Vec<_> = files.iter().map(|file| (file.path.to_string(), (**file).clone())).collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files
    };
    assert_eq!(sorted(&loaded.files), sorted(&live.files));
    assert_eq!(identities(&fresh).await, expected(&messages));
}

/// An archive with nothing but the first commit of a table, changed as `change` says.
async fn table_with(place: &Place, change: impl Fn(&mut String)) -> Archive {
    place.clear().await;
    let first = place.open();
    first.append(CLASS, &[message(0, 1, 1)], &[covered(0, 1)]).await.unwrap();
    let commit = Path::from("dns_activity/_delta_log/00000000000000000000.json");
    let text = first.store().get(&commit).await.unwrap().bytes().await.unwrap();
    let mut text = String::from_utf8(text.to_vec()).unwrap();
    change(&mut text);
    place.clear().await;
    first.store().put(&commit, text.into()).await.unwrap();
    place.open()
}

fn replace(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from} in {text}");
    *text = text.replace(from, to);
}

pub async fn columns_the_table_does_not_have_are_added(place: &Place) {
    let query = r#",{\"name\":\"query\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}}"#;
    let archive = table_with(place, |text| replace(text, query, "")).await;
    let has_query = |snapshot: &TableSnapshot| snapshot.schema.column_with_name("query").is_some();
    assert!(!has_query(archive.snapshot(CLASS).await.unwrap().unwrap().as_ref()));
    archive.append(CLASS, &[message(0, 1, 5)], &[covered(0, 1)]).await.unwrap();
    assert!(has_query(archive.snapshot(CLASS).await.unwrap().unwrap().as_ref()));
    let loaded = place.open();
    assert!(has_query(loaded.snapshot(CLASS).await.unwrap().unwrap().as_ref()));
    assert_eq!(identities(&loaded).await, expected(&[message(0, 1, 5)]));
}

pub async fn tables_of_another_kind_are_refused(place: &Place) {
    for (from, to, reason) in [
        (r#""minReaderVersion":1"#, r#""minReaderVersion":2"#, "reader version 2"),
        (r#""configuration":{"#, r#""configuration":{"delta.columnMapping.mode":"name","#, "mapped by name"),
    ] {
        let archive = table_with(place, |text| replace(text, from, to)).await;
        let refused = archive.snapshot(CLASS).await;
        assert!(refused.as_ref().is_err_and(|e| e.to_string().contains(reason)), "{reason}: {refused:?}");
    }
    let types = (r#"\"name\":\"src_port\",\"type\":\"integer\""#, r#"\"name\":\"src_port\",\"type\":\"string\""#);
    let writer = (r#""minWriterVersion":2"#, r#""minWriterVersion":4"#);
    for ((from, to), reason) in [(types, "src_port"), (writer, "writer version 4")] {
        let archive = table_with(place, |text| replace(text, from, to)).await;
        let refused = archive.append(CLASS, &[message(0, 1, 5)], &[covered(0, 1)]).await;
        assert!(refused.as_ref().is_err_and(|e| e.is_permanent() && e.to_string().contains(reason)), "{refused:?}");
        assert_eq!(stored_files(archive.store().as_ref()).await, [], "{reason}: nothing is left behind");
    }
}

pub async fn times_no_calendar_holds_are_kept(place: &Place) {
    let archive = place.open();
    let mut rows = atalaya_schema::Rows::new(CLASS);
    for time_us in [i64::MIN, i64::MAX, START_US] {
        rows.begin();
        rows.text(atalaya_schema::col::TENANT, "acme");
        rows.time(atalaya_schema::col::TIME, time_us);
        rows.end();
    }
    let mut batch = message(0, 1, 1);
    batch.events = Arc::new(atalaya_schema::EventBatch::new(CLASS, rows.finish()).unwrap());
    assert_eq!(archive.append(CLASS, &[batch], &[covered(0, 1)]).await.unwrap().rows, 3);
    assert_eq!(archive.snapshot(CLASS).await.unwrap().unwrap().files.len(), 3);
    assert!(archive.snapshot(Class::HttpActivity).await.unwrap().is_none());
}
