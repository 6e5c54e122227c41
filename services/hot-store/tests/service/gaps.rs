//! What the trim took before it was filed comes from the archive, once.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use atalaya_archive::{Covered, Feed, Scope, StoredBatch};
use atalaya_bus::{Gaps, TrimReader, Trimmer};
use atalaya_hot::Lookup;
use atalaya_hot::conformance::world::NOON_US;
use atalaya_schema::{EventBatch, arrow_schema, col, row_json};

use super::*;

/// Of EVT: a fraction of what the tests write.
const MAX_BYTES: u64 = 512 << 10;

const HOUR_US: i64 = 3_600_000_000;

/// A bus with little room, and a world of one day whose rows name their source and record, as the normalizer's do.
fn small(directory: &Path, seed: u64, messages: usize) -> (Arc<dyn Bus>, World) {
    let options = Options { partitions: PARTITIONS, max_bytes: MAX_BYTES, ..Options::default() };
    let mut world = World::random(seed, messages).unwrap();
    for message in &mut world.messages {
        let (class, rows) = (message.batch.class, message.batch.rows.num_rows());
        let schema = arrow_schema(class);
        let mut columns = message.batch.rows.columns().to_vec();
        let records = (0..rows).map(|row| format!("{}#{row}", message.raw_id));
        columns[col::RAW_REF] = Arc::new(StringArray::from_iter_values(records));
        let times = (0..rows).map(|row| NOON_US + message.received_time_us % HOUR_US + row as i64);
        columns[col::TIME] = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
        let sources = StringArray::from(vec!["test"; rows]);
        columns[col::SOURCE] = cast(&sources, schema.field(col::SOURCE).data_type()).unwrap();
        let batch = EventBatch::new(class, RecordBatch::try_new(schema, columns).unwrap()).unwrap();
        message.body = batch.encode();
        message.batch = Arc::new(batch);
    }
    (Arc::new(Journal::open(directory, &options).unwrap()), world)
}

/// Archives messages and moves the floors, as the cold archive does. They are the only ones in EVT.
async fn archive(bus: &Arc<dyn Bus>, archive: &Archive, world: &World, messages: std::ops::Range<usize>) {
    let incarnation = bus.info(Stream::Evt).await.unwrap().incarnation;
    let (mut batches, mut covered) = (BTreeMap::<_, Vec<StoredBatch>>::new(), BTreeMap::new());
    for (at, message) in messages.clone().zip(&world.messages[messages]) {
        let (sequence, partition, events) = (at as u64 + 1, message.partition, Arc::clone(&message.batch));
        let scope = Scope { feed: Feed::Evt, incarnation, partition };
        let (last, rows) = covered.entry(partition).or_insert((Covered { scope, sequence }, 0));
        (last.sequence, *rows) = (sequence, *rows + events.rows.num_rows() as u64);
        batches.entry(events.class as usize).or_default().push(StoredBatch { scope, sequence, events });
    }
    let positions: Vec<_> = covered.values().map(|(covered, _)| *covered).collect();
    for batches in batches.into_values() {
        archive.append(batches[0].events.class, &batches, &positions).await.unwrap();
    }
    let floors = Floors::open(bus.as_ref()).await.unwrap();
    for (partition, (Covered { sequence, .. }, archived)) in covered {
        let mut entry = floors.hold(Stream::Evt, "archive", &partition.to_string()).await.unwrap();
        let mut floor = entry.floor().cloned().unwrap_or_default();
        floor.books.add(&key("shared"), Counts { archived, ..Counts::default() });
        floor.position = Position { incarnation, sequence, id: String::new() };
        entry.set(floor).await.unwrap();
    }
}

