//! `atalaya bus repair`: asks every store outside the bus what it remembers of it, and goes on behind that.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use atalaya_archive::{Archive, Feed};
use atalaya_bus::repair::{self, HaltError, Halted, Hole, Repairs, StreamPlan, Witness};
use atalaya_bus::{Bus, Filter, OutputLane, Position, Stream, holder_name};
use atalaya_chassis::Service;
use atalaya_chassis::config::Directory;
use atalaya_collector::spool::{self, Unwritten};
use atalaya_correlator::KeptSnapshot;
use atalaya_model::LaneId;
use serde_json::{Map, Value, json};

use crate::cli::output::{self, Format};
use crate::cli::{Outcome, Place};

/// Bytes of a spool that is only read.
const SPOOL_BYTES: u64 = 4 << 30;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RepairArgs {
    #[command(flatten)]
    place: Place,
    /// The spool of a collector of this machine; DIR/spool if it is not named
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Repair although nothing that is seen from here contradicts the bus: for a spool on another machine
    #[arg(long)]
    anyway: bool,
}

/// The bus and what lies beside it.
struct Stores {
    bus: Arc<dyn Bus>,
    archive: Archive,
    state: Arc<atalaya_correlator::StateStore>,
    spool: PathBuf,
}

/// What was found, and what follows.
struct Found {
    plans: Vec<StreamPlan>,
    /// Snapshots of messages that EVT no longer has.
    stale: Vec<KeptSnapshot>,
    lanes: Vec<(LaneId, Lane)>,
    /// Messages that are gone from the middle of a stream, and the readers that had not come so far.
    holes: Vec<(Stream, Hole, Vec<String>)>,
}

/// What is written again of a lane, by whom.
#[derive(Default)]
struct Lane {
    /// By the collector, from its spool; none if the spool is not here.
    spool: Option<Unwritten>,
    /// By the normalizer, from RAW, messages.
    raw: u64,
}

pub(super) async fn repair(args: RepairArgs) -> anyhow::Result<Outcome> {
    let stores = open(&args).await?;
    let halted = Halted::take(stores.bus.as_ref(), &holder_name("repair")).await?;
    let work = async {
        let found = find(&stores).await?;
        let damaged = args.anyway || found.plans.iter().any(StreamPlan::is_damaged);
        let repaired = damaged && !args.dry_run;
        if repaired {
            // First what would mislead, last what lets everybody go on: whatever dies in between is found again.
            atalaya_correlator::forget_snapshots(&stores.state, &found.stale).await?;
            repair::carry_out(&stores.bus, &found.plans).await?;
        }
        show(&found, damaged, repaired, args.json)
    };
    halted.during(async { work.await.map_err(Failed) }).await.map_err(|Failed(error)| error)?;
    Ok(Outcome::Good)
}

/// What went wrong under the leases.
struct Failed(anyhow::Error);

impl From<HaltError> for Failed {
    fn from(error: HaltError) -> Self {
        Self(error.into())
    }
}

async fn open(args: &RepairArgs) -> anyhow::Result<Stores> {
    let data = std::path::absolute(&args.place.data)?;
    let mut directory = Directory::load(args.place.config.as_deref())?;
    for name in ["bus", "archive", "state"] {
        directory = directory.with_default_url(name, format!("file:{}", data.join(name).display()))?;
    }
    let url: String = directory.section("bus")?;
    let bus = atalaya_bus::open_with(&url, &directory.section("nats")?).await.with_context(|| url.clone())?;
    let archive = atalaya_cold_archive::Service::configure(&directory)?;
    let correlator = atalaya_correlator::Service::configure(&directory)?;
    Ok(Stores {
        bus,
        archive: Archive::open_with(&archive.archive, &archive.s3).with_context(|| archive.archive.clone())?,
        state: atalaya_correlator::open_state_with(&correlator.state, &correlator.s3)?,
        spool: args.spool.clone().unwrap_or_else(|| data.join("spool")),
    })
}

async fn find(stores: &Stores) -> anyhow::Result<Found> {
    let bus = stores.bus.as_ref();
    let repairs = Repairs::read(bus).await?;
    let snapshots = atalaya_correlator::kept_snapshots(&stores.state).await.context("state store")?;
    let mut witnesses = archived(&stores.archive).await.context("archive")?;
    witnesses.extend(snapshots.iter().map(of_snapshot));
    let mut lanes = Vec::new();
    if stores.spool.is_dir() {
        let path = || stores.spool.display().to_string();
        let journal = atalaya_collector::open_spool(&stores.spool, SPOOL_BYTES).with_context(path)?;
        for (lane, remembered) in spool::in_raw(&journal).await? {
            let newest = bus.last(Stream::Raw, OutputLane::raw(&lane).filter()).await?;
            let again = spool::unwritten(&journal, &lane, newest.as_ref()).await?;
            lanes.push((lane.clone(), Lane { spool: Some(again), raw: 0 }));
            if !repairs.after(remembered.at_us) {
                let name = format!("spool of lane {lane}");
                witnesses.push(Witness { name, stream: Stream::Raw, position: remembered.position });
            }
        }
        journal.close().await?;
    }
    for (lane, behind) in behind(bus).await? {
        match lanes.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, known)) => known.raw = behind,
            None => lanes.push((lane, Lane { spool: None, raw: behind })),
        }
    }
    let plans = repair::plan(bus, &witnesses).await?;
    let mut holes = Vec::new();
    for plan in &plans {
        for hole in &plan.life.holes {
            holes.push((plan.stream, *hole, repair::missed_by(bus, plan.stream, hole).await?));
        }
    }
    let evt = plans.iter().find(|plan| plan.stream == Stream::Evt).map(|plan| &plan.life);
    let beyond = |snapshot: &KeptSnapshot| {
        evt.is_some_and(|evt| snapshot.incarnation == evt.incarnation && snapshot.sequence > evt.last)
    };
    let stale = snapshots.into_iter().filter(beyond).collect();
    Ok(Found { plans, stale, lanes, holes })
}

