//! Keeps snapshots, and tells the floor that follows from them.

use atalaya_bus::{Floor, FloorEntry, Position};
use atalaya_model::Books;
use tokio::task::JoinHandle;

use crate::state::{Snapshot, StateStore};

/// Snapshots at one position: with two, the floor can follow a partition that has gone quiet.
const COPIES: u8 = 2;

/// What it takes to keep a snapshot.
struct Place {
    state: StateStore,
    floor: FloorEntry,
}

/// One partition's snapshots. One is kept at a time, beside everything else.
pub(crate) struct Keeper {
    place: Option<Place>,
    keeping: Option<JoinHandle<(Place, anyhow::Result<()>)>>,
    newest: Option<u64>,
    copies: u8,
}

impl Keeper {
    pub(crate) fn new(state: StateStore, floor: FloorEntry) -> Self {
        Self { place: Some(Place { state, floor }), keeping: None, newest: None, copies: 0 }
    }

    /// Whether a snapshot at this position would be of use.
    pub(crate) fn wants(&self, sequence: u64) -> bool {
        self.newest != Some(sequence) || self.copies < COPIES
    }

    /// Whether there is one at this position.
    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.newest == Some(sequence) && self.copies > 0
    }

    /// Whether one is being kept.
    pub(crate) fn is_busy(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished())
    }

    /// Begins to keep a snapshot, after the one before. Errors are those of the one before.
    pub(crate) async fn keep(&mut self, snapshot: Snapshot) -> anyhow::Result<()> {
        let before = self.finish().await;
        let sequence = snapshot.position.sequence;
        self.copies = if self.newest == Some(sequence) { self.copies } else { 0 };
        self.newest = Some(sequence);
        if let Some(mut place) = self.place.take() {
            let copy = self.copies;
            self.keeping = Some(tokio::spawn(async move {
                let kept = place.keep(&snapshot, copy).await;
                (place, kept)
            }));
            self.copies += 1;
        }
        before
    }

    /// Waits for the snapshot that is being kept.
    pub(crate) async fn finish(&mut self) -> anyhow::Result<()> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let joined = keeping.await;
        self.keeping = None;
        let (place, kept) = joined?;
        self.place = Some(place);
        if kept.is_err() {
            self.newest = None;
            self.copies = 0;
        }
        kept
    }
}

impl Place {
    async fn keep(&mut self, snapshot: &Snapshot, copy: u8) -> anyhow::Result<()> {
        let names = self.state.save(snapshot, copy).await?;
        let Some(second) = names.get(1) else { return Ok(()) };
        let (incarnation, sequence) = (snapshot.position.incarnation, second.sequence);
        if self.floor.floor().is_some_and(|floor| floor.position.sequence >= sequence) {
            return Ok(());
        }
        let id = if sequence == snapshot.position.sequence { snapshot.position.id.clone() } else { String::new() };
        let position = Position { incarnation, sequence, id };
        Ok(self.floor.set(Floor { position, books: Books::default() }).await?)
    }
}
