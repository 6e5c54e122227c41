//! A signed request (AWS Signature Version 4) over plain HTTP/1.1: enough to make a bucket and to look at one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// How long connecting, or a part of an answer, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// An answer at most, bytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// Any will do.
const REGION: &str = "us-east-1";

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Who asks, and whom.
pub(super) struct Signer<'a> {
    pub(super) address: SocketAddr,
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a str,
}

impl Signer<'_> {
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<S3Answer> {
        let path = encode(path, b"/");
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value, b""))).collect();
        let query = query.join("&");
        let head = self.head(method, &path, &query, body, Timestamp::now());
        let mut stream = TcpStream::connect_timeout(&self.address, WITHIN)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
        parse(&String::from_utf8_lossy(&answer))
    }

    /// Everything before the body.
    fn head(&self, method: &str, path: &str, query: &str, body: &[u8], now: Timestamp) -> String {
        let (time, day) = (now.strftime("%Y%m%dT%H%M%SZ").to_string(), now.strftime("%Y%m%d").to_string());
        let (digest, host) = (hex(&Sha256::digest(body)), self.address);
        let headers = format!("host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{time}\n");
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{digest}");
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let first = hmac(format!("AWS4{}", self.secret_key).as_bytes(), day.as_bytes());
        let key = [REGION, "s3", "aws4_request"].iter().fold(first, |key, part| hmac(&key, part.as_bytes()));
        let signature = hex(&hmac(&key, to_sign.as_bytes()));
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nx-amz-content-sha256: {digest}\r\nx-amz-date: {time}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.access_key,
            body.len()
        )
    }
}

fn parse(text: &str) -> anyhow::Result<S3Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Ok(S3Answer { status, body })
}

/// The body of a chunked answer.
fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let Some(chunk) = after.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
        body.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    body
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(text: &str, also: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    let hashed = Sha256::digest(key);
    let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // RFC 4231, cases 1 and 6: a short key, and one above the block.
        let short = hmac(&[0x0b; 20], b"Hi There");
        assert_eq!(hex(&short), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn answers_are_read() {
        let plain = parse("HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno").unwrap();
        assert_eq!(plain, S3Answer { status: 409, body: "no".to_owned() });
        let chunked = parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap().body, "abcde");
        assert!(parse("SSH-2.0\r\n").is_err());
    }
}
