//! From edits to operations. Every function checks against the document what the types cannot: that
//! an id exists, that a person is still there.

use automerge::transaction::Transactable;
use automerge::{Automerge, ObjId, ObjType, ReadDoc, ScalarValue};
use serde_json::Value as Json;

use crate::attachment::AttachmentManifest;
use crate::document::layout::{
    ADDENDUM_TO, ATTACHMENTS, EXTRA, FIELDS, LANGUAGE, LAYOUT, NARRATIVE, NOTES, ORDER, PEOPLE, REMOVED,
    SOURCES, TEMPLATE, TITLE, VERSION, child, get, list, part, put_json, text,
};
use crate::document::text::set_text;
use crate::document::{ReportError, clash};
use crate::edit::Edit;
use crate::input::{InputError, ReportInput};
use crate::limits::{ATTACHMENTS_MAX, FIELDS_MAX, NOTES_MAX, PEOPLE_MAX, SOURCES_MAX};
use crate::person::Person;
use crate::template::{FieldKind, Template, find};
use crate::value::FieldValue;

/// Checks that the caller's ids are fit and differ.
pub(super) fn distinct(people: Vec<Person>) -> Result<Vec<Person>, ReportError> {
    let mut seen = std::collections::BTreeSet::new();
    for person in &people {
        Edit::AddPerson(person.clone()).check(None)?;
        if !seen.insert(person.id.as_str()) {
            return Err(InputError::IdInUse { id: person.id.clone() }.into());
        }
    }
    Ok(people)
}

/// The first change of a report.
pub(super) fn create(
    tx: &mut impl Transactable,
    input: &ReportInput,
    template: &Template,
    people: &[Person],
) -> Result<(), ReportError> {
    let places = template.fields.iter().filter(|field| field.kind == FieldKind::Place);
    let places: Vec<&str> = places.map(|field| field.name.as_str()).collect();
    begin(tx, input, &template.tag(), &places, people)
}

/// As [`create`], whether the template is known here or not: its tag, and its fields that are places.
pub(super) fn begin(
    tx: &mut impl Transactable,
    input: &ReportInput,
    tag: &str,
    places: &[&str],
    people: &[Person],
) -> Result<(), ReportError> {
    let root = ObjId::Root;
    tx.put(&root, VERSION, LAYOUT)?;
    tx.put(&root, TEMPLATE, tag)?;
    tx.put(&root, TITLE, input.title.as_str())?;
    tx.put(&root, LANGUAGE, input.language.as_str())?;
    let fields = tx.put_object(&root, FIELDS, ObjType::Map)?;
    for place in places {
        tx.put_object(&fields, *place, ObjType::Map)?;
    }
    for (name, value) in &input.fields {
        set(tx, &fields, name, value)?;
    }
    let narrative = tx.put_object(&root, NARRATIVE, ObjType::Text)?;
    tx.splice_text(&narrative, 0, 0, &input.narrative)?;
    let people_map = tx.put_object(&root, PEOPLE, ObjType::Map)?;
    for person in people {
        add_person(tx, &people_map, person)?;
    }
    put_json(tx, &root, SOURCES, &FieldValue::List(input.sources.clone()).to_json())?;
    tx.put_object(&root, ATTACHMENTS, ObjType::Map)?;
    tx.put_object(&root, NOTES, ObjType::List)?;
    if let Some(id) = &input.addendum_to {
        tx.put(&root, ADDENDUM_TO, id.as_str())?;
    }
    put_json(tx, &root, EXTRA, &FieldValue::Map(input.extra.clone()).to_json())
}

