//! People in a report, and what each of them allowed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::input::InputError;
use crate::limits::{FIELD_MAX, LIST_MAX, NAME_MAX, PERSON_EXTRA_MAX};
use crate::value::{FieldValue, pairs_serde};

/// What a person allowed to be done with their name and story. Ordered: the first is the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Consent {
    /// Stays inside the team. The default, and what any unknown word means.
    #[default]
    Internal,
    /// May be given, with the name, to bodies that the person named (a court, a UN procedure).
    NamedBodies,
    /// May be published without the name.
    PublishAnonymised,
    /// May be published with the name.
    PublishNamed,
}

impl Consent {
    /// Every consent, the strictest first.
    pub const ALL: [Self; 4] =
        [Self::Internal, Self::NamedBodies, Self::PublishAnonymised, Self::PublishNamed];

    /// The word in commands and in the document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::NamedBodies => "named-bodies",
            Self::PublishAnonymised => "anonymised",
            Self::PublishNamed => "named",
        }
    }

    /// The phrase in import and export files.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Internal => "keep internally",
            Self::NamedBodies => "share with named bodies",
            Self::PublishAnonymised => "publish anonymised",
            Self::PublishNamed => "publish named",
        }
    }

    /// Accepts the word or the phrase, in any case, with `-`, `_` or spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.trim().to_lowercase().replace(['-', '_'], " ");
        match plain.as_str() {
            "internal" | "keep internally" => Some(Self::Internal),
            "named bodies" | "share with named bodies" => Some(Self::NamedBodies),
            "anonymised" | "anonymized" | "publish anonymised" | "publish anonymized" => {
                Some(Self::PublishAnonymised)
            }
            "named" | "publish named" => Some(Self::PublishNamed),
            _ => None,
        }
    }
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for Consent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Consent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown consent {text:?}")))
    }
}

/// A person of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Eight hexadecimal digits, given by the caller from random bytes; unique in the report.
    pub id: String,
    /// The name as written.
    pub name: String,
    /// Other spellings of the name.
    #[serde(default)]
    pub also_spelled: Vec<String>,
    /// victim, witness, accused, perpetrator, source … or any other word.
    #[serde(default)]
    pub role: String,
    /// What the person allowed.
    #[serde(default)]
    pub consent: Consent,
    /// Anything else: phone, address, age …
    #[serde(default, with = "pairs_serde")]
    pub extra: Vec<(String, FieldValue)>,
}

/// A person who has no id yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewPerson {
    /// See [`Person::name`].
    pub name: String,
    /// See [`Person::also_spelled`].
    pub also_spelled: Vec<String>,
    /// See [`Person::role`].
    pub role: String,
    /// See [`Person::consent`].
    pub consent: Consent,
    /// See [`Person::extra`].
    pub extra: Vec<(String, FieldValue)>,
}

impl NewPerson {
    /// Gives the person an id.
    pub fn with_id(self, id: String) -> Person {
        let Self { name, also_spelled, role, consent, extra } = self;
        Person { id, name, also_spelled, role, consent, extra }
    }

    /// Reads the form of import files: `{"name", "also_spelled"?, "role"?, "consent"?, …}`.
    ///
    /// # Errors
    /// Not an object, no name, an unknown consent, or beyond a limit.
    pub fn from_json(value: Value) -> Result<Self, InputError> {
        let Value::Object(map) = value else {
            return Err(InputError::wrong(
                "persons",
                "objects such as {\"name\": \"…\", \"role\": \"witness\"}",
            ));
        };
        let mut person = Self::default();
        for (key, value) in map {
            match (key.as_str(), FieldValue::from_json(value)) {
                ("name", FieldValue::Text(text)) => person.name = text,
                ("role", FieldValue::Text(text)) => person.role = text,
                ("also_spelled", FieldValue::List(list)) => person.also_spelled = list,
                ("also_spelled", FieldValue::Text(text)) => person.also_spelled = vec![text],
                ("consent", FieldValue::Text(text)) => {
                    person.consent = Consent::parse(&text).ok_or(InputError::UnknownConsent { text })?;
                }
                ("name" | "role" | "consent", _) => {
                    return Err(InputError::wrong(&format!("persons.{key}"), "a text"));
                }
                ("also_spelled", _) => {
                    return Err(InputError::wrong("persons.also_spelled", "a list of texts"));
                }
                (_, value) => person.extra.push((key, value)),
            }
        }
        person.check()?;
        Ok(person)
    }

    pub(crate) fn check(&self) -> Result<(), InputError> {
        check_person(&self.name, &self.role, &self.also_spelled, &self.extra)
    }
}

impl Person {
    pub(crate) fn check(&self) -> Result<(), InputError> {
        check_person(&self.name, &self.role, &self.also_spelled, &self.extra)
    }

