//! The mapping files as they are written: `kind.yaml` says what all logs of a source kind have in common, every other
//! file maps one log or several.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `kind.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KindFile {
    /// How the records are written.
    pub(crate) format: Format,
    /// Maker of the product.
    #[serde(default)]
    pub(crate) vendor: Option<String>,
    /// The product.
    #[serde(default)]
    pub(crate) product: Option<String>,
    /// Counts the changes of this kind's mappings that change rows.
    pub(crate) revision: u32,
    /// Fields that name the record's log.
    #[serde(default)]
    pub(crate) log_name: Vec<String>,
    /// Whether the name of the input's file names the log where nothing else does.
    #[serde(default)]
    pub(crate) log_name_of_file: bool,
    /// Other spellings of a field: the one found → the one used everywhere else.
    #[serde(default)]
    pub(crate) aliases: BTreeMap<String, String>,
    /// The time of the event.
    #[serde(default)]
    pub(crate) time: TimeRule,
    /// Fields that tell whose an event of a shared source is.
    #[serde(default)]
    pub(crate) owners: Owners,
    /// Whether numbers are rounded to six decimals, because one of the kind's formats writes no more.
    #[serde(default)]
    pub(crate) six_decimals: bool,
    /// Fields of every log; a column that the log's class does not have leaves the field in `unmapped`.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, Targets>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// JSON objects, or lines of tab-separated values where the message's context is a header.
    Zeek,
    /// JSON objects.
    Json,
    /// OCSF events as JSON objects.
    Ocsf,
}

/// Where the time stands.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeRule {
    /// Its field; of several the first that is set.
    pub(crate) fields: Vec<String>,
    /// Whether a record without a time is parked; otherwise it has the received time, marked.
    pub(crate) required: bool,
}

/// Fields that tell the owner.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Owners {
    /// The initiator's address.
    pub(crate) src: Option<String>,
    /// The responder's address.
    pub(crate) dst: Option<String>,
    /// Names, which count where no address tells.
    pub(crate) domains: Vec<String>,
}

/// A log's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFile {
    /// The logs it maps; `*` for any that no file names.
    pub(crate) logs: Vec<String>,
    /// The class, by its OCSF name.
    pub(crate) class: String,
    /// The OCSF `activity_id`, where no field sets it.
    #[serde(default)]
    pub(crate) activity: i32,
    /// Columns with the same value in every row, where no field sets them.
    #[serde(default)]
    pub(crate) set: BTreeMap<String, Constant>,
    /// Field → what becomes of it.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, Targets>,
    /// Tables of translations by name; `_` stands for any other value.
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, BTreeMap<String, Constant>>,
}

/// What becomes of a field: `COLUMN [CONVERSION [ARGUMENT]]`, `?COLUMN …` where nothing else sets the column,
/// `unmapped [CONVERSION]`, `drop`, `unless FIELD` (kept in `unmapped` only where the other field is unset).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Targets {
    /// One target.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Targets {
    /// Every target.
    pub(crate) fn all(&self) -> &[String] {
        match self {
            Self::One(target) => std::slice::from_ref(target),
            Self::Many(targets) => targets,
        }
    }
}

/// A value written in a mapping.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(crate) enum Constant {
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
}
