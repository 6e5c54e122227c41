//! Whatever bytes come: no panic, and the counts add up (`run` asserts it).

use atalaya_proto::raw_v1::RawHeader;
use proptest::prelude::*;

use crate::common::{header, run};

const TSV: &[u8] = b"#separator \\x09\n#path\tconn\n#fields\tts\tid.orig_h\tid.orig_p\tservice\tduration\tlist\tok\n\
    #types\ttime\taddr\tport\tstring\tinterval\tset[string]\tbool\n";

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        "\\PC{0,12}".prop_map(|text| serde_json::Value::from(text).to_string()),
        Just(r#""2018-03-24T17:15:20.865716Z""#.to_owned()),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-z.]{0,6}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn json_record() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec![
        "_path",
        "ts",
        "id.orig_h",
        "id.orig_p",
        "query",
        "answers",
        "TTLs",
        "AA",
        "rcode_name",
        "duration",
        "message",
        "class_uid",
        "time",
        "@timestamp",
        "x",
    ]);
    let members = prop::collection::vec((key, json_value()), 0..8);
    members.prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{\"ts\":1521911720,{}}}", members.join(",")).into_bytes()
    })
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(prop::sample::select(b"{}[]\":,\\\t0.19-eTF#x() ".to_vec()), 0..64),
        json_record(),
        (json_record(), any::<prop::sample::Index>())
            .prop_map(|(record, at)| record[..at.index(record.len())].to_vec()),
        prop::collection::vec("[-0-9.TFa\\\\x,():]{0,8}", 7).prop_map(|cells| cells.join("\t").into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_records_are_counted(
        kind in prop::sample::select(vec!["zeek", "json_lines", "ocsf"]),
        tsv in any::<bool>(),
        tenant in prop::sample::select(vec!["default", "shared"]),
        live in any::<bool>(),
        records in prop::collection::vec(record(), 0..20),
    ) {
        let header = RawHeader {
            context: if tsv { TSV.into() } else { Default::default() },
            tenant: tenant.to_owned(),
            domain: if live { "live".to_owned() } else { "replay-1".to_owned() },
            ..header(kind)
        };
        run(header, records.iter().map(Vec::as_slice));
    }

    #[test]
    fn any_header_of_a_log_is_survived(context in prop::collection::vec(any::<u8>(), 0..80), line in "[\\PC\t]{0,30}") {
        let context = [b"#separator \\x09\n#fields\t".as_slice(), &context].concat();
        run(RawHeader { context, ..header("zeek") }, [line.as_bytes()]);
    }
}
