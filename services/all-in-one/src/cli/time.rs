//! Times as people give them.

use anyhow::bail;
use atalaya_model::parse_span;
use jiff::Timestamp;

/// Microseconds since 1970 of `2018-03-24`, `2018-03-24T17:15:20Z`, or a span before now such as `1h` or `7d`.
///
/// # Errors
/// If the text is none of these.
pub(super) fn parse(text: &str) -> anyhow::Result<i64> {
    if let Ok(span_us) = parse_span(text) {
        return Ok(Timestamp::now().as_microsecond() - span_us);
    }
    let whole = if text.len() == "2018-03-24".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    match whole.parse::<Timestamp>() {
        Ok(time) => Ok(time.as_microsecond()),
        Err(_) => bail!("'{text}' is no time: write 2018-03-24, 2018-03-24T17:15:20Z, or a span before now such as 1h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse("1970-01-02").unwrap(), 86_400_000_000);
        assert_eq!(parse("1970-01-01T00:00:01.5Z").unwrap(), 1_500_000);
        let hour_ago = parse("1h").unwrap();
        assert!((Timestamp::now().as_microsecond() - hour_ago - 3_600_000_000).abs() < 60_000_000);
        assert!(parse("yesterday").is_err());
    }
}
