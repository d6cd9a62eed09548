//! From what a team knows to what it may publish. Everything that is not known to be safe stays out,
//! and every act is listed twice: in a log that may be published beside the reports and names nobody,
//! and in a private one for the screen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::contacts;
use super::details::Details;
use super::mentioned;
use super::names::{Names, identity};
use super::supplements::{Supplements, supplements};
use super::words::{CONTACT_WITHHELD, NAME_WITHHELD, PERSON, ROLES, WITHHELD, role_class, say};
use crate::attachment::AttachmentView;
use crate::edtf::{Edtf, is_duration};
use crate::language::{Language, is_language_tag};
use crate::note::Note;
use crate::person::{Consent, Person};
use crate::template::{Field, FieldKind, find};
use crate::value::{FieldValue, pairs_serde};
use crate::view::ReportView;

/// How to redact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedactOptions {
    /// Takes nothing out, for use inside the team. Every file then says that it is not for
    /// publication.
    pub include_unredacted: bool,
    /// The ids of the reports, in their order: how an addendum finds the report that it supplements.
    /// They are never published. May be shorter than the list of reports.
    pub ids: Vec<String>,
    /// Publishes an addendum whose report is not among these. It then says that its report is
    /// published elsewhere.
    pub addenda_alone: bool,
}

/// What may be published.
#[derive(Debug, Clone)]
pub struct Redacted {
    /// The reports, in the order given.
    pub reports: Vec<PublicReport>,
    /// What was replaced and left out; names nobody.
    pub log: RedactionLog,
    /// The same with names, for the screen only.
    pub private: PrivateLog,
    /// Nothing was taken out.
    pub internal: bool,
    pub(super) names: Names,
    pub(super) details: Details,
}

/// A report as it is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicReport {
    /// Its number in this publication, from 1. Ids of the team's reports are not published.
    pub number: usize,
    /// Name of the template, or `unknown`.
    pub template: String,
    /// The title, names replaced.
    pub title: String,
    /// BCP 47 tag.
    pub language: String,
    /// Fields that may be published, names replaced.
    #[serde(with = "pairs_serde")]
    pub fields: Vec<(String, FieldValue)>,
    /// The story, names replaced.
    pub narrative: String,
    /// People, under their name or a pseudonym.
    pub people: Vec<PublicPerson>,
    /// Sources, names replaced.
    pub sources: Vec<String>,
    /// Files, in an internal export only.
    pub attachments: Vec<AttachmentView>,
    /// How many files were left out.
    pub attachments_withheld: usize,
    /// What it supplements, if it is an addendum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplements: Option<Supplements>,
    /// The id of the report that it supplements, in an internal export only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addendum_to: Option<String>,
    /// Questions and notes, in an internal export only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Other data, in an internal export only.
    #[serde(with = "pairs_serde")]
    pub extra: Vec<(String, FieldValue)>,
}

/// A person as published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicPerson {
    /// The name, or the pseudonym.
    pub name: String,
    /// Whether it is a pseudonym.
    pub pseudonym: bool,
    /// Other spellings of a name that may be published.
    pub also_spelled: Vec<String>,
    /// victim, witness …
    pub role: String,
    /// What the publication relies on.
    pub consent: Consent,
    /// Details, in an internal export only.
    #[serde(with = "pairs_serde")]
    pub extra: Vec<(String, FieldValue)>,
}

/// What was done, without any protected name: exported as `redactions.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RedactionLog {
    /// One entry per report, place and kind.
    pub entries: Vec<LogEntry>,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// [`PublicReport::number`].
    pub report: usize,
    /// `title`, `narrative`, `fields.authority`, `people`, `sources`, `attachments` …
    pub place: String,
    /// What was done to what.
    pub what: What,
    /// Why, in English.
    pub why: String,
    /// What stands there now, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// How many times.
    pub count: usize,
}

