//! Clashes: places where people wrote apart. automerge keeps every value until one is written over
//! them all; here they are found, named and settled.

use std::collections::HashSet;

use automerge::{Automerge, ChangeHash, ObjId, ObjType, ReadDoc};
use serde::{Deserialize, Serialize};

use crate::document::layout::{
    ATTACHMENTS, DEPTH_READ_MAX, EXTRA, FIELDS, LANGUAGE, ORDER, PEOPLE, REMOVED, TEMPLATE, TITLE, actor_of,
    all_values, child,
};
use crate::document::{ReportError, read};
use crate::edtf::{Edtf, Member};
use crate::input::InputError;
use crate::template::{FieldKind, find as find_template};
use crate::value::FieldValue;

/// A field with more than one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clash {
    /// `title`, `fields.date`, `fields.place.locality`, `people.<id>.name`, `people.<id>.removed` …
    pub field: String,
    /// The values, the earliest first.
    pub values: Vec<ClashValue>,
}

/// One of the values of a clash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClashValue {
    /// The value. Null where somebody took the value away; `removed` or `kept` for a person or an
    /// attachment that one removed and another changed.
    pub value: FieldValue,
    /// Who wrote it, in hexadecimal.
    pub actor: String,
    /// When, by the writer's clock: Unix time in milliseconds, exact to the second.
    pub time_ms: i64,
    /// Whether the view shows this one for now.
    pub winner: bool,
}

/// How to settle a clash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The value with this text, or the only one that begins with it. An empty text is the value
    /// "taken away".
    Value(String),
    /// Both: texts as `a; b`, dates as the set `[a,b]`, lists joined.
    Both,
}

/// Where in the document a clash stands.
pub(super) struct Place {
    pub(super) object: ObjId,
    pub(super) key: String,
}

pub(super) struct Found {
    pub(super) clash: Clash,
    place: Place,
}

pub(super) fn find(doc: &Automerge) -> Vec<Found> {
    let mut found = Vec::new();
    let root = ObjId::Root;
    for key in [TEMPLATE, TITLE, LANGUAGE] {
        look(doc, &root, key, key, &mut found);
    }
    if let Some(fields) = child(doc, &root, FIELDS, ObjType::Map) {
        walk(doc, &fields, FIELDS, &[], &mut found);
    }
    if let Some(people) = child(doc, &root, PEOPLE, ObjType::Map) {
        for id in doc.keys(&people) {
            let path = format!("{PEOPLE}.{id}");
            look(doc, &people, &id, &path, &mut found);
            if let Some(person) = child(doc, &people, &id, ObjType::Map) {
                entry(doc, &person, &path, &[ORDER], &mut found);
            }
        }
    }
    if let Some(attachments) = child(doc, &root, ATTACHMENTS, ObjType::Map) {
        for id in doc.keys(&attachments) {
            if let Some(attachment) = child(doc, &attachments, &id, ObjType::Map) {
                // The secret is shown nowhere, not even when it clashes.
                entry(doc, &attachment, &format!("{ATTACHMENTS}.{id}"), &[ORDER, "identity"], &mut found);
            }
        }
    }
    if let Some(extra) = child(doc, &root, EXTRA, ObjType::Map) {
        walk(doc, &extra, EXTRA, &[], &mut found);
    }
    found
}

/// A person or an attachment.
fn entry(doc: &Automerge, object: &ObjId, path: &str, skip: &[&str], found: &mut Vec<Found>) {
    match removal(doc, object) {
        Removal::No => walk(doc, object, path, skip, found),
        Removal::Yes => {}
        Removal::Contested(values) => {
            let place = Place { object: object.clone(), key: REMOVED.to_owned() };
            found.push(Found { clash: Clash { field: format!("{path}.{REMOVED}"), values }, place });
            let skip: Vec<&str> = skip.iter().copied().chain([REMOVED]).collect();
            walk(doc, object, path, &skip, found);
        }
    }
}

fn walk(doc: &Automerge, object: &ObjId, path: &str, skip: &[&str], found: &mut Vec<Found>) {
    walk_at(doc, object, path, skip, found, 0);
}

/// No deeper than a view shows: others' documents may be nested so deeply that following them ends the
/// process.
fn walk_at(doc: &Automerge, object: &ObjId, path: &str, skip: &[&str], found: &mut Vec<Found>, depth: usize) {
    if depth > DEPTH_READ_MAX {
        return;
    }
    for key in doc.keys(object) {
        if skip.contains(&key.as_str()) {
            continue;
        }
        let inner_path = format!("{path}.{key}");
        look(doc, object, &key, &inner_path, found);
        if let Some(inner) = child(doc, object, &key, ObjType::Map) {
            walk_at(doc, &inner, &inner_path, &[], found, depth + 1);
        }
    }
}

