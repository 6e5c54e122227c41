//! The table of columns, one file per group, and the index of every column as a constant.
//!
//! The envelope's indexes stand here (`col::TENANT`), a group's in its module (`col::dns::QUERY`,
//! `col::endpoint::SRC_IP`; the classes with endpoints have those too: `col::dns::SRC_IP`). Table and constants come
//! from one macro and cannot drift apart.

macro_rules! columns {
    (from $base:expr; $($index:ident $name:literal $kind:ident $ocsf:literal $doc:literal;)+) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "named as the constants they number")]
        enum At { $($index),+ }

        $(
            #[doc = concat!("Index of `", $name, "`: ", $doc)]
            pub const $index: usize = $base + At::$index as usize;
        )+

        pub(crate) const COLUMNS: &[crate::Column] = &[$(
            crate::Column { name: $name, kind: crate::ColumnType::$kind, ocsf: $ocsf, doc: $doc },
        )+];

        #[cfg(test)]
        pub(crate) const CONSTANTS: &[(&str, usize)] = &[$((stringify!($index), $index)),+];
    };
}

mod envelope;

pub mod authentication;
pub mod detection;
pub mod dns;
pub mod endpoint;
pub mod http;
pub mod network;
pub mod osint;
pub mod post;
pub mod process;
pub mod vulnerability;

use atalaya_model::Class;
pub use envelope::*;

use crate::Column;

/// Columns of the envelope: the first index of the group that follows it.
pub(crate) const AFTER_ENVELOPE: usize = COLUMNS.len();

/// Columns of envelope and endpoints: the first index of what a class with endpoints has of its own.
pub(crate) const AFTER_ENDPOINTS: usize = AFTER_ENVELOPE + endpoint::COLUMNS.len();

/// One table of the groups, with other OCSF paths where a class has another place for a column.
const fn join<const N: usize>(groups: &[&[Column]], paths: &[(usize, &'static str)]) -> [Column; N] {
    let mut joined = [COLUMNS[0]; N];
    let (mut at, mut group) = (0, 0);
    while group < groups.len() {
        let mut index = 0;
        while index < groups[group].len() {
            joined[at] = groups[group][index];
            at += 1;
            index += 1;
        }
        group += 1;
    }
    assert!(at == N, "the length of a table is the sum of its groups");
    let mut path = 0;
    while path < paths.len() {
        joined[paths[path].0].ocsf = paths[path].1;
        path += 1;
    }
    joined
}

macro_rules! table {
    ($name:ident, [$($group:ident),+], $paths:expr) => {
        static $name: [Column; 0 $(+ $group::COLUMNS.len())+] = join(&[$($group::COLUMNS),+], $paths);
    };
}

table!(BASE_EVENT, [envelope, post], &[]);
table!(PROCESS_ACTIVITY, [envelope, process], &[]);
table!(VULNERABILITY_FINDING, [envelope, vulnerability], &[]);
table!(DETECTION_FINDING, [envelope, detection], &[]);
table!(
    AUTHENTICATION,
    [envelope, endpoint, authentication],
    &[(endpoint::PROTO, "unmapped.atalaya.proto"), (endpoint::DIRECTION_ID, "unmapped.atalaya.direction_id")]
);
table!(NETWORK_ACTIVITY, [envelope, endpoint, network], &[]);
table!(HTTP_ACTIVITY, [envelope, endpoint, http], &[]);
table!(DNS_ACTIVITY, [envelope, endpoint, dns], &[]);
table!(OSINT_INVENTORY_INFO, [envelope, osint], &[(TLP, "osint[0].tlp"), (CONFIDENCE_ID, "osint[0].confidence_id")]);

pub(crate) fn of(class: Class) -> &'static [Column] {
    match class {
        Class::BaseEvent => &BASE_EVENT,
        Class::ProcessActivity => &PROCESS_ACTIVITY,
        Class::VulnerabilityFinding => &VULNERABILITY_FINDING,
        Class::DetectionFinding => &DETECTION_FINDING,
        Class::Authentication => &AUTHENTICATION,
        Class::NetworkActivity => &NETWORK_ACTIVITY,
        Class::HttpActivity => &HTTP_ACTIVITY,
        Class::DnsActivity => &DNS_ACTIVITY,
        Class::OsintInventoryInfo => &OSINT_INVENTORY_INFO,
    }
}

/// Whether the class has the endpoint columns.
#[must_use]
pub const fn has_endpoints(class: Class) -> bool {
    matches!(class, Class::Authentication | Class::NetworkActivity | Class::HttpActivity | Class::DnsActivity)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups of every class with the constants that index them.
    fn constants(class: Class) -> Vec<&'static [(&'static str, usize)]> {
        let own = match class {
            Class::BaseEvent => post::CONSTANTS,
            Class::ProcessActivity => process::CONSTANTS,
            Class::VulnerabilityFinding => vulnerability::CONSTANTS,
            Class::DetectionFinding => detection::CONSTANTS,
            Class::Authentication => authentication::CONSTANTS,
            Class::NetworkActivity => network::CONSTANTS,
            Class::HttpActivity => http::CONSTANTS,
            Class::DnsActivity => dns::CONSTANTS,
            Class::OsintInventoryInfo => osint::CONSTANTS,
        };
        let mut groups = vec![CONSTANTS, own];
        if has_endpoints(class) {
            groups.push(endpoint::CONSTANTS);
        }
        groups
    }

    #[test]
    fn constants_index_the_column_of_their_name() {
        for class in Class::ALL {
            let groups = constants(class);
            for (name, index) in groups.iter().copied().flatten() {
                assert_eq!(of(class)[*index].name, name.to_lowercase(), "{}", class.name());
            }
            assert_eq!(groups.iter().map(|group| group.len()).sum::<usize>(), of(class).len());
        }
    }

    #[test]
    fn every_column_has_a_path_of_its_own_and_a_meaning() {
        for class in Class::ALL {
            let mut paths: Vec<_> = of(class).iter().map(|column| column.ocsf).collect();
            paths.sort_unstable();
            assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "{}: {paths:?}", class.name());
            assert!(of(class).iter().all(|column| !column.doc.is_empty() && !column.doc.ends_with('.')));
        }
    }
}
