//! Somebody takes back their consent: the report without them, for a fresh document.
//!
//! A document remembers what was deleted from it, so taking a person out of it would leave them in
//! its bytes. What is made here goes into a new document instead, and [`Withdrawn::remains`] looks
//! through that document, history and raw bytes included, before the old one is destroyed.

use serde_json::Value as Json;

use super::details::Details;
use super::names::{Names, identity};
use super::skeleton::tokens;
use super::words::{NAME_WITHHELD, WITHHELD, say};
use crate::document::{HistoryEdit, ReportDocument, ReportError};
use crate::edit::Edit;
use crate::input::{InputError, ReportInput};
use crate::language::{Language, is_language_tag};
use crate::person::{NewPerson, Person};
use crate::value::FieldValue;

/// A report without somebody.
#[derive(Clone)]
pub struct Withdrawn {
    /// What to make the new document of.
    pub input: ReportInput,
    /// What to do to the new document: the notes, which then are of whoever does it, and the
    /// attachments if they were to be kept.
    pub edits: Vec<Edit>,
    /// How many names and details were replaced in texts.
    pub replaced: usize,
    /// Ids of other people of the report who were left out or renamed, as their names say the same
    /// name: for a person to look at.
    pub also_changed: Vec<String>,
    hidden: Hidden,
}

/// Whom it leaves out stays out of logs.
impl std::fmt::Debug for Withdrawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Withdrawn").field("replaced", &self.replaced).finish_non_exhaustive()
    }
}

/// What must not be seen any more, and how it is looked for.
#[derive(Clone)]
struct Hidden {
    names: Names,
    details: Details,
    /// In lower case: spellings, their longer parts without a last vowel, and details.
    raw: Vec<String>,
    language: Language,
}

/// Letters that a part of a name needs to be looked for in bytes, where words have no ends.
const RAW_PART_MIN: usize = 5;

impl ReportDocument {
    /// The report without a person: their entry is left out, and every spelling of their name and
    /// every detail of theirs is replaced in all texts by a neutral word in the report's language.
    /// Where fields clash, the value that the view shows is taken.
    ///
    /// The names of other people stay, also where they share a part with this one; such a part that
    /// stands alone goes. Files are not looked into: with `keep_attachments` they come along, their
    /// names cleaned. Nicknames, descriptions, and the rarer changes of a stem (Кот, Ката) are not
    /// known for the name: read the result.
    ///
    /// # Errors
    /// No such person, a template that this Fieldbook does not have, or a text that the replacement
    /// makes longer than its limit.
    pub fn without_person(&self, person_id: &str, keep_attachments: bool) -> Result<Withdrawn, ReportError> {
        let view = self.view();
        let person = view.people.iter().find(|person| person.id == person_id);
        let person = person.ok_or_else(|| InputError::NoSuchPerson { id: person_id.to_owned() })?;
        let mut hidden = Hidden::of(person, Language::of(&view.language));
        hidden.details.learn_person(person, &view.fields);
        let mut also_changed = Vec::new();
        let mut others: Vec<Person> = Vec::new();
        for other in view.people.iter().filter(|other| other.id != person_id) {
            match kinship(person, other) {
                Kinship::Same => also_changed.push(other.id.clone()),
                Kinship::NamedAfter => {
                    also_changed.push(other.id.clone());
                    others.push(other.clone());
                }
                Kinship::Other => {
                    spellings(other).for_each(|name| hidden.names.allow(1, name));
                    others.push(other.clone());
                }
            }
        }
        let mut work = Work { hidden: &hidden, replaced: 0 };
        let input = ReportInput {
            template: format!("{}@{}", view.template, view.template_version),
            title: work.text(&view.title),
            language: if is_language_tag(&view.language) { view.language.clone() } else { "und".into() },
            fields: work.pairs(&view.fields),
            narrative: work.text(&view.narrative),
            people: others.iter().map(|other| work.person(other)).collect(),
            sources: view.sources.iter().map(|source| work.text(source)).collect(),
            addendum_to: view.addendum_to.clone(),
            extra: work.pairs(&view.extra),
        };
        let mut edits: Vec<Edit> = Vec::new();
        for note in &view.notes {
            edits.push(Edit::AddNote {
                id: note.id.clone(),
                text: work.text(&note.text),
                time_ms: note.time_ms,
                reply_to: note.reply_to.clone(),
            });
        }
        if keep_attachments {
            for mut manifest in self.attachments() {
                manifest.name = work.text(&manifest.name);
                edits.push(Edit::AddAttachment(manifest));
            }
        }
        let replaced = work.replaced;
        let template = input.check()?;
        Edit::check_all(&edits, Some(template))?;
        Ok(Withdrawn { input, edits, replaced, also_changed, hidden })
    }
}