fn look(doc: &Automerge, object: &ObjId, key: &str, path: &str, found: &mut Vec<Found>) {
    let all = all_values(doc, object, key);
    // Two who wrote the same have nothing to decide.
    if all.windows(2).all(|pair| pair[0].0 == pair[1].0) {
        return;
    }
    let last = all.len() - 1;
    let mut values: Vec<ClashValue> = Vec::new();
    for (index, (value, id)) in all.into_iter().enumerate() {
        values.push(clash_value(doc, value, &id, index == last));
    }
    values.sort_by(|a, b| (a.time_ms, &a.actor).cmp(&(b.time_ms, &b.actor)));
    let place = Place { object: object.clone(), key: key.to_owned() };
    found.push(Found { clash: Clash { field: path.to_owned(), values }, place });
}

fn clash_value(doc: &Automerge, value: FieldValue, id: &ObjId, winner: bool) -> ClashValue {
    let actor = actor_of(id);
    let seconds = doc
        .hash_for_opid(id)
        .and_then(|hash| doc.get_change_meta_by_hash(&hash).map(|change| change.timestamp))
        .unwrap_or(0);
    ClashValue { value, actor, time_ms: seconds.saturating_mul(1000), winner }
}

enum Removal {
    No,
    Yes,
    Contested(Vec<ClashValue>),
}

/// Whether a person or an attachment is removed and nobody changed it meanwhile.
pub(super) fn is_gone(doc: &Automerge, entry: &ObjId) -> bool {
    matches!(removal(doc, entry), Removal::Yes)
}

fn removal(doc: &Automerge, entry: &ObjId) -> Removal {
    let flags = all_values(doc, entry, REMOVED);
    let (removed, kept): (Vec<_>, Vec<_>) =
        flags.into_iter().partition(|(value, _)| *value == FieldValue::Flag(true));
    if removed.is_empty() {
        return Removal::No;
    }
    let seen: Vec<HashSet<ChangeHash>> =
        removed.iter().filter_map(|(_, id)| doc.hash_for_opid(id)).map(|hash| ancestors(doc, hash)).collect();
    let mut writes = kept.into_iter().map(|(_, id)| id).collect();
    writes_in(doc, entry, &mut writes, 0);
    let unseen: Vec<ObjId> = writes
        .into_iter()
        .filter(|id| doc.hash_for_opid(id).is_some_and(|hash| !seen.iter().any(|set| set.contains(&hash))))
        .collect();
    if unseen.is_empty() {
        return Removal::Yes;
    }
    let mut values: Vec<ClashValue> =
        removed.iter().map(|(_, id)| clash_value(doc, "removed".into(), id, false)).collect();
    let kept = unseen.iter().map(|id| clash_value(doc, "kept".into(), id, true));
    values.extend(kept.max_by_key(|value| value.time_ms));
    Removal::Contested(values)
}

/// Ids of all operations whose values stand in this map, and in maps within it.
fn writes_in(doc: &Automerge, object: &ObjId, writes: &mut Vec<ObjId>, depth: usize) {
    if depth > DEPTH_READ_MAX {
        return;
    }
    for key in doc.keys(object) {
        if key == REMOVED {
            continue;
        }
        writes.extend(doc.get_all(object, key.as_str()).unwrap_or_default().into_iter().map(|(_, id)| id));
        if let Some(inner) = child(doc, object, &key, ObjType::Map) {
            writes_in(doc, &inner, writes, depth + 1);
        }
    }
}

/// A change and everything that its author had seen.
fn ancestors(doc: &Automerge, hash: ChangeHash) -> HashSet<ChangeHash> {
    let (mut seen, mut queue) = (HashSet::new(), vec![hash]);
    while let Some(hash) = queue.pop() {
        if seen.insert(hash)
            && let Some(change) = doc.get_change_meta_by_hash(&hash)
        {
            queue.extend(change.deps);
        }
    }
    seen
}

/// What to write, and where, so that a clash is settled.
pub(super) fn settle(doc: &Automerge, field: &str, keep: &Keep) -> Result<(Place, FieldValue), ReportError> {
    let mut found = find(doc);
    let clashing: Vec<String> = found.iter().map(|f| f.clash.field.clone()).collect();
    let exact = clashing.iter().position(|name| name == field);
    let ending = format!(".{field}");
    let mut similar = (0..clashing.len()).filter(|i| clashing[*i].ends_with(&ending));
    let index = exact.or_else(|| similar.next().filter(|_| similar.next().is_none()));
    let Some(index) = index else {
        return Err(ReportError::NoSuchClash { field: field.to_owned(), clashing });
    };
    let Found { clash, place } = found.swap_remove(index);
    let value = match keep {
        Keep::Value(wanted) => chosen(&clash, wanted)?,
        Keep::Both => both(doc, &clash)?,
    };
    if place.key == REMOVED {
        return Ok((place, FieldValue::Flag(value.as_text() == Some("removed"))));
    }
    Ok((place, value))
}

