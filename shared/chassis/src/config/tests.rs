use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Collector {
    lanes: u16,
    listen: String,
}

fn directory(settings: &str) -> (tempfile::TempDir, Result<Directory, ConfigError>) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("atalaya.yaml"), settings).unwrap();
    let loaded = Directory::load(Some(place.path())).map(|directory| directory.with_overrides(Vec::new()));
    (place, loaded)
}

#[test]
fn sections_are_read_and_default() {
    let (_place, loaded) = directory("bus: file:there\ncollector:\n  lanes: 8\n");
    let loaded = loaded.unwrap();
    assert_eq!(loaded.section::<String>("bus").unwrap(), "file:there");
    assert_eq!(loaded.section::<Collector>("collector").unwrap(), Collector { lanes: 8, listen: String::new() });
    assert_eq!(loaded.section::<String>("hot").unwrap(), "");
    let loaded =
        ["bus", "hot"].into_iter().try_fold(loaded, |loaded, name| loaded.with_default_url(name, "file:d".into()));
    let loaded = loaded.unwrap();
    assert_eq!(["bus", "hot"].map(|name| loaded.section::<String>(name).unwrap()), ["file:there", "file:d"]);
}

#[test]
fn unknown_keys_name_file_line_and_cure() {
    let (_place, loaded) = directory("bus: x\n\ncolector: {}\n");
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains("atalaya.yaml:3: ") && error.contains("did you mean 'collector'?"), "{error}");
    let (_place, loaded) = directory("collector:\n  lanes: 2\n  lisen: x\n");
    let error = loaded.unwrap().section::<Collector>("collector").unwrap_err().to_string();
    assert!(error.contains("atalaya.yaml:3: ") && error.contains("did you mean 'listen'?"), "{error}");
}

#[test]
fn the_environment_overrides() {
    let (_place, loaded) = directory("collector: {lanes: 2, listen: here}\n");
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let loaded =
        loaded.unwrap().with_overrides(vec![set("ATALAYA_COLLECTOR_LANES", "6"), set("ATALAYA_BUS", "file:b")]);
    assert_eq!(loaded.section::<Collector>("collector").unwrap(), Collector { lanes: 6, listen: "here".into() });
    assert_eq!(loaded.section::<String>("bus").unwrap(), "file:b");
    let loaded = loaded.with_overrides(vec![set("ATALAYA_HOT_STORE_LANES", "5")]);
    assert_eq!(loaded.section::<String>("hot").unwrap(), "");
    assert_eq!(loaded.section::<Collector>("hot_store").unwrap().lanes, 5);
    let loaded = loaded.with_overrides(vec![set("ATALAYA_COLLECTOR_LANE", "6")]);
    let error = loaded.section::<Collector>("collector").unwrap_err().to_string();
    assert!(error.contains("ATALAYA_COLLECTOR_LANE") && error.contains("unknown field"), "{error}");
}

#[test]
fn files_are_found_by_place() {
    let place = tempfile::tempdir().unwrap();
    for path in ["tenants/acme.yaml", "sources/dns.yaml", "rules/a/b.yml", "rules/.hidden/c.yml", "rules/readme.md"] {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{}").unwrap();
    }
    let loaded = Directory::load(Some(place.path())).unwrap();
    let counts = (loaded.tenants().len(), loaded.sources().len(), loaded.rules().len());
    assert_eq!((counts, loaded.tenants()[0].stem()), ((1, 1, 1), "acme"));
    assert!(Directory::load(Some(&place.path().join("none"))).is_err());
}