    /// The form of import files.
    pub fn to_json(&self) -> Value {
        let mut map = serde_json::Map::new();
        map.insert("name".into(), Value::String(self.name.clone()));
        if !self.also_spelled.is_empty() {
            map.insert("also_spelled".into(), FieldValue::List(self.also_spelled.clone()).to_json());
        }
        if !self.role.is_empty() {
            map.insert("role".into(), Value::String(self.role.clone()));
        }
        map.insert("consent".into(), Value::String(self.consent.phrase().into()));
        for (key, value) in &self.extra {
            map.insert(key.clone(), value.to_json());
        }
        Value::Object(map)
    }
}

fn check_person(
    name: &str,
    role: &str,
    also_spelled: &[String],
    extra: &[(String, FieldValue)],
) -> Result<(), InputError> {
    if name.trim().is_empty() {
        return Err(InputError::PersonWithoutName);
    }
    InputError::check_len("name", name, FIELD_MAX)?;
    InputError::check_len("role", role, FIELD_MAX)?;
    InputError::check_count("also_spelled", also_spelled.len(), LIST_MAX)?;
    InputError::check_count("details of a person", extra.len(), PERSON_EXTRA_MAX)?;
    for text in also_spelled {
        InputError::check_len("also_spelled", text, FIELD_MAX)?;
    }
    for (key, value) in extra {
        InputError::check_len("name of a detail", key, NAME_MAX)?;
        InputError::check_value(key, value, 0)?;
    }
    Ok(())
}

/// Reads `name=...,role=witness,consent=internal`. A comma inside a value is written `\,`, a
/// backslash `\\`. Several spellings: `also_spelled=A;B`. Any other key becomes a detail.
///
/// # Errors
/// A piece without `=`, a key twice, no name, an unknown consent, or beyond a limit.
pub fn parse_person(text: &str, id: String) -> Result<Person, InputError> {
    let mut person = NewPerson::default();
    let mut seen = std::collections::BTreeSet::new();
    for piece in split_escaped(text) {
        let Some((key, value)) = piece.split_once('=') else {
            return Err(InputError::PersonPiece { piece });
        };
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        if key.is_empty() {
            return Err(InputError::PersonPiece { piece });
        }
        if !seen.insert(key.clone()) {
            return Err(InputError::Twice { key });
        }
        match key.as_str() {
            "name" => person.name = value,
            "role" => person.role = value,
            "also_spelled" => {
                person.also_spelled =
                    value.split(';').map(str::trim).filter(|s| !s.is_empty()).map(String::from).collect();
            }
            "consent" => {
                person.consent = Consent::parse(&value).ok_or(InputError::UnknownConsent { text: value })?;
            }
            _ => person.extra.push((key, FieldValue::Text(value))),
        }
    }
    person.check()?;
    Ok(person.with_id(id))
}

fn split_escaped(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = pieces.len() - 1;
        match c {
            ',' => pieces.push(String::new()),
            '\\' => match chars.next() {
                Some(escaped @ (',' | '\\')) => pieces[last].push(escaped),
                Some(other) => pieces[last].extend(['\\', other]),
                None => pieces[last].push('\\'),
            },
            other => pieces[last].push(other),
        }
    }
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_written_on_one_line() {
        let person = parse_person(
            r"name=Ivanova\, Anna,role=witness,consent=internal,address=Minsk\, Lenina 5,also_spelled=Ivanava; Иванова",
            "0badcafe".into(),
        )
        .unwrap();
        assert_eq!(person.name, "Ivanova, Anna");
        assert_eq!(person.also_spelled, ["Ivanava", "Иванова"]);
        assert_eq!(person.consent, Consent::Internal);
        assert_eq!(person.extra, [("address".to_owned(), "Minsk, Lenina 5".into())]);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let bad = |text: &str| parse_person(text, "00000000".into()).unwrap_err();
        assert!(matches!(bad("role=witness"), InputError::PersonWithoutName));
        assert!(matches!(bad("name=A,witness"), InputError::PersonPiece { .. }));
        assert!(matches!(bad("name=A,consent=maybe"), InputError::UnknownConsent { .. }));
        assert!(matches!(bad("name=A,name=B"), InputError::Twice { .. }));
    }

    #[test]
    fn consent_is_silent_unless_given_and_ordered_by_strictness() {
        assert_eq!(parse_person("name=A", String::new()).unwrap().consent, Consent::Internal);
        assert_eq!(Consent::ALL.iter().min(), Some(&Consent::Internal));
        for consent in Consent::ALL {
            assert_eq!(Consent::parse(consent.word()), Some(consent));
            assert_eq!(Consent::parse(consent.phrase()), Some(consent));
        }
    }
}
