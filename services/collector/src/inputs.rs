//! Which inputs are open, so that none stays open for ever.
//!
//! An input's open is remembered in the commit that writes it, and forgotten in the commit of its close; what a run
//! leaves behind is closed by the next one. A backfill names the number of its inputs in each open, and nothing there
//! moves before all were seen: its inputs are remembered until the last one is closed, so that after a crash those that
//! were never opened can be opened and closed.

use std::collections::BTreeMap;

use atalaya_model::LaneId;
use atalaya_proto::raw_v1::{Entry, RawHeader};
use bytes::Bytes;
use prost::Message;

use crate::cut::{Note, Stamp};
use crate::intake::{Input, Intake};
use crate::spool::SpoolError;
use crate::telemetry;

/// The spool's bucket of inputs: `<lane>.<input>` → a RAW header whose `entry` is open or close.
pub(crate) const BUCKET: &str = "inputs";

/// The lane that an input of this name falls into.
#[must_use]
pub(crate) fn lane_of(input_name: &str, lanes: usize) -> usize {
    let hash = blake3::hash(input_name.as_bytes());
    let mut number = [0; 8];
    number.copy_from_slice(&hash.as_bytes()[..8]);
    usize::try_from(u64::from_le_bytes(number) % lanes.max(1) as u64).unwrap_or_default()
}

/// The key of an input.
pub(crate) fn key(lane: &LaneId, input: u64) -> String {
    format!("{lane}.{input:020}")
}

/// That an input is open, to be written with its open.
pub(crate) fn opened(lane: &LaneId, input: u64, stamp: &Stamp) -> Note {
    Note { bucket: BUCKET, key: key(lane, input), value: Some(value(Entry::Open, stamp)) }
}

fn value(entry: Entry, stamp: &Stamp) -> Bytes {
    RawHeader { entry: entry.into(), ..stamp.header() }.encode_to_vec().into()
}

/// Closes the inputs of one backfill, and forgets all of them with the last.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    closed: Vec<String>,
}

impl Closing {
    /// Closes one of the inputs; one at a time.
    pub(crate) async fn close(&mut self, input: Input, mut notes: Vec<Note>) -> Result<(), SpoolError> {
        let key = input.key();
        let last = self.closed.len() + 1 >= input.stamp().domain_inputs as usize;
        let value = (!last).then(|| value(Entry::Close, input.stamp()));
        if last {
            let forget = |key: String| Note { bucket: BUCKET, key, value: None };
            notes.extend(std::mem::take(&mut self.closed).into_iter().map(forget));
        } else {
            self.closed.push(key.clone());
        }
        input.close_with(Note { bucket: BUCKET, key, value }, notes).await
    }
}

/// What an earlier run left of one domain.
#[derive(Debug, Default, PartialEq)]
struct Leftover {
    closed: Vec<String>,
    open: Vec<(LaneId, u64, Stamp)>,
    /// Inputs that a backfill announced and never opened, and what is said of them.
    missing: Vec<Stamp>,
}

/// Sorts what is remembered by domain. Pure; what cannot be read is passed over.
fn leftovers(entries: &[(String, Bytes)]) -> BTreeMap<String, Leftover> {
    let mut domains = BTreeMap::<String, Leftover>::new();
    let mut announced = BTreeMap::<String, Stamp>::new();
    for (key, value) in entries {
        let read =
            RawHeader::decode(value.as_ref()).ok().and_then(|header| Some((Stamp::of(&header)?, header.entry())));
        let place = key.split_once('.').and_then(|(lane, input)| Some((lane.parse().ok()?, input.parse().ok()?)));
        let (Some((stamp, entry)), Some((lane, input))) = (read, place) else { continue };
        let leftover = domains.entry(stamp.domain.clone()).or_default();
        announced.entry(stamp.domain.clone()).or_insert_with(|| stamp.clone());
        if entry == Entry::Close {
            leftover.closed.push(key.clone());
        } else {
            leftover.open.push((lane, input, stamp));
        }
    }
    for (domain, leftover) in &mut domains {
        let Some(stamp) = announced.remove(domain) else { continue };
        let seen = leftover.closed.len() + leftover.open.len();
        let unread = |n: usize| Stamp { input_name: format!("(not read) {n}"), ..stamp.clone() };
        leftover.missing = (seen..stamp.domain_inputs as usize).map(unread).collect();
    }
    domains
}

/// Closes what an earlier run left open.
///
/// # Errors
/// If the spool failed.
pub(crate) async fn recover(intake: &Intake, entries: &[(String, Bytes)]) -> Result<(), SpoolError> {
    for (domain, leftover) in leftovers(entries) {
        telemetry::inputs_recovered(&domain, leftover.open.len(), leftover.missing.len());
        let adopted = leftover.open.into_iter().filter_map(|(lane, number, stamp)| intake.adopt(&lane, stamp, number));
        if domain == atalaya_model::LIVE_DOMAIN {
            for input in adopted {
                input.close(Vec::new()).await?;
            }
            continue;
        }
        let mut inputs: Vec<_> = adopted.collect();
        for stamp in leftover.missing {
            inputs.push(intake.open(stamp).await?);
        }
        let mut closing = Closing { closed: leftover.closed };
        for input in inputs {
            closing.close(input, Vec::new()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(domain: &str, domain_inputs: u32) -> Stamp {
        Stamp {
            source: "zeek".parse().unwrap(),
            kind: "zeek".into(),
            tenant: "shared".into(),
            domain: domain.into(),
            input_name: "/logs/dns.log".into(),
            lateness_us: 5,
            domain_inputs,
        }
    }

    #[test]
    fn leftovers_are_told_by_domain() {
        let lane: LaneId = "c1-0".parse().unwrap();
        let (live, replay) = (stamp("live", 0), stamp("replay-1-1", 4));
        let mut entries: Vec<_> = [(1, &live), (2, &replay), (3, &replay)]
            .map(|(input, stamp)| opened(&lane, input, stamp))
            .map(|note| (note.key, note.value.unwrap()))
            .into();
        entries[2].1 = value(Entry::Close, &replay);
        entries.push(("c1-0.5".into(), Bytes::from_static(b"\xff")));
        let found = leftovers(&entries);
        assert_eq!(found["live"].open, [(lane.clone(), 1, live)]);
        assert_eq!((found["live"].missing.len(), found["live"].closed.len()), (0, 0));
        assert_eq!(found["replay-1-1"].open, [(lane, 2, replay)]);
        assert_eq!((found["replay-1-1"].missing.len(), found["replay-1-1"].closed.len()), (2, 1));
    }

    #[test]
    fn lanes_are_stable_and_all_used() {
        let mut used: Vec<_> = (0..64).map(|n| lane_of(&format!("/logs/{n}"), 4)).collect();
        assert_eq!(used[7], lane_of("/logs/7", 4));
        used.sort_unstable();
        used.dedup();
        assert_eq!(used, [0, 1, 2, 3]);
    }
}
