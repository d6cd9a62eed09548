//! From document to view. Tolerant: a document may come from another implementation or from somebody
//! who wishes us harm, and what has the wrong type is shown as empty, never a reason to fail.

use automerge::{Automerge, ObjId, ObjType, ReadDoc, Value};

use crate::attachment::{AttachmentManifest, AttachmentView};
use crate::document::layout::{
    ADDENDUM_TO, ATTACHMENTS, EXTRA, FIELDS, LANGUAGE, LAYOUT, NARRATIVE, NOTES, ORDER, PEOPLE, SOURCES,
    TEMPLATE, TITLE, VERSION, actor_of, all_values, child, get, list, number, text,
};
use crate::document::{ReportError, clash};
use crate::input::check_report_id;
use crate::note::Note;
use crate::person::{Consent, Person};
use crate::template::{FieldKind, Template, find, split_tag};
use crate::value::FieldValue;
use crate::view::ReportView;

/// Refuses what is not a report, or one of a later layout.
pub(super) fn check_version(doc: &Automerge) -> Result<(), ReportError> {
    match number(doc, &ObjId::Root, VERSION) {
        Some(version) if version > LAYOUT => Err(ReportError::NewerVersion { version }),
        Some(1..) => Ok(()),
        _ => Err(ReportError::NotAReport),
    }
}

/// `detention@1`.
pub(super) fn template_tag(doc: &impl ReadDoc) -> String {
    text(doc, &ObjId::Root, TEMPLATE)
}

pub(super) fn view(doc: &Automerge) -> ReportView {
    let root = ObjId::Root;
    let tag = template_tag(doc);
    let (name, version) = split_tag(&tag);
    let attachments = attachments(doc);
    ReportView {
        template: name.to_owned(),
        template_version: version.unwrap_or(1),
        title: text(doc, &root, TITLE),
        language: text(doc, &root, LANGUAGE),
        fields: fields(doc, find(&tag)),
        narrative: text(doc, &root, NARRATIVE),
        people: people(doc),
        sources: list(doc, &root, SOURCES),
        attachments: attachments.iter().map(AttachmentView::from).collect(),
        notes: notes(doc),
        addendum_to: addendum_to(doc),
        extra: child(doc, &root, EXTRA, ObjType::Map).map_or_else(Vec::new, |extra| pairs(doc, &extra)),
    }
}

/// The keys of a map with a value, by name. Null stands for "taken away".
fn pairs(doc: &Automerge, object: &ObjId) -> Vec<(String, FieldValue)> {
    let keys: Vec<String> = doc.keys(object).collect();
    keys.into_iter()
        .filter_map(|key| get(doc, object, &key).map(|value| (key, value)))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

fn fields(doc: &Automerge, template: Option<&Template>) -> Vec<(String, FieldValue)> {
    let Some(object) = child(doc, &ObjId::Root, FIELDS, ObjType::Map) else { return Vec::new() };
    let mut fields = pairs(doc, &object);
    let Some(template) = template else { return fields };
    for (name, value) in &mut fields {
        if let (Some(field), FieldValue::Map(keys)) = (template.field(name), value)
            && field.kind == FieldKind::Place
        {
            keys.retain(|(_, value)| !value.is_null());
            let rank =
                |key: &str| crate::template::PLACE_KEYS.iter().position(|k| *k == key).unwrap_or(usize::MAX);
            keys.sort_by_key(|(key, _)| rank(key));
        }
    }
    // A place is made with the report, empty, so that two people never make it apart.
    fields.retain(|(name, value)| {
        let empty_place = matches!(value, FieldValue::Map(keys) if keys.is_empty());
        !(empty_place && template.field(name).is_some_and(|f| f.kind == FieldKind::Place))
    });
    let rank = |name: &str| template.fields.iter().position(|f| f.name == name).unwrap_or(usize::MAX);
    fields.sort_by_key(|(name, _)| rank(name));
    fields
}

/// Ids of the entries of a map of maps (people, attachments) that are not removed, in their order.
fn entries(doc: &Automerge, part: &str) -> Vec<(String, ObjId)> {
    let Some(object) = child(doc, &ObjId::Root, part, ObjType::Map) else { return Vec::new() };
    let mut entries: Vec<(i64, String, ObjId)> = doc
        .keys(&object)
        .filter_map(|id| child(doc, &object, &id, ObjType::Map).map(|entry| (id, entry)))
        .filter(|(_, entry)| !clash::is_gone(doc, entry))
        .map(|(id, entry)| (number(doc, &entry, ORDER).unwrap_or(i64::MAX), id, entry))
        .collect();
    entries.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    entries.into_iter().map(|(_, id, entry)| (id, entry)).collect()
}

fn people(doc: &Automerge) -> Vec<Person> {
    entries(doc, PEOPLE)
        .into_iter()
        .map(|(id, person)| Person {
            name: text(doc, &person, "name"),
            also_spelled: list(doc, &person, "also_spelled"),
            role: text(doc, &person, "role"),
            consent: consent(doc, &person),
            extra: child(doc, &person, EXTRA, ObjType::Map).map_or_else(Vec::new, |extra| pairs(doc, &extra)),
            id,
        })
        .collect()
}

/// Where the consent clashes, the strictest of its values holds until a person has chosen.
fn consent(doc: &Automerge, person: &ObjId) -> Consent {
    all_values(doc, person, "consent")
        .iter()
        .map(|(value, _)| value.as_text().and_then(Consent::parse).unwrap_or_default())
        .min()
        .unwrap_or_default()
}

fn addendum_to(doc: &Automerge) -> Option<String> {
    Some(text(doc, &ObjId::Root, ADDENDUM_TO)).filter(|id| check_report_id(id).is_ok())
}

/// Two devices that both noted something in a document of the earlier layout made a list each: the
/// notes of all of them count, whichever list won.
fn notes(doc: &Automerge) -> Vec<Note> {
    let lists = doc.get_all(&ObjId::Root, NOTES).unwrap_or_default();
    let lists = lists.into_iter().filter(|(value, _)| matches!(value, Value::Object(ObjType::List)));
    let items = lists.flat_map(|(_, list)| {
        let items: Vec<ObjId> = doc.list_range(&list, ..).map(|item| item.id()).collect();
        items
    });
    items.filter_map(|item| note(doc, &item)).collect()
}

/// A note is whose words it holds: somebody who writes over another's note has written one of their own,
/// and history tells what stood there.
fn note(doc: &Automerge, item: &ObjId) -> Option<Note> {
    let (words, author) = all_values(doc, item, "text").pop()?;
    Some(Note {
        id: text(doc, item, "id"),
        actor: actor_of(&author),
        time_ms: number(doc, item, "time_ms").unwrap_or(0),
        text: words.as_text().filter(|text| !text.trim().is_empty())?.to_owned(),
        reply_to: Some(text(doc, item, "reply_to")).filter(|id| !id.is_empty()),
    })
}

pub(super) fn attachments(doc: &Automerge) -> Vec<AttachmentManifest> {
    entries(doc, ATTACHMENTS)
        .into_iter()
        .map(|(id, entry)| AttachmentManifest {
            id,
            name: text(doc, &entry, "name"),
            media_type: text(doc, &entry, "media_type"),
            size: number(doc, &entry, "size").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            blake3: text(doc, &entry, "blake3"),
            sha256: text(doc, &entry, "sha256"),
            identity: text(doc, &entry, "identity"),
            parts: list(doc, &entry, "parts"),
        })
        .collect()
}
