//! A rule: what it says of itself, and what it looks for.

use atalaya_model::{Class, Level};
use serde_json::{Map, Value};

use super::correlation::Correlation;
use super::detection::{self, FieldTest};
use super::logic::Expr;
use super::logsource::{Fields, Logsource, Logsources, Source};
use super::message::Message;
use super::test::Test;
use super::yaml;

/// How long a group must be quiet for the incident of a plain detection rule to end, unless the rule says otherwise:
/// 10 minutes in microseconds.
pub const DEFAULT_QUIET_US: i64 = 600_000_000;

/// A rule that was loaded.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// Its name for correlations, where it has one.
    pub name: Option<String>,
    /// Its title.
    pub title: String,
    /// The file it came from.
    pub path: String,
    /// Who wrote it: attribution travels with every alert.
    pub author: String,
    /// How grave.
    pub level: Level,
    /// ATT&CK technique ids of its tags.
    pub attack_ids: Vec<String>,
    /// What it detects, for people.
    pub description: String,
    /// What may set it off without an attack.
    pub falsepositives: Vec<String>,
    /// Hash of what it says, and for a correlation of the rules it counts: hexadecimal.
    pub rev: String,
    /// The sentence of its alerts, where it has one.
    pub message: Option<Message>,
    /// Whether matches become alerts of its own: not for a rule that is only counted by a correlation.
    pub alerts: bool,
    /// What it looks for.
    pub kind: Kind,
}

/// What a rule looks for.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Single events.
    Detection(Detection),
    /// Many events that other rules match.
    Correlation(Correlation),
}

/// Single events.
#[derive(Clone, Debug)]
pub struct Detection {
    /// What it looks for in each class its log source may be in.
    pub routes: Vec<Route>,
    /// What its incidents are about.
    pub group: Grouping,
    /// How long a group must be quiet for its incident to end, microseconds.
    pub quiet_us: i64,
}

/// What a rule looks for in one class.
#[derive(Clone, Debug)]
pub struct Route {
    /// The class.
    pub class: Class,
    /// The condition over values of that class.
    pub condition: Expr<SourceTest>,
    /// How the rule's field names read in that class.
    pub fields: Fields,
}

/// A question about one value of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceTest {
    /// Where the value stands.
    pub source: Source,
    /// The question.
    pub test: Test,
}

/// What makes events belong to one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// The same values in all of these fields.
    Fields(Vec<String>),
    /// The same value in the first of these fields that has one: who or what it is about.
    Entity,
}

const TECHNIQUE_TAG: &str = "attack.t";

/// Reads what every kind of rule has; `kind`, `rev` and `alerts` are the caller's.
pub(super) fn head(
    document: &Map<String, Value>,
    path: &str,
    kind: Kind,
    message: Option<Message>,
) -> Result<Rule, String> {
    let level = match yaml::text(document, "level")? {
        Some(name) => Level::from_name(&name).ok_or_else(|| format!("level: '{name}' is none of Sigma's levels"))?,
        None => Level::default(),
    };
    let technique = |tag: &String| {
        let tag = tag.to_ascii_lowercase();
        let digits = tag.strip_prefix(TECHNIQUE_TAG).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?;
        Some(format!("T{digits}"))
    };
    Ok(Rule {
        id: yaml::text(document, "id")?.filter(|id| !id.is_empty()).ok_or("id: is missing")?,
        name: yaml::text(document, "name")?,
        title: yaml::text(document, "title")?.filter(|title| !title.is_empty()).ok_or("title: is missing")?,
        path: path.to_owned(),
        author: yaml::text(document, "author")?.unwrap_or_default(),
        level,
        attack_ids: yaml::texts(document, "tags")?.iter().filter_map(technique).collect(),
        description: yaml::text(document, "description")?.unwrap_or_default(),
        falsepositives: yaml::texts(document, "falsepositives")?,
        rev: String::new(),
        message,
        alerts: true,
        kind,
    })
}

/// Our own section of a rule.
#[derive(Default)]
pub(super) struct Extension {
    pub(super) message: Option<Message>,
    pub(super) group_by: Option<Vec<String>>,
    pub(super) quiet_us: Option<i64>,
}

pub(super) fn extension(document: &Map<String, Value>, known: &[&str]) -> Result<Extension, String> {
    let Some(section) = document.get("atalaya") else { return Ok(Extension::default()) };
    let section = section.as_object().ok_or("atalaya: a map is expected")?;
    let place = |reason: String| format!("atalaya.{reason}");
    yaml::only(section, known).map_err(place)?;
    let message = yaml::text(section, "message").map_err(place)?;
    let message = message.map(|text| Message::parse(&text)).transpose();
    let group_by = yaml::texts(section, "group-by").map_err(place)?;
    Ok(Extension {
        message: message.map_err(|reason| format!("atalaya.message: {reason}"))?,
        group_by: section.contains_key("group-by").then_some(group_by),
        quiet_us: yaml::span_us(section, "quiet").map_err(place)?,
    })
}

/// Reads a detection rule.
pub(super) fn parse(document: &Map<String, Value>, path: &str, logsources: &Logsources) -> Result<Rule, String> {
    let condition = detection::parse(document.get("detection").ok_or("detection: is missing")?)?;
    let logsource = Logsource::parse(document.get("logsource").ok_or("logsource: is missing")?)?;
    let extension = extension(document, &["message", "group-by", "quiet"])?;
    let routes = logsource.fields(logsources).into_iter().map(|fields| Route {
        class: fields.class,
        condition: Expr::all(fields.conditions().into_iter().chain([resolve(&condition, &fields)]).collect()),
        fields,
    });
    let detection = Detection {
        routes: routes.collect(),
        group: extension.group_by.map_or(Grouping::Entity, Grouping::Fields),
        quiet_us: extension.quiet_us.unwrap_or(DEFAULT_QUIET_US),
    };
    head(document, path, Kind::Detection(detection), extension.message)
}

/// Puts values of a class in place of field names. A field that stands for several values passes if one of them does;
/// it is null if all are.
fn resolve(condition: &Expr<FieldTest>, fields: &Fields) -> Expr<SourceTest> {
    condition.map(&mut |FieldTest { field, test }: &FieldTest| {
        let sources = match field {
            Some(field) => fields.sources(field),
            None => vec![Source::AnyText],
        };
        let leaf = |source| Expr::Leaf(SourceTest { source, test: test.clone() });
        let leaves = sources.into_iter().map(leaf).collect();
        if *test == Test::Null { Expr::all(leaves) } else { Expr::any(leaves) }
    })
}
