use super::*;

#[test]
fn signatures_cover_time_and_body() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
    hmac::verify(&key, b"1700000000.{}", &unhex(&signature(b"Jefe", "1700000000", "{}")[3..])).unwrap();
    assert_ne!(signature(b"Jefe", "1", "{}"), signature(b"Jefe", "2", "{}"));
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn receivers_say_how_long_to_wait() {
    let wish = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after_us(&headers, 784_111_770_000_000)
    };
    assert_eq!(wish("120"), Some(120_000_000));
    assert_eq!(wish("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7_000_000));
    assert_eq!(wish("Sun, 06 Nov 1994 08:49:07 GMT"), Some(0));
    assert_eq!(wish("soon"), None);
    assert_eq!(retry_after_us(&HeaderMap::new(), 0), None);
}

#[tokio::test]
async fn secrets_come_by_reference() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("key");
    std::fs::write(&path, "s3cret\n").unwrap();
    assert_eq!(resolve(&SecretRef::File(path.clone())).await.unwrap(), b"s3cret");
    std::fs::write(&path, vec![b'x'; 5_000]).unwrap();
    assert!(resolve(&SecretRef::File(path)).await.is_err());
    let error = resolve(&SecretRef::Env("ATALAYA_NO_SUCH_KEY".into())).await.unwrap_err();
    assert!(format!("{error:#}").contains("env:ATALAYA_NO_SUCH_KEY"));
}
