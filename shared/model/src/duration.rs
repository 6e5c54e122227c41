//! Spans of time as people and Sigma write them.

/// A text that is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no span of time: write a number and one of ms, s, m, h, d, w, as in 5m")]
pub struct ParseSpanError(String);

/// Microseconds of a span such as `500ms`, `30s`, `5m`, `1h`, `7d`, `2w`.
///
/// # Errors
/// If the text is not a number followed by a unit, or does not fit.
pub fn parse_span(text: &str) -> Result<i64, ParseSpanError> {
    let error = || ParseSpanError(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit_us: i64 = match &text[digits..] {
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "w" => 604_800_000_000,
        _ => return Err(error()),
    };
    let number: i64 = text[..digits].parse().map_err(|_| error())?;
    number.checked_mul(unit_us).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        assert_eq!(parse_span("5m"), Ok(300_000_000));
        assert_eq!(parse_span("250ms"), Ok(250_000));
        for bad in ["", "5", "m", "5y", "99999999999999w", "-1s"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
