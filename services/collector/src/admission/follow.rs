//! Reading an input again as far as it is known.

use std::collections::BTreeMap;

use super::{Continuation, Digest, Scope, Trail};
use crate::sources::{Piece, Splitter};

/// The known prefix of an input: everything needed to go on behind it.
pub struct Known {
    /// Where it ends.
    pub trail: Trail,
    /// The state of the splitter there.
    pub splitter: Box<dyn Splitter>,
    /// Records in it.
    pub records: u64,
}

/// What the follower needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// More bytes: these many were used.
    More(usize),
    /// The continuations from this anchor, by [`Follower::learn`]; these many bytes were used.
    Ask(usize, Digest),
    /// Nothing: the known prefix ends, see [`Follower::known`].
    Done,
}

/// Follows the continuations of an input.
pub struct Follower {
    trail: Trail,
    splitter: Box<dyn Splitter>,
    records: u64,
    known: Known,
    ahead: BTreeMap<u64, Vec<Digest>>,
}

impl Follower {
    /// At the beginning of an input.
    #[must_use]
    pub fn new(scope: &Scope, splitter: Box<dyn Splitter>) -> Self {
        let trail = Trail::new(scope);
        let known = Known { trail: trail.clone(), splitter: splitter.boxed_clone(), records: 0 };
        Self { trail, splitter, records: 0, known, ahead: BTreeMap::new() }
    }

    /// Takes the bytes behind those used before; with `end`, there will be no others.
    pub fn take(&mut self, bytes: &[u8], end: bool) -> Follow {
        let (mut used, mut passed) = (0, 0);
        loop {
            if self.trail.has_root() && self.ahead.is_empty() {
                return Follow::Done;
            }
            let (length, counts) = match self.splitter.next(&bytes[used..], end) {
                Piece::More if end => return Follow::Done,
                Piece::More => {
                    self.trail.pass(&bytes[passed..used]);
                    return Follow::More(used);
                }
                Piece::Skip { bytes } => (bytes, false),
                Piece::Record { bytes, .. } | Piece::TooLong { bytes } => (bytes, true),
            };
            used += length;
            if !counts {
                continue;
            }
            self.records += 1;
            let missing_end = if end && used == bytes.len() { self.splitter.missing_end(bytes) } else { b"" };
            let offset = self.trail.offset() + (used - passed + missing_end.len()) as u64;
            if !self.trail.has_root() || self.ahead.keys().next().is_some_and(|&next| next <= offset) {
                self.trail.pass(&bytes[passed..used]);
                self.trail.pass(missing_end);
                passed = used;
                if let Some(anchor) = self.arrive() {
                    return Follow::Ask(used, anchor);
                }
            }
        }
    }

    /// At the root, or where a continuation may end.
    fn arrive(&mut self) -> Option<Digest> {
        if !self.trail.has_root() {
            return Some(self.trail.anchor_here());
        }
        let later = self.ahead.split_off(&(self.trail.offset() + 1));
        let here = std::mem::replace(&mut self.ahead, later).remove(&self.trail.offset())?;
        let digest = self.trail.digest();
        here.contains(&digest).then(|| self.reach())
    }

    /// Everything up to here is known.
    fn reach(&mut self) -> Digest {
        let anchor = self.trail.anchor_here();
        self.known = Known { trail: self.trail.clone(), splitter: self.splitter.boxed_clone(), records: self.records };
        anchor
    }

    /// The continuations from the anchor that was asked for.
    pub fn learn(&mut self, continuations: &[Continuation]) {
        for continuation in continuations {
            if continuation.length > 0 {
                let end = self.trail.offset().saturating_add(continuation.length);
                self.ahead.entry(end).or_default().push(continuation.digest);
            } else if self.known.trail.offset() < self.trail.offset() {
                self.reach();
            }
        }
    }

    /// The prefix that is known: empty if nothing is.
    #[must_use]
    pub fn known(self) -> Known {
        self.known
    }
}
