//! What can be done to a report, as values: the command line, the form and the tests all speak this.

use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentManifest, check_parts};
use crate::input::{InputError, check_field_name};
use crate::language::is_language_tag;
use crate::limits::{INPUT_MAX, LANGUAGE_MAX, NAME_MAX, NARRATIVE_MAX, SOURCE_MAX, TITLE_MAX};
use crate::note;
use crate::person::{Consent, Person};
use crate::template::{FieldKind, PLACE_KEYS, Template};
use crate::value::FieldValue;

/// One act on a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Replaces the title.
    Title(String),
    /// Replaces the language tag.
    Language(String),
    /// Sets a field, or one key of a place (`place.locality`); `None` takes the value away.
    Field {
        /// `date`, `place.locality` …
        name: String,
        /// The new value.
        value: Option<FieldValue>,
    },
    /// The whole new narrative; only the characters that differ are touched.
    Narrative(String),
    /// Adds a person.
    AddPerson(Person),
    /// Sets `name`, `role`, `consent`, `also_spelled` or any detail of a person.
    SetPerson {
        /// The person's id.
        id: String,
        /// Which of their values.
        key: String,
        /// `None` takes a detail away.
        value: Option<FieldValue>,
    },
    /// Marks a person as removed. What others change meanwhile brings them back as a clash.
    RemovePerson(String),
    /// Adds a source at the end.
    AddSource(String),
    /// Takes away every source with exactly this text.
    RemoveSource(String),
    /// Adds an attachment.
    AddAttachment(AttachmentManifest),
    /// Names the sealed parts of an attachment, once they exist.
    SetAttachmentParts {
        /// The attachment's id.
        id: String,
        /// Entry ids, in order.
        parts: Vec<String>,
    },
    /// Marks an attachment as removed.
    RemoveAttachment(String),
    /// Asks, notes or answers. Whose note it is is told by the change that brings it.
    AddNote {
        /// Eight hexadecimal digits, given by the caller from random bytes.
        id: String,
        /// What it says.
        text: String,
        /// Unix time in milliseconds.
        time_ms: i64,
        /// The note that it answers, if any.
        reply_to: Option<String>,
    },
}

impl Edit {
    /// Reads `name=value` as the template types it. `title`, `narrative` and `language` work too,
    /// `place.locality=Minsk` sets one key, an empty value takes the field away, and a list is
    /// written with `;` between its items.
    ///
    /// # Errors
    /// No `=`, a field that the template does not have (unless it begins with `x-`), or a value of
    /// the wrong type.
    pub fn parse_set(template: &Template, text: &str) -> Result<Self, InputError> {
        let not_a_setting = || InputError::NotASetting { text: text.chars().take(60).collect() };
        let (name, value) = text.split_once('=').ok_or_else(not_a_setting)?;
        let name = name.trim();
        if name.is_empty() {
            return Err(not_a_setting());
        }
        let edit = match name {
            "title" => Self::Title(value.to_owned()),
            "narrative" => Self::Narrative(value.to_owned()),
            "language" => Self::Language(value.trim().to_owned()),
            _ => Self::Field { name: name.to_owned(), value: parse_value(template, name, value)? },
        };
        edit.check(Some(template))?;
        Ok(edit)
    }

    /// Checks sizes and, where the template is known, types. Whether ids exist is for the document.
    pub(crate) fn check(&self, template: Option<&Template>) -> Result<(), InputError> {
        match self {
            Self::Title(text) => InputError::check_len("title", text, TITLE_MAX),
            Self::Language(text) if text.len() > LANGUAGE_MAX || !is_language_tag(text) => {
                Err(InputError::BadLanguage { text: text.chars().take(60).collect() })
            }
            Self::Language(_) | Self::RemovePerson(_) | Self::RemoveSource(_) | Self::RemoveAttachment(_) => {
                Ok(())
            }
            Self::Field { name, value } => check_field(template, name, value.as_ref()),
            Self::Narrative(text) => InputError::check_len("narrative", text, NARRATIVE_MAX),
            Self::AddPerson(person) => {
                if person.id.len() != 8 || !person.id.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(InputError::wrong("a person's id", "8 hexadecimal digits"));
                }
                person.check()
            }
            Self::SetPerson { key, value, .. } => check_person_value(key, value.as_ref()),
            Self::AddSource(text) => InputError::check_len("sources", text, SOURCE_MAX),
            Self::AddAttachment(manifest) => manifest.check(),
            Self::SetAttachmentParts { parts, .. } => check_parts(parts),
            Self::AddNote { id, text, .. } => note::check(id, text),
        }
    }

    /// Checks a batch: each edit, and their sum against what one sealed entry can carry.
    pub(crate) fn check_all(edits: &[Self], template: Option<&Template>) -> Result<(), InputError> {
        edits.iter().try_for_each(|edit| edit.check(template))?;
        let size: usize =
            edits.iter().map(|edit| serde_json::to_vec(edit).map_or(0, |bytes| bytes.len())).sum();
        if size > INPUT_MAX {
            return Err(InputError::TooLong { field: "what is changed at once".into(), limit: INPUT_MAX });
        }
        Ok(())
    }
}

