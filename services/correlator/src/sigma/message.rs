//! The sentence of an alert: a text with `{column}` and what was measured in it.

/// Characters of one field's value in a sentence at most.
const MAX_VALUE_CHARS: usize = 120;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Field(Box<str>),
    Measure(Measure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Observed,
    Threshold,
    Timespan,
    EventCount,
}

/// A message template, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<Piece>);

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    /// The largest count within one timespan.
    pub observed: u64,
    /// What it crossed.
    pub threshold: u64,
    /// The timespan, microseconds.
    pub span_us: i64,
    /// Events of the incident.
    pub event_count: u64,
}

impl Message {
    /// Reads a template: `{observed}`, `{threshold}`, `{timespan}`, `{event_count}` and fields by name.
    ///
    /// # Errors
    /// If a brace is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(open) = rest.find(['{', '}']) {
            if rest.as_bytes()[open] == b'}' {
                return Err("'}' without '{'".to_owned());
            }
            let close = rest[open..].find('}').ok_or("'{' without '}'")? + open;
            pieces.extend((open > 0).then(|| Piece::Text(rest[..open].into())));
            pieces.push(match &rest[open + 1..close] {
                "observed" => Piece::Measure(Measure::Observed),
                "threshold" => Piece::Measure(Measure::Threshold),
                "timespan" => Piece::Measure(Measure::Timespan),
                "event_count" => Piece::Measure(Measure::EventCount),
                "" => return Err("'{}' names no field".to_owned()),
                field => Piece::Field(field.into()),
            });
            rest = &rest[close + 1..];
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.into())));
        Ok(Self(pieces))
    }

    /// The fields it names.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| if let Piece::Field(field) = piece { Some(field.as_ref()) } else { None })
    }

    /// The sentence; a field without a value is shown as `?`.
    #[must_use]
    pub fn render<'v>(&self, measures: &Measures, value: impl Fn(&str) -> Option<&'v str>) -> String {
        let mut sentence = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => sentence.push_str(text),
                Piece::Field(field) => push_cut(&mut sentence, value(field).unwrap_or("?")),
                Piece::Measure(Measure::Observed) => sentence.push_str(&measures.observed.to_string()),
                Piece::Measure(Measure::Threshold) => sentence.push_str(&measures.threshold.to_string()),
                Piece::Measure(Measure::Timespan) => sentence.push_str(&span_text(measures.span_us)),
                Piece::Measure(Measure::EventCount) => sentence.push_str(&measures.event_count.to_string()),
            }
        }
        sentence
    }
}

fn push_cut(sentence: &mut String, value: &str) {
    match value.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => {
            sentence.push_str(&value[..end]);
            sentence.push('…');
        }
        None => sentence.push_str(value),
    }
}

/// A span of microseconds in words.
#[must_use]
pub fn span_text(span_us: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second")];
    match UNITS.iter().find(|(unit_us, _)| span_us % unit_us == 0) {
        Some((unit_us, name)) if span_us == *unit_us => format!("1 {name}"),
        Some((unit_us, name)) => format!("{} {name}s", span_us / unit_us),
        None => format!("{} ms", span_us / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_filled_in() {
        let message = Message::parse("{src_ip} tried {observed} ports of {dst_ip} within {timespan}").unwrap();
        assert_eq!(message.fields().collect::<Vec<_>>(), ["src_ip", "dst_ip"]);
        let measures = Measures { observed: 31, threshold: 30, span_us: 300_000_000, event_count: 40 };
        let sentence = message.render(&measures, |field| (field == "src_ip").then_some("10.0.0.1"));
        assert_eq!(sentence, "10.0.0.1 tried 31 ports of ? within 5 minutes");
        for bad in ["{a", "a}", "{}"] {
            assert!(Message::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_said_in_the_largest_whole_unit() {
        for (span_us, text) in
            [(60_000_000, "1 minute"), (90_000_000, "90 seconds"), (7_200_000_000, "2 hours"), (1_500_000, "1500 ms")]
        {
            assert_eq!(span_text(span_us), text);
        }
    }
}
