//! A mapping, compiled: what to do with each field, by index instead of by name.

use std::collections::{BTreeMap, HashMap};

use atalaya_model::Class;
use atalaya_schema::{ColumnType, col, column_index, columns};

use super::convert::{Convert, End, Table, Target};
use super::file::{Constant, KindFile, LogFile, Targets};

/// Rules of a plan at most, so that a record's set fields fit into one word of bits.
const MAX_RULES: usize = 128;

/// What is done with the values of one log.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) class: Class,
    pub(crate) activity: i32,
    /// Mapping and revision, for `parser_version`.
    pub(crate) version: String,
    pub(crate) vendor: Option<String>,
    pub(crate) product: Option<String>,
    pub(crate) six_decimals: bool,
    /// Whether a record without a time is parked.
    pub(crate) time_required: bool,
    /// The name of the time's field, for people.
    pub(crate) time_field: String,
    pub(crate) rules: Vec<Rule>,
    /// Every spelling of a field → its rule.
    pub(crate) keys: HashMap<String, u8>,
    /// Other spellings → the one used in `unmapped`, for fields without a rule.
    pub(crate) aliases: BTreeMap<String, String>,
    pub(crate) constants: Vec<(Target, Constant)>,
    /// The column of the flags, if there is one.
    pub(crate) flags: Option<usize>,
}

/// What is done with one field.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its key in `unmapped`.
    pub(crate) key: String,
    pub(crate) role: Role,
    pub(crate) ops: Vec<Op>,
}

/// What a field is besides a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    None,
    /// The time, in order of preference.
    Time(u8),
    /// The log's name.
    LogName,
    /// The initiator's address.
    Src,
    /// The responder's address.
    Dst,
    /// A name that can tell the owner.
    Domain,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Op {
    /// Set a column.
    Set(Target, Convert),
    /// Set a column that nothing else has set.
    SetWeakly(Target, Convert),
    /// Keep the field.
    Unmapped,
    /// Keep the field, as a time.
    UnmappedTime,
    /// Keep the field if the field of this rule is unset.
    Unless(u8),
}

impl Plan {
    /// Compiles a log's mapping with what its kind has in common.
    pub(crate) fn compile(kind: &KindFile, log: &LogFile, version: String) -> Result<Self, String> {
        let class = Class::from_name(&log.class).ok_or_else(|| format!("no class '{}'", log.class))?;
        let mut plan = Self {
            class,
            activity: log.activity,
            version,
            vendor: kind.vendor.clone(),
            product: kind.product.clone(),
            six_decimals: kind.six_decimals,
            time_required: kind.time.required,
            time_field: kind.time.fields.join(" or "),
            rules: Vec::new(),
            keys: HashMap::new(),
            aliases: kind.aliases.clone(),
            constants: Vec::new(),
            flags: None,
        };
        for name in roles(kind).chain(log.fields.keys()).chain(kind.fields.keys()) {
            plan.add_rule(name, kind)?;
        }
        for (name, targets) in &log.fields {
            plan.add_ops(name, targets, log, true)?;
        }
        for (name, targets) in kind.fields.iter().filter(|(name, _)| !log.fields.contains_key(*name)) {
            plan.add_ops(name, targets, log, false)?;
        }
        for (name, constant) in &log.set {
            let target = plan.target(name).ok_or_else(|| no_column(class, name))?;
            fits(constant, target, name)?;
            plan.constants.push((target, constant.clone()));
        }
        for (other, name) in &kind.aliases {
            if let Some(&rule) = plan.keys.get(name) {
                plan.keys.insert(other.clone(), rule);
            }
        }
        Ok(plan)
    }

    fn add_rule(&mut self, name: &str, kind: &KindFile) -> Result<(), String> {
        if self.keys.contains_key(name) {
            return Ok(());
        }
        let index = u8::try_from(self.rules.len()).ok().filter(|&index| usize::from(index) < MAX_RULES);
        let index = index.ok_or_else(|| format!("more than {MAX_RULES} fields"))?;
        self.keys.insert(name.to_owned(), index);
        self.rules.push(Rule { key: name.to_owned(), role: role(name, kind), ops: Vec::new() });
        Ok(())
    }

    fn add_ops(&mut self, name: &str, targets: &Targets, log: &LogFile, strict: bool) -> Result<(), String> {
        for text in targets.all() {
            let op = self.op(text, log, strict).map_err(|reason| format!("field '{name}': {reason}"))?;
            if let Some(Op::Set(target, Convert::Flag(_))) = &op {
                self.flags = Some(target.col);
            }
            let rule = usize::from(self.keys.get(name).copied().unwrap_or_default());
            self.rules[rule].ops.extend(op);
        }
        Ok(())
    }

    /// Reads `COLUMN CONVERSION ARGUMENT` and the other forms; none for `drop`.
    fn op(&self, text: &str, log: &LogFile, strict: bool) -> Result<Option<Op>, String> {
        let mut words = text.split_ascii_whitespace();
        let column = words.next().unwrap_or_default();
        let (conversion, argument) = (words.next(), words.next());
        match (column, conversion, argument) {
            ("drop", None, None) => return Ok(None),
            ("unmapped", None, None) => return Ok(Some(Op::Unmapped)),
            ("unmapped", Some("time"), None) => return Ok(Some(Op::UnmappedTime)),
            ("unless", Some(other), None) => {
                let rule = self.keys.get(other).ok_or_else(|| format!("no field '{other}'"))?;
                return Ok(Some(Op::Unless(*rule)));
            }
            _ => {}
        }
        let (weak, column) = column.strip_prefix('?').map_or((false, column), |column| (true, column));
        let Some(target) = self.target(column) else {
            return if strict { Err(no_column(self.class, column)) } else { Ok(Some(Op::Unmapped)) };
        };
        let convert = convert(conversion, argument, target, log)?;
        check(&convert, target, column)?;
        Ok(Some(if weak { Op::SetWeakly(target, convert) } else { Op::Set(target, convert) }))
    }

