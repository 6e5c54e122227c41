//! Shared sources: the owner of addresses and names has the event, and nobody's go to `default`.

use atalaya_model::{SHARED, partition_of};
use atalaya_normalizer::{Assets, Ownership};
use atalaya_proto::raw_v1::RawHeader;

use crate::common::{PARTITIONS, header, rows, run_owned};

fn ownership() -> Ownership {
    let assets = |tenant: &str, network: &str, domain: &str| Assets {
        tenant: tenant.parse().unwrap(),
        networks: vec![network.to_owned()],
        domains: vec![domain.to_owned()],
    };
    Ownership::new(&[assets("acme", "10.1.0.0/16", "acme.com"), assets("globex", "10.2.0.0/16", "globex.net")]).unwrap()
}

fn record(src: &str, dst: &str, query: &str) -> String {
    format!(r#"{{"_path":"dns","ts":1521911720,"id.orig_h":"{src}","id.resp_h":"{dst}","query":"{query}"}}"#)
}

#[test]
fn events_of_a_shared_source_go_to_their_owners() {
    let cases = [
        (record("10.1.0.1", "8.8.8.8", "x.globex.net"), "acme"),
        (record("192.0.2.1", "10.2.0.1", "x.org"), "globex"),
        (record("192.0.2.1", "8.8.8.8", "www.Acme.com"), "acme"),
        (record("10.1.0.1", "10.2.0.1", "x.org"), "default"),
        (record("192.0.2.1", "8.8.8.8", "x.org"), "default"),
    ];
    let header = RawHeader { tenant: SHARED.into(), ..header("zeek") };
    let normalized = run_owned(header, cases.iter().map(|(record, _)| record.as_bytes()), ownership());
    for (row, (record, tenant)) in rows(&normalized).iter().zip(&cases) {
        assert_eq!(row["tenant"], *tenant, "{record}");
    }
    for events in &normalized.events {
        for run in &events.events.runs {
            assert_eq!(events.partition, partition_of(run.tenant.as_str(), 0, PARTITIONS));
        }
    }
}

#[test]
fn an_endpoints_owner_is_told_to_nobody_else() {
    let record = record("10.1.0.1", "10.2.0.1", "x.org");
    let owners = |tenant: &str| {
        let header = RawHeader { tenant: tenant.into(), ..header("zeek") };
        let row = rows(&run_owned(header, [record.as_bytes()], ownership())).remove(0);
        ["src_owner", "dst_owner"].map(|column| row.get(column).map(|owner| owner.as_str().unwrap().to_owned()))
    };
    assert_eq!(owners("acme"), [Some("acme".to_owned()), None]);
    assert_eq!(owners("globex"), [None, Some("globex".to_owned())]);
    assert_eq!(owners("hooli"), [None, None]);
    assert_eq!(owners(SHARED), [Some("acme".to_owned()), Some("globex".to_owned())]);
}