/// Writes and archives messages while nobody files them: several times what the stream holds.
async fn overrun(bus: &Arc<dyn Bus>, archived: &Archive, world: &World, messages: std::ops::Range<usize>) {
    let _ = bus.bucket("lanes").await.unwrap().put("c1-0", "{}".into(), 0, None).await;
    let readers = vec![TrimReader::awaited("archive"), TrimReader::yielding("hot")];
    let trimmer = Trimmer::open(Arc::clone(bus), Stream::Evt, readers, 0).await.unwrap();
    let bytes: usize = world.messages[messages.clone()].iter().map(|message| message.body.len()).sum();
    assert!(bytes as u64 > 2 * MAX_BYTES, "{bytes} bytes do not overrun the stream");
    for from in messages.clone().step_by(15) {
        let lot = from..messages.end.min(from + 15);
        let writing = write_events(bus, world, lot.clone());
        tokio::time::timeout(PATIENCE, writing).await.expect("the stream is full and nobody trims it");
        archive(bus, archived, world, lot).await;
        while trimmer.step().await.unwrap().more {}
    }
    let filed = floors(bus, Stream::Evt).await.iter().map(|(_, floor)| floor.position.sequence).max().unwrap_or(0);
    assert!(bus.info(Stream::Evt).await.unwrap().first > filed + 1, "nothing was trimmed that hot needs");
    assert!(!gaps(bus).await.is_empty());
}

async fn gaps(bus: &Arc<dyn Bus>) -> Vec<String> {
    let entries = bus.bucket("gaps").await.unwrap().list("").await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

/// Takes the leases of the dead away, as if they had run out.
async fn break_leases(bus: &Arc<dyn Bus>) {
    let leases = bus.bucket("leases").await.unwrap();
    for entry in leases.list("").await.unwrap() {
        leases.delete(&entry.key).await.unwrap();
    }
}

async fn wait_until_refilled(bus: &Arc<dyn Bus>) {
    wait_until("the gaps to be closed", async || gaps(bus).await.is_empty()).await;
}

/// Every row of every tenant is found, and found once.
async fn check_rows(hot: &Arc<dyn Hot>, world: &World, messages: std::ops::Range<usize>) {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for message in &world.messages[messages] {
        let rows = &message.batch.rows;
        expected.extend((0..rows.num_rows()).map(|row| format!("{:?}", row_json(rows, row))));
    }
    for tenant in TENANTS {
        let mut asked: Lookup = lookup(tenant, LookupKind::Tenant, "", 500);
        loop {
            let page = hot.lookup(&asked).await.unwrap();
            found.extend(page.rows.iter().map(|hit| format!("{:?}", row_json(&hit.batch, hit.row))));
            asked.token = page.next;
            if asked.token.is_none() {
                break;
            }
        }
    }
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "other rows than those written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_passes_a_stopped_hot_store_and_the_archive_refills_it() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, world) = small(&directory.path().join("bus"), 81, 420);
    let (hot, archived) = (hot(&directory.path().join("hot")).await, archive_in(directory.path()));
    write_events(&bus, &world, 0..20).await;
    let service = Running::with(&bus, &hot, &archived);
    wait_until_counted(&bus, rows(&world, 0..20)).await;
    service.drain().await;
    archive(&bus, &archived, &world, 0..20).await;
    overrun(&bus, &archived, &world, 20..360).await;
    let service = Running::with(&bus, &hot, &archived);
    // What comes meanwhile is filed beside the refill; the archive is behind it.
    write_events(&bus, &world, 360..390).await;
    wait_until_counted(&bus, rows(&world, 0..390)).await;
    wait_until_refilled(&bus).await;
    // Nothing is counted again, or left over, when it starts anew.
    service.drain().await;
    archive(&bus, &archived, &world, 360..390).await;
    let service = Running::with(&bus, &hot, &archived);
    write_events(&bus, &world, 390..410).await;
    wait_until_counted(&bus, rows(&world, 0..410)).await;
    service.drain().await;
    assert_eq!(counted(&bus).await, Counts { hot: rows(&world, 0..410), ..Counts::default() });
    check_rows(&hot, &world, 0..410).await;
}

/// It dies wherever it is, again and again: the refill starts over, and counts once.
#[tokio::test(flavor = "multi_thread")]
async fn a_refill_that_dies_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, world) = small(&directory.path().join("bus"), 82, 360);
    let (hot, archived) = (hot(&directory.path().join("hot")).await, archive_in(directory.path()));
    overrun(&bus, &archived, &world, 0..360).await;
    let mut died_half_way = 0;
    for round in 1..=12_u64 {
        let service = Running::with(&bus, &hot, &archived);
        tokio::time::sleep(Duration::from_millis(25 * round)).await;
        service.kill().await;
        let counts = counted(&bus).await;
        assert!(counts.hot + counts.expired <= rows(&world, 0..360), "round {round}: {counts:?}");
        died_half_way += u32::from(!gaps(&bus).await.is_empty());
        break_leases(&bus).await;
    }
    assert!(died_half_way > 0, "every life was long enough");
    let service = Running::with(&bus, &hot, &archived);
    wait_until_counted(&bus, rows(&world, 0..360)).await;
    wait_until_refilled(&bus).await;
    service.drain().await;
    check_rows(&hot, &world, 0..360).await;
}

