//! One section of `atalaya.yaml`, strictly; the others are passed over, but for their names.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{ConfigError, File, SECTIONS};

/// Begins the names of environment variables that override a key.
pub(super) const ENV_PREFIX: &str = "ATALAYA_";

struct Section<T>(&'static str, PhantomData<T>);

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Section<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Section<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sections")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else if SECTIONS.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                return Err(serde::de::Error::unknown_field(&key, &SECTIONS));
            }
        }
        Ok(found)
    }
}

fn parse<T: DeserializeOwned>(file: &File, name: &'static str) -> Result<Option<T>, ConfigError> {
    let seed = Section(name, PhantomData);
    serde_saphyr::with_deserializer_from_str(&file.text, |deserializer| seed.deserialize(deserializer))
        .map_err(|error| wrong(&file.path, &error))
}

/// Refuses a section nobody reads.
pub(super) fn check_names(settings: Option<&File>) -> Result<(), ConfigError> {
    settings.map_or(Ok(()), |file| parse::<IgnoredAny>(file, SECTIONS[0]).map(|_| ()))
}

/// The section of this name with the environment's overrides in it.
pub(super) fn read<T: DeserializeOwned + Default>(
    settings: Option<&File>,
    overrides: &[(String, String)],
    name: &'static str,
) -> Result<T, ConfigError> {
    let overrides: Vec<_> = overrides
        .iter()
        .filter_map(|(variable, value)| {
            let (section, key) = split_variable(variable)?;
            (section == name).then_some((variable, key, value))
        })
        .collect();
    let written = settings.map_or(Ok(None), |file| parse::<T>(file, name))?;
    if overrides.is_empty() {
        return Ok(written.unwrap_or_default());
    }
    let mut section = settings.map_or(Ok(None), |file| parse::<Value>(file, name))?.unwrap_or(Value::Null);
    for (variable, key, value) in &overrides {
        override_key(&mut section, key, value).map_err(|reason| variable_error(variable, &reason))?;
    }
    serde_json::from_value(section).map_err(|error| variable_error(overrides[0].0, &error))
}

/// The section a variable is for, the one with the longest name that fits, and the key within.
fn split_variable(variable: &str) -> Option<(&'static str, &str)> {
    let rest = variable.strip_prefix(ENV_PREFIX)?;
    let fits = |section: &&&str| {
        let head = rest.get(..section.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(section))
            && matches!(rest.as_bytes().get(section.len()), None | Some(b'_'))
    };
    let section = *SECTIONS.iter().filter(fits).max_by_key(|section| section.len())?;
    Some((section, rest[section.len()..].trim_start_matches('_')))
}

fn override_key(section: &mut Value, key: &str, text: &str) -> Result<(), String> {
    let value: Value = serde_saphyr::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    if key.is_empty() {
        *section = value;
        return Ok(());
    }
    if section.is_null() {
        *section = Value::Object(serde_json::Map::new());
    }
    let map = section.as_object_mut().ok_or("its section is no map")?;
    map.insert(key.to_lowercase(), value);
    Ok(())
}

fn variable_error(variable: &str, reason: &impl ToString) -> ConfigError {
    ConfigError::Read { path: format!("environment variable {variable}"), reason: reason.to_string() }
}

/// The error of a YAML file: where, what, and for an unknown key the nearest valid one.
pub(super) fn wrong(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let line = error.location().map_or(0, |location| location.line());
    let text = error.without_snippet().to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let reason = match nearest_key(text) {
        Some(nearest) => format!("{text}; did you mean '{nearest}'?"),
        None => text.to_owned(),
    };
    ConfigError::Wrong { path: path.display().to_string(), line, reason }
}

/// Of a message such as ``unknown field `a`, expected one of b, c``: the expected name nearest to the one given.
fn nearest_key(message: &str) -> Option<&str> {
    const MAX_DISTANCE: usize = 4;
    let rest = message.strip_prefix("unknown field `")?;
    let (given, expected) = rest.split_once("`, expected ")?;
    let names = expected.split([',', ' ', '`']).filter(|name| !matches!(*name, "" | "one" | "of" | "or"));
    let nearest = names.min_by_key(|name| strsim::damerau_levenshtein(given, name))?;
    (strsim::damerau_levenshtein(given, nearest) <= MAX_DISTANCE).then_some(nearest)
}