/// One edit.
pub(super) fn edit(tx: &mut impl Transactable, edit: &Edit) -> Result<(), ReportError> {
    let root = ObjId::Root;
    match edit {
        Edit::Title(title) => set(tx, &root, TITLE, &title.as_str().into()),
        Edit::Language(tag) => set(tx, &root, LANGUAGE, &tag.as_str().into()),
        Edit::Field { name, value } => set_field(tx, name, value.as_ref()),
        Edit::Narrative(new) => {
            let narrative = part(tx, NARRATIVE, ObjType::Text)?;
            set_text(tx, &narrative, new)
        }
        Edit::AddPerson(person) => {
            let people = part(tx, PEOPLE, ObjType::Map)?;
            if tx.get(&people, person.id.as_str())?.is_some() {
                return Err(InputError::IdInUse { id: person.id.clone() }.into());
            }
            InputError::check_count("people", tx.length(&people) + 1, PEOPLE_MAX)?;
            add_person(tx, &people, person)
        }
        Edit::SetPerson { id, key, value } => set_person(tx, id, key, value.as_ref()),
        Edit::RemovePerson(id) => {
            let person = person(tx, id)?;
            Ok(tx.put(&person, REMOVED, true)?)
        }
        Edit::AddSource(source) => {
            let sources = part(tx, SOURCES, ObjType::List)?;
            let length = tx.length(&sources);
            InputError::check_count("sources", length + 1, SOURCES_MAX)?;
            Ok(tx.insert(&sources, length, source.as_str())?)
        }
        Edit::RemoveSource(source) => remove_source(tx, source),
        Edit::AddAttachment(manifest) => add_attachment(tx, manifest),
        Edit::SetAttachmentParts { id, parts } => {
            let entry = attachment(tx, id)?;
            set(tx, &entry, "parts", &FieldValue::List(parts.clone()))
        }
        Edit::RemoveAttachment(id) => {
            let entry = attachment(tx, id)?;
            Ok(tx.put(&entry, REMOVED, true)?)
        }
        Edit::AddNote { id, text, time_ms, reply_to } => {
            add_note(tx, id, text, *time_ms, reply_to.as_deref())
        }
    }
}

/// Writes a value whether or not it stands there already: what settles a clash.
pub(super) fn put(
    tx: &mut impl Transactable,
    object: &ObjId,
    key: &str,
    value: &FieldValue,
) -> Result<(), ReportError> {
    // automerge leaves out a write that repeats a value. But a removal that is confirmed after
    // somebody's edit has to come after that edit, and history has to tell what was chosen.
    let existing = tx.get(object, key)?.is_some();
    if existing {
        tx.delete(object, key)?;
    }
    put_json(tx, object, key, &value.to_json())
}

/// Writes a value unless it stands there already, alone. An object that exists is changed key by key,
/// so that two people can set different keys of a place at once.
pub(super) fn set(
    tx: &mut impl Transactable,
    object: &ObjId,
    key: &str,
    value: &FieldValue,
) -> Result<(), ReportError> {
    if let (FieldValue::Map(pairs), Some(existing)) = (value, child(tx, object, key, ObjType::Map)) {
        for (inner, value) in pairs {
            set(tx, &existing, inner, value)?;
        }
        let others: Vec<String> =
            tx.keys(&existing).filter(|k| pairs.iter().all(|(inner, _)| inner != k)).collect();
        for other in others {
            clear(tx, &existing, &other)?;
        }
        return Ok(());
    }
    let alone = tx.get_all(object, key)?.len() == 1;
    if alone && get(tx, object, key).as_ref() == Some(value) {
        return Ok(());
    }
    if alone { put_json(tx, object, key, &value.to_json()) } else { put(tx, object, key, value) }
}

/// Takes a value away by writing null over it: a deletion would lose silently against a concurrent
/// value, null clashes with it and is seen.
fn clear(tx: &mut impl Transactable, object: &ObjId, key: &str) -> Result<(), ReportError> {
    match get(tx, object, key) {
        None => Ok(()),
        Some(value) if value.is_null() && tx.get_all(object, key)?.len() == 1 => Ok(()),
        Some(_) => Ok(tx.put(object, key, ScalarValue::Null)?),
    }
}

fn set_or_clear(
    tx: &mut impl Transactable,
    object: &ObjId,
    key: &str,
    value: Option<&FieldValue>,
) -> Result<(), ReportError> {
    match value {
        Some(value) => set(tx, object, key, value),
        None => clear(tx, object, key),
    }
}

