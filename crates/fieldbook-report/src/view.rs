//! What a person sees of a report: plain data, without secrets, ready for JSON, the screen and
//! publication.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attachment::AttachmentView;
use crate::input::import_form;
use crate::note::Note;
use crate::person::Person;
use crate::template::{self, Template};
use crate::value::{FieldValue, pairs_serde};

/// The report as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportView {
    /// Name of the template.
    pub template: String,
    /// Its version.
    pub template_version: u32,
    /// May be empty.
    pub title: String,
    /// BCP 47 tag.
    pub language: String,
    /// Fields in the template's order, then the others by name.
    #[serde(with = "pairs_serde")]
    pub fields: Vec<(String, FieldValue)>,
    /// The story.
    pub narrative: String,
    /// People, in the order of their ids.
    pub people: Vec<Person>,
    /// Where the facts come from.
    pub sources: Vec<String>,
    /// Files.
    pub attachments: Vec<AttachmentView>,
    /// Questions and notes, in an order that is the same for everybody. Never published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The report that this one supplements: its id, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addendum_to: Option<String>,
    /// Anything else that an import brought along.
    #[serde(default, with = "pairs_serde")]
    pub extra: Vec<(String, FieldValue)>,
}

impl ReportView {
    /// The template, if this version of Fieldbook has it.
    pub fn template(&self) -> Option<&'static Template> {
        template::find(&format!("{}@{}", self.template, self.template_version))
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&FieldValue> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The form of import files: importing it makes an equal report (attachments and
    /// notes apart).
    pub fn to_import_json(&self) -> Value {
        import_form(
            &format!("{}@{}", self.template, self.template_version),
            &self.title,
            &self.language,
            &self.fields,
            self.people.iter().map(Person::to_json).collect(),
            &self.narrative,
            &self.sources,
            self.addendum_to.as_deref(),
            &self.extra,
        )
    }

    /// Required parts that are still empty: names of fields, or `narrative`.
    pub fn missing(&self) -> Vec<String> {
        let Some(template) = self.template() else { return Vec::new() };
        let mut missing: Vec<String> = template
            .fields
            .iter()
            .filter(|field| field.required && self.field(&field.name).is_none_or(FieldValue::is_blank))
            .map(|field| field.name.clone())
            .collect();
        if template.narrative_required && self.narrative.trim().is_empty() {
            missing.push("narrative".into());
        }
        missing
    }
}