/// Kinds of redaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A name replaced by a pseudonym.
    NameReplaced,
    /// A name that two people share, one of them protected.
    AmbiguousNameReplaced,
    /// Anybody's phone number or e-mail address; an address or the like of a protected person, or an
    /// exact place.
    DetailReplaced,
    /// A field that can lead to a person.
    IdentifyingFieldLeftOut,
    /// A field that no template knows.
    UnknownFieldLeftOut,
    /// Details of people.
    PersonDetailsLeftOut,
    /// Files.
    AttachmentsLeftOut,
}

impl What {
    pub(super) const ALL: [Self; 7] = [
        Self::NameReplaced,
        Self::AmbiguousNameReplaced,
        Self::DetailReplaced,
        Self::IdentifyingFieldLeftOut,
        Self::UnknownFieldLeftOut,
        Self::PersonDetailsLeftOut,
        Self::AttachmentsLeftOut,
    ];

    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::NameReplaced => "the person did not agree to be named",
            Self::AmbiguousNameReplaced => {
                "the name can also be that of a person who did not agree to be named"
            }
            Self::DetailReplaced => "it can lead to a person or to an exact place",
            Self::IdentifyingFieldLeftOut => "the field can lead to a person",
            Self::UnknownFieldLeftOut => {
                "the template does not know the field, so nobody said that it is safe"
            }
            Self::PersonDetailsLeftOut => "consent to publish does not cover details of a person",
            Self::AttachmentsLeftOut => "files cannot be cleaned yet of what they tell about their makers",
        }
    }
}

/// The log with names. Never written to a file by this crate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PrivateLog {
    /// Who stands under which pseudonym.
    pub pseudonyms: Vec<PrivatePseudonym>,
    /// Names of fields that were left out: report number and field.
    pub fields_left_out: Vec<(usize, String)>,
}

/// A protected person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrivatePseudonym {
    /// Every spelling.
    pub names: Vec<String>,
    /// The pseudonym in English.
    pub pseudonym: String,
    /// How often it replaced a name in the texts.
    pub replaced: usize,
    /// The name may be published by one report and not by another: the stricter holds.
    pub contradicts: bool,
}

/// Somebody who is mentioned as a person in one report or several.
struct Group {
    keys: BTreeSet<String>,
    names: Vec<String>,
    consent: Consent,
    loosest: Consent,
    /// Index into [`ROLES`]; none while no role was given.
    class: Option<usize>,
    number: usize,
}

impl Group {
    fn protected(&self) -> bool {
        self.consent < Consent::PublishNamed
    }

    fn class(&self) -> usize {
        self.class.unwrap_or(PERSON)
    }

    fn pseudonym(&self, language: Language) -> String {
        format!("{} {}", say(&ROLES[self.class()].0, language), self.number)
    }
}

/// Redacts reports that are published together; a person keeps one pseudonym through all of them.
pub fn redact(views: &[ReportView], options: &RedactOptions) -> Redacted {
    let groups = groups(views);
    let mut names = Names::default();
    let mut details = Details::default();
    if !options.include_unredacted {
        for (index, group) in groups.iter().enumerate() {
            for name in &group.names {
                if group.protected() { names.protect(index, name) } else { names.allow(index, name) }
            }
        }
        for view in views {
            details.learn(view);
        }
        // Notes are not published, but whom they name is nobody's business either.
        for (index, words) in mentioned::names(views.iter().flat_map(|v| &v.notes), &names).iter().enumerate()
        {
            names.protect(groups.len() + index, words);
        }
    }
    let mut work =
        Work { groups: &groups, names, details, log: BTreeMap::new(), private: PrivateLog::default() };
    work.private.pseudonyms = groups.iter().filter(|g| g.protected()).map(private).collect();
    let reports = views
        .iter()
        .zip(1..)
        .map(|(view, number)| {
            let mut report =
                if options.include_unredacted { whole(view, number) } else { work.report(view, number) };
            report.supplements = supplements(view, options);
            report
        })
        .collect();
    let Work { names, details, log, private, .. } = work;
    let entries = log.into_iter().map(|(key, count)| key.entry(count)).collect();
    Redacted {
        reports,
        log: RedactionLog { entries },
        private,
        internal: options.include_unredacted,
        names,
        details,
    }
}

