//! `atalaya bus`.

mod repair;

use std::path::Path;

use anyhow::{Context, bail};
use atalaya_bus::nats::{Nats, Options};
use atalaya_bus::{Bus, Stream};
use atalaya_chassis::config::Directory;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::output::{self, Format};
use super::{Outcome, Place};

#[derive(Debug, Subcommand)]
pub(super) enum BusCommand {
    /// Say what is in the streams, and how they differ from the configuration; exit code 1 if they do
    Check(Place),
    /// Change the streams of NATS servers to what the configuration says
    Apply(Place),
    /// Go on with a bus that went back, began anew or lost messages, and say what is lost; every service must be stopped
    Repair(repair::RepairArgs),
}

/// The bus of a configuration.
struct Configured {
    url: String,
    nats: Options,
}

pub(super) async fn bus(command: BusCommand) -> anyhow::Result<Outcome> {
    super::quiet_logs()?;
    match command {
        BusCommand::Check(place) => check(&configured(&place)?).await,
        BusCommand::Apply(place) => apply(&configured(&place)?).await,
        BusCommand::Repair(args) => repair::repair(args).await,
    }
}

fn configured(place: &Place) -> anyhow::Result<Configured> {
    let embedded = std::path::absolute(&place.data)?.join("bus");
    let directory = Directory::load(place.config.as_deref())?;
    let directory = directory.with_default_url("bus", format!("file:{}", embedded.display()))?;
    Ok(Configured { url: directory.section("bus")?, nats: directory.section("nats")? })
}

impl Configured {
    /// The directory of an embedded bus; none if it is on servers.
    fn embedded(&self) -> Option<&Path> {
        self.url.strip_prefix("file:").map(Path::new)
    }
}

async fn check(configured: &Configured) -> anyhow::Result<Outcome> {
    let Configured { url, nats } = configured;
    if let Some(directory) = configured.embedded() {
        if !directory.is_dir() {
            bail!("{url}: there is no bus yet");
        }
        // An embedded bus has nothing that a configuration could differ from.
        show(atalaya_bus::open(url).await.with_context(|| url.clone())?.as_ref()).await?;
        return Ok(Outcome::Good);
    }
    let differences = Nats::check(url, nats).await.with_context(|| url.clone())?;
    if differences.is_empty() {
        show(&Nats::connect(url, nats).await.with_context(|| url.clone())?).await?;
        output::note("the streams are as configured");
        return Ok(Outcome::Good);
    }
    differences.iter().try_for_each(|difference| output::line(difference))?;
    output::note("the streams are not as configured: 'atalaya bus apply' changes them");
    Ok(Outcome::Bad)
}

async fn apply(configured: &Configured) -> anyhow::Result<Outcome> {
    let Configured { url, nats } = configured;
    if configured.embedded().is_some() {
        output::note("an embedded bus has no settings to apply");
        return Ok(Outcome::Good);
    }
    let changes = Nats::apply(url, nats).await.with_context(|| url.clone())?;
    changes.iter().try_for_each(|change| output::line(change))?;
    output::note(&format!("{} changes", changes.len()));
    Ok(Outcome::Good)
}

/// Prints what is in the streams.
async fn show(bus: &dyn Bus) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for stream in Stream::ALL {
        let info = bus.info(stream).await.with_context(|| format!("stream {stream}"))?;
        rows.push(Map::from_iter([
            ("stream".to_owned(), Value::from(stream.name())),
            ("first".to_owned(), json!(info.first)),
            ("last".to_owned(), json!(info.last)),
            ("messages".to_owned(), json!(info.messages)),
            ("bytes".to_owned(), json!(info.bytes)),
            ("max_bytes".to_owned(), json!(info.max_bytes)),
            ("partitions".to_owned(), json!(info.partitions)),
        ]));
    }
    output::objects(&rows, &["stream"], Format::Table)
}