impl Withdrawn {
    /// Where the person can still be found in a document that was made of this: names of fields, and
    /// `the document's bytes` for what stands in none. Empty when nothing remains.
    ///
    /// Looks through the view, every value of the history, and the saved bytes uncompressed.
    pub fn remains(&self, document: &mut ReportDocument) -> Vec<String> {
        let mut places: Vec<String> = Vec::new();
        for edit in document.history().into_iter().flat_map(|item| item.edits) {
            if !names_nobody(&edit) && self.hidden.stands_in_edit(&edit) {
                places.push(if self.hidden.stands_in(&edit.field) {
                    "a field's name".into()
                } else {
                    edit.field
                });
            }
        }
        let view = serde_json::to_value(document.view()).unwrap_or(Json::Null);
        let mut seen = String::new();
        super::strings(&view, &mut seen);
        let bytes = document.save_plain();
        if self.hidden.stands_in_bytes(&bytes, &seen) {
            places.push("the document's bytes".into());
        }
        places.sort();
        places.dedup();
        places
    }
}

/// Values that Fieldbook writes itself: a word of a template may be somebody's name too.
fn names_nobody(edit: &HistoryEdit) -> bool {
    let field = edit.field.as_str();
    let machine = ["blake3", "sha256", "parts", "identity", "size", "order", "consent", "removed"];
    ["fieldbook", "template", "language", "addendum_to"].contains(&field)
        || (!field.starts_with("fields.")
            && field.rsplit_once('.').is_some_and(|(_, last)| machine.contains(&last)))
}

fn spellings(person: &Person) -> impl Iterator<Item = &str> {
    std::iter::once(&person.name).chain(&person.also_spelled).map(String::as_str)
}

/// What the name of another person says about this one.
enum Kinship {
    /// The same name: nobody can tell them apart.
    Same,
    /// This name and more: "mother of Anna Ivanova".
    NamedAfter,
    /// Another name, maybe with a part in common.
    Other,
}

fn kinship(person: &Person, other: &Person) -> Kinship {
    let keys: Vec<String> = spellings(person).map(identity).collect();
    if spellings(other).any(|name| keys.contains(&identity(name))) {
        return Kinship::Same;
    }
    let says = |part: &str, name: &str| {
        let mut names = Names::default();
        names.protect(0, part);
        !names.find(name).is_empty()
    };
    let named_after = spellings(person).map(significant).any(|parts| {
        parts.len() > 1 && spellings(other).any(|name| parts.iter().all(|part| says(part, name)))
    });
    if named_after { Kinship::NamedAfter } else { Kinship::Other }
}

/// The parts of a name without the patronymic, which brothers share.
fn significant(name: &str) -> Vec<&str> {
    let parts: Vec<&str> =
        tokens(name).iter().filter(|t| t.letters > 1).map(|t| &name[t.start..t.end]).collect();
    let patronymic = |part: &str| {
        let part = part.to_lowercase();
        ["вич", "віч", "ьич", "вна", "ўна", "чна", "vich", "vič", "vna", "ŭna"]
            .iter()
            .any(|end| part.ends_with(end))
    };
    let without: Vec<&str> = parts.iter().copied().filter(|part| !patronymic(part)).collect();
    if without.len() > 1 { without } else { parts }
}

impl Hidden {
    fn of(person: &Person, language: Language) -> Self {
        let (mut names, mut raw) = (Names::default(), Vec::new());
        for name in spellings(person) {
            names.protect(0, name);
            raw.push(name.trim().to_lowercase());
            for token in tokens(name) {
                let part = name[token.start..token.end].to_lowercase();
                let stem = part.trim_end_matches(['а', 'я', 'о', 'е', 'й', 'ь', 'і', 'a']);
                raw.extend(
                    [part.as_str(), stem]
                        .iter()
                        .filter(|p| p.chars().count() >= RAW_PART_MIN)
                        .map(|p| (*p).to_owned()),
                );
            }
        }
        for (_, value) in &person.extra {
            let text = value.to_string().to_lowercase();
            raw.extend(Some(text).filter(|text| text.chars().count() > RAW_PART_MIN));
        }
        raw.retain(|text| text.chars().count() > 2);
        raw.sort();
        raw.dedup();
        Self { names, details: Details::default(), raw, language }
    }