/// It stopped between counting and forgetting: the gap is there still, and nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_is_not_counted_again() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, world) = small(&directory.path().join("bus"), 83, 40);
    let (hot, archived) = (hot(&directory.path().join("hot")).await, archive_in(directory.path()));
    write_events(&bus, &world, 0..40).await;
    archive(&bus, &archived, &world, 0..40).await;
    let service = Running::with(&bus, &hot, &archived);
    wait_until_counted(&bus, rows(&world, 0..40)).await;
    service.drain().await;
    let recorded = Gaps::open(bus.as_ref()).await.unwrap();
    recorded.record(Stream::Evt, "hot", "1", atalaya_bus::Gap { from: 1, to: 30 }).await.unwrap();
    let service = Running::with(&bus, &hot, &archived);
    wait_until_refilled(&bus).await;
    service.drain().await;
    assert_eq!(counted(&bus).await, Counts { hot: rows(&world, 0..40), ..Counts::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_by_the_time_it_is_refilled_is_counted_as_expired() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, world) = small(&directory.path().join("bus"), 84, 360);
    let url = format!("file:{}?retention=30d", directory.path().join("hot").display());
    let (hot, archived) = (atalaya_hot::open(&url).await.unwrap(), archive_in(directory.path()));
    overrun(&bus, &archived, &world, 0..360).await;
    let service = Running::with(&bus, &hot, &archived);
    wait_until_counted(&bus, rows(&world, 0..360)).await;
    wait_until_refilled(&bus).await;
    service.drain().await;
    assert_eq!(counted(&bus).await, Counts { expired: rows(&world, 0..360), ..Counts::default() });
}

/// The trim was by hand, and the archive is away: reading goes on behind the gap, which waits.
#[tokio::test(flavor = "multi_thread")]
async fn filing_goes_on_while_the_archive_is_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, world) = small(&directory.path().join("bus"), 85, 60);
    let (hot, archived) = (hot(&directory.path().join("hot")).await, archive_in(directory.path()));
    write_events(&bus, &world, 0..20).await;
    let service = Running::with(&bus, &hot, &archived);
    wait_until_counted(&bus, rows(&world, 0..20)).await;
    service.drain().await;
    write_events(&bus, &world, 20..60).await;
    let filters = OutputLane::evt(&"c1-0".parse().unwrap()).kept(PARTITIONS);
    assert_eq!(bus.trim(Stream::Evt, 41, &filters).await.unwrap(), 41);
    let service = Running::with(&bus, &hot, &archived);
    wait_until_counted(&bus, rows(&world, 0..20) + rows(&world, 40..60)).await;
    assert_eq!(gaps(&bus).await, ["EVT.hot.0", "EVT.hot.1", "EVT.hot.2"]);
    archive(&bus, &archived, &world, 0..60).await;
    wait_until_counted(&bus, rows(&world, 0..60)).await;
    wait_until_refilled(&bus).await;
    service.drain().await;
    check_rows(&hot, &world, 0..60).await;
}