fn set_field(tx: &mut impl Transactable, name: &str, value: Option<&FieldValue>) -> Result<(), ReportError> {
    let fields = part(tx, FIELDS, ObjType::Map)?;
    if tx.get(&fields, name)?.is_some() {
        let place = find(&text(tx, &ObjId::Root, TEMPLATE))
            .and_then(|template| template.field(name))
            .is_some_and(|field| field.kind == FieldKind::Place);
        // A place is emptied, never taken away: its object must stay the same one for everybody.
        let empty = FieldValue::Map(Vec::new());
        return match value {
            None if place => set(tx, &fields, name, &empty),
            _ => set_or_clear(tx, &fields, name, value),
        };
    }
    if let Some((outer, inner)) = name.split_once('.')
        && let Some(object) = child(tx, &fields, outer, ObjType::Map)
    {
        return set_or_clear(tx, &object, inner, value);
    }
    if let (Some((outer, inner)), Some(value)) = (name.split_once('.'), value) {
        let template = find(&text(tx, &ObjId::Root, TEMPLATE));
        let known = template.and_then(|t| t.field(outer)).is_some_and(|f| f.kind == FieldKind::Place);
        if known {
            return put(tx, &fields, outer, &FieldValue::Map(vec![(inner.to_owned(), value.clone())]));
        }
    }
    let Some(value) = value else { return Ok(()) };
    InputError::check_count("fields", tx.length(&fields) + 1, FIELDS_MAX)?;
    put(tx, &fields, name, value)
}

fn add_person(tx: &mut impl Transactable, people: &ObjId, person: &Person) -> Result<(), ReportError> {
    let order = i64::try_from(tx.length(people)).unwrap_or(i64::MAX);
    let entry = tx.put_object(people, person.id.as_str(), ObjType::Map)?;
    tx.put(&entry, ORDER, order)?;
    tx.put(&entry, "name", person.name.as_str())?;
    tx.put(&entry, "role", person.role.as_str())?;
    tx.put(&entry, "consent", person.consent.word())?;
    put_json(tx, &entry, "also_spelled", &FieldValue::List(person.also_spelled.clone()).to_json())?;
    put_json(tx, &entry, EXTRA, &FieldValue::Map(person.extra.clone()).to_json())
}

