//! Templates: which questions a kind of report asks. They are data (`templates/*.json`), versioned and
//! labelled in four languages; this file only reads and applies them.
//!
//! A template asks and checks; it never removes. A field that it does not know is kept in the report
//! as it is, and stays out of publications because nobody said whether it identifies somebody.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::edtf::{Edtf, is_duration};
use crate::input::InputError;
use crate::language::Language;
use crate::value::FieldValue;

/// The keys that a place may have, coarse to exact. Only `exact` identifies.
pub const PLACE_KEYS: [&str; 4] = ["country", "region", "locality", "exact"];

/// A kind of report.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name in commands and files: `detention`.
    pub name: String,
    /// Raised whenever a field changes its meaning.
    pub version: u32,
    /// What people call it.
    pub labels: Labels,
    /// Whether a report needs a narrative before it is finished.
    pub narrative_required: bool,
    /// Whether lists of templates name it. One that is made by a command of its own is found by name only.
    #[serde(default = "yes")]
    pub offered: bool,
    /// Its fields in the order in which they are asked and shown.
    pub fields: Vec<Field>,
}

const fn yes() -> bool {
    true
}

/// A text in the four languages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    en: String,
    ru: String,
    be: String,
    uk: String,
}

impl Labels {
    /// The text in this language.
    pub fn get(&self, language: Language) -> &str {
        match language {
            Language::English => &self.en,
            Language::Russian => &self.ru,
            Language::Belarusian => &self.be,
            Language::Ukrainian => &self.uk,
        }
    }
}

/// A question of a template.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name in commands and files.
    pub name: String,
    /// What its value is.
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// Whether a report needs it before it is finished. Few are: a question that must be answered by
    /// somebody who cannot know is answered with a guess.
    #[serde(default)]
    pub required: bool,
    /// Whether its value can lead to a person; such a field stays out of publications.
    #[serde(default)]
    pub identifying: bool,
    /// What people call it.
    pub labels: Labels,
    /// Suggested values. Others are allowed.
    #[serde(default)]
    pub choices: Vec<Choice>,
    /// The number that this field makes more or less precise: "more than", "almost", "hundreds".
    #[serde(default)]
    pub precision_of: Option<String>,
}

/// A suggested value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// As it stands in the document.
    pub value: String,
    /// What people read.
    pub labels: Labels,
}

/// What the value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// A short text.
    Text,
    /// A text of several lines.
    LongText,
    /// A date in EDTF, see [`crate::edtf`].
    Date,
    /// An ISO 8601 duration.
    Duration,
    /// A whole number.
    Number,
    /// Yes or no.
    Flag,
    /// A text for which values are suggested.
    Choice,
    /// An object with [`PLACE_KEYS`]; other keys are kept and not published.
    Place,
    /// A list of texts.
    List,
}

impl FieldKind {
    /// What to write, for messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::LongText | Self::Choice => "a text",
            Self::Date => "a date in EDTF, such as 2017-03-25",
            Self::Duration => {
                "an ISO 8601 duration, such as PT2H30M (two and a half hours) or P3Y (three years)"
            }
            Self::Number => "a whole number",
            Self::Flag => "true or false",
            Self::Place => "a place with country, region, locality or exact, such as {\"country\": \"BY\"}",
            Self::List => "a list of texts",
        }
    }
}