fn private(group: &Group) -> PrivatePseudonym {
    PrivatePseudonym {
        names: group.names.clone(),
        pseudonym: group.pseudonym(Language::English),
        replaced: 0,
        contradicts: group.loosest == Consent::PublishNamed,
    }
}

/// Whether two sets of spellings are held for one person's: one in common, or one that says all of
/// another and more. Who is "Olga Ivanova" here and does not agree may be the "Olga Petrovna Ivanova"
/// who agrees there; a surname or a given name alone says too little.
fn same_person(one: &BTreeSet<String>, other: &BTreeSet<String>) -> bool {
    let says_all = |long: &str, short: &str| {
        let long: BTreeSet<&str> = long.split(' ').collect();
        short.contains(' ') && short.split(' ').all(|part| long.contains(part))
    };
    one.iter().any(|a| other.iter().any(|b| a == b || says_all(a, b) || says_all(b, a)))
}

/// People with a spelling in common are one person; the strictest of their consents holds.
fn groups(views: &[ReportView]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for person in views.iter().flat_map(|view| &view.people) {
        let spellings: Vec<&String> = std::iter::once(&person.name).chain(&person.also_spelled).collect();
        let mut merged = Group {
            keys: spellings.iter().map(|name| identity(name)).collect(),
            names: spellings.into_iter().cloned().collect(),
            consent: person.consent,
            loosest: person.consent,
            class: (!person.role.trim().is_empty()).then(|| role_class(&person.role)),
            number: 0,
        };
        let (same, others): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| same_person(&group.keys, &merged.keys));
        groups = others;
        for group in same {
            // A witness here who is a victim there is a person: one word for both would be wrong in one.
            merged.class = match (group.class, merged.class) {
                (Some(one), Some(other)) if one != other => Some(PERSON),
                (one, other) => one.or(other),
            };
            merged.keys.extend(group.keys);
            merged.names.extend(group.names);
            merged.consent = merged.consent.min(group.consent);
            merged.loosest = merged.loosest.max(group.loosest);
        }
        merged.names.sort();
        merged.names.dedup();
        groups.push(merged);
    }
    let mut numbers = BTreeMap::new();
    for group in groups.iter_mut().filter(|group| group.protected()) {
        let number = numbers.entry(group.class()).or_insert(0);
        *number += 1;
        group.number = *number;
    }
    groups
}

