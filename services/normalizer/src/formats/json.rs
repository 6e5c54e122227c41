//! One JSON object a record: Zeek's JSON logs and any other JSON lines.
//!
//! One pass of sonic-rs straight into the record's fields: text without escapes is borrowed, nested objects become
//! keys with dots, arrays become lists, and an object within an array becomes its own JSON text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Fault;
use crate::park::Reason;
use crate::record::{Record, Text, Value};

/// Objects within objects at most.
const MAX_DEPTH: usize = 16;

/// Fields of a record at most, nested ones counted.
pub(crate) const MAX_FIELDS: usize = 1_024;

/// Reads an object.
pub(crate) fn read<'a>(text: &'a str, record: &mut Record<'a>) -> Result<(), Fault> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(no_object(text));
    }
    let mut json = sonic_rs::Deserializer::from_str(text);
    let object = Object { record, prefix: None, depth: 0 };
    object.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| fault(&error))
}

fn no_object(text: &str) -> Fault {
    match sonic_rs::from_str::<IgnoredAny>(text) {
        Ok(_) => Fault::new(Reason::NotAnObject, "the record is JSON, but no object"),
        Err(error) => fault(&error),
    }
}

fn fault(error: &sonic_rs::Error) -> Fault {
    let whole = error.to_string();
    let message = whole.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default();
    let reason = if message.starts_with(TOO_MANY) { Reason::TooLarge } else { Reason::BadJson };
    Fault::new(reason, format!("column {}: {}", error.column(), message.to_lowercase()))
}

const TOO_MANY: &str = "too many";

/// Reads an object's members into fields.
struct Object<'r, 'a> {
    record: &'r mut Record<'a>,
    prefix: Option<Text<'a>>,
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { record, prefix, depth } = self;
        if depth > MAX_DEPTH {
            return Err(serde::de::Error::custom(format_args!("{TOO_MANY} levels, more than {MAX_DEPTH}")));
        }
        while let Some(key) = map.next_key_seed(Key { record: &mut *record, prefix })? {
            map.next_value_seed(Field { record: &mut *record, key, depth })?;
            if record.fields.len() > MAX_FIELDS {
                return Err(serde::de::Error::custom(format_args!("{TOO_MANY} fields, more than {MAX_FIELDS}")));
            }
        }
        Ok(())
    }
}

/// Reads a key, with the keys of the objects around it before it.
struct Key<'r, 'a> {
    record: &'r mut Record<'a>,
    prefix: Option<Text<'a>>,
}

impl<'a> DeserializeSeed<'a> for Key<'_, 'a> {
    type Value = Text<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key<'_, 'a> {
    type Value = Text<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Text<'a>, E> {
        Ok(match self.prefix {
            None => Text::Borrowed(key),
            Some(prefix) => joined(self.record, prefix, key),
        })
    }

    fn visit_str<E>(self, key: &str) -> Result<Text<'a>, E> {
        Ok(match self.prefix {
            None => self.record.copy(|out| out.push_str(key)),
            Some(prefix) => joined(self.record, prefix, key),
        })
    }
}

fn joined<'a>(record: &mut Record<'a>, prefix: Text<'a>, key: &str) -> Text<'a> {
    let prefix = record.str(prefix).to_owned();
    record.copy(|out| out.extend([prefix.as_str(), ".", key]))
}

/// Reads the value of a key and adds the field; an object becomes fields of its own, null none.
struct Field<'r, 'a> {
    record: &'r mut Record<'a>,
    key: Text<'a>,
    depth: usize,
}

impl<'a> Field<'_, 'a> {
    fn set(self, value: Value<'a>) {
        self.record.fields.push((self.key, value));
    }
}

impl<'a> DeserializeSeed<'a> for Field<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Field<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.set(Value::Text(Text::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let text = self.record.copy(|out| out.push_str(text));
        self.set(Value::Text(text));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.set(unsigned(number));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.set(Value::Int(number));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.set(Value::Float(number));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.set(Value::Bool(value));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let start = self.record.list_start();
        while items.next_element_seed(Item { record: &mut *self.record })?.is_some() {}
        let list = self.record.list_since(start);
        self.set(list);
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        Object { record: self.record, prefix: Some(self.key), depth: self.depth + 1 }.visit_map(map)
    }
}

fn unsigned<'a>(number: u64) -> Value<'a> {
    #[allow(clippy::cast_precision_loss, reason = "no integer column can hold it anyway")]
    i64::try_from(number).map_or(Value::Float(number as f64), Value::Int)
}

/// Reads an item of an array; null adds none.
struct Item<'r, 'a> {
    record: &'r mut Record<'a>,
}

impl<'a> DeserializeSeed<'a> for Item<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Item<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.record.push_item(Value::Text(Text::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let text = self.record.copy(|out| out.push_str(text));
        self.record.push_item(Value::Text(text));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.record.push_item(unsigned(number));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.record.push_item(Value::Int(number));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.record.push_item(Value::Float(number));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.record.push_item(Value::Bool(value));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, items: A) -> Result<(), A::Error> {
        self.json(serde::de::value::SeqAccessDeserializer::new(items))
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        self.json(serde::de::value::MapAccessDeserializer::new(map))
    }
}

impl<'a> Item<'_, 'a> {
    /// What is nested in an array stays JSON.
    fn json<D: Deserializer<'a>>(self, value: D) -> Result<(), D::Error> {
        let value: serde_json::Value = serde::Deserialize::deserialize(value)?;
        let text = self.record.copy(|out| out.push_str(&value.to_string()));
        self.record.push_item(Value::Text(text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> Vec<(String, String)> {
        let mut record = Record::default();
        read(text, &mut record).unwrap();
        let mut fields = Vec::new();
        for &(key, value) in &record.fields {
            let mut flat = String::new();
            record.push_flat(value, true, &mut flat);
            fields.push((record.str(key).to_owned(), flat));
        }
        fields
    }

    #[test]
    fn objects_are_flattened() {
        let read =
            flat(r#"{"a":1,"b":{"c":"x\ny","d":{"e":true}},"f":[1,2.5,"z",null,{"g":[1]}],"h":null,"\u0069":-3}"#);
        let expected = [("a", "1"), ("b.c", "x\ny"), ("b.d.e", "true"), ("f", r#"1,2.5,z,{"g":[1]}"#), ("i", "-3")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn faults_name_reason_and_column() {
        let fault = |text: &str| read(text, &mut Record::default()).unwrap_err();
        for (text, reason) in [
            (r#"{"a":1"#, Reason::BadJson),
            (r#"{"a":1} x"#, Reason::BadJson),
            (r#"{"a":01}"#, Reason::BadJson),
            ("", Reason::BadJson),
            ("hello", Reason::BadJson),
            ("[1,2]", Reason::NotAnObject),
            ("7", Reason::NotAnObject),
        ] {
            assert_eq!(fault(text).reason, reason, "{text}");
        }
        assert!(fault(r#"{"a":1,"b":tru}"#).detail.starts_with("column "), "{:?}", fault(r#"{"a":1,"b":tru}"#));
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert_eq!(fault(&deep).reason, Reason::TooLarge);
    }
}