impl Template {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// `detention@1`, as it stands in a document.
    pub fn tag(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Checks a value against the field of this name. A name that the template does not know is
    /// checked for size only.
    ///
    /// # Errors
    /// The type, the date or the duration is wrong, or the value is beyond a limit.
    pub fn check(&self, name: &str, value: &FieldValue) -> Result<(), InputError> {
        InputError::check_value(name, value, 0)?;
        if value.is_null() {
            return Ok(());
        }
        let Some(field) = self.field(name) else { return Ok(()) };
        let wrong = || InputError::wrong(name, field.kind.expected());
        match (field.kind, value) {
            (FieldKind::Text | FieldKind::LongText | FieldKind::Choice, FieldValue::Text(_))
            | (FieldKind::Number, FieldValue::Number(_))
            | (FieldKind::Flag, FieldValue::Flag(_))
            | (FieldKind::List, FieldValue::List(_)) => Ok(()),
            (FieldKind::Date, FieldValue::Text(text)) => Edtf::parse(text)
                .map(drop)
                .map_err(|reason| InputError::BadDate { field: name.to_owned(), reason }),
            (FieldKind::Duration, FieldValue::Text(text)) => {
                if is_duration(text) {
                    Ok(())
                } else {
                    Err(wrong())
                }
            }
            (FieldKind::Place, FieldValue::Map(pairs)) => {
                let bad = pairs.iter().find(|(key, value)| {
                    PLACE_KEYS.contains(&key.as_str()) && value.as_text().is_none() && !value.is_null()
                });
                match bad {
                    Some((key, _)) => Err(InputError::wrong(&format!("{name}.{key}"), "a text")),
                    None => Ok(()),
                }
            }
            _ => Err(wrong()),
        }
    }
}

macro_rules! embedded {
    ($($file:literal),* $(,)?) => {
        const EMBEDDED: &[&str] = &[$(include_str!(concat!("../templates/", $file, ".json"))),*];
    };
}

embedded!(
    "detention",
    "raid",
    "assembly",
    "trial",
    "ill_treatment",
    "expulsion",
    "disappearance",
    "reprisal",
    "attack_on_media",
    "death_penalty",
    "recommendation",
    "addendum",
);

/// The templates that come with Fieldbook.
pub fn builtin() -> &'static [Template] {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    // A file that does not parse would be left out here; a test below holds every one of them.
    TEMPLATES.get_or_init(|| EMBEDDED.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

/// The template of this name (`detention` or `detention@1`), if this version of Fieldbook has it.
pub fn find(name: &str) -> Option<&'static Template> {
    let (plain, version) = split_tag(name);
    builtin().iter().find(|t| t.name == plain && version.is_none_or(|v| v == t.version))
}

/// `detention@1` → (`detention`, 1).
pub(crate) fn split_tag(tag: &str) -> (&str, Option<u32>) {
    match tag.rsplit_once('@') {
        Some((name, version)) => match version.parse() {
            Ok(version) => (name, Some(version)),
            Err(_) => (tag, None),
        },
        None => (tag, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_template_is_whole() {
        assert_eq!(builtin().len(), EMBEDDED.len());
        for (template, text) in builtin().iter().zip(EMBEDDED) {
            serde_json::from_str::<Template>(text).unwrap_or_else(|e| panic!("{}: {e}", template.name));
            let mut names: Vec<&str> = template.fields.iter().map(|f| f.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), template.fields.len(), "{}: a field twice", template.name);
            for field in &template.fields {
                for language in Language::ALL {
                    assert!(!field.labels.get(language).is_empty(), "{}.{}", template.name, field.name);
                    assert!(!template.labels.get(language).is_empty());
                }
                if let Some(number) = &field.precision_of {
                    assert!(field.name.ends_with("_precision"));
                    assert!(template.field(number).is_some(), "{}.{number}", template.name);
                }
                assert!(!field.name.contains(['.', '@', '=']) && field.name != "persons");
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), EMBEDDED.len());
    }

    #[test]
    fn a_template_checks_types_and_keeps_what_it_does_not_know() {
        let detention = find("detention").unwrap();
        assert!(detention.check("people_detained", &FieldValue::Number(57)).is_ok());
        assert!(detention.check("people_detained", &"57".into()).is_err());
        assert!(detention.check("date", &"25.03.2017".into()).is_err());
        assert!(detention.check("colour_of_van", &FieldValue::Number(3)).is_ok());
        assert!(find("detention@1").is_some());
        assert!(find("detention@999").is_none());
    }
}
