//! A report as it comes in: one JSON object, the same that an export in JSON writes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::edtf::EdtfError;
use crate::language::is_language_tag;
use crate::limits::{
    DEPTH_MAX, FIELD_MAX, FIELDS_MAX, INPUT_MAX, LIST_MAX, NAME_MAX, NARRATIVE_MAX, PEOPLE_MAX, SOURCE_MAX,
    SOURCES_MAX, TITLE_MAX,
};
use crate::person::NewPerson;
use crate::publish::words::INTERNAL;
use crate::template::{Template, builtin, find, split_tag};
use crate::value::FieldValue;

/// Why an input was not taken. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputError {
    /// Not JSON.
    Json {
        /// What the parser says.
        message: String,
    },
    /// No template of this name.
    UnknownTemplate {
        /// What was asked for.
        name: String,
    },
    /// The template has no such field.
    UnknownField {
        /// What was asked for.
        name: String,
        /// The template's name.
        template: String,
        /// The names it has.
        known: Vec<String>,
    },
    /// A value of the wrong type.
    WrongType {
        /// Where.
        field: String,
        /// What to write.
        expected: String,
    },
    /// A date that EDTF does not know.
    BadDate {
        /// Where.
        field: String,
        /// Why.
        reason: EdtfError,
    },
    /// Not the tag of a language.
    BadLanguage {
        /// What was given.
        text: String,
    },
    /// A text longer than allowed.
    TooLong {
        /// Where.
        field: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// More pieces than allowed.
    TooMany {
        /// Of what.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// Objects within objects beyond the limit.
    TooDeep {
        /// Where.
        field: String,
    },
    /// `--set` without `=`, or without a name before it.
    NotASetting {
        /// What was given.
        text: String,
    },
    /// A person needs a name, or words that stand for it.
    PersonWithoutName,
    /// A piece of `--person` without `=`.
    PersonPiece {
        /// The piece.
        piece: String,
    },
    /// The same key twice.
    Twice {
        /// The key.
        key: String,
    },
    /// A consent that is none of the four.
    UnknownConsent {
        /// What was given.
        text: String,
    },
    /// Nobody of this id in the report.
    NoSuchPerson {
        /// The id.
        id: String,
    },
    /// No attachment of this id in the report.
    NoSuchAttachment {
        /// The id.
        id: String,
    },
    /// The report has no such source.
    NoSuchSource {
        /// The text.
        text: String,
    },
    /// No note of this id in the report.
    NoSuchNote {
        /// The id.
        id: String,
    },
    /// A note without a word.
    EmptyNote,
    /// An addendum to something that is no id of a report.
    NotAReportId {
        /// What was given.
        text: String,
    },
    /// An id that stands in the report already.
    IdInUse {
        /// The id.
        id: String,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { message } => write!(f, "this is not a report in JSON: {message}"),
            Self::UnknownTemplate { name } => {
                let known: Vec<&str> = builtin().iter().filter(|t| t.offered).map(|t| t.name.as_str()).collect();
                write!(f, "there is no template {name:?}; use one of: {}", known.join(", "))
            }
            Self::UnknownField { name, template, known } => write!(
                f,
                "the template {template} has no field {name:?}; it has {}. A field of your own begins with x-",
                known.join(", ")
            ),
            Self::WrongType { field, expected } => write!(f, "{field} must be {expected}"),
            Self::BadDate { field, reason } => write!(f, "{field}: {reason}"),
            Self::BadLanguage { text } => {
                write!(f, "{text:?} is not a language tag; write en, ru, be, uk or another BCP 47 tag")
            }
            Self::TooLong { field, limit } => {
                write!(f, "{field} is longer than {limit} bytes; shorten it, or attach the text as a file")
            }
            Self::TooMany { what, limit } => {
                write!(f, "more than {limit} {what}; divide them over several reports")
            }
            Self::TooDeep { field } => write!(f, "{field} has objects within objects beyond {DEPTH_MAX} levels"),
            Self::NotASetting { text } => write!(f, "{text:?} is not name=value; write for example date=2017-03-25"),
            Self::PersonWithoutName => {
                f.write_str("a person needs a name; if it is not known, write what was seen, for example name=man in black")
            }
            Self::PersonPiece { piece } => write!(
                f,
                "{piece:?} is not key=value; a person is written name=...,role=witness,consent=internal, and a comma \
                 inside a value as \\,"
            ),
            Self::Twice { key } => write!(f, "{key} is given twice; give it once"),
            Self::UnknownConsent { text } => write!(
                f,
                "{text:?} is not a consent; write internal, named-bodies, anonymised or named"
            ),
            Self::NoSuchPerson { id } => write!(f, "the report has no person {id}; its people are listed by show"),
            Self::NoSuchAttachment { id } => {
                write!(f, "the report has no attachment {id}; its attachments are listed by show")
            }
            Self::NoSuchSource { text } => write!(f, "the report has no source {text:?}; write it exactly as show does"),
            Self::NoSuchNote { id } => write!(f, "the report has no note {id}; its notes are listed by show"),
            Self::EmptyNote => f.write_str("there is no text; write what you want to ask or say"),
            Self::NotAReportId { text } => {
                write!(f, "{text:?} is not the id of a report: 32 hexadecimal digits, as `list --json` shows them")
            }
            Self::IdInUse { id } => write!(f, "the id {id} is already used in this report"),
        }
    }
}

