use super::*;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The text between two others, in a file.
fn between(path: &str, before: &str, after: &str) -> String {
    let text = read(path);
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{path}: no '{before}'"));
    rest.split_once(after).unwrap().0.trim().to_owned()
}

#[test]
fn totals_are_read() {
    let totals = unit_totals("Tests:       1 failed, 2 errored, 31 passed, 34 total").unwrap();
    assert_eq!((totals.passed, totals.failed, totals.skipped), (31, 3, 0));
    assert!(unit_totals("Charts:      1 passed, 1 total").is_none());
}

#[test]
fn a_manifest_without_a_schema_is_told_from_a_foreign_one() {
    let line = |kind: &str| format!("WARN x.yaml Couldn't find schema for kind {kind} with api version apps/v1");
    assert!(is_unknown(&line("Deploymint")));
    assert!(!is_unknown(&line("ServiceMonitor")));
}

#[test]
fn a_drain_fits_into_the_grace_period() {
    let seconds = |path: &str, before: &str, after: &str| between(path, before, after).parse::<u64>().unwrap();
    let values = "helm/atalaya/values.yaml";
    let grace = seconds(values, "\n  terminationGracePeriodSeconds: ", "\n");
    let before =
        read(values).lines().filter_map(|line| line.trim().strip_prefix("preStopSeconds: ")?.parse().ok()).max();
    let drain = "const DRAIN_DEADLINE: Duration = Duration::from_secs(";
    for path in ["shared/chassis/src/process.rs", "services/all-in-one/src/instance.rs"] {
        assert!(grace > before.unwrap_or(0) + seconds(path, drain, ")"), "{path}: {grace} s of grace are not enough");
    }
}

#[test]
fn the_schema_knows_the_sections_that_the_configuration_has() {
    let list = between("shared/chassis/src/config/mod.rs", "pub const SECTIONS: [&str; ", "];");
    let sections: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let schema: serde_json::Value = serde_json::from_str(&read("helm/atalaya/values.schema.json")).unwrap();
    let known = schema["properties"]["config"]["properties"].as_object().unwrap();
    let unknown: Vec<_> = sections.iter().filter(|section| !known.contains_key(**section)).collect();
    assert!(sections.len() > 10 && unknown.is_empty(), "values.schema.json has no config.{unknown:?}");
}

#[test]
fn the_chart_starts_what_is_built() {
    let schema: serde_json::Value = serde_json::from_str(&read("helm/atalaya/values.schema.json")).unwrap();
    let components = schema["properties"]["components"]["properties"].as_object().unwrap();
    for name in components.keys() {
        let manifest = read(&format!("services/{name}/Cargo.toml"));
        let package = if name == "all-in-one" { "atalaya".to_owned() } else { format!("atalaya-{name}") };
        assert!(manifest.contains(&format!("name = \"{package}\"")), "{name}");
    }
    assert_eq!(components.len(), 8);
}
