//! Which entities a class is filed under: one table; a new lookup is a line there.

use atalaya_model::Class;
use atalaya_schema::col::{authentication, dns, http, network, process};

/// What an entity is. The numbers are stored and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EntityKind {
    /// The tenant itself, by hour: every row; the value is empty.
    Tenant = 1,
    /// The RAW message the rows came in.
    Raw = 2,
    /// The initiator's address.
    SrcIp = 3,
    /// The responder's address.
    DstIp = 4,
    /// A registered domain.
    Domain = 5,
    /// A user's name.
    User = 6,
}

/// A class is filed under a kind by the values of one column, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filing {
    /// Under what.
    pub kind: EntityKind,
    /// Rows of which class.
    pub class: Class,
    /// By which column.
    pub column: usize,
}

macro_rules! filed {
    ($($kind:ident: $($class:ident $column:expr),+;)+) => {
        &[$($(Filing { kind: EntityKind::$kind, class: Class::$class, column: $column },)+)+]
    };
}

/// The table.
pub const FILINGS: &[Filing] = filed! {
    SrcIp: DnsActivity dns::SRC_IP, HttpActivity http::SRC_IP, NetworkActivity network::SRC_IP,
        Authentication authentication::SRC_IP;
    DstIp: DnsActivity dns::DST_IP, HttpActivity http::DST_IP, NetworkActivity network::DST_IP,
        Authentication authentication::DST_IP;
    Domain: DnsActivity dns::QUERY_DOMAIN, HttpActivity http::DST_DOMAIN, NetworkActivity network::DST_DOMAIN,
        Authentication authentication::DST_DOMAIN;
    User: Authentication authentication::USER, ProcessActivity process::USER;
};

/// Columns with full host names, by which rows of a registered domain are told apart.
const NAMES: &[(Class, usize)] = &[
    (Class::DnsActivity, dns::QUERY),
    (Class::HttpActivity, http::HTTP_HOST),
    (Class::HttpActivity, http::DST_HOST),
    (Class::NetworkActivity, network::SNI),
    (Class::NetworkActivity, network::DST_HOST),
    (Class::Authentication, authentication::DST_HOST),
];

/// What a class is filed under.
pub fn filings(class: Class) -> impl Iterator<Item = &'static Filing> {
    FILINGS.iter().filter(move |filing| filing.class == class)
}

/// The column by which a class is filed under a kind.
#[must_use]
pub fn column(kind: EntityKind, class: Class) -> Option<usize> {
    filings(class).find(|filing| filing.kind == kind).map(|filing| filing.column)
}

/// Columns of a class that hold full host names.
pub fn name_columns(class: Class) -> impl Iterator<Item = usize> {
    NAMES.iter().filter(move |(of, _)| *of == class).map(|(_, column)| *column)
}

/// The registered domain of a name by the public suffix list; the name itself where it has none.
#[must_use]
pub fn registered_domain(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}

impl EntityKind {
    /// Microseconds of a bucket: a segment is filed once for every bucket in which it has rows, with that bucket's own
    /// newest time, so that one wild timestamp hides nothing.
    #[must_use]
    pub const fn bucket_us(self) -> i64 {
        match self {
            Self::Tenant => HOUR_US,
            _ => DAY_US,
        }
    }

    /// Whether its values are addresses.
    #[must_use]
    pub const fn is_address(self) -> bool {
        matches!(self, Self::SrcIp | Self::DstIp)
    }
}

/// Microseconds of an hour.
pub const HOUR_US: i64 = 3_600_000_000;

/// Microseconds of a day.
pub const DAY_US: i64 = 24 * HOUR_US;

#[cfg(test)]
mod tests {
    use atalaya_schema::{ColumnType, columns};

    use super::*;

    #[test]
    fn a_class_is_filed_under_a_kind_by_one_text_column() {
        for (at, filing) in FILINGS.iter().enumerate() {
            let kind = columns(filing.class)[filing.column].kind;
            assert!(matches!(kind, ColumnType::Keyword | ColumnType::Text), "{filing:?}");
            let twice = FILINGS[at + 1..].iter().any(|other| (other.kind, other.class) == (filing.kind, filing.class));
            assert!(!twice, "{filing:?}: two postings of one segment would share a key");
        }
        assert!(NAMES.iter().all(|(class, column)| columns(*class)[*column].kind == ColumnType::Keyword));
    }

    #[test]
    fn registered_domains_are_cut_at_the_public_suffix() {
        for (name, registered) in
            [("www.example.co.uk", "example.co.uk"), ("example.com", "example.com"), ("wpad", "wpad"), ("", "")]
        {
            assert_eq!(registered_domain(name), registered);
        }
    }
}