impl std::error::Error for InputError {}

impl InputError {
    pub(crate) fn wrong(field: &str, expected: &str) -> Self {
        Self::WrongType { field: field.to_owned(), expected: expected.to_owned() }
    }

    pub(crate) fn check_len(field: &str, text: &str, limit: usize) -> Result<(), Self> {
        if text.len() > limit { Err(Self::TooLong { field: field.to_owned(), limit }) } else { Ok(()) }
    }

    pub(crate) fn check_count(what: &str, count: usize, limit: usize) -> Result<(), Self> {
        if count > limit { Err(Self::TooMany { what: what.to_owned(), limit }) } else { Ok(()) }
    }

    /// Sizes and depth of any value.
    pub(crate) fn check_value(field: &str, value: &FieldValue, depth: usize) -> Result<(), Self> {
        if depth > DEPTH_MAX {
            return Err(Self::TooDeep { field: field.to_owned() });
        }
        match value {
            FieldValue::Text(text) => Self::check_len(field, text, FIELD_MAX),
            FieldValue::Number(_) | FieldValue::Flag(_) => Ok(()),
            FieldValue::List(items) => {
                Self::check_count(&format!("items in {field}"), items.len(), LIST_MAX)?;
                items.iter().try_for_each(|item| Self::check_len(field, item, FIELD_MAX))
            }
            FieldValue::Map(pairs) => {
                Self::check_count(&format!("keys in {field}"), pairs.len(), FIELDS_MAX)?;
                pairs.iter().try_for_each(|(key, value)| {
                    Self::check_len(field, key, NAME_MAX)?;
                    Self::check_value(field, value, depth + 1)
                })
            }
            FieldValue::Other(json) => Self::check_json(field, json, depth),
        }
    }