/// Refuses edits of people and attachments that were removed. Those whose removal clashes with
/// somebody's edit are still there.
pub(super) fn check_present(doc: &Automerge, edits: &[Edit]) -> Result<(), ReportError> {
    let gone = |map: &str, id: &str| {
        child(doc, &ObjId::Root, map, ObjType::Map)
            .and_then(|map| child(doc, &map, id, ObjType::Map))
            .is_some_and(|entry| clash::is_gone(doc, &entry))
    };
    for edit in edits {
        match edit {
            Edit::SetPerson { id, .. } | Edit::RemovePerson(id) if gone(PEOPLE, id) => {
                return Err(InputError::NoSuchPerson { id: id.clone() }.into());
            }
            Edit::SetAttachmentParts { id, .. } | Edit::RemoveAttachment(id) if gone(ATTACHMENTS, id) => {
                return Err(InputError::NoSuchAttachment { id: id.clone() }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn person(tx: &impl ReadDoc, id: &str) -> Result<ObjId, ReportError> {
    let people = part(tx, PEOPLE, ObjType::Map)?;
    child(tx, &people, id, ObjType::Map).ok_or_else(|| InputError::NoSuchPerson { id: id.to_owned() }.into())
}

fn attachment(tx: &impl ReadDoc, id: &str) -> Result<ObjId, ReportError> {
    let attachments = part(tx, ATTACHMENTS, ObjType::Map)?;
    child(tx, &attachments, id, ObjType::Map)
        .ok_or_else(|| InputError::NoSuchAttachment { id: id.to_owned() }.into())
}

fn set_person(
    tx: &mut impl Transactable,
    id: &str,
    key: &str,
    value: Option<&FieldValue>,
) -> Result<(), ReportError> {
    let person = person(tx, id)?;
    match (key, value) {
        ("consent", Some(FieldValue::Text(word))) => {
            let consent = crate::person::Consent::parse(word)
                .ok_or_else(|| InputError::UnknownConsent { text: word.clone() })?;
            set(tx, &person, key, &consent.word().into())
        }
        ("name" | "role" | "also_spelled", _) => set_or_clear(tx, &person, key, value),
        _ => {
            let extra = match child(tx, &person, EXTRA, ObjType::Map) {
                Some(extra) => extra,
                None => tx.put_object(&person, EXTRA, ObjType::Map)?,
            };
            set_or_clear(tx, &extra, key, value)
        }
    }
}

fn remove_source(tx: &mut impl Transactable, source: &str) -> Result<(), ReportError> {
    let sources = part(tx, SOURCES, ObjType::List)?;
    let texts = list(tx, &ObjId::Root, SOURCES);
    if !texts.iter().any(|text| text == source) {
        return Err(InputError::NoSuchSource { text: source.chars().take(80).collect() }.into());
    }
    for index in (0..tx.length(&sources)).rev() {
        let found = tx.get(&sources, index)?.is_some_and(|(value, _)| value.as_str() == Some(source));
        if found {
            tx.delete(&sources, index)?;
        }
    }
    Ok(())
}

fn add_attachment(tx: &mut impl Transactable, manifest: &AttachmentManifest) -> Result<(), ReportError> {
    let attachments = part(tx, ATTACHMENTS, ObjType::Map)?;
    if tx.get(&attachments, manifest.id.as_str())?.is_some() {
        return Err(InputError::IdInUse { id: manifest.id.clone() }.into());
    }
    let count = tx.length(&attachments);
    InputError::check_count("attachments", count + 1, ATTACHMENTS_MAX)?;
    let size = i64::try_from(manifest.size).map_err(|_| InputError::wrong("size", "a number of bytes"))?;
    let entry = tx.put_object(&attachments, manifest.id.as_str(), ObjType::Map)?;
    tx.put(&entry, ORDER, i64::try_from(count).unwrap_or(i64::MAX))?;
    for (key, text) in [
        ("name", &manifest.name),
        ("media_type", &manifest.media_type),
        ("blake3", &manifest.blake3),
        ("sha256", &manifest.sha256),
        ("identity", &manifest.identity),
    ] {
        tx.put(&entry, key, text.as_str())?;
    }
    tx.put(&entry, "size", size)?;
    let parts: Vec<Json> = manifest.parts.iter().cloned().map(Json::String).collect();
    put_json(tx, &entry, "parts", &Json::Array(parts))
}

fn add_note(
    tx: &mut impl Transactable,
    id: &str,
    words: &str,
    time_ms: i64,
    reply_to: Option<&str>,
) -> Result<(), ReportError> {
    // A document of the earlier layout has no list yet. Where several were made apart, all are read.
    let notes = match child(tx, &ObjId::Root, NOTES, ObjType::List) {
        Some(notes) => notes,
        None => tx.put_object(&ObjId::Root, NOTES, ObjType::List)?,
    };
    let mut ids = Vec::new();
    for (_, list) in tx.get_all(&ObjId::Root, NOTES)? {
        let items: Vec<ObjId> = tx.list_range(&list, ..).map(|item| item.id()).collect();
        ids.extend(items.iter().map(|item| text(tx, item, "id")));
    }
    InputError::check_count("notes", ids.len() + 1, NOTES_MAX)?;
    if ids.iter().any(|known| known == id) {
        return Err(InputError::IdInUse { id: id.to_owned() }.into());
    }
    if let Some(asked) = reply_to.filter(|asked| !ids.iter().any(|known| known == asked)) {
        return Err(InputError::NoSuchNote { id: asked.to_owned() }.into());
    }
    let note = tx.insert_object(&notes, tx.length(&notes), ObjType::Map)?;
    tx.put(&note, "id", id)?;
    tx.put(&note, "time_ms", time_ms)?;
    if let Some(asked) = reply_to {
        tx.put(&note, "reply_to", asked)?;
    }
    Ok(tx.put(&note, "text", words)?)
}
