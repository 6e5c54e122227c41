//! Text patterns: literals with `*` (any text, also none) and `?` (one character).

use std::fmt;

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// This text.
    Literal(Box<str>),
    /// `*`: any text, also none.
    Any,
    /// `?`: one character.
    One,
}

/// A pattern over a whole value, in its shortest form: no two literals and no two `*` beside each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Vec<Piece>);

/// What a pattern comes down to; everything but [`Shape::Glob`] is decided by comparing one literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    /// The value is this text.
    Exact(&'a str),
    /// It begins so.
    Prefix(&'a str),
    /// It ends so.
    Suffix(&'a str),
    /// It has this in it.
    Contains(&'a str),
    /// Any value.
    Anything,
    /// More than one literal, or a `?`; the longest literal is a witness, if there is one.
    Glob(Option<&'a str>),
}

impl Pattern {
    /// A text in Sigma's notation: `*` and `?` are wildcards; a backslash before `*`, `?` or a backslash takes their
    /// meaning away, before anything else it stands for itself.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '\\' => literal.push(chars.next_if(|next| matches!(next, '*' | '?' | '\\')).unwrap_or('\\')),
                '*' | '?' => {
                    take_literal(&mut pieces, &mut literal);
                    pieces.push(if char == '*' { Piece::Any } else { Piece::One });
                }
                _ => literal.push(char),
            }
        }
        take_literal(&mut pieces, &mut literal);
        Self::of(pieces)
    }

    /// A text without wildcards.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        let mut pieces = Vec::new();
        take_literal(&mut pieces, &mut text.to_owned());
        Self(pieces)
    }

    fn of(pieces: Vec<Piece>) -> Self {
        let mut shortest: Vec<Piece> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match (shortest.last_mut(), piece) {
                (Some(Piece::Any), Piece::Any) => {}
                (Some(Piece::Literal(before)), Piece::Literal(after)) => *before = format!("{before}{after}").into(),
                (_, piece) => shortest.push(piece),
            }
        }
        Self(shortest)
    }

    /// The same with `*` before and after it, as asked.
    #[must_use]
    pub fn open(self, before: bool, after: bool) -> Self {
        let mut pieces = Vec::with_capacity(self.0.len() + 2);
        pieces.extend(before.then_some(Piece::Any));
        pieces.extend(self.0);
        pieces.extend(after.then_some(Piece::Any));
        Self::of(pieces)
    }

    /// The same in lower case, for values in lower case.
    #[must_use]
    pub fn folded(self) -> Self {
        let fold = |piece| match piece {
            Piece::Literal(text) => Piece::Literal(text.to_lowercase().into()),
            other => other,
        };
        Self(self.0.into_iter().map(fold).collect())
    }

    /// What it comes down to.
    #[must_use]
    pub fn shape(&self) -> Shape<'_> {
        match self.0.as_slice() {
            [] => Shape::Exact(""),
            [Piece::Any] => Shape::Anything,
            [Piece::Literal(text)] => Shape::Exact(text),
            [Piece::Literal(text), Piece::Any] => Shape::Prefix(text),
            [Piece::Any, Piece::Literal(text)] => Shape::Suffix(text),
            [Piece::Any, Piece::Literal(text), Piece::Any] => Shape::Contains(text),
            pieces => Shape::Glob(pieces.iter().filter_map(as_literal).max_by_key(|text| text.len())),
        }
    }

    /// Whether a value matches as a whole.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        glob(&self.0, value)
    }
}

fn as_literal(piece: &Piece) -> Option<&str> {
    if let Piece::Literal(text) = piece { Some(text) } else { None }
}

fn take_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
}

/// Goes back to the last `*` on a mismatch: at most value × pattern steps.
fn glob(pieces: &[Piece], value: &str) -> bool {
    let (mut piece, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let rest = &value[at..];
        let step = match pieces.get(piece) {
            None => rest.is_empty().then_some(0),
            Some(Piece::Any) => {
                if piece + 1 == pieces.len() {
                    return true;
                }
                retry = Some((piece + 1, at));
                Some(0)
            }
            Some(Piece::One) => rest.chars().next().map(char::len_utf8),
            Some(Piece::Literal(text)) => rest.starts_with(text.as_ref()).then_some(text.len()),
        };
        match (step, retry) {
            (Some(_), _) if piece == pieces.len() => return true,
            (Some(bytes), _) => {
                at += bytes;
                piece += 1;
            }
            (None, Some((after, from))) => {
                let Some(skipped) = value[from..].chars().next() else { return false };
                at = from + skipped.len_utf8();
                piece = after;
                retry = Some((after, at));
            }
            (None, None) => return false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Any => f.write_str("*"),
            Piece::One => f.write_str("?"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_wildcards_and_escapes() {
        for (text, shape) in [
            ("", Shape::Exact("")),
            ("abc", Shape::Exact("abc")),
            ("abc*", Shape::Prefix("abc")),
            ("*abc", Shape::Suffix("abc")),
            ("**abc*", Shape::Contains("abc")),
            ("*", Shape::Anything),
            ("a*bc", Shape::Glob(Some("bc"))),
            ("?", Shape::Glob(None)),
            (r"\*", Shape::Exact("*")),
            (r"a\\*", Shape::Prefix(r"a\")),
            (r"a\\\*", Shape::Exact(r"a\*")),
            (r"\cmd.exe", Shape::Exact(r"\cmd.exe")),
            (r"\\host", Shape::Exact(r"\host")),
            (r"\\\host", Shape::Exact(r"\\host")),
            (r"\\\\host", Shape::Exact(r"\\host")),
        ] {
            assert_eq!(Pattern::parse(text).shape(), shape, "{text}");
        }
    }

    #[test]
    fn values_match_as_a_whole() {
        for (pattern, value, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*b*c", "a-b-b-c", true),
            ("*a?c*", "xxabcxx", true),
            ("*ab?", "abab", false),
            ("*ab?", "ababx", true),
            ("??", "é1", true),
            ("?", "", false),
            ("*?", "", false),
            ("*?", "x", true),
            ("a*", "b", false),
            ("*aab", "aaab", true),
        ] {
            assert_eq!(Pattern::parse(pattern).matches(value), expected, "{pattern} on {value}");
        }
    }

    #[test]
    fn opening_joins_with_what_is_there() {
        assert_eq!(Pattern::parse("a").open(true, true).shape(), Shape::Contains("a"));
        assert_eq!(Pattern::parse("*a").open(true, false).shape(), Shape::Suffix("a"));
        assert_eq!(Pattern::literal("").open(true, true).shape(), Shape::Anything);
        assert_eq!(Pattern::parse("ÄB").folded().to_string(), "äb");
    }
}