    fn check_json(field: &str, json: &Value, depth: usize) -> Result<(), Self> {
        if depth > DEPTH_MAX {
            return Err(Self::TooDeep { field: field.to_owned() });
        }
        match json {
            Value::String(text) => Self::check_len(field, text, FIELD_MAX),
            Value::Array(items) => {
                Self::check_count(&format!("items in {field}"), items.len(), LIST_MAX)?;
                items.iter().try_for_each(|item| Self::check_json(field, item, depth + 1))
            }
            Value::Object(map) => {
                Self::check_count(&format!("keys in {field}"), map.len(), FIELDS_MAX)?;
                map.iter().try_for_each(|(key, value)| {
                    Self::check_len(field, key, NAME_MAX)?;
                    Self::check_json(field, value, depth + 1)
                })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }
}

/// A new report. As JSON:
/// `{"template", "title"?, "language"?, "fields"?: {…, "persons"?: […]}, "narrative"?, "sources"?,
/// "addendum_to"?}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReportInput {
    /// Name of the template, with or without its version.
    pub template: String,
    /// May be empty.
    pub title: String,
    /// BCP 47; `und` (undetermined) when it was not given.
    pub language: String,
    /// Fields in the order given, known to the template or not.
    pub fields: Vec<(String, FieldValue)>,
    /// The story, in the writer's words.
    pub narrative: String,
    /// `fields.persons` of the JSON form.
    pub people: Vec<NewPerson>,
    /// Where the report's facts come from.
    pub sources: Vec<String>,
    /// The report that this one supplements: its id, 32 hexadecimal digits.
    pub addendum_to: Option<String>,
    /// Anything else at the top level of the JSON: kept, never published.
    pub extra: Vec<(String, FieldValue)>,
}

impl ReportInput {
    /// Reads one JSON object (one line of a JSON Lines file) and checks it against its template.
    ///
    /// # Errors
    /// Says what cannot be taken and what to write instead.
    pub fn from_json(text: &str) -> Result<Self, InputError> {
        InputError::check_len("the report", text, INPUT_MAX)?;
        let value = serde_json::from_str(text).map_err(|e| InputError::Json { message: e.to_string() })?;
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Self, InputError> {
        let Value::Object(map) = value else {
            return Err(InputError::Json { message: "a report is one object {…}".into() });
        };
        let mut input = Self { language: "und".into(), ..Self::default() };
        for (key, value) in map {
            match (key.as_str(), value) {
                ("template", Value::String(text)) => input.template = text,
                ("title", Value::String(text)) => input.title = text,
                ("language", Value::String(text)) => input.language = text,
                ("narrative", Value::String(text)) => input.narrative = text,
                ("fields", Value::Object(fields)) => input.take_fields(fields)?,
                // The same list one level up: nobody's name may end up where nobody protects it.
                ("people" | "persons", value) => input.take_people(&key, value)?,
                ("sources", value) => match FieldValue::from_json(value) {
                    FieldValue::List(list) => input.sources = list,
                    _ => return Err(InputError::wrong("sources", "a list of texts")),
                },
                ("addendum_to", Value::String(text)) => input.addendum_to = Some(text),
                ("template" | "title" | "language" | "narrative" | "addendum_to", _) => {
                    return Err(InputError::wrong(&key, "a text"));
                }
                ("fields", _) => return Err(InputError::wrong("fields", "an object {…}")),
                // The warning that an internal export carries is no part of the report.
                ("notice", Value::String(text)) if text == INTERNAL => {}
                (_, value) => input.extra.push((key, FieldValue::from_json(value))),
            }
        }
        input.check()?;
        Ok(input)
    }

    fn take_fields(&mut self, fields: Map<String, Value>) -> Result<(), InputError> {
        for (key, value) in fields {
            if key == "persons" {
                self.take_people("fields.persons", value)?;
            } else {
                self.fields.push((key, FieldValue::from_json(value)));
            }
        }
        Ok(())
    }

    fn take_people(&mut self, key: &str, value: Value) -> Result<(), InputError> {
        let Value::Array(items) = value else { return Err(InputError::wrong(key, "a list of people")) };
        InputError::check_count("people", items.len(), PEOPLE_MAX)?;
        for item in items {
            self.people.push(NewPerson::from_json(item)?);
        }
        Ok(())
    }

    /// Checks everything: template, types, limits. [`Self::from_json`] has done so already.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(&self) -> Result<&'static Template, InputError> {
        let template = find(&self.template)
            .ok_or_else(|| InputError::UnknownTemplate { name: self.template.clone() })?;
        InputError::check_len("title", &self.title, TITLE_MAX)?;
        InputError::check_len("narrative", &self.narrative, NARRATIVE_MAX)?;
        if !is_language_tag(&self.language) {
            return Err(InputError::BadLanguage { text: self.language.clone() });
        }
        InputError::check_count("fields", self.fields.len(), FIELDS_MAX)?;
        InputError::check_count("fields", self.extra.len(), FIELDS_MAX)?;
        InputError::check_count("people", self.people.len(), PEOPLE_MAX)?;
        InputError::check_count("sources", self.sources.len(), SOURCES_MAX)?;
        for (index, (name, value)) in self.fields.iter().enumerate() {
            check_field_name(name)?;
            if self.fields[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(InputError::Twice { key: name.clone() });
            }
            template.check(name, value)?;
        }
        for (name, value) in &self.extra {
            InputError::check_len("name of a field", name, NAME_MAX)?;
            InputError::check_value(name, value, 0)?;
        }
        for source in &self.sources {
            InputError::check_len("sources", source, SOURCE_MAX)?;
        }
        self.people.iter().try_for_each(NewPerson::check)?;
        if let Some(id) = &self.addendum_to {
            check_report_id(id)?;
        }
        if self.to_json().to_string().len() > INPUT_MAX {
            return Err(InputError::TooLong { field: "the report".into(), limit: INPUT_MAX });
        }
        Ok(template)
    }