fn check_field(
    template: Option<&Template>,
    name: &str,
    value: Option<&FieldValue>,
) -> Result<(), InputError> {
    check_field_name(name)?;
    if name == "persons" {
        return Err(InputError::wrong("persons", "added as people, each with a name, a role and a consent"));
    }
    let Some(value) = value else { return Ok(()) };
    let Some(template) = template else { return InputError::check_value(name, value, 0) };
    match name.split_once('.') {
        Some((place, key)) if template.field(place).is_some_and(|f| f.kind == FieldKind::Place) => {
            template.check(place, &FieldValue::Map(vec![(key.to_owned(), value.clone())]))
        }
        _ => template.check(name, value),
    }
}

fn check_person_value(key: &str, value: Option<&FieldValue>) -> Result<(), InputError> {
    InputError::check_len("name of a detail", key, NAME_MAX)?;
    match (key, value) {
        ("name", Some(FieldValue::Text(text))) if !text.trim().is_empty() => {
            InputError::check_value(key, &text.as_str().into(), 0)
        }
        ("name", _) => Err(InputError::PersonWithoutName),
        ("consent", Some(FieldValue::Text(text))) => match Consent::parse(text) {
            Some(_) => Ok(()),
            None => Err(InputError::UnknownConsent { text: text.clone() }),
        },
        ("consent", _) => Err(InputError::UnknownConsent { text: String::new() }),
        ("role", Some(FieldValue::Text(_)) | None) | ("also_spelled", Some(FieldValue::List(_)) | None) => {
            value.map_or(Ok(()), |value| InputError::check_value(key, value, 0))
        }
        ("role", _) => Err(InputError::wrong(key, "a text")),
        ("also_spelled", _) => Err(InputError::wrong(key, "a list of texts")),
        ("", _) => Err(InputError::wrong("name of a detail", "a word")),
        (_, Some(value)) => InputError::check_value(key, value, 0),
        (_, None) => Ok(()),
    }
}

fn parse_value(template: &Template, name: &str, text: &str) -> Result<Option<FieldValue>, InputError> {
    let kind = match template.field(name) {
        Some(field) => field.kind,
        None => match name.split_once('.') {
            Some((place, key))
                if template.field(place).is_some_and(|f| f.kind == FieldKind::Place)
                    && (PLACE_KEYS.contains(&key) || key.starts_with("x-")) =>
            {
                FieldKind::Text
            }
            _ if name.starts_with("x-") => FieldKind::Text,
            _ => return Err(unknown_field(template, name)),
        },
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let wrong = || InputError::wrong(name, kind.expected());
    Ok(Some(match kind {
        FieldKind::LongText => FieldValue::Text(text.to_owned()),
        FieldKind::Text | FieldKind::Choice | FieldKind::Date | FieldKind::Duration => {
            FieldValue::Text(text.trim().to_owned())
        }
        FieldKind::Number => FieldValue::Number(text.trim().parse().map_err(|_| wrong())?),
        FieldKind::Flag => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "да" | "так" | "1" => FieldValue::Flag(true),
            "false" | "no" | "нет" | "не" | "ні" | "0" => FieldValue::Flag(false),
            _ => return Err(wrong()),
        },
        FieldKind::List => FieldValue::List(
            text.split(';').map(str::trim).filter(|s| !s.is_empty()).map(String::from).collect(),
        ),
        FieldKind::Place => {
            return Err(InputError::wrong(
                name,
                &format!("set key by key, for example {name}.locality=Minsk or {name}.country=BY"),
            ));
        }
    }))
}

fn unknown_field(template: &Template, name: &str) -> InputError {
    let mut known = vec!["title".to_owned(), "narrative".to_owned(), "language".to_owned()];
    for field in &template.fields {
        if field.kind == FieldKind::Place {
            known.extend(PLACE_KEYS.iter().map(|key| format!("{}.{key}", field.name)));
        } else {
            known.push(field.name.clone());
        }
    }
    InputError::UnknownField { name: name.to_owned(), template: template.name.clone(), known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::find;

    fn set(text: &str) -> Result<Edit, InputError> {
        Edit::parse_set(find("detention").unwrap(), text)
    }

    fn field(name: &str, value: Option<FieldValue>) -> Edit {
        Edit::Field { name: name.into(), value }
    }

    #[test]
    fn a_setting_is_typed_by_the_template() {
        assert_eq!(set("people_detained=700"), Ok(field("people_detained", Some(FieldValue::Number(700)))));
        assert_eq!(set("warrant_shown=no"), Ok(field("warrant_shown", Some(FieldValue::Flag(false)))));
        assert_eq!(set("date=2017-21"), Ok(field("date", Some("2017-21".into()))));
        assert_eq!(set("place.locality=Minsk"), Ok(field("place.locality", Some("Minsk".into()))));
        assert_eq!(set("authority="), Ok(field("authority", None)));
        assert_eq!(set("title=A = B"), Ok(Edit::Title("A = B".into())));
        assert_eq!(set("x-van=blue"), Ok(field("x-van", Some("blue".into()))));
    }

    #[test]
    fn a_wrong_setting_says_what_to_write() {
        for (text, hint) in [
            ("date", "name=value"),
            ("=x", "name=value"),
            ("date=yesterday", "2017-03-25"),
            ("people_detained=many", "a whole number"),
            ("dat=2017", "it has title"),
            ("place=Minsk", "place.locality=Minsk"),
            ("place.street=x", "place.exact"),
            ("language=Русский", "BCP 47"),
        ] {
            let message = set(text).unwrap_err().to_string();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }
}
