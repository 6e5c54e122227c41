//! Admitted once: what of an input was taken in before. Pure.
//!
//! A file is known by its source and tenant and by running digests of its decompressed bytes. Its first record is the
//! **root**. From an anchor (the root, or a later prefix) a stored **continuation** says how much further an input was
//! admitted and which digest the bytes have there. Whoever reads a file again follows continuations as long as the
//! digests agree, and takes in only what comes after: the same file, a grown one or a recompressed one gives only what
//! is new, and a file that merely begins alike leaves the path where it differs.
//!
//! A producer that pushes counts its batches; the newest number admitted is remembered.

mod follow;
mod producer;

use std::fmt;

use bytes::Bytes;

pub use follow::{Follow, Follower, Known};
pub use producer::{Admission, Producer};

/// Bytes after which a continuation ends and the next one begins: what is remembered of a file grows by this step, not
/// by its commits.
pub const STRETCH_BYTES: u64 = 1 << 20;

/// A prefix of an input, within its source and tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 16]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What identities are told apart within: a source and its tenant, never a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope([u8; 32]);

impl Scope {
    /// The scope of a source of a tenant (or of `shared`).
    #[must_use]
    pub fn new(source: &str, tenant: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("atalaya admission scope 1");
        for part in [source, tenant] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// A name within the scope, as a bucket's key.
    #[must_use]
    pub fn key(&self, name: &[u8]) -> String {
        blake3::keyed_hash(&self.0, name).to_hex()[..32].to_owned()
    }
}

/// From an anchor: how many bytes further an input was admitted, and the digest there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// Bytes after the anchor.
    pub length: u64,
    /// Of everything up to there.
    pub digest: Digest,
}

const CONTINUATION_BYTES: usize = 24;

impl Continuation {
    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(CONTINUATION_BYTES);
        value.extend_from_slice(&self.length.to_le_bytes());
        value.extend_from_slice(&self.digest.0);
        value.into()
    }

    /// Reads its stored form.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (length, digest) = value.split_first_chunk()?;
        Some(Self { length: u64::from_le_bytes(*length), digest: Digest(digest.try_into().ok()?) })
    }
}

/// Where an input stands: how much of it was read, its digest, and the last anchor.
#[derive(Clone, Debug)]
pub struct Trail {
    hasher: blake3::Hasher,
    offset: u64,
    anchor: Option<(Digest, u64)>,
}

impl Trail {
    /// The beginning of an input.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        Self { hasher: blake3::Hasher::new_keyed(&scope.0), offset: 0, anchor: None }
    }

    /// Goes over these bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
    }

    /// Bytes passed.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the first record was passed.
    #[must_use]
    pub fn has_root(&self) -> bool {
        self.anchor.is_some()
    }

    /// Of everything passed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.hasher.finalize().as_bytes()[..16]);
        Digest(digest)
    }

    /// Makes this place the anchor.
    pub fn anchor_here(&mut self) -> Digest {
        let digest = self.digest();
        self.anchor = Some((digest, self.offset));
        digest
    }

    /// What to remember when everything passed is admitted; nothing before the root.
    pub fn admit(&mut self) -> Option<Admitted> {
        let (anchor, at) = self.anchor?;
        let continuation = Continuation { length: self.offset - at, digest: self.digest() };
        if continuation.length >= STRETCH_BYTES {
            self.anchor = Some((continuation.digest, self.offset));
        }
        Some(Admitted { anchor, continuation })
    }
}

/// That an input was admitted further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// From where.
    pub anchor: Digest,
    /// How far.
    pub continuation: Continuation,
}

impl Admitted {
    /// The entry's key: each input (`writer`) has one under each anchor, and replaces it as it comes further.
    #[must_use]
    pub fn key(&self, writer: &str) -> String {
        format!("{}{writer}", continuations_of(self.anchor))
    }
}

/// What the keys of all continuations of an anchor begin with.
#[must_use]
pub fn continuations_of(anchor: Digest) -> String {
    format!("{anchor}.")
}

#[cfg(test)]
mod tests;
