//! What a lookup asks for: the entities whose postings to read, and the check of each row.

use std::net::IpAddr;

use arrow::array::RecordBatch;
use atalaya_model::Class;

use super::{Entity, Tables};
use crate::cells::TextColumn;
use crate::kinds::{EntityKind, column, name_columns, registered_domain};
use crate::network::{Network, canonical};
use crate::{HotError, Lookup, LookupKind};

/// Addresses of a network that are looked up one by one; a network with more is read through all of the tenant's events.
const MAX_ADDRESSES: usize = 1_000;

/// Entities and check of a lookup.
pub(super) struct Wanted {
    /// The streams of postings that together hold every row asked for.
    pub(super) entities: Vec<Entity>,
    check: Check,
}

enum Check {
    /// Every row of the posting.
    All,
    /// The column of one of these kinds holds the value.
    Value(&'static [EntityKind], String),
    /// The column of one of these kinds holds an address of the network.
    Network(&'static [EntityKind], Network),
    /// A registered domain: every row filed under it; any other name: rows that hold it or a name under it.
    Domain { registered: String, name: String },
}

const SRC: &[EntityKind] = &[EntityKind::SrcIp];
const DST: &[EntityKind] = &[EntityKind::DstIp];
const SIDES: &[EntityKind] = &[EntityKind::SrcIp, EntityKind::DstIp];
const USER: &[EntityKind] = &[EntityKind::User];

impl Wanted {
    pub(super) async fn new(lookup: &Lookup, tables: &impl Tables) -> Result<Self, HotError> {
        let value = lookup.value.trim();
        if value.is_empty() && lookup.kind != LookupKind::Tenant {
            return Err(HotError::Request(format!("a lookup by {} needs a value", lookup.kind.name())));
        }
        let of = |kinds: &'static [EntityKind], value: String| Self {
            entities: kinds.iter().map(|kind| entity(lookup, *kind, value.clone())).collect(),
            check: Check::Value(kinds, value),
        };
        Ok(match lookup.kind {
            LookupKind::Ip => of(SIDES, canonical(value)?),
            LookupKind::SrcIp => of(SRC, canonical(value)?),
            LookupKind::DstIp => of(DST, canonical(value)?),
            LookupKind::User => of(USER, value.to_owned()),
            LookupKind::Cidr => Self::network(lookup, Network::parse(value)?, tables).await?,
            LookupKind::Domain => Self::domain(lookup, value),
            LookupKind::Raw => Self::whole(lookup, EntityKind::Raw, value, Check::All),
            LookupKind::Tenant | LookupKind::Event | LookupKind::Indicator => {
                Self::whole(lookup, EntityKind::Tenant, "", Check::All)
            }
        })
    }

    fn whole(lookup: &Lookup, kind: EntityKind, value: &str, check: Check) -> Self {
        Self { entities: vec![entity(lookup, kind, value.to_owned())], check }
    }

    async fn network(lookup: &Lookup, network: Network, tables: &impl Tables) -> Result<Self, HotError> {
        let check = Check::Network(SIDES, network);
        let mut entities = Vec::new();
        for kind in SIDES {
            let addresses = tables.addresses(&lookup.tenant, *kind, network, MAX_ADDRESSES + 1).await?;
            if addresses.len() > MAX_ADDRESSES {
                return Ok(Self::whole(lookup, EntityKind::Tenant, "", check));
            }
            entities.extend(addresses.into_iter().map(|address| entity(lookup, *kind, address)));
        }
        Ok(Self { entities, check })
    }

    fn domain(lookup: &Lookup, value: &str) -> Self {
        let name = value.trim_end_matches('.').to_lowercase();
        let registered = registered_domain(&name).to_owned();
        let entities = vec![entity(lookup, EntityKind::Domain, registered.clone())];
        Self { entities, check: Check::Domain { registered, name } }
    }

    /// The check of a batch's rows.
    pub(super) fn check<'a>(&'a self, class: Class, rows: &'a RecordBatch) -> impl Fn(usize) -> bool + 'a {
        let text = move |column: usize| TextColumn::of(rows.column(column).as_ref());
        let of_kinds = move |kinds: &[EntityKind]| -> Vec<TextColumn<'a>> {
            kinds.iter().filter_map(|kind| text(column(*kind, class)?)).collect()
        };
        let (columns, names) = match &self.check {
            Check::All => (Vec::new(), Vec::new()),
            Check::Value(kinds, _) | Check::Network(kinds, _) => (of_kinds(kinds), Vec::new()),
            Check::Domain { .. } => (of_kinds(&[EntityKind::Domain]), name_columns(class).filter_map(text).collect()),
        };
        move |row| {
            let any = |columns: &[TextColumn<'_>], holds: &dyn Fn(&str) -> bool| {
                columns.iter().any(|column| column.value(row).is_some_and(holds))
            };
            match &self.check {
                Check::All => true,
                Check::Value(_, value) => any(&columns, &|held| held == value),
                Check::Network(_, network) => {
                    any(&columns, &|held| held.parse::<IpAddr>().is_ok_and(|address| network.contains(address)))
                }
                Check::Domain { registered, name } => {
                    any(&columns, &|held| held == registered)
                        && (registered == name || any(&names, &|held| is_under(held, name)))
                }
            }
        }
    }
}

fn entity(lookup: &Lookup, kind: EntityKind, value: String) -> Entity {
    Entity { tenant: lookup.tenant.clone(), kind, value }
}

/// Whether a host name is a domain or below it, whatever the case of its letters.
fn is_under(host: &str, domain: &str) -> bool {
    let host = host.trim_end_matches('.');
    let Some(cut) = host.len().checked_sub(domain.len()) else { return false };
    host.is_char_boundary(cut)
        && host[cut..].eq_ignore_ascii_case(domain)
        && (cut == 0 || host.as_bytes()[cut - 1] == b'.')
}

#[cfg(test)]
mod tests {
    use super::is_under;

    #[test]
    fn names_are_under_their_domain() {
        for (host, domain) in [("a.b.c", "b.c"), ("b.c", "b.c"), ("X.B.C.", "b.c")] {
            assert!(is_under(host, domain), "{host} {domain}");
        }
        for (host, domain) in [("ab.c", "b.c"), ("c", "b.c"), ("b.c.d", "b.c"), ("éb.c", "b.c")] {
            assert!(!is_under(host, domain), "{host} {domain}");
        }
    }
}
