//! Page tokens: where a page ended, bound to the lookup it belongs to.

use crate::{HotError, Lookup};

const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;
const TOKEN_BYTES: usize = 1 + 8 + 8 + ID_BYTES + CHECK_BYTES;

/// Everything newer than `(time_us, id)`, and that itself, has been shown; no posting whose newest row is later than
/// `resume_us` holds anything that has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) resume_us: i64,
    pub(crate) time_us: i64,
    pub(crate) id: [u8; ID_BYTES],
}

/// A hash of what a token belongs to.
pub(crate) fn bind(what: &str, parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what.as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize()
}

impl Token {
    /// Before the first row.
    pub(crate) const START: Self = Self { resume_us: i64::MAX, time_us: i64::MAX, id: [0; ID_BYTES] };

    /// The token a lookup goes on from.
    ///
    /// # Errors
    /// If it is no token, or of another lookup.
    pub(crate) fn of(lookup: &Lookup) -> Result<Self, HotError> {
        lookup.token.as_deref().map_or(Ok(Self::START), |token| Self::decode(token, &binding(lookup)))
    }

    /// The opaque form for this lookup.
    pub(crate) fn encode(&self, lookup: &Lookup) -> Vec<u8> {
        self.seal(&binding(lookup))
    }

    /// The opaque form: the fields, and a check over them and what they are bound to. The check finds mistakes; it
    /// keeps no secret, for a forged token reads nothing but its own lookup's rows.
    pub(crate) fn seal(&self, binding: &blake3::Hash) -> Vec<u8> {
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.push(VERSION);
        token.extend_from_slice(&self.resume_us.to_be_bytes());
        token.extend_from_slice(&self.time_us.to_be_bytes());
        token.extend_from_slice(&self.id);
        let check = blake3::keyed_hash(binding.as_bytes(), &token);
        token.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        token
    }

    /// Reads the opaque form.
    pub(crate) fn decode(token: &[u8], binding: &blake3::Hash) -> Result<Self, HotError> {
        let read = || {
            let (version, rest) = token.split_first()?;
            let (resume, rest) = rest.split_first_chunk()?;
            let (time, rest) = rest.split_first_chunk()?;
            let id = rest.first_chunk()?;
            (*version == VERSION).then_some(Self {
                resume_us: i64::from_be_bytes(*resume),
                time_us: i64::from_be_bytes(*time),
                id: *id,
            })
        };
        read().filter(|read| read.seal(binding) == token).ok_or_else(|| {
            HotError::Request("the page token is not of this lookup: begin again without one".to_owned())
        })
    }

    /// Whether a row comes after what has been shown.
    pub(crate) fn is_before(&self, time_us: i64, id: &[u8; ID_BYTES]) -> bool {
        *self == Self::START || time_us < self.time_us || (time_us == self.time_us && *id > self.id)
    }
}

fn binding(lookup: &Lookup) -> blake3::Hash {
    let time = |time_us: Option<i64>| {
        time_us.map_or([0; 9], |time_us| {
            let mut bytes = [1; 9];
            bytes[1..].copy_from_slice(&time_us.to_be_bytes());
            bytes
        })
    };
    let parts: [&[u8]; 5] = [
        lookup.tenant.as_str().as_bytes(),
        lookup.kind.name().as_bytes(),
        lookup.value.as_bytes(),
        &time(lookup.from_us),
        &time(lookup.to_us),
    ];
    bind("atalaya lookup 1", &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LookupKind;

    #[test]
    fn tokens_read_back_for_their_lookup_only() {
        let lookup = |tenant: &str, value: &str, from_us| Lookup {
            tenant: tenant.parse().unwrap(),
            kind: LookupKind::User,
            value: value.to_owned(),
            from_us,
            to_us: None,
            limit: 10,
            token: None,
        };
        let token = Token { resume_us: -5, time_us: 7, id: [3; 16] };
        let mine = lookup("acme", "ann", Some(1));
        let sealed = token.encode(&mine);
        let read = |lookup: &Lookup, token: &[u8]| Token::of(&Lookup { token: Some(token.to_vec()), ..lookup.clone() });
        assert_eq!(read(&mine, &sealed).unwrap(), token);
        for other in [lookup("globex", "ann", Some(1)), lookup("acme", "bob", Some(1)), lookup("acme", "ann", None)] {
            assert!(read(&other, &sealed).is_err());
        }
        for at in 0..sealed.len() {
            let mut tampered = sealed.clone();
            tampered[at] ^= 1;
            assert!(read(&mine, &tampered).is_err(), "byte {at}");
            assert!(read(&mine, &sealed[..at]).is_err(), "{at} bytes");
        }
    }
}
