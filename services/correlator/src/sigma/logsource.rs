//! Where a Sigma log source's events are, and how its field names read there: content, of which `fields/logsources.yml`
//! is built in.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use atalaya_model::Class;
use atalaya_schema::column_index;
use serde::Deserialize;
use serde_json::Value;

use super::logic::Expr;
use super::pattern::Pattern;
use super::rule::SourceTest;
use super::test::Test;
use super::yaml;

const BUILT_IN: &str = include_str!("../../fields/logsources.yml");

const UNMAPPED: &str = "unmapped.";

/// Where a value stands in an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// In a column, by index.
    Column(usize),
    /// In several columns, one after the other.
    Joined(Arc<[Part]>),
    /// In the `unmapped` map, under a key.
    Unmapped(Arc<str>),
    /// In any text column, or under any key of `unmapped`.
    AnyText,
}

/// One column of a joined value; left out with the text before it where the column has no value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// What stands before it.
    pub before: Box<str>,
    /// The column.
    pub column: usize,
    /// What of it.
    pub form: Form,
}

/// What of a column is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// All of it.
    Whole,
    /// What follows the last dot of the last path segment.
    Extension,
    /// All of it as the application behind a URL sees it: percent-encoding undone, also where it was done twice, and a
    /// space for `+`.
    Decoded,
}

/// A rule's log source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Logsource {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    product: Option<String>,
    #[serde(default)]
    service: Option<String>,
}

/// A log source in one class.
#[derive(Clone, Debug)]
pub struct Fields {
    /// The class.
    pub class: Class,
    map: Arc<BTreeMap<String, Vec<Source>>>,
    conditions: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentFile {
    entities: Vec<String>,
    logsources: Vec<EntryFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    logsource: Logsource,
    class: Class,
    #[serde(default, rename = "where")]
    conditions: BTreeMap<String, String>,
    #[serde(default)]
    fields: BTreeMap<String, Targets>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    One(String),
    Several(Vec<String>),
}

/// The log sources that rules are read with.
#[derive(Clone, Debug, Default)]
pub struct Logsources {
    /// As they are written: part of a rule set's hash.
    pub text: Box<str>,
    /// Fields that say who or what an event is about, best first.
    pub entities: Vec<String>,
    entries: Vec<(Logsource, Fields)>,
}

impl Logsources {
    /// Reads content as that of `fields/logsources.yml`.
    ///
    /// # Errors
    /// If it is no YAML of that shape, or names a column that is not there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: ContentFile = serde_saphyr::from_str(text).map_err(|error| format!("log sources: {error}"))?;
        let entries = file.logsources.into_iter().map(EntryFile::read).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), entities: file.entities, entries })
    }

    /// The content that is built in: a test keeps it readable.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        static PARSED: LazyLock<Arc<Logsources>> =
            LazyLock::new(|| Arc::new(Logsources::parse(BUILT_IN).unwrap_or_default()));
        Arc::clone(&PARSED)
    }
}

impl EntryFile {
    fn read(self) -> Result<(Logsource, Fields), String> {
        let mut map = BTreeMap::new();
        for (name, targets) in self.fields {
            let targets = match targets {
                Targets::One(target) => vec![target],
                Targets::Several(targets) => targets,
            };
            let sources = targets.iter().map(|target| read_target(self.class, target)).collect::<Result<_, _>>()?;
            map.insert(name, sources);
        }
        let conditions = self.conditions.into_iter().collect();
        Ok((self.logsource, Fields { class: self.class, map: Arc::new(map), conditions }))
    }
}

fn read_target(class: Class, target: &str) -> Result<Source, String> {
    let column =
        |name: &str| column_index(class, name).ok_or_else(|| format!("'{name}' is no column of {}", class.name()));
    if let Some(key) = target.strip_prefix(UNMAPPED) {
        return Ok(Source::Unmapped(key.into()));
    }
    if !target.starts_with('{') {
        return column(target).map(Source::Column);
    }
    let part = |text: &str| {
        let forms = [(":extension", Form::Extension), (":decoded", Form::Decoded), ("", Form::Whole)];
        let formed = forms.iter().find_map(|(suffix, form)| Some((text.strip_suffix(suffix)?, *form)));
        let (text, form) = formed.unwrap_or((text, Form::Whole));
        let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let start = text.rfind(|char| !is_name(char)).map_or(0, |at| at + 1);
        Ok(Part { before: text[..start].into(), column: column(&text[start..])?, form })
    };
    let inner = target.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.ok_or_else(|| format!("'{target}' has no end"))?;
    Ok(Source::Joined(inner.split("}{").map(part).collect::<Result<Arc<[Part]>, String>>()?))
}

