use crate::conformance::world::{TENANTS, World};
use crate::conformance::{check, lookup, pages};
use crate::lookup::Limits;
use crate::{Hot, LookupKind};

use super::*;

/// Pages that stop early, by bytes or by postings, give the same rows over all of them.
#[tokio::test(flavor = "multi_thread")]
async fn short_pages_lead_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut hot = Embedded::open(directory.path(), Options::default()).await.unwrap();
    let world = World::random(61, 60).unwrap();
    hot.file(&world.messages).await.unwrap();
    for limits in [Limits { page_bytes: 2_000, postings: 10_000 }, Limits { page_bytes: 16 << 20, postings: 2 }] {
        hot.lookups.limits = limits;
        for (kind, value) in [
            (LookupKind::Tenant, ""),
            (LookupKind::Ip, "10.1.0.3"),
            (LookupKind::Domain, "x1.tunnel.evil.test"),
            (LookupKind::Cidr, "10.1.0.0/24"),
        ] {
            let wanted = lookup(TENANTS[0], kind, value, 100);
            let found = check(&hot, &world, &wanted).await.unwrap();
            let pages = pages(&hot, &wanted).await.unwrap();
            assert!(pages.len() > 1 + found / 100, "{limits:?} {kind:?}: {} pages of {found} rows", pages.len());
        }
    }
}

/// Everything is written out to tables and merged in between: answers stay the same.
#[tokio::test(flavor = "multi_thread")]
async fn tables_on_disk_answer_as_those_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let hot = Embedded::open(directory.path(), Options::default()).await.unwrap();
    let world = World::random(62, 40).unwrap();
    for messages in world.messages.chunks(4) {
        hot.file(messages).await.unwrap();
        for generation in hot.store.generations.all() {
            generation.seal().unwrap();
        }
    }
    for tenant in TENANTS {
        for (kind, value) in [(LookupKind::Tenant, ""), (LookupKind::Domain, "example.com"), (LookupKind::Cidr, "::/0")]
        {
            check(&hot, &world, &lookup(tenant, kind, value, 50)).await.unwrap();
        }
    }
    for row in world.rows().iter().step_by(17) {
        check(&hot, &world, &lookup(&row.tenant, LookupKind::Event, &row.id.to_string(), 1)).await.unwrap();
    }
}
