//! The streams: created where they are missing, checked where they are there, altered only when that is asked for.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bucket;
use super::link::{Fault, Link};
use super::options::Options;
use crate::{BusError, Stream};

/// Slots of a tenant: all its events meet in one partition.
const SLOTS: u16 = 1;

/// Where partitions and slots stand in a stream's metadata.
const PARTITIONS: &str = "atalaya.partitions";
const SLOTS_NAME: &str = "atalaya.slots";

/// What our streams and buckets say of themselves.
const DESCRIPTION: &str = "Atalaya";

/// The server's numbers for a stream that is not there, and for one that is there and differs.
const NOT_FOUND: u64 = 10_059;
const EXISTS: u64 = 10_058;

/// Subjects the server names in one answer at most.
const PAGE_SUBJECTS: usize = 100_000;

/// Subjects of a stream.
fn subjects(stream: Stream) -> Vec<String> {
    let subjects: &[&str] = match stream {
        Stream::Raw => &["raw.>"],
        Stream::Evt => &["evt.>"],
        Stream::Alert => &["alert.>", "action.>"],
        Stream::Dlq => &["dlq.>"],
    };
    subjects.iter().map(|&subject| subject.to_owned()).collect()
}

/// What every stream and bucket of ours has in common: nothing goes by age or number, nothing is overwritten.
pub(super) fn base(name: &str, subjects: Vec<String>, options: &Options) -> Config {
    Config {
        name: name.to_owned(),
        subjects,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: options.replicas,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        description: Some(DESCRIPTION.to_owned()),
        ..Config::default()
    }
}

fn wanted(stream: Stream, options: &Options) -> Config {
    let mut config = base(stream.name(), subjects(stream), options);
    config.max_bytes = i64::try_from(options.max_bytes.of(stream)).unwrap_or(i64::MAX);
    config.metadata.insert(PARTITIONS.to_owned(), options.partitions.to_string());
    config.metadata.insert(SLOTS_NAME.to_owned(), SLOTS.to_string());
    config
}

/// What matters of a stream, by name. Limits that are absent are -1, whatever the server says for it.
fn traits(config: &Config) -> Vec<(&'static str, Value)> {
    let mut subjects = config.subjects.clone();
    subjects.sort();
    let limit = |limit: i64| if limit <= 0 { -1 } else { limit };
    let metadata = |name: &str| config.metadata.get(name).cloned();
    vec![
        ("subjects", json!(subjects)),
        ("retention", json!(config.retention)),
        ("discard", json!(config.discard)),
        ("storage", json!(config.storage)),
        ("replicas", json!(config.num_replicas.max(1))),
        ("max_bytes", json!(limit(config.max_bytes))),
        ("max_msgs", json!(limit(config.max_messages))),
        ("max_msgs_per_subject", json!(limit(config.max_messages_per_subject))),
        ("max_age_seconds", json!(config.max_age.as_secs_f64())),
        ("partitions", json!(metadata(PARTITIONS))),
        ("slots", json!(metadata(SLOTS_NAME))),
        ("allow_msg_ttl", json!(config.allow_message_ttl)),
        ("no_ack", json!(config.no_ack)),
        ("sealed", json!(config.sealed)),
        ("deny_delete", json!(config.deny_delete)),
        ("deny_purge", json!(config.deny_purge)),
        ("allow_rollup", json!(config.allow_rollup)),
        ("mirrors or sources", json!(config.mirror.is_some() || config.sources.is_some())),
        ("transforms", json!(config.subject_transform.is_some())),
        ("persist_mode", json!(config.persist_mode.unwrap_or_default())),
    ]
}

/// How a stream that is there differs, each difference as `name: found …, wanted …`.
pub(super) fn differences(found: &Config, wanted: &Config) -> Vec<String> {
    let (found, wanted) = (traits(found), traits(wanted));
    let differ = |((name, found), (_, wanted)): ((&str, Value), (&str, Value))| {
        (found != wanted).then(|| format!("{name}: found {found}, wanted {wanted}"))
    };
    found.into_iter().zip(wanted).filter_map(differ).collect()
}

