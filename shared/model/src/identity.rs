//! Deterministic identities: the same input always has the same id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const ID_BYTES: usize = 16;

/// A text that is not 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no id: 32 hexadecimal digits are needed")]
pub struct ParseIdError(String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// The id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// The id in a slice of exactly 16 bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// The first 16 bytes of BLAKE3 over a name of what is hashed and the length-prefixed parts.
            #[must_use]
            pub fn of(what: &str, parts: &[&[u8]]) -> Self {
                let mut hasher = blake3::Hasher::new();
                hasher.update(what.as_bytes());
                for part in parts {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
                let mut id = [0; ID_BYTES];
                id.copy_from_slice(&hasher.finalize().as_bytes()[..ID_BYTES]);
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self).ok_or_else(|| ParseIdError(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id! {
    /// The identity of an event: a hash of its [`Origin`], or of its natural key where the source has one.
    EventId
}
id! {
    /// The identity of an alert: tenant, rule, group key and the event that opened it.
    AlertId
}
id! {
    /// The identity of a notification: route, group key, opening alert, receiver and ordinal.
    NotificationId
}

fn parse_hex(text: &str) -> Option<[u8; ID_BYTES]> {
    if text.len() != 2 * ID_BYTES || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; ID_BYTES];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Where a record came in: one RAW message of one collector's spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The collector and its lane.
    pub lane: LaneId,
    /// Creation time of the spool in milliseconds since 1970.
    pub epoch_ms: u64,
    /// The spool entry within the lane.
    pub offset: u64,
}

impl Origin {
    /// The name of the RAW message: `<lane>.<epoch>.<offset>`.
    #[must_use]
    pub fn message_id(&self) -> String {
        format!("{}.{}.{}", self.lane, self.epoch_ms, self.offset)
    }

    /// The origin in a RAW message's name.
    #[must_use]
    pub fn parse(message_id: &str) -> Option<Self> {
        let mut parts = message_id.split('.');
        let origin = Self {
            lane: parts.next()?.parse().ok()?,
            epoch_ms: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(origin)
    }

    /// The identity of the `event`-th event of the `record`-th record (both from 0).
    #[must_use]
    pub fn event_id(&self, record: u32, event: u16) -> EventId {
        EventId::of(
            "atalaya event 1",
            &[
                self.lane.as_str().as_bytes(),
                &self.epoch_ms.to_le_bytes(),
                &self.offset.to_le_bytes(),
                &record.to_le_bytes(),
                &event.to_le_bytes(),
            ],
        )
    }
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let valid = (1..=MAX_TOKEN_BYTES).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                if valid {
                    Ok(Self(text.into()))
                } else {
                    Err(format!("'{text}' is no {}: use 1 to 64 letters, digits, '-' and '_'", $what))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

const MAX_TOKEN_BYTES: usize = 64;

token! {
    /// A lane: collector id and number, as it stands in subjects (`c1-0`).
    LaneId, "lane"
}
token! {
    /// A source's name, as it stands in subjects and in the ledger.
    SourceName, "source name"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { lane: "c1-0".parse().unwrap(), epoch_ms: 1_700_000_000_000, offset: 42 }
    }

    #[test]
    fn message_ids_name_the_origin() {
        assert_eq!(origin().message_id(), "c1-0.1700000000000.42");
        assert_eq!(Origin::parse(&origin().message_id()), Some(origin()));
        assert_eq!(Origin::parse("c1-0.5"), None);
        assert_eq!(Origin::parse("c1-0.5.6.7"), None);
    }

    #[test]
    fn event_ids_differ_by_ordinal_and_read_back() {
        let id = origin().event_id(1, 0);
        assert_ne!(id, origin().event_id(0, 1));
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        assert!("xyz".parse::<EventId>().is_err());
    }
}
