//! The balanced books as a fold over the streams.
//!
//! RAW, EVT, ALERT and DLQ are folded each on its own; a fold stands in bucket `ledger` with its position, in one entry,
//! so that it can be taken up again anywhere. The holder of lease `ledger` folds; every other gateway reads the entries.

pub mod alarms;
pub mod domains;
pub mod fold;
pub mod parked;
pub mod rates;
pub mod settle;
pub mod tally;

mod keeper;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atalaya_bus::{BucketError, Bus, BusError, Floors, Sequence, Stream};

pub use fold::{AlertFold, EvtFold, RawFold};
pub use parked::ParkedFold;
pub use settle::FloorView;
pub(crate) use worker::run;

/// The folds of all streams.
#[derive(Clone, Debug, Default)]
pub struct Folds {
    /// RAW.
    pub raw: RawFold,
    /// EVT.
    pub evt: EvtFold,
    /// ALERT.
    pub alert: AlertFold,
    /// DLQ.
    pub parked: ParkedFold,
}

/// The ledger as this process knows it. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    bus: Arc<dyn Bus>,
    floors: Floors,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    folds: Folds,
    alarms: Vec<String>,
    losses: Vec<String>,
    last_error: String,
}

impl Ledger {
    /// A ledger that knows nothing yet.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn open(bus: Arc<dyn Bus>) -> Result<Self, BusError> {
        let floors = Floors::open(bus.as_ref()).await?;
        Ok(Self { bus, floors, shared: Arc::default() })
    }

    /// Looks at the folds; not to be held.
    pub fn with<T>(&self, look: impl FnOnce(&Folds) -> T) -> T {
        look(&self.lock().folds)
    }

    /// Differences that have been open for more than a minute, and messages that were gone before they were counted.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let shared = self.lock();
        shared.losses.iter().chain(&shared.alarms).cloned().collect()
    }

    /// What went wrong last; empty if nothing did.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.lock().last_error.clone()
    }

    /// Every reader's floor.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn floors(&self) -> Result<FloorView, BucketError> {
        let mut view = FloorView::default();
        for stream in [Stream::Raw, Stream::Evt, Stream::Alert] {
            view.add(stream, self.floors.all(stream).await?);
        }
        Ok(view)
    }

    /// Up to where a stream is folded.
    #[must_use]
    pub fn folded(&self, stream: Stream) -> Sequence {
        use fold::Fold;
        self.with(|folds| match stream {
            Stream::Raw => folds.raw.position().sequence,
            Stream::Evt => folds.evt.position().sequence,
            Stream::Alert => folds.alert.position().sequence,
            Stream::Dlq => folds.parked.position().sequence,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_error(&self, error: String) {
        self.lock().last_error = error;
    }
}