    fn target(&self, column: &str) -> Option<Target> {
        let index = column_index(self.class, column).filter(|&index| !is_platforms(index))?;
        Some(Target { col: index, kind: columns(self.class)[index].kind })
    }
}

/// Columns that the platform fills and no record can.
fn is_platforms(index: usize) -> bool {
    matches!(
        index,
        col::EVENT_ID | col::TENANT | col::TIME | col::INGEST_TIME | col::CLASS_UID | col::SOURCE | col::RAW_REF
    )
}

fn no_column(class: Class, name: &str) -> String {
    format!("no column '{name}' in {} for a mapping to set", class.name())
}

/// Fields that have a role.
fn roles(kind: &KindFile) -> impl Iterator<Item = &String> {
    let owners = kind.owners.src.iter().chain(&kind.owners.dst).chain(&kind.owners.domains);
    kind.log_name.iter().chain(&kind.time.fields).chain(owners)
}

fn role(name: &str, kind: &KindFile) -> Role {
    let is = |field: &Option<String>| field.as_deref() == Some(name);
    if let Some(preference) = kind.time.fields.iter().position(|field| field == name) {
        Role::Time(u8::try_from(preference).unwrap_or(u8::MAX))
    } else if kind.log_name.iter().any(|field| field == name) {
        Role::LogName
    } else if is(&kind.owners.src) {
        Role::Src
    } else if is(&kind.owners.dst) {
        Role::Dst
    } else if kind.owners.domains.iter().any(|field| field == name) {
        Role::Domain
    } else {
        Role::None
    }
}

fn convert(name: Option<&str>, argument: Option<&str>, target: Target, log: &LogFile) -> Result<Convert, String> {
    let separator = || argument.and_then(|text| text.chars().next()).ok_or("a separator is missing");
    Ok(match name {
        None => match target.kind {
            ColumnType::Int32 | ColumnType::Int64 => Convert::Int,
            ColumnType::Float64 => Convert::Float,
            ColumnType::Bool => Convert::Bool,
            ColumnType::Time => Convert::Time,
            ColumnType::TextList => Convert::Texts,
            ColumnType::Int64List => Convert::Ints,
            _ => Convert::Text,
        },
        Some("text") => Convert::Text,
        Some("lower") => Convert::Lower,
        Some("name") => Convert::Name,
        Some("host") => Convert::Host,
        Some("registered_domain") => Convert::RegisteredDomain,
        Some("ip") => Convert::Ip,
        Some("port") => Convert::Port,
        Some("int") => Convert::Int,
        Some("float") => Convert::Float,
        Some("bool") => Convert::Bool,
        Some("time") => Convert::Time,
        Some("interval_us") => Convert::IntervalUs,
        Some("first") => Convert::First,
        Some("texts") => Convert::Texts,
        Some("ints") => Convert::Ints,
        Some("before") => Convert::Before(separator()?, End::First),
        Some("before_last") => Convert::Before(separator()?, End::Last),
        Some("after") => Convert::After(separator()?, End::First),
        Some("after_last") => Convert::After(separator()?, End::Last),
        Some("flag") => Convert::Flag(argument.ok_or("the flag's name is missing")?.to_owned()),
        Some("table") => {
            let name = argument.ok_or("the table's name is missing")?;
            Convert::Table(Table::new(log.tables.get(name).ok_or_else(|| format!("no table '{name}'"))?))
        }
        Some(other) => return Err(format!("no conversion '{other}'")),
    })
}

/// Checks that what a conversion gives is what the column holds.
fn check(convert: &Convert, target: Target, column: &str) -> Result<(), String> {
    let kinds: &[ColumnType] = match convert {
        Convert::Port => &[ColumnType::Int32],
        Convert::Int => &[ColumnType::Int32, ColumnType::Int64],
        Convert::Float => &[ColumnType::Float64],
        Convert::Bool => &[ColumnType::Bool],
        Convert::Time => &[ColumnType::Time],
        Convert::IntervalUs => &[ColumnType::Int64],
        Convert::Texts => &[ColumnType::TextList],
        Convert::Ints => &[ColumnType::Int64List],
        Convert::Table(table) => return table.values().try_for_each(|value| fits(value, target, column)),
        _ => &[ColumnType::Text, ColumnType::Keyword],
    };
    if kinds.contains(&target.kind) {
        Ok(())
    } else {
        Err(format!("the conversion does not give what '{column}' holds, {}", target.kind.name()))
    }
}

fn fits(constant: &Constant, target: Target, column: &str) -> Result<(), String> {
    let fits = match constant {
        Constant::Int(number) => match target.kind {
            ColumnType::Int32 => i32::try_from(*number).is_ok(),
            kind => kind == ColumnType::Int64,
        },
        Constant::Text(_) => matches!(target.kind, ColumnType::Text | ColumnType::Keyword),
    };
    if fits { Ok(()) } else { Err(format!("{constant:?} does not fit '{column}', {}", target.kind.name())) }
}
