//! The modifiers after a field's name, and what they make of a value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::pattern::Pattern;
use super::test::{Compare, Net, Number, Test, regex};

/// Spellings of a value under `windash` at most; beyond, one dash is put in every place at once.
const MAX_DASHED: usize = 125;

const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Whole,
    Contains,
    StartsWith,
    EndsWith,
    Regex,
    Cidr,
    Compare(Compare),
    Exists,
}

/// What a value is turned into before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transform {
    Windash,
    Base64,
    Base64Offset,
    Utf16 { big_endian: bool, mark: bool },
}

/// A field's modifiers, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    kind: Kind,
    transforms: Vec<Transform>,
    flags: String,
    cased: bool,
    /// `all`: every value of a list is needed, not one.
    pub all: bool,
    /// `neq`: the value must be another.
    pub neq: bool,
}

impl Modifiers {
    /// Reads what follows the field's name, without its leading `|`; empty for none.
    ///
    /// # Errors
    /// If a modifier is unknown, not supported, or contradicts another.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut modifiers = Self::default();
        for name in text.split('|').filter(|name| !name.is_empty()) {
            modifiers.add(name)?;
        }
        if !modifiers.transforms.is_empty() && !modifiers.kind.is_text() {
            return Err("modifiers that turn a text into another do not go with 're', 'cidr' or numbers".to_owned());
        }
        Ok(modifiers)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        match name {
            "contains" => self.set(name, Kind::Contains),
            "startswith" => self.set(name, Kind::StartsWith),
            "endswith" => self.set(name, Kind::EndsWith),
            "re" => self.set(name, Kind::Regex),
            "cidr" => self.set(name, Kind::Cidr),
            "exists" => self.set(name, Kind::Exists),
            "lt" => self.set(name, Kind::Compare(Compare::Lt)),
            "lte" => self.set(name, Kind::Compare(Compare::Lte)),
            "gt" => self.set(name, Kind::Compare(Compare::Gt)),
            "gte" => self.set(name, Kind::Compare(Compare::Gte)),
            "i" | "m" | "s" if self.kind == Kind::Regex => {
                self.flags.push_str(name);
                Ok(())
            }
            "i" | "m" | "s" => Err(format!("modifier '{name}' stands only after 're'")),
            "all" => set_flag(&mut self.all),
            "cased" => set_flag(&mut self.cased),
            "neq" => set_flag(&mut self.neq),
            "windash" => self.transform(Transform::Windash),
            "base64" => self.transform(Transform::Base64),
            "base64offset" => self.transform(Transform::Base64Offset),
            "wide" | "utf16le" => self.transform(Transform::Utf16 { big_endian: false, mark: false }),
            "utf16be" => self.transform(Transform::Utf16 { big_endian: true, mark: false }),
            "utf16" => self.transform(Transform::Utf16 { big_endian: false, mark: true }),
            "expand" | "fieldref" | "minute" | "hour" | "day" | "week" | "month" | "year" => {
                Err(format!("modifier '{name}' is not supported yet"))
            }
            _ => Err(format!("modifier '{name}' is unknown")),
        }
    }

    fn set(&mut self, name: &str, kind: Kind) -> Result<(), String> {
        if self.kind != Kind::Whole {
            return Err(format!("modifier '{name}' contradicts one before it"));
        }
        self.kind = kind;
        Ok(())
    }

    fn transform(&mut self, transform: Transform) -> Result<(), String> {
        self.transforms.push(transform);
        Ok(())
    }

    /// What is asked of a field that has this value in the rule: one of the tests must hold.
    ///
    /// # Errors
    /// If the value does not go with the modifiers.
    pub fn tests(&self, value: &Value) -> Result<Vec<Test>, String> {
        match (self.kind, value) {
            (_, Value::Array(_) | Value::Object(_)) => {
                Err("a value within a list is a list or a map itself".to_owned())
            }
            (Kind::Exists, _) => Err("'exists' takes true or false".to_owned()),
            (Kind::Compare(compare), _) => {
                let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).and_then(Number::new);
                Ok(vec![Test::Compare(compare, number.ok_or_else(|| format!("{value} is no number"))?)])
            }
            (_, Value::Null) if self.kind == Kind::Whole => Ok(vec![Test::Null]),
            (_, Value::Null) => Err("null does not go with a modifier".to_owned()),
            (Kind::Cidr, _) => {
                let text = text_of(value);
                let net = Net::parse(&text).ok_or_else(|| format!("'{text}' is no network"))?;
                Ok(vec![Test::Cidr(net)])
            }
            (Kind::Regex, _) => self.regex(&text_of(value)).map(|test| vec![test]),
            (kind, _) => self.texts(&text_of(value), kind),
        }
    }

    /// `exists` and its value, which is a single one.
    ///
    /// # Errors
    /// If the value is neither true nor false.
    pub fn exists(&self, value: &Value) -> Result<Option<bool>, String> {
        match (self.kind, value) {
            (Kind::Exists, Value::Bool(wanted)) => Ok(Some(*wanted)),
            (Kind::Exists, Value::String(text)) if text == "true" || text == "yes" => Ok(Some(true)),
            (Kind::Exists, Value::String(text)) if text == "false" || text == "no" => Ok(Some(false)),
            (Kind::Exists, _) => Err("'exists' takes true or false".to_owned()),
            _ => Ok(None),
        }
    }

    /// What is asked of all fields at once where a value stands without a field: it stands somewhere in one of them.
    ///
    /// # Errors
    /// As [`tests`](Self::tests).
    pub fn keyword_tests(&self, value: &Value) -> Result<Vec<Test>, String> {
        match self.kind {
            Kind::Whole if value.is_null() => Err("null is no keyword".to_owned()),
            Kind::Whole => Self { kind: Kind::Contains, ..self.clone() }.tests(value),
            _ => self.tests(value),
        }
    }

    fn regex(&self, text: &str) -> Result<Test, String> {
        let pattern = if self.flags.is_empty() { text.to_owned() } else { format!("(?{}){text}", self.flags) };
        regex(&pattern)?;
        Ok(Test::Regex(pattern.into()))
    }

    fn texts(&self, text: &str, kind: Kind) -> Result<Vec<Test>, String> {
        let (before, after) = match kind {
            Kind::Contains => (true, true),
            Kind::StartsWith => (false, true),
            Kind::EndsWith => (true, false),
            _ => (false, false),
        };
        let pattern = |pattern: Pattern| {
            let pattern = pattern.open(before, after);
            Test::Text { pattern: if self.cased { pattern } else { pattern.folded() }, cased: self.cased }
        };
        // Encoded texts are compared as they are: another case is another text.
        let encoded = self.transforms.iter().any(|transform| !matches!(transform, Transform::Windash));
        if !encoded {
            let texts = if self.transforms.is_empty() { vec![text.to_owned()] } else { dashed(text) };
            return Ok(texts.iter().map(|text| pattern(Pattern::parse(text))).collect());
        }
        let mut values = vec![text.as_bytes().to_vec()];
        for transform in &self.transforms {
            values = values.iter().map(|value| transform.apply(value)).collect::<Result<Vec<_>, _>>()?.concat();
        }
        let as_is = |value: Vec<u8>| {
            let text = String::from_utf8(value).map_err(|_| "the encoded text is no text: add base64".to_owned())?;
            Ok(Test::Text { pattern: Pattern::literal(&text).open(before, after), cased: true })
        };
        values.into_iter().map(as_is).collect()
    }
}