    fn stands_in(&self, text: &str) -> bool {
        !self.names.find(text).is_empty() || !self.details.find(text).is_empty()
    }

    fn stands_in_edit(&self, edit: &HistoryEdit) -> bool {
        let mut all = edit.field.clone() + "\n";
        for value in edit.before.iter().chain(&edit.after) {
            super::strings(&value.to_json(), &mut all);
        }
        all.lines().any(|line| self.stands_in(line))
    }

    /// Bytes have no words, and others' names may hold a part of this one: what stands there more
    /// often than in the texts that people see is a remnant.
    fn stands_in_bytes(&self, bytes: &[u8], seen: &str) -> bool {
        let (bytes, seen) = (String::from_utf8_lossy(bytes).to_lowercase(), seen.to_lowercase());
        self.raw.iter().any(|text| bytes.matches(text.as_str()).count() > seen.matches(text.as_str()).count())
    }
}

struct Work<'a> {
    hidden: &'a Hidden,
    replaced: usize,
}

impl Work<'_> {
    fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        // What stands side by side after a replacement may form a name again; three rounds settle it.
        for _ in 0..3 {
            let details = self.hidden.details.find(&text);
            self.replaced += details.len();
            let word = say(&WITHHELD, self.hidden.language);
            text = super::redact::replaced(&text, details.into_iter().map(|(a, b)| (a, b, word.to_owned())));
            let hits = self.hidden.names.find(&text);
            if hits.is_empty() {
                break;
            }
            self.replaced += hits.len();
            let word = say(&NAME_WITHHELD, self.hidden.language);
            text = super::redact::replaced(
                &text,
                hits.into_iter().map(|hit| (hit.start, hit.end, word.to_owned())),
            );
        }
        text
    }

    /// A field whose own name holds the person's goes as a whole.
    fn pairs(&mut self, pairs: &[(String, FieldValue)]) -> Vec<(String, FieldValue)> {
        let mut kept = Vec::new();
        for (key, value) in pairs {
            if self.hidden.stands_in(key) {
                self.replaced += 1;
            } else {
                kept.push((key.clone(), self.value(value)));
            }
        }
        kept
    }

    fn value(&mut self, value: &FieldValue) -> FieldValue {
        match value {
            FieldValue::Text(text) => FieldValue::Text(self.text(text)),
            FieldValue::Number(number) if self.hidden.stands_in(&number.to_string()) => {
                self.replaced += 1;
                FieldValue::Other(Json::Null)
            }
            FieldValue::Number(_) | FieldValue::Flag(_) => value.clone(),
            FieldValue::List(items) => FieldValue::List(items.iter().map(|item| self.text(item)).collect()),
            FieldValue::Map(pairs) => FieldValue::Map(self.pairs(pairs)),
            FieldValue::Other(json) => FieldValue::Other(self.json(json)),
        }
    }

    fn json(&mut self, json: &Json) -> Json {
        match json {
            Json::String(text) => Json::String(self.text(text)),
            Json::Array(items) => Json::Array(items.iter().map(|item| self.json(item)).collect()),
            Json::Object(map) => {
                let kept = map.iter().filter(|(key, _)| !self.hidden.stands_in(key));
                let kept: Vec<(&String, &Json)> = kept.collect();
                self.replaced += map.len() - kept.len();
                Json::Object(kept.into_iter().map(|(key, value)| (key.clone(), self.json(value))).collect())
            }
            other => other.clone(),
        }
    }

    fn person(&mut self, person: &Person) -> NewPerson {
        NewPerson {
            name: self.text(&person.name),
            also_spelled: person.also_spelled.iter().map(|name| self.text(name)).collect(),
            role: self.text(&person.role),
            consent: person.consent,
            extra: self.pairs(&person.extra),
        }
    }
}
