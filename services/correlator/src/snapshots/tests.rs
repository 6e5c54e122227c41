mod golden;

use object_store::memory::InMemory;

use super::*;

fn snapshot(sequence: u64, rules: &str, next_rules: &str) -> Snapshot {
    let position = Position { incarnation: 7, sequence, id: format!("m{sequence}") };
    let image = (0..2_000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
    Snapshot { position, rules: rules.to_owned(), next_rules: next_rules.to_owned(), image }
}

async fn names(snapshots: &Snapshots) -> Vec<(u64, u32)> {
    let places = snapshots.upto(3, 7, u64::MAX).await.unwrap();
    places.iter().map(|place| (place.sequence, place.change)).collect()
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let whole = snapshot(9, "a", "b").encode().unwrap();
    assert_eq!(Snapshot::decode(&whole).unwrap(), snapshot(9, "a", "b"));
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(Snapshot::decode(&damaged).is_err(), "byte {at}");
        assert!(Snapshot::decode(&whole[..at]).is_err(), "cut at {at}");
    }
}

/// What the first version wrote: a line without a hash at the end.
#[test]
fn the_first_version_is_read() {
    let Snapshot { position, rules, next_rules, image } = snapshot(9, "a", "a");
    let head = Head { version: 1, position, rules, next_rules };
    let mut bytes = serde_json::to_vec(&head).unwrap();
    bytes.push(b'\n');
    bytes.extend(lz4_flex::block::compress_prepend_size(&image));
    assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot(9, "a", "a"));
    let newer = serde_json::to_vec(&Head { version: VERSION + 1, ..head }).unwrap();
    let error = Snapshot::decode(&[newer, vec![b'\n'; 40]].concat()).unwrap_err();
    assert!(error.to_string().contains("reads up to"), "{error}");
}

#[tokio::test]
async fn the_newest_are_kept_and_a_change_of_rules_is_newer() {
    let snapshots = Snapshots::new(Arc::new(InMemory::new()));
    for sequence in 1..=6 {
        snapshots.put(3, snapshot(sequence, "a", "a")).await.unwrap();
    }
    snapshots.put(3, snapshot(6, "a", "b")).await.unwrap();
    snapshots.put(3, snapshot(6, "b", "c")).await.unwrap();
    // A late one of a process that was overtaken changes nothing.
    snapshots.put(3, snapshot(6, "a", "a")).await.unwrap();
    assert_eq!(names(&snapshots).await, [(6, 2), (6, 1), (6, 0), (5, 0), (4, 0)]);
    let newest = snapshots.upto(3, 7, 6).await.unwrap().swap_remove(0);
    assert_eq!(snapshots.read(&newest).await.unwrap().unwrap(), snapshot(6, "b", "c"));
    assert_eq!(snapshots.upto(3, 7, 5).await.unwrap().len(), 2);
    // Below all others, and yet not let go of at once.
    snapshots.put(3, snapshot(1, "a", "a")).await.unwrap();
    assert!(names(&snapshots).await.contains(&(1, 0)));
}

#[tokio::test]
async fn a_snapshot_of_another_position_is_refused() {
    let store = Arc::new(InMemory::new());
    let snapshots = Snapshots::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let bytes = snapshot(8, "a", "a").encode().unwrap();
    store.put(&Path::from("snapshots/3/7/00000000000000000009"), bytes.into()).await.unwrap();
    let place = snapshots.upto(3, 7, 9).await.unwrap().swap_remove(0);
    assert!(snapshots.read(&place).await.unwrap().is_err());
    let gone = Place { path: Path::from("snapshots/3/7/1"), ..place };
    assert!(snapshots.read(&gone).await.unwrap().is_err());
}
