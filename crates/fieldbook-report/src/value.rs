//! What a field can hold: a thin, typed view of JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

/// The value of a field. In JSON it is plain: a text, a number, `true`, an array, an object.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// A text; dates (EDTF), durations (ISO 8601) and choices are texts too, kept as written.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Texts in order. Replaced as a whole, so that two concurrent versions show as a clash.
    List(Vec<String>),
    /// Named values, such as a place. Each key is edited on its own.
    Map(Vec<(String, FieldValue)>),
    /// Any other JSON (null, fractions, lists of objects): no template asks for it, none drops it.
    Other(Value),
}

impl FieldValue {
    /// The same value as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Number(number) => Value::Number(Number::from(*number)),
            Self::Flag(flag) => Value::Bool(*flag),
            Self::List(items) => Value::Array(items.iter().cloned().map(Value::String).collect()),
            Self::Map(pairs) => Value::Object(pairs.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
            Self::Other(value) => value.clone(),
        }
    }

    /// Takes any JSON; nothing is lost.
    pub fn from_json(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Bool(flag) => Self::Flag(flag),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Number(whole),
                None => Self::Other(Value::Number(number)),
            },
            Value::Array(items) if items.iter().all(Value::is_string) => Self::List(
                items
                    .into_iter()
                    .map(|item| if let Value::String(text) = item { text } else { String::new() })
                    .collect(),
            ),
            Value::Object(map) => Self::Map(map.into_iter().map(|(k, v)| (k, Self::from_json(v))).collect()),
            other => Self::Other(other),
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Whether there is nothing to read in it: an empty text, list or object, or null.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::List(items) => items.iter().all(|item| item.trim().is_empty()),
            Self::Map(pairs) => pairs.iter().all(|(_, value)| value.is_blank()),
            Self::Other(value) => value.is_null(),
            Self::Number(_) | Self::Flag(_) => false,
        }
    }

    /// Whether this is null, which stands for "no value".
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Other(Value::Null))
    }
}

/// Values are equal when their JSON is; the order of an object's keys says nothing.
impl PartialEq for FieldValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Flag(a), Self::Flag(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            _ => self.to_json() == other.to_json(),
        }
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One line for a person to read: lists and objects are joined with `; `.
impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(items) => f.write_str(&items.join("; ")),
            Self::Map(pairs) => {
                for (index, (key, value)) in pairs.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{key}: {value}")?;
                }
                Ok(())
            }
            Self::Other(Value::Null) => f.write_str("(no value)"),
            Self::Other(value) => write!(f, "{value}"),
        }
    }
}

impl Serialize for FieldValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(items) => items.serialize(serializer),
            Self::Map(pairs) => pairs_serde::serialize(pairs, serializer),
            Self::Other(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from_json)
    }
}

/// Ordered pairs as one JSON object.
pub(crate) mod pairs_serde {
    use serde::ser::SerializeMap as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    use super::FieldValue;

    pub(crate) fn serialize<S: Serializer>(
        pairs: &[(String, FieldValue)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(pairs.len()))?;
        for (key, value) in pairs {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, FieldValue)>, D::Error> {
        let map = Map::<String, Value>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(key, value)| (key, FieldValue::from_json(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_comes_back_as_it_was() {
        for text in [
            r#""a""#,
            "7",
            "-1",
            "18446744073709551615",
            "1.5",
            "true",
            "null",
            "[]",
            r#"["a","b"]"#,
            r#"["a",1]"#,
            r#"{"a":{"b":[{"c":null}]}}"#,
            "{}",
        ] {
            let json: Value = serde_json::from_str(text).unwrap();
            let value: FieldValue = serde_json::from_str(text).unwrap();
            assert_eq!(value.to_json(), json, "{text}");
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
    }
}