/// How a stream is; none if it is not there.
pub(super) async fn info(link: &Link, name: &str) -> Result<Option<Info>, Fault> {
    match link.ask(&format!("STREAM.INFO.{name}"), &json!({})).await {
        Ok(info) => Ok(Some(info)),
        Err(fault) if fault.code() == NOT_FOUND => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The subjects under a filter that have messages, and how many each.
pub(super) async fn counts(link: &Link, name: &str, filter: &str) -> Result<BTreeMap<String, u64>, Fault> {
    #[derive(Deserialize)]
    struct Page {
        state: State,
    }
    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        subjects: Option<BTreeMap<String, u64>>,
    }
    let (mut all, mut offset) = (BTreeMap::new(), 0);
    loop {
        let question = json!({ "subjects_filter": filter, "offset": offset });
        let page: Page = link.ask(&format!("STREAM.INFO.{name}"), &question).await?;
        let Some(page) = page.state.subjects.filter(|page| !page.is_empty()) else { return Ok(all) };
        offset += page.len();
        all.extend(page);
        if offset % PAGE_SUBJECTS != 0 {
            return Ok(all);
        }
    }
}

/// Creates a stream or a bucket, or finds it as it should be.
pub(super) async fn ensure(link: &Link, wanted: &Config) -> Result<(), BusError> {
    let name = &wanted.name;
    let mut found = info(link, name).await?;
    if found.is_none() {
        match link.ask::<Info>(&format!("STREAM.CREATE.{name}"), wanted).await {
            Ok(_) => {
                tracing::info!(stream = name, "created");
                return Ok(());
            }
            // Somebody else was faster.
            Err(fault) if fault.code() == EXISTS => found = info(link, name).await?,
            Err(fault) => return Err(BusError::Io(format!("stream {name} cannot be created: {fault}"))),
        }
    }
    let Some(found) = found else { return Err(BusError::Io(format!("stream {name} comes and goes"))) };
    let differences = differences(&found.config, wanted);
    if differences.is_empty() {
        return Ok(());
    }
    let list = differences.join("; ");
    Err(BusError::Mismatch(format!("stream {name} is not as configured ({list}): 'atalaya bus apply' changes it")))
}

/// Creates or checks the four streams.
pub(super) async fn ensure_all(link: &Link) -> Result<(), BusError> {
    check_options(&link.options)?;
    for stream in Stream::ALL {
        ensure(link, &wanted(stream, &link.options)).await?;
    }
    Ok(())
}

/// Makes the four streams, and the buckets that are there, be as the options say; answers with what it changed.
pub(super) async fn apply_all(link: &Link) -> Result<Vec<String>, BusError> {
    let mut changes = Vec::new();
    for wanted in wanted_all(link).await? {
        changes.extend(apply(link, wanted).await?);
    }
    Ok(changes)
}

/// What [`apply_all`] would change.
pub(super) async fn check_all(link: &Link) -> Result<Vec<String>, BusError> {
    let mut changes = Vec::new();
    for wanted in wanted_all(link).await? {
        let name = &wanted.name;
        match info(link, name).await? {
            None => changes.push(format!("{name}: not there")),
            Some(found) => {
                let differences = differences(&found.config, &wanted).into_iter();
                changes.extend(differences.map(|difference| format!("{name}: {difference}")));
            }
        }
    }
    Ok(changes)
}

/// How the four streams, and the buckets that are there, are to be.
async fn wanted_all(link: &Link) -> Result<Vec<Config>, BusError> {
    check_options(&link.options)?;
    let mut all: Vec<_> = Stream::ALL.into_iter().map(|stream| wanted(stream, &link.options)).collect();
    for name in names(link, "$KV.>").await? {
        let found = info(link, &name).await?;
        let ours = found.is_some_and(|found| found.config.description.as_deref() == Some(DESCRIPTION));
        if let Some(bucket) = name.strip_prefix("KV_").filter(|_| ours) {
            all.push(bucket::config(bucket, &link.options));
        }
    }
    Ok(all)
}

async fn apply(link: &Link, wanted: Config) -> Result<Vec<String>, BusError> {
    let name = wanted.name.clone();
    let Some(found) = info(link, &name).await? else {
        ensure(link, &wanted).await?;
        return Ok(vec![format!("{name}: created")]);
    };
    let differences = differences(&found.config, &wanted);
    if differences.is_empty() {
        return Ok(differences);
    }
    let list = differences.join("; ");
    let split = |name: &str| found.config.metadata.get(name) != wanted.metadata.get(name);
    if (split(PARTITIONS) || split(SLOTS_NAME)) && found.state.last_sequence > 0 {
        let reason = "partitions and slots are fixed once something was written";
        return Err(BusError::Mismatch(format!("{name}: {reason} ({list})")));
    }
    let altered = altered(found.config, wanted);
    let updated: Result<Info, Fault> = link.ask(&format!("STREAM.UPDATE.{name}"), &altered).await;
    updated.map_err(|fault| BusError::Io(format!("stream {name} cannot be changed ({list}): {fault}")))?;
    Ok(differences.into_iter().map(|difference| format!("{name}: {difference}")).collect())
}

/// The streams that take some of these subjects.
async fn names(link: &Link, subjects: &str) -> Result<Vec<String>, Fault> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        streams: Option<Vec<String>>,
    }
    let mut all = Vec::new();
    loop {
        let question = json!({ "subject": subjects, "offset": all.len() });
        let page: Page = link.ask("STREAM.NAMES", &question).await?;
        match page.streams {
            Some(page) if !page.is_empty() => all.extend(page),
            _ => return Ok(all),
        }
    }
}

