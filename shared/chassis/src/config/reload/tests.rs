use std::path::Path;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde::Deserialize;

use super::*;
use crate::Trigger;
use crate::config::ConfigError;

const EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Normalizer {
    lanes: u16,
}

fn lanes(directory: &Directory) -> Result<u16, ConfigError> {
    directory.section::<Normalizer>("normalizer").map(|section| section.lanes)
}

fn settings(lanes: u16) -> String {
    format!("normalizer:\n  lanes: {lanes}\n")
}

/// The watcher of a directory under test, with metrics of its own.
struct Stage {
    place: tempfile::TempDir,
    directory: PathBuf,
    shutdown: Shutdown,
    trigger: Trigger,
    watcher: Watcher,
    recorder: metrics_exporter_prometheus::PrometheusRecorder,
}

impl Stage {
    /// A directory mounted as a ConfigMap is: files are links into `..data`, which is a link to a version.
    fn mounted() -> Self {
        let place = tempfile::tempdir().unwrap();
        version(place.path(), "..v1", &settings(1));
        std::os::unix::fs::symlink("..v1", place.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/atalaya.yaml", place.path().join("atalaya.yaml")).unwrap();
        let directory = Directory::load(Some(place.path())).unwrap();
        let check = |directory: Directory| {
            lanes(&directory)?;
            directory.tenants().iter().try_for_each(|file| file.parse::<Normalizer>().map(|_| ()))?;
            Ok(directory)
        };
        let (watcher, receiver) = Watcher::new(place.path().to_owned(), directory, check);
        let (trigger, shutdown) = Shutdown::new();
        Self {
            directory: place.path().to_owned(),
            place,
            shutdown: shutdown.with_configuration(receiver),
            trigger,
            watcher: watcher.every(EVERY),
            recorder: PrometheusBuilder::new().build_recorder(),
        }
    }

    /// Looks until the metrics say this; false if they do not in time.
    fn turns_until(&mut self, metric: &str) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            metrics::with_local_recorder(&self.recorder, || runtime.block_on(self.watcher.turn()));
            if self.recorder.handle().render().lines().any(|line| line == metric) {
                return true;
            }
        }
        false
    }
}

fn version(place: &Path, name: &str, text: &str) {
    std::fs::create_dir(place.join(name)).unwrap();
    std::fs::write(place.join(name).join("atalaya.yaml"), text).unwrap();
}

/// What the kubelet does: the new version beside the old one, then one rename.
fn swap(place: &Path, name: &str, text: &str) {
    version(place, name, text);
    std::os::unix::fs::symlink(name, place.join("..data_tmp")).unwrap();
    std::fs::rename(place.join("..data_tmp"), place.join("..data")).unwrap();
}

#[tokio::test]
async fn changes_are_handed_on_and_wrong_ones_are_not() {
    let Stage { place, directory, shutdown, trigger, watcher, .. } = Stage::mounted();
    let running = tokio::spawn(watcher.run(shutdown.clone()));
    let mut changes = shutdown.changes();
    swap(&directory, "..v2", &settings(2));
    let next = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    assert_eq!(lanes(&next).unwrap(), 2);
    swap(&directory, "..v3", "normalizer:\n  lane: 3\n");
    let quiet = tokio::time::timeout(EVERY * 30, changes.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    swap(&directory, "..v4", &settings(4));
    let next = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    assert_eq!(lanes(&next).unwrap(), 4);
    let late = tokio::time::timeout(PATIENCE, shutdown.changes().next()).await.unwrap();
    assert_eq!(lanes(&late).unwrap(), 4, "who asks later hears of what changed since the start");
    std::fs::create_dir(directory.join("tenants")).unwrap();
    std::fs::write(directory.join("tenants/acme.yaml"), "lanes: 7\n").unwrap();
    let next = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    assert_eq!(next.tenants().len(), 1);
    trigger.request();
    running.await.unwrap();
    drop(place);
}

#[test]
fn what_is_wrong_is_an_alarm_until_it_is_mended() {
    let mut stage = Stage::mounted();
    assert!(stage.turns_until("atalaya_configuration_refused 0"));
    swap(&stage.directory.clone(), "..v2", "normalizer:\n  lane: 3\n");
    assert!(stage.turns_until("atalaya_configuration_refused 1"));
    assert!(stage.turns_until("atalaya_alarms_total{service=\"configuration\"} 1"));
    swap(&stage.directory.clone(), "..v3", &settings(1));
    assert!(stage.turns_until("atalaya_configuration_refused 0"));
    assert!(!stage.recorder.handle().render().contains("atalaya_configuration_changes_total"), "back to what it was");
    std::fs::remove_dir_all(stage.directory.join("..v3")).unwrap();
    std::fs::remove_file(stage.directory.join("..data")).unwrap();
    std::fs::create_dir(stage.directory.join("tenants")).unwrap();
    std::fs::write(stage.directory.join("tenants/acme.yaml"), "lane: 7\n").unwrap();
    assert!(stage.turns_until("atalaya_alarms_total{service=\"configuration\"} 2"));
    assert_eq!(lanes(&stage.watcher.sender.borrow()).unwrap(), 1, "the old one stays");
}

#[test]
fn the_alarm_names_file_line_and_cure() {
    let stage = Stage::mounted();
    std::fs::create_dir(stage.directory.join("tenants")).unwrap();
    std::fs::write(stage.directory.join("tenants/acme.yaml"), "\nlane: 7\n").unwrap();
    let found = look(&stage.directory).found.unwrap();
    let error = format!("{:#}", (stage.watcher.check)(found).unwrap_err());
    assert!(error.contains("tenants/acme.yaml:2: ") && error.contains("did you mean 'lanes'?"), "{error}");
}

#[test]
fn a_change_that_does_not_stand_still_is_not_decided_upon() {
    let mut stage = Stage::mounted();
    assert!(stage.turns_until("atalaya_configuration_refused 0"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 2..12 {
        swap(&stage.directory.clone(), &format!("..v{round}"), &settings(round));
        runtime.block_on(stage.watcher.turn());
        assert_eq!(lanes(&stage.watcher.sender.borrow()).unwrap(), 1, "{round}");
    }
    runtime.block_on(stage.watcher.turn());
    assert_eq!(lanes(&stage.watcher.sender.borrow()).unwrap(), 11);
}