fn chosen(clash: &Clash, wanted: &str) -> Result<FieldValue, ReportError> {
    let mut distinct: Vec<&FieldValue> = Vec::new();
    for value in clash.values.iter().map(|v| &v.value) {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    if wanted.is_empty() {
        if let Some(taken_away) = distinct.iter().find(|value| value.is_null() || value.as_text() == Some(""))
        {
            return Ok((*taken_away).clone());
        }
    } else {
        if let Some(exact) = distinct.iter().find(|value| value.to_string() == wanted) {
            return Ok((*exact).clone());
        }
        let mut begins = distinct.iter().filter(|value| value.to_string().starts_with(wanted));
        if let (Some(only), None) = (begins.next(), begins.next()) {
            return Ok((*only).clone());
        }
    }
    let values = distinct.iter().map(|value| value.to_string().chars().take(80).collect()).collect();
    Err(ReportError::NoSuchValue { wanted: wanted.to_owned(), values })
}

fn both(doc: &Automerge, clash: &Clash) -> Result<FieldValue, ReportError> {
    let refuse = |reason| Err(ReportError::CannotKeepBoth { field: clash.field.clone(), reason });
    let name = clash.field.strip_prefix("fields.");
    let kind = name
        .zip(find_template(&read::template_tag(doc)))
        .and_then(|(name, template)| template.field(name))
        .map(|field| field.kind);
    let single = ["template", "language"].contains(&clash.field.as_str())
        || [".consent", ".removed"].iter().any(|end| clash.field.ends_with(end));
    if single || kind == Some(FieldKind::Duration) {
        return refuse("it holds exactly one");
    }
    let values: Vec<&FieldValue> =
        clash.values.iter().map(|v| &v.value).filter(|value| !value.is_null()).collect();
    let texts: Option<Vec<&str>> = values.iter().map(|value| value.as_text()).collect();
    let value = match texts {
        Some(texts) if kind == Some(FieldKind::Date) => match date_set(&texts) {
            Some(set) => FieldValue::Text(set),
            None => return refuse("an interval cannot stand in a set of dates"),
        },
        Some(texts) => {
            let mut parts: Vec<&str> = Vec::new();
            for text in texts {
                if !text.is_empty() && !parts.contains(&text) {
                    parts.push(text);
                }
            }
            FieldValue::Text(parts.join("; "))
        }
        None => {
            let mut union: Vec<String> = Vec::new();
            for value in values {
                let FieldValue::List(items) = value else {
                    return refuse("it holds one number, one answer or one object");
                };
                union.extend(items.iter().filter(|item| !union.contains(item)).cloned().collect::<Vec<_>>());
            }
            FieldValue::List(union)
        }
    };
    InputError::check_value(&clash.field, &value, 0)?;
    Ok(value)
}

/// `[a,b]` in order of time as text; sets among the values are opened.
fn date_set(texts: &[&str]) -> Option<String> {
    let mut members: Vec<String> = Vec::new();
    for text in texts {
        match Edtf::parse(text).ok()? {
            Edtf::One(_) => members.push((*text).to_owned()),
            Edtf::OneOf(inner) if inner.iter().all(|m| matches!(m, Member::Date(_))) => {
                members.extend(text.trim_matches(['[', ']']).split(',').map(|m| m.trim().to_owned()));
            }
            _ => return None,
        }
    }
    members.sort();
    members.dedup();
    Some(format!("[{}]", members.join(",")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use automerge::transaction::Transactable as _;

    use super::*;
    use crate::document::ReportDocument;
    use crate::input::ReportInput;

    #[test]
    fn a_document_nested_without_end_is_read_as_far_as_anybody_looks() {
        let input =
            ReportInput::from_json(r#"{"template":"detention","title":"A","language":"en"}"#).unwrap();
        let mut report = ReportDocument::create([7; 16], &input, &mut || "00000001".into(), 0).unwrap();
        let mut doc = Automerge::load(&report.save()).unwrap();
        let mut tx = doc.transaction();
        let mut inner = tx.get(ObjId::Root, EXTRA).unwrap().unwrap().1;
        for _ in 0..50_000 {
            inner = tx.put_object(&inner, "k", ObjType::Map).unwrap();
        }
        tx.put(&inner, "k", 1).unwrap();
        tx.commit();
        let mut report = ReportDocument::load([7; 16], &doc.save()).unwrap();
        assert!(report.clashes().is_empty());
        assert!(report.save_for_others().is_ok());
        assert_eq!(report.view().extra.len(), 1);
        assert!(!report.history().is_empty());
    }
}