    /// The JSON form, which [`Self::from_json`] reads back to an equal report.
    pub fn to_json(&self) -> Value {
        import_form(
            &self.template,
            &self.title,
            &self.language,
            &self.fields,
            self.people.iter().map(|p| p.clone().with_id(String::new()).to_json()).collect(),
            &self.narrative,
            &self.sources,
            self.addendum_to.as_deref(),
            &self.extra,
        )
    }
}

impl<'de> Deserialize<'de> for ReportInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for ReportInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// The order and shape of the import form, in one place for input, view and publication.
#[allow(clippy::too_many_arguments, reason = "the form has nine parts, and three types fill it")]
pub(crate) fn import_form(
    template: &str,
    title: &str,
    language: &str,
    fields: &[(String, FieldValue)],
    persons: Vec<Value>,
    narrative: &str,
    sources: &[String],
    addendum_to: Option<&str>,
    extra: &[(String, FieldValue)],
) -> Value {
    let mut map = Map::new();
    map.insert("template".into(), template_word(template).into());
    map.insert("title".into(), title.into());
    map.insert("language".into(), language.into());
    let mut inner: Map<String, Value> = fields.iter().map(|(k, v)| (k.clone(), v.to_json())).collect();
    if !persons.is_empty() {
        inner.insert("persons".into(), Value::Array(persons));
    }
    map.insert("fields".into(), Value::Object(inner));
    map.insert("narrative".into(), narrative.into());
    if !sources.is_empty() {
        map.insert("sources".into(), FieldValue::List(sources.to_vec()).to_json());
    }
    if let Some(id) = addendum_to {
        map.insert("addendum_to".into(), id.into());
    }
    for (key, value) in extra {
        map.insert(key.clone(), value.to_json());
    }
    Value::Object(map)
}

/// The plain name while this version of Fieldbook means the same by it, else name and version.
fn template_word(tag: &str) -> &str {
    match find(tag) {
        Some(_) => split_tag(tag).0,
        None => tag,
    }
}

/// 32 hexadecimal digits, as `fieldbook_proto::ReportId` writes them.
pub(crate) fn check_report_id(text: &str) -> Result<(), InputError> {
    if text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(InputError::NotAReportId { text: text.chars().take(60).collect() })
}

pub(crate) fn check_field_name(name: &str) -> Result<(), InputError> {
    InputError::check_len("name of a field", name, NAME_MAX)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(InputError::wrong("name of a field", "a word without control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::Consent;

    #[test]
    fn people_leave_the_fields_and_come_back() {
        let line = r#"{"template":"trial","title":"T","language":"en","fields":{"date":"2016","x":[1,null],
            "persons":[{"name":"A B","also_spelled":["A V"],"role":"accused","consent":"publish named","age":30}]},
            "narrative":"n","sources":["s"],"reviewed":{"by":"me"}}"#;
        let input = ReportInput::from_json(line).unwrap();
        assert_eq!(input.people[0].consent, Consent::PublishNamed);
        assert_eq!(input.to_json(), serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(ReportInput::from_json(&input.to_json().to_string()).unwrap(), input);
    }

    #[test]
    fn errors_say_what_to_do() {
        let error = |line: &str| ReportInput::from_json(line).unwrap_err().to_string();
        assert!(error("{").contains("not a report in JSON"));
        assert!(error(r#"{"template":"detantion"}"#).contains("use one of: detention, raid"));
        assert!(error(r#"{"template":"detention","fields":{"date":"25.3.17"}}"#).contains("2017-03-25"));
        assert!(
            error(r#"{"template":"detention","fields":{"people_detained":"x"}}"#).contains("a whole number")
        );
        assert!(
            error(r#"{"template":"detention","fields":{"persons":[{"role":"witness"}]}}"#)
                .contains("needs a name")
        );
        let long = format!(r#"{{"template":"detention","narrative":"{}"}}"#, "a".repeat(NARRATIVE_MAX + 1));
        assert!(error(&long).contains("narrative is longer"));
        let deep =
            format!(r#"{{"template":"detention","fields":{{"x":{}1{}}}}}"#, "[".repeat(20), "]".repeat(20));
        assert!(error(&deep).contains("objects within objects"));
    }

    #[test]
    fn people_at_the_top_level_are_people_too() {
        let input = ReportInput::from_json(r#"{"template":"raid","people":[{"name":"A"}]}"#).unwrap();
        assert_eq!(input.people.len(), 1);
        assert!(input.extra.is_empty());
    }
}