/// What the archive's tables cover, of each partition and life.
async fn archived(archive: &Archive) -> anyhow::Result<Vec<Witness>> {
    let witness = |(scope, sequence): (atalaya_archive::Scope, u64)| {
        let stream = if scope.feed == Feed::Evt { Stream::Evt } else { Stream::Alert };
        let position = Position { incarnation: scope.incarnation, sequence, id: String::new() };
        Witness { name: format!("archive of partition {}", scope.partition), stream, position }
    };
    Ok(archive.positions().await?.into_iter().map(witness).collect())
}

fn of_snapshot(snapshot: &KeptSnapshot) -> Witness {
    let KeptSnapshot { partition, incarnation, sequence, .. } = *snapshot;
    let position = Position { incarnation, sequence, id: String::new() };
    Witness { name: format!("snapshot of partition {partition}"), stream: Stream::Evt, position }
}

/// Messages of RAW that EVT does not cover, by lane.
async fn behind(bus: &dyn Bus) -> anyhow::Result<Vec<(LaneId, u64)>> {
    let first = bus.info(Stream::Raw).await?.first;
    let mut lanes = Vec::new();
    for entry in bus.bucket("lanes").await?.list("").await? {
        let Ok(lane) = entry.key.parse::<LaneId>() else { continue };
        let newest = bus.last(Stream::Evt, OutputLane::evt(&lane).filter()).await?;
        let covered = newest.and_then(|message| message.headers.covers.as_ref().map(|covers| covers.sequence));
        let end = bus.last(Stream::Raw, OutputLane::raw(&lane).filter()).await?.map_or(0, |last| last.sequence);
        let mut at = covered.unwrap_or(0).max(first.saturating_sub(1));
        let mut messages = 0;
        if at < end {
            let mut reader = bus.read(Stream::Raw, &Filter::new(&format!("raw.{lane}.>"))?, at).await?;
            while at < end {
                at = reader.next().await?.sequence;
                messages += 1;
            }
        }
        lanes.push((lane, messages));
    }
    Ok(lanes)
}

fn show(found: &Found, damaged: bool, repaired: bool, as_json: bool) -> anyhow::Result<()> {
    let streams: Vec<_> = found.plans.iter().map(of_stream).collect();
    let holes: Vec<_> = found.holes.iter().map(of_hole).collect();
    let lanes: Vec<_> = found.lanes.iter().map(|(lane, found)| of_lane(lane, found)).collect();
    if as_json {
        let report = json!({
            "damaged": damaged,
            "repaired": repaired,
            "streams": streams,
            "holes": holes,
            "lanes": lanes,
            "snapshots_forgotten": found.stale.len(),
        });
        return output::line(&report.to_string());
    }
    output::objects(&streams, &["stream"], Format::Table)?;
    for (rows, first) in [(&holes, "stream"), (&lanes, "lane")] {
        if !rows.is_empty() {
            output::objects(rows, &[first], Format::Table)?;
        }
    }
    output::note(match (damaged, repaired) {
        (false, _) => "nothing contradicts the bus: there is nothing to repair",
        (true, false) => "nothing was changed: without --dry-run it is repaired",
        (true, true) => "repaired: start the services, what spool and RAW still hold is written again",
    });
    Ok(())
}

fn of_stream(plan: &StreamPlan) -> Map<String, Value> {
    let lost = plan.lost();
    Map::from_iter([
        ("stream".to_owned(), json!(plan.stream.name())),
        ("incarnation".to_owned(), json!(plan.life.incarnation)),
        ("last".to_owned(), json!(plan.life.last)),
        ("lost_incarnation".to_owned(), json!(lost.map(|(incarnation, ..)| incarnation))),
        ("lost_from".to_owned(), json!(lost.map(|(_, from, _)| from))),
        ("lost_to".to_owned(), json!(lost.map(|(.., to)| to))),
        ("goes_on_after".to_owned(), json!(plan.life.filled)),
        ("contradicted_by".to_owned(), json!(plan.contradicting.iter().map(|w| &w.name).collect::<Vec<_>>())),
    ])
}

fn of_hole((stream, hole, missed_by): &(Stream, Hole, Vec<String>)) -> Map<String, Value> {
    Map::from_iter([
        ("stream".to_owned(), json!(stream.name())),
        ("lost_from".to_owned(), json!(hole.from)),
        ("lost_to".to_owned(), json!(hole.to)),
        ("lost_messages".to_owned(), json!(hole.messages())),
        ("missed_by".to_owned(), json!(missed_by)),
    ])
}

fn of_lane(lane: &LaneId, found: &Lane) -> Map<String, Value> {
    let of = |count: fn(&Unwritten) -> u64| json!(found.spool.as_ref().map(count));
    Map::from_iter([
        ("lane".to_owned(), json!(lane.as_str())),
        ("again_from_spool".to_owned(), of(|spool| spool.messages)),
        ("records_from_spool".to_owned(), of(|spool| spool.records)),
        ("again_from_raw".to_owned(), json!(found.raw)),
        ("lost_messages".to_owned(), of(|spool| spool.lost)),
    ])
}