impl Logsource {
    /// Reads a rule's `logsource`; keys for people are left out.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        let map = value.as_object().ok_or("logsource: a map is expected")?;
        let attribute = |key| yaml::text(map, key).map_err(|reason| format!("logsource.{reason}"));
        let logsource =
            Self { category: attribute("category")?, product: attribute("product")?, service: attribute("service")? };
        if logsource == Self::default() {
            return Err("logsource: names no category, product or service".to_owned());
        }
        Ok(logsource)
    }

    fn attributes(&self) -> [&Option<String>; 3] {
        [&self.category, &self.product, &self.service]
    }

    /// How many attributes this has, if the other has all of them too.
    fn fits(&self, other: &Self) -> Option<usize> {
        let mine = self.attributes().into_iter().zip(other.attributes()).filter(|(mine, _)| mine.is_some());
        let mut count = 0;
        for (mine, theirs) in mine {
            count += usize::from(mine == theirs);
            if mine != theirs {
                return None;
            }
        }
        Some(count)
    }

    /// The classes its events are in, at least one.
    pub(super) fn fields(&self, known: &Logsources) -> Vec<Fields> {
        if let Some(class) = self.category.as_deref().and_then(Class::from_name) {
            let named = Self { category: self.category.clone(), ..Self::default() };
            return vec![Fields { class, map: Arc::default(), conditions: self.beyond(&named) }];
        }
        let best = known.entries.iter().filter_map(|(entry, fields)| Some((entry.fits(self)?, entry, fields)));
        let Some((_, entry, fields)) = best.max_by_key(|(count, ..)| *count) else {
            let conditions = self.beyond(&Self::default());
            return vec![Fields { class: Class::BaseEvent, map: Arc::default(), conditions }];
        };
        let conditions = fields.conditions.iter().cloned().chain(self.beyond(entry)).collect();
        vec![Fields { class: fields.class, map: Arc::clone(&fields.map), conditions }]
    }

    /// What attributes that an entry does not have ask of an event.
    fn beyond(&self, entry: &Self) -> Vec<(String, String)> {
        let extra = |mine: &Option<String>, theirs: &Option<String>| mine.clone().filter(|_| theirs.is_none());
        let service = extra(&self.service, &entry.service);
        let log_name = service.or_else(|| extra(&self.category, &entry.category).filter(|_| self.service.is_none()));
        let product = extra(&self.product, &entry.product).map(|product| ("product".to_owned(), product));
        product.into_iter().chain(log_name.map(|name| ("log_name".to_owned(), name))).collect()
    }
}

impl Fields {
    /// Where a field's value may stand, at least one place.
    #[must_use]
    pub fn sources(&self, field: &str) -> Vec<Source> {
        if let Some(sources) = self.map.get(field) {
            return sources.clone();
        }
        vec![column_index(self.class, field).map_or_else(|| Source::Unmapped(field.into()), Source::Column)]
    }

    /// What all events of the log source have in common.
    #[must_use]
    pub fn conditions(&self) -> Vec<Expr<SourceTest>> {
        let leaf = |(column, value): &(String, String)| {
            let test = Test::Text { pattern: Pattern::literal(value).folded(), cased: false };
            let source = self.sources(column).swap_remove(0);
            Expr::Leaf(SourceTest { source, test })
        };
        self.conditions.iter().map(leaf).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(category: &str, product: &str, service: &str) -> Fields {
        let attribute = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let logsource =
            Logsource { category: attribute(category), product: attribute(product), service: attribute(service) };
        logsource.fields(&Logsources::built_in()).swap_remove(0)
    }

    #[test]
    fn the_content_names_columns_that_are_there() {
        let built_in = Logsources::parse(BUILT_IN).unwrap();
        assert!(built_in.entries.len() > 10);
        assert_eq!(built_in.entities[0], "src_ip");
    }

    #[test]
    fn log_sources_are_routed() {
        for (category, product, service, class, conditions) in [
            ("dns", "", "", Class::DnsActivity, vec![]),
            ("", "zeek", "dns", Class::DnsActivity, vec![("log_name", "dns"), ("product", "zeek")]),
            ("process_creation", "windows", "", Class::ProcessActivity, vec![("product", "windows")]),
            ("webserver", "apache", "", Class::HttpActivity, vec![("product", "apache")]),
            ("", "windows", "security", Class::BaseEvent, vec![("product", "windows"), ("log_name", "security")]),
            ("antivirus", "", "", Class::BaseEvent, vec![("log_name", "antivirus")]),
            ("", "zeek", "smb_files", Class::BaseEvent, vec![("product", "zeek"), ("log_name", "smb_files")]),
            ("network_activity", "zeek", "", Class::NetworkActivity, vec![("product", "zeek")]),
        ] {
            let fields = fields(category, product, service);
            let found: Vec<_> = fields.conditions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((fields.class, found), (class, conditions), "{category} {product} {service}");
        }
    }

    #[test]
    fn field_names_are_looked_up() {
        let web = fields("webserver", "", "");
        let column = |name| Source::Column(column_index(Class::HttpActivity, name).unwrap());
        assert_eq!(web.sources("cs-method"), [column("method")]);
        assert_eq!(web.sources("user_agent"), [column("user_agent")]);
        assert_eq!(web.sources("cs-cookie"), [Source::Unmapped("cs-cookie".into())]);
        assert_eq!(web.sources("cs-uri-query").len(), 2);
        let Source::Joined(parts) = &web.sources("cs-uri")[1] else { unreachable!("a joined field") };
        assert_eq!(parts.iter().map(|part| part.before.as_ref()).collect::<Vec<_>>(), ["http://", "", "?"]);
    }
}