impl Kind {
    fn is_text(self) -> bool {
        matches!(self, Self::Whole | Self::Contains | Self::StartsWith | Self::EndsWith)
    }
}

impl Transform {
    fn apply(self, value: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let text = || std::str::from_utf8(value).map_err(|_| "utf16 stands before base64".to_owned());
        Ok(match self {
            Self::Windash => dashed(text()?).into_iter().map(String::into_bytes).collect(),
            Self::Base64 => vec![STANDARD.encode(value).into_bytes()],
            Self::Base64Offset => (0..3).map(|offset| base64_at(value, offset)).collect(),
            Self::Utf16 { big_endian, mark } => {
                let units = mark.then_some(0xfeff).into_iter().chain(text()?.encode_utf16());
                let bytes = |unit: u16| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() };
                vec![units.flat_map(bytes).collect()]
            }
        })
    }
}

fn set_flag(flag: &mut bool) -> Result<(), String> {
    *flag = true;
    Ok(())
}

/// The value as a field would hold it.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What of a text's base64 form does not depend on its neighbours where it starts `offset` bytes into a group of three.
fn base64_at(value: &[u8], offset: usize) -> Vec<u8> {
    let padded: Vec<u8> = std::iter::repeat_n(b' ', offset).chain(value.iter().copied()).collect();
    let encoded = STANDARD.encode(&padded).into_bytes();
    let start = [0, 2, 3][offset];
    let cut = [0, 3, 2][padded.len() % 3];
    encoded.get(start..encoded.len() - cut).unwrap_or_default().to_vec()
}

/// Every spelling of a text whose options may begin with another dash.
fn dashed(text: &str) -> Vec<String> {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let chars: Vec<char> = text.chars().collect();
    let places: Vec<usize> = (0..chars.len())
        .filter(|&at| matches!(chars[at], '-' | '/'))
        .filter(|&at| at == 0 || !is_word(chars[at - 1]))
        .filter(|&at| chars.get(at + 1).is_some_and(|&next| is_word(next)))
        .collect();
    let spell = |choice: &dyn Fn(usize) -> char| -> String {
        let mut spelled = chars.clone();
        places.iter().enumerate().for_each(|(nth, &at)| spelled[at] = choice(nth));
        spelled.into_iter().collect()
    };
    let places_u32 = u32::try_from(places.len()).unwrap_or(u32::MAX);
    match DASHES.len().checked_pow(places_u32).filter(|&count| count <= MAX_DASHED) {
        Some(count) => {
            let digit = |number: usize, nth: usize| DASHES[number / DASHES.len().pow(nth as u32) % DASHES.len()];
            (0..count).map(|number| spell(&|nth| digit(number, nth))).collect()
        }
        None => std::iter::once(text.to_owned()).chain(DASHES.iter().map(|&dash| spell(&|_| dash))).collect(),
    }
}

#[cfg(test)]
mod tests;