/// What is there with what is wanted put into it; what we have no opinion of stays.
fn altered(found: Config, wanted: Config) -> Config {
    let mut metadata = found.metadata;
    metadata.extend(wanted.metadata);
    Config {
        subjects: wanted.subjects,
        retention: wanted.retention,
        discard: wanted.discard,
        storage: wanted.storage,
        num_replicas: wanted.num_replicas,
        max_bytes: wanted.max_bytes,
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_age: wanted.max_age,
        allow_message_ttl: wanted.allow_message_ttl,
        no_ack: wanted.no_ack,
        sealed: wanted.sealed,
        deny_delete: wanted.deny_delete,
        deny_purge: wanted.deny_purge,
        allow_rollup: wanted.allow_rollup,
        mirror: wanted.mirror,
        sources: wanted.sources,
        subject_transform: wanted.subject_transform,
        persist_mode: wanted.persist_mode,
        metadata,
        ..found
    }
}

fn check_options(options: &Options) -> Result<(), BusError> {
    if options.partitions == 0 || options.replicas == 0 {
        return Err(BusError::Mismatch("partitions and replicas are at least 1".to_owned()));
    }
    Ok(())
}

/// How many partitions a stream says it has.
pub(super) fn partitions(config: &Config) -> u16 {
    config.metadata.get(PARTITIONS).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named() {
        let options = Options::default();
        let found = wanted(Stream::Raw, &options);
        assert_eq!(differences(&found, &found), Vec::<String>::new());
        let mut other = wanted(Stream::Raw, &Options { partitions: 4, replicas: 3, ..options });
        other.discard = DiscardPolicy::Old;
        other.max_messages = 0;
        let found = differences(&found, &other);
        let wanted = [
            "discard: found \"new\", wanted \"old\"",
            "replicas: found 1, wanted 3",
            "partitions: found \"16\", wanted \"4\"",
        ];
        assert_eq!(found, wanted);
    }
}
