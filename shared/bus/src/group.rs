//! The processes of one service, and how many of its leases each may hold: a fair share, so that work spreads when one
//! comes, and moves when one goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::{Bucket, BucketError, holder_name};

/// A process's membership in a service; it ends when this is dropped, or its time to live after the process died.
pub struct Group {
    pub(crate) leases: Arc<dyn Bucket>,
    pub(crate) holder: String,
    /// How long leases, and the membership, stay with a process that says nothing.
    pub(crate) ttl: Duration,
    key: String,
    members: String,
    /// How many leases this process may hold; 0 until it knows who else is there.
    share: watch::Sender<usize>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    total: usize,
    next: u64,
    /// Each asks its holder to leave.
    taken: BTreeMap<u64, Arc<Notify>>,
}

/// Room for one lease in a process's share.
pub(crate) struct Place {
    group: Arc<Group>,
    number: u64,
    leave: Arc<Notify>,
}

impl Group {
    /// Says, from now on, that this process works for a service whose `total` leases are to be shared.
    #[must_use]
    pub fn join(leases: Arc<dyn Bucket>, service: &str, ttl: Duration, total: usize) -> Arc<Self> {
        let holder = holder_name(service);
        let members = format!("members.{service}.");
        // What a holder's name may be and a key may not.
        let own = holder.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        let group = Arc::new(Self {
            leases,
            ttl,
            key: format!("{members}{own}"),
            holder,
            members,
            share: watch::Sender::new(0),
            places: Mutex::new(Places { total, ..Places::default() }),
        });
        tokio::spawn(attend(Arc::downgrade(&group), Arc::clone(&group.leases), group.key.clone(), group.pause()));
        group
    }

    /// Says that there are more or fewer leases now.
    pub fn set_total(&self, total: usize) {
        self.places().total = total;
    }

    /// Whether this process has less than its share.
    pub(crate) fn has_room(&self) -> bool {
        self.places().taken.len() < *self.share.borrow()
    }

    /// Room for one lease more; none if this process has its share.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        let mut places = self.places();
        if places.taken.len() >= *self.share.borrow() {
            return None;
        }
        let (number, leave) = (places.next, Arc::new(Notify::new()));
        places.next += 1;
        places.taken.insert(number, Arc::clone(&leave));
        Some(Place { group: Arc::clone(self), number, leave })
    }

    /// Waits for a while, or until the share is another.
    pub(crate) async fn wait(&self) {
        let _ = timeout(self.pause(), self.share.subscribe().changed()).await;
    }

    /// How often others are looked for, and leases.
    fn pause(&self) -> Duration {
        self.ttl / 6
    }

    /// Looks who is there, and asks holders to leave whose places are others' now.
    async fn look(&self) -> Result<(), BucketError> {
        say(&self.leases, &self.key, self.ttl).await?;
        let members = self.leases.list(&self.members).await?.len().max(1);
        let places = self.places();
        let share = places.total.div_ceil(members);
        // The newest first: they have the least to do again.
        let surplus = places.taken.len().saturating_sub(share);
        places.taken.values().rev().take(surplus).for_each(|leave| leave.notify_one());
        drop(places);
        self.share.send_if_modified(|known| std::mem::replace(known, share) != share);
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until another process is to have it.
    pub(crate) async fn asked(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.group.places().taken.remove(&self.number);
    }
}

async fn say(leases: &Arc<dyn Bucket>, key: &str, ttl: Duration) -> Result<(), BucketError> {
    let revision = leases.get(key).await?.map_or(0, |entry| entry.revision);
    match leases.put(key, Bytes::from_static(b"here"), revision, Some(ttl)).await {
        // It ran out between the two: said again in a moment.
        Ok(_) | Err(BucketError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Keeps a membership for as long as anybody has it.
async fn attend(group: Weak<Group>, leases: Arc<dyn Bucket>, key: String, pause: Duration) {
    while let Some(group) = group.upgrade() {
        if let Err(error) = group.look().await {
            tracing::debug!("who else is there is not known, to be asked again: {error}");
        }
        drop(group);
        sleep(pause).await;
    }
    // One that is not taken back runs out by itself.
    let _ = leases.delete(&key).await;
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::Bus;
    use crate::journal::{Journal, Options};

    const TTL: Duration = Duration::from_millis(600);

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// One has all; two have half each, the newest places being asked for; one that goes leaves all to the other.
    #[tokio::test]
    async fn leases_are_shared_fairly() {
        let directory = tempfile::tempdir().unwrap();
        let bus = Journal::open(directory.path(), &Options { sync: false, ..Options::default() }).unwrap();
        let leases = bus.bucket("leases").await.unwrap();
        let join = || Group::join(Arc::clone(&leases), "service", TTL, 5);
        let one = join();
        assert!(one.place().is_none(), "nothing before it knows who else is there");
        until("one alone", || *one.share.borrow() == 5).await;
        let mut places: Vec<Place> = std::iter::from_fn(|| one.place()).collect();
        assert_eq!(places.len(), 5);
        let two = join();
        until("two", || *one.share.borrow() == 3 && *two.share.borrow() == 3).await;
        for place in places.drain(3..) {
            timeout(TTL, place.asked()).await.expect("the newest are asked to leave");
        }
        assert!(one.place().is_none() && two.place().is_some());
        one.set_total(9);
        until("a larger share", || *one.share.borrow() == 5).await;
        assert!(one.place().is_some());
        drop(two);
        until("one again", || *one.share.borrow() == 9).await;
    }
}