fn whole(view: &ReportView, number: usize) -> PublicReport {
    PublicReport {
        number,
        template: view.template.clone(),
        title: view.title.clone(),
        language: view.language.clone(),
        fields: view.fields.clone(),
        narrative: view.narrative.clone(),
        people: view
            .people
            .iter()
            .map(|person| PublicPerson {
                name: person.name.clone(),
                pseudonym: false,
                also_spelled: person.also_spelled.clone(),
                role: person.role.clone(),
                consent: person.consent,
                extra: person.extra.clone(),
            })
            .collect(),
        sources: view.sources.clone(),
        attachments: view.attachments.clone(),
        attachments_withheld: 0,
        supplements: None,
        addendum_to: view.addendum_to.clone(),
        notes: view.notes.clone(),
        extra: view.extra.clone(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LogKey {
    report: usize,
    place: String,
    what: What,
    replaced_by: Option<String>,
}

impl LogKey {
    fn entry(self, count: usize) -> LogEntry {
        let why = self.what.why();
        let Self { report, place, what, replaced_by } = self;
        LogEntry { report, place, what, why: why.to_owned(), replaced_by, count }
    }
}

struct Work<'a> {
    groups: &'a [Group],
    names: Names,
    details: Details,
    log: BTreeMap<LogKey, usize>,
    private: PrivateLog,
}

/// Where a text stands.
#[derive(Clone, Copy)]
struct Spot<'a> {
    report: usize,
    place: &'a str,
    language: Language,
}

impl Work<'_> {
    fn note(&mut self, spot: Spot<'_>, what: What, replaced_by: Option<String>, count: usize) {
        let key = LogKey { report: spot.report, place: spot.place.to_owned(), what, replaced_by };
        *self.log.entry(key).or_insert(0) += count;
    }

    fn report(&mut self, view: &ReportView, number: usize) -> PublicReport {
        let language = Language::of(&view.language);
        let spot = |place| Spot { report: number, place, language };
        let known = view.template().is_some();
        if !view.attachments.is_empty() {
            self.note(spot("attachments"), What::AttachmentsLeftOut, None, view.attachments.len());
        }
        if !view.extra.is_empty() {
            self.note(spot("other data"), What::UnknownFieldLeftOut, None, view.extra.len());
            self.private.fields_left_out.extend(view.extra.iter().map(|(key, _)| (number, key.clone())));
        }
        PublicReport {
            number,
            template: if known { view.template.clone() } else { "unknown".to_owned() },
            title: self.clean(&view.title, spot("title")),
            language: if is_language_tag(&view.language) { view.language.clone() } else { "und".to_owned() },
            fields: self.fields(view, number, language),
            narrative: self.clean(&view.narrative, spot("narrative")),
            people: view.people.iter().map(|person| self.person(person, spot("people"))).collect(),
            sources: view.sources.iter().map(|source| self.clean(source, spot("sources"))).collect(),
            attachments: Vec::new(),
            attachments_withheld: view.attachments.len(),
            supplements: None,
            addendum_to: None,
            notes: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn fields(&mut self, view: &ReportView, number: usize, language: Language) -> Vec<(String, FieldValue)> {
        let template = view.template();
        let mut fields = Vec::new();
        for (name, value) in &view.fields {
            let Some(field) = template.and_then(|t| t.field(name)) else {
                let spot = Spot { report: number, place: "fields", language };
                self.note(spot, What::UnknownFieldLeftOut, None, 1);
                self.private.fields_left_out.push((number, name.clone()));
                continue;
            };
            let place = format!("fields.{name}");
            let spot = Spot { report: number, place: &place, language };
            if field.identifying {
                self.note(spot, What::IdentifyingFieldLeftOut, None, 1);
                self.private.fields_left_out.push((number, name.clone()));
            } else if let Some(value) = self.value(field, value, spot) {
                fields.push((name.clone(), value));
            }
        }
        fields
    }

    fn value(&mut self, field: &Field, value: &FieldValue, spot: Spot<'_>) -> Option<FieldValue> {
        match (field.kind, value) {
            (FieldKind::Date, FieldValue::Text(text)) if Edtf::parse(text).is_ok() => Some(value.clone()),
            (FieldKind::Duration, FieldValue::Text(text)) if is_duration(text) => Some(value.clone()),
            (_, FieldValue::Text(text)) if field.choices.iter().any(|c| c.value == *text) => {
                Some(value.clone())
            }
            (_, FieldValue::Text(text)) => Some(FieldValue::Text(self.clean(text, spot))),
            (_, FieldValue::Number(_) | FieldValue::Flag(_)) => Some(value.clone()),
            (_, FieldValue::List(items)) => {
                Some(FieldValue::List(items.iter().map(|item| self.clean(item, spot)).collect()))
            }
            (FieldKind::Place, FieldValue::Map(pairs)) => {
                let mut kept = Vec::new();
                for (key, value) in pairs {
                    match (key.as_str(), value) {
                        ("country" | "region" | "locality", FieldValue::Text(text)) => {
                            kept.push((key.clone(), FieldValue::Text(self.clean(text, spot))));
                        }
                        ("exact", _) => self.note(spot, What::IdentifyingFieldLeftOut, None, 1),
                        _ => self.note(spot, What::UnknownFieldLeftOut, None, 1),
                    }
                }
                (!kept.is_empty()).then_some(FieldValue::Map(kept))
            }
            // Of a type that the template does not expect: nobody can say what is in it.
            _ => {
                self.note(spot, What::UnknownFieldLeftOut, None, 1);
                None
            }
        }
    }

    fn person(&mut self, person: &Person, spot: Spot<'_>) -> PublicPerson {
        if !person.extra.is_empty() {
            self.note(spot, What::PersonDetailsLeftOut, None, person.extra.len());
        }
        let key = identity(&person.name);
        let group = self.groups.iter().find(|group| group.keys.contains(&key));
        let role = self.clean(&person.role, spot);
        match group.filter(|group| !group.protected()) {
            Some(_) => PublicPerson {
                name: self.clean(&person.name, spot),
                pseudonym: false,
                also_spelled: person.also_spelled.iter().map(|name| self.clean(name, spot)).collect(),
                role,
                consent: Consent::PublishNamed,
                extra: Vec::new(),
            },
            None => {
                let pseudonym = group.map_or_else(
                    || say(&NAME_WITHHELD, spot.language).to_owned(),
                    |g| g.pseudonym(spot.language),
                );
                self.note(spot, What::NameReplaced, Some(pseudonym.clone()), 1);
                PublicPerson {
                    name: pseudonym,
                    pseudonym: true,
                    also_spelled: Vec::new(),
                    role,
                    consent: Consent::PublishAnonymised,
                    extra: Vec::new(),
                }
            }
        }
    }

    /// A text with every protected name and detail replaced.
    fn clean(&mut self, text: &str, spot: Spot<'_>) -> String {
        let mut text = text.to_owned();
        let found = contacts::find(&text);
        if !found.is_empty() {
            let word = say(&CONTACT_WITHHELD, spot.language);
            self.note(spot, What::DetailReplaced, Some(word.to_owned()), found.len());
            text = replaced(&text, found.into_iter().map(|(start, end)| (start, end, word.to_owned())));
        }
        // What stands side by side after a replacement may form a name again; three rounds settle it.
        for _ in 0..3 {
            let details = self.details.find(&text);
            if !details.is_empty() {
                let word = say(&WITHHELD, spot.language);
                self.note(spot, What::DetailReplaced, Some(word.to_owned()), details.len());
                text = replaced(&text, details.into_iter().map(|(start, end)| (start, end, word.to_owned())));
            }
            let hits = self.names.find(&text);
            if hits.is_empty() {
                return text;
            }
            let mut changes = Vec::new();
            for hit in hits {
                // Beyond the groups: somebody whom a note names, and who has no pseudonym.
                let (what, word) = match hit.person {
                    Some(person) if person >= self.groups.len() => {
                        (What::NameReplaced, say(&NAME_WITHHELD, spot.language).to_owned())
                    }
                    Some(person) => {
                        let english = self.groups[person].pseudonym(Language::English);
                        for line in
                            self.private.pseudonyms.iter_mut().filter(|line| line.pseudonym == english)
                        {
                            line.replaced += 1;
                        }
                        (What::NameReplaced, self.groups[person].pseudonym(spot.language))
                    }
                    None => (What::AmbiguousNameReplaced, say(&NAME_WITHHELD, spot.language).to_owned()),
                };
                self.note(spot, what, Some(word.clone()), 1);
                changes.push((hit.start, hit.end, word));
            }
            text = replaced(&text, changes);
        }
        text
    }
}

pub(super) fn replaced(text: &str, changes: impl IntoIterator<Item = (usize, usize, String)>) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (start, end, word) in changes {
        out.push_str(&text[at..start]);
        out.push_str(&word);
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// The template's label for a field, or its name.
pub(super) fn label(template: &str, field: &str, language: Language) -> String {
    find(template)
        .and_then(|t| t.field(field))
        .map_or_else(|| field.to_owned(), |f| f.labels.get(language).to_owned())
}
