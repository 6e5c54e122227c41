//! Subjects, filters over them, and the fence that is built from both.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::Stream;

const MAX_SUBJECT_BYTES: usize = 255;

/// A text that is no subject or no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no subject: use tokens of letters, digits, '-' and '_' with dots between")]
pub struct SubjectError(String);

/// Tokens with dots between, such as `evt.3.c1-0.dns_activity`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

/// A subject in which `*` stands for one token and a last `>` for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Arc<str>);

fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl Subject {
    /// A subject made of tokens that were checked before.
    pub(crate) fn of_tokens(text: &str) -> Self {
        debug_assert!(Self::new(text).is_ok(), "'{text}' is no subject");
        Self(text.into())
    }

    /// A subject of these tokens.
    ///
    /// # Errors
    /// If a token is empty or has other characters than letters, digits, `-` and `_`.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        if text.len() <= MAX_SUBJECT_BYTES && text.split('.').all(is_token) {
            Ok(Self(text.into()))
        } else {
            Err(SubjectError(text.to_owned()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text up to, without, the dot that follows the first `tokens` tokens; all of it if there are no more.
    #[must_use]
    pub fn prefix(&self, tokens: usize) -> &str {
        let end = self.0.match_indices('.').nth(tokens.saturating_sub(1)).map_or(self.0.len(), |(at, _)| at);
        &self.0[..end]
    }

    /// The token at an index, from 0.
    #[must_use]
    pub fn token(&self, index: usize) -> Option<&str> {
        self.0.split('.').nth(index)
    }
}

impl Filter {
    /// A filter made of tokens that were checked before.
    pub(crate) fn of_tokens(text: &str) -> Self {
        debug_assert!(Self::new(text).is_ok(), "'{text}' is no filter");
        Self(text.into())
    }

    /// A filter of these tokens.
    ///
    /// # Errors
    /// If a token is neither a subject's nor `*`, nor a last `>`.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        let tokens: Vec<_> = text.split('.').collect();
        let valid = tokens
            .iter()
            .enumerate()
            .all(|(at, token)| is_token(token) || *token == "*" || (*token == ">" && at + 1 == tokens.len()));
        if valid && text.len() <= MAX_SUBJECT_BYTES {
            Ok(Self(text.into()))
        } else {
            Err(SubjectError(text.to_owned()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subject is under this filter.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        self.matches_text(&subject.0)
    }

    pub(crate) fn matches_text(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a writer writes and what must not have changed there: a subject under its own filter, in one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    stream: Stream,
    subject: Subject,
    filter: Filter,
}

impl Fence {
    /// A fence; none if the subject is not under the filter.
    #[must_use]
    pub fn new(stream: Stream, subject: Subject, filter: Filter) -> Option<Self> {
        filter.matches(&subject).then_some(Self { stream, subject, filter })
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Where the message goes.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What must not have changed.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_by_token() {
        let matches =
            |filter: &str, subject: &str| Filter::new(filter).unwrap().matches(&Subject::new(subject).unwrap());
        for (filter, subject) in [("evt.*.c1-0.>", "evt.3.c1-0.dns"), (">", "a"), ("a.*", "a.b"), ("a.b", "a.b")] {
            assert!(matches(filter, subject), "{filter} {subject}");
        }
        for (filter, subject) in [("evt.*.c1-0.>", "evt.3.c1-0"), ("a.*", "a"), ("a.*", "a.b.c"), ("a", "b")] {
            assert!(!matches(filter, subject), "{filter} {subject}");
        }
    }

    #[test]
    fn a_subject_outside_its_filter_is_no_fence() {
        let (subject, filter) = (Subject::new("raw.c1-0.zeek").unwrap(), Filter::new("raw.c1-1.>").unwrap());
        assert_eq!(Fence::new(Stream::Raw, subject, filter), None);
        for bad in ["", "a..b", "a.>.b", "a b", "a.b>"] {
            assert!(Filter::new(bad).is_err(), "{bad}");
        }
    }
}
