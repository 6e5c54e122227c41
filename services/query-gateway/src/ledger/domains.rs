//! A bounded list of domains: the newest keep rows of their own, older ones are summed up as [`PAST`].

use std::collections::VecDeque;

use atalaya_model::{Books, LIVE_DOMAIN, LedgerKey};
use serde::{Deserialize, Serialize};

/// The domain that the oldest ones are summed up in.
pub const PAST: &str = "past";

/// Domains known by name, oldest first; `live` always is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domains(VecDeque<String>);

impl Domains {
    /// Notes a domain; answers with the one that is to be summed up from now on, if there are more than `at_most`.
    pub fn note(&mut self, domain: &str, at_most: usize) -> Option<String> {
        if domain.is_empty() || self.knows(domain) {
            return None;
        }
        self.0.push_back(domain.to_owned());
        if self.0.len() > at_most { self.0.pop_front() } else { None }
    }

    /// Whether it has rows of its own.
    #[must_use]
    pub fn knows(&self, domain: &str) -> bool {
        domain == LIVE_DOMAIN || domain == PAST || self.0.iter().rev().any(|known| known == domain)
    }
}

/// The books with the rows of all other domains summed up.
#[must_use]
pub fn sum_up(books: &Books, keeps: impl Fn(&str) -> bool) -> Books {
    let mut sums = Books::default();
    for (key, counts) in books.iter() {
        if keeps(&key.domain) {
            sums.add(key, *counts);
        } else {
            sums.add(&LedgerKey { domain: PAST.to_owned(), ..key.clone() }, *counts);
        }
    }
    sums
}
