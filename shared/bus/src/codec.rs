//! A message as the journal stores it: version, length of the headers, headers, body.
//!
//! Checksums are the store's, over every block and value.

use std::io::Read;

use bytes::Bytes;
use fjall::Slice;

use crate::Headers;

/// The version this code writes.
const VERSION: u8 = 1;

/// One byte of version, four of header length (little-endian).
const PREFIX_BYTES: usize = 5;

/// Headers and body as one value, copied once.
pub(crate) fn encode(headers: &Headers, body: &[u8]) -> Result<Slice, String> {
    let headers = headers.encode().map_err(|error| error.to_string())?;
    let length = u32::try_from(headers.len()).map_err(|error| error.to_string())?;
    let mut prefix = [VERSION, 0, 0, 0, 0];
    prefix[1..].copy_from_slice(&length.to_le_bytes());
    let bytes = PREFIX_BYTES + headers.len() + body.len();
    Slice::from_reader(&mut prefix.chain(headers.as_slice()).chain(body), bytes).map_err(|error| error.to_string())
}

/// Headers and body of a value; the body is not copied.
pub(crate) fn decode(value: Slice) -> Result<(Headers, Bytes), String> {
    let value = Bytes::from_owner(value);
    let Some((prefix, rest)) = value.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(format!("{} bytes are no message", value.len()));
    };
    let [version, length @ ..] = *prefix;
    if version != VERSION {
        return Err(format!("stored in version {version}, this program reads {VERSION}"));
    }
    let length = u32::from_le_bytes(length) as usize;
    let headers = rest.get(..length).ok_or_else(|| format!("headers of {length} bytes in {}", rest.len()))?;
    let headers = Headers::decode(headers).map_err(|error| error.to_string())?;
    Ok((headers, value.slice(PREFIX_BYTES + length..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Position};

    fn headers() -> Headers {
        let covers = Some(Position { incarnation: 9, sequence: 3, id: "c1-0.1.3".to_owned() });
        let mut books = atalaya_model::Books::default();
        let key = atalaya_model::LedgerKey { source: "zeek".into(), tenant: "acme".into(), domain: "live".into() };
        books.add(&key, atalaya_model::Counts { events: 2, ..Default::default() });
        Headers {
            version: 1,
            id: "m".into(),
            kind: Kind::Data,
            covers,
            end: true,
            books,
            rows: 2,
            ..Default::default()
        }
    }

    /// Golden: what was once written must be read for ever.
    const GOLDEN: &str = "01f4000000";
    const GOLDEN_HEADERS: &str = r#"{"version":1,"id":"m","kind":"data","covers":{"incarnation":9,"sequence":3,"id":"c1-0.1.3"},"predecessor":0,"chain":0,"end":true,"books":[[{"source":"zeek","tenant":"acme","domain":"live"},{"events":2}]],"received_time_us":0,"input":0,"rows":2}"#;

    #[test]
    fn the_stored_form_is_law() {
        let value = encode(&headers(), b"body").unwrap();
        let prefix: String = value[..PREFIX_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(prefix, GOLDEN);
        assert_eq!(std::str::from_utf8(&value[PREFIX_BYTES..value.len() - 4]).unwrap(), GOLDEN_HEADERS);
        assert_eq!(decode(value).unwrap(), (headers(), Bytes::from_static(b"body")));
    }

    #[test]
    fn damage_is_an_error() {
        let value = encode(&headers(), b"").unwrap();
        for length in 0..value.len() {
            assert!(decode(Slice::from(&value[..length])).is_err(), "{length} bytes");
        }
        let mut newer = value.to_vec();
        newer[0] = VERSION + 1;
        assert!(decode(Slice::from(newer)).is_err());
    }
}
