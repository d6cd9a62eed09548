//! The history of a report: what each change did, with what stood there before. Read from the
//! operations themselves, so that a value that lost, or was overwritten, is found here for ever.

use std::collections::HashMap;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Automerge, Change, ObjId, ObjType, ReadDoc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::document::layout::{ATTACHMENTS, NARRATIVE, NOTES, child, hex, scalar_to_json};
use crate::value::FieldValue;

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryItem {
    /// Who made it, in hexadecimal.
    pub actor: String,
    /// The how-manieth change of this actor in this report, from 1.
    pub seq: u64,
    /// When, by the writer's clock: Unix time in milliseconds, exact to the second.
    pub time_ms: i64,
    /// The change's hash, in hexadecimal.
    pub hash: String,
    /// What it did.
    pub edits: Vec<HistoryEdit>,
}

/// One thing that a change did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEdit {
    /// Named as in [`crate::Clash`]; `narrative` for the story.
    pub field: String,
    /// What stood there for the writer. Several values that clashed are joined in a list.
    pub before: Option<FieldValue>,
    /// What the writer put there. `None` for something taken away.
    pub after: Option<FieldValue>,
    /// For a change within the narrative: the character at which `before` and `after` stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<usize>,
}

/// Bytes of narrative that one history may compare. Beyond it (thousands of changes of a very long
/// text) a change is told by the characters it deleted and inserted.
const NARRATIVE_BUDGET: usize = 64 * 1024 * 1024;

/// Longest name of a place, in bytes, to which another key is added.
const PATH_MAX: usize = 1024;

/// Entries of one list, map or field's text that are followed; a report's own limits are far below.
const ENTRIES_MAX: usize = 20_000;

pub(super) fn history(doc: &Automerge) -> Vec<HistoryItem> {
    let mut changes = doc.get_changes(&[]);
    // A change's first operation is numbered after all that its author had seen.
    changes.sort_by(|a, b| {
        let key = |c: &Change| (c.start_op(), !c.is_empty(), c.timestamp(), c.seq());
        key(a).cmp(&key(b)).then_with(|| a.actor_id().cmp(b.actor_id()))
    });
    let mut store = Store::default();
    let narrative = child(doc, &ObjId::Root, NARRATIVE, ObjType::Text);
    let mut budget = NARRATIVE_BUDGET;
    changes
        .iter()
        .map(|change| {
            let (mut edits, texts) = store.take(change);
            for text in texts {
                let whole = narrative.as_ref().filter(|_| text.path == NARRATIVE);
                edits.push(match whole.and_then(|id| window(doc, id, change, &mut budget)) {
                    Some(edit) => edit,
                    None => text.into_edit(),
                });
            }
            HistoryItem {
                actor: change.actor_id().to_string(),
                seq: change.seq(),
                time_ms: change.timestamp().saturating_mul(1000),
                hash: hex(&change.hash().0),
                edits,
            }
        })
        .collect()
}

/// The part of the narrative that a change touched, cut at words.
fn window(doc: &Automerge, text: &ObjId, change: &Change, budget: &mut usize) -> Option<HistoryEdit> {
    *budget = budget.checked_sub(doc.length(text))?;
    let before =
        if change.deps().is_empty() { String::new() } else { doc.text_at(text, change.deps()).ok()? };
    let after = doc.text_at(text, &[change.hash()]).ok()?;
    let old: Vec<char> = before.chars().collect();
    let new: Vec<char> = after.chars().collect();
    let shorter = old.len().min(new.len());
    let mut start = (0..shorter).take_while(|i| old[*i] == new[*i]).count();
    let mut end =
        (0..shorter - start).take_while(|i| old[old.len() - 1 - i] == new[new.len() - 1 - i]).count();
    while start > 0 && old[start - 1].is_alphanumeric() {
        start -= 1;
    }
    while end > 0 && old[old.len() - end].is_alphanumeric() {
        end -= 1;
    }
    let cut = |text: &[char]| {
        Some(text[start..text.len() - end].iter().collect::<String>()).filter(|t| !t.is_empty())
    };
    Some(HistoryEdit {
        field: NARRATIVE.to_owned(),
        before: cut(&old).map(FieldValue::Text),
        after: cut(&new).map(FieldValue::Text),
        at: Some(start),
    })
}

/// `notes` for the words of a note, and whether it is something else of a note.
fn note_field(field: String) -> (String, bool) {
    match field.strip_prefix(NOTES).and_then(|rest| rest.strip_prefix('.')) {
        Some("text") => (NOTES.to_owned(), false),
        Some(_) => (field, true),
        None => (field, false),
    }
}

/// What the operations so far have made.
#[derive(Default)]
struct Store {
    objects: HashMap<OpId, Object>,
    /// The value that each operation wrote; objects stand in `objects` under the same id.
    values: HashMap<OpId, Json>,
}

struct Object {
    path: String,
    kind: ObjType,
    /// Operations that wrote its entries, in order of writing, with the key in a map.
    entries: Vec<(Option<String>, OpId)>,
}

/// What a change did to one text: characters taken and given.
struct TextEdit {
    path: String,
    deleted: String,
    inserted: String,
}

impl TextEdit {
    fn into_edit(self) -> HistoryEdit {
        let some = |text: String| Some(text).filter(|t| !t.is_empty()).map(FieldValue::Text);
        HistoryEdit { field: self.path, before: some(self.deleted), after: some(self.inserted), at: None }
    }
}

/// Filled once all operations of the change are known: an object's content comes after its making.
struct Pending {
    field: String,
    before: Vec<OpId>,
    after: Option<OpId>,
}

impl Store {
    fn take(&mut self, change: &Change) -> (Vec<HistoryEdit>, Vec<TextEdit>) {
        let expanded = change.decode();
        let (mut pending, mut texts) = (Vec::new(), Vec::<TextEdit>::new());
        let first = expanded.start_op.get();
        for (op, number) in expanded.operations.iter().zip(first..) {
            let id = OpId::new(number, &expanded.actor_id);
            self.operation(op, id, first, change, &mut pending, &mut texts);
        }
        let edits = pending
            .into_iter()
            .map(|p| HistoryEdit {
                field: p.field,
                before: self.joined(&p.before),
                after: p.after.map(|id| FieldValue::from_json(self.content(&id, 0))),
                at: None,
            })
            .collect();
        (edits, texts)
    }

    fn operation(
        &mut self,
        op: &Op,
        id: OpId,
        first: u64,
        change: &Change,
        pending: &mut Vec<Pending>,
        texts: &mut Vec<TextEdit>,
    ) {
        let parent = match &op.obj {
            ObjectId::Root => None,
            ObjectId::Id(parent) => Some(parent),
        };
        let (path, kind) = match parent.map(|p| self.objects.get(p)) {
            None => (String::new(), ObjType::Map),
            Some(Some(object)) => (object.path.clone(), object.kind),
            Some(None) => ("?".to_owned(), ObjType::Map),
        };
        // Part of an object that this same change makes: told as the content of that object.
        let within_new = parent.is_some_and(|p| {
            p.0 >= first
                && p.1 == *change.actor_id()
                && !matches!(kind, ObjType::Map)
                && !matches!(kind, ObjType::Text)
        });
        let field = match &op.key {
            Key::Map(key) if path.is_empty() => key.to_string(),
            // Others' objects may be nested without end; nobody reads such a name.
            Key::Map(_) if path.len() > PATH_MAX => path.clone(),
            Key::Map(key) => format!("{path}.{key}"),
            Key::Seq(_) => path.clone(),
        };
        match &op.action {
            OpType::Make(made) => {
                self.objects
                    .insert(id.clone(), Object { path: field.clone(), kind: *made, entries: Vec::new() });
            }
            OpType::Put(value) => {
                self.values.insert(id.clone(), scalar_to_json(value));
            }
            OpType::Increment(by) => {
                self.values.insert(id.clone(), Json::from(*by));
            }
            OpType::Delete | OpType::MarkBegin(_) | OpType::MarkEnd(_) => {}
        }
        let writes = matches!(op.action, OpType::Make(_) | OpType::Put(_) | OpType::Increment(_));
        if let Some(object) = parent.and_then(|p| self.objects.get_mut(p)) {
            object.note(op, &id, writes);
        }
        if kind == ObjType::Text {
            self.text_operation(op, &id, field, texts);
            return;
        }
        // The frame of a report is no news; what stands in it is told key by key.
        let frame = matches!(op.action, OpType::Make(ObjType::Map | ObjType::Text)) && op.pred.is_empty();
        let told = writes || op.action == OpType::Delete;
        // The secret that opens an attachment is shown nowhere.
        let secret = field.starts_with(ATTACHMENTS) && field.ends_with(".identity");
        // A note is told by its words; what else it holds is told only if somebody changed it.
        let (field, part_of_note) = note_field(field);
        let list_of_notes = field == NOTES && matches!(op.action, OpType::Make(ObjType::List));
        let hidden = (part_of_note || list_of_notes) && op.pred.is_empty();
        if told && !within_new && !frame && !secret && !hidden {
            let before: Vec<OpId> = op.pred.iter().cloned().collect();
            let after = writes.then_some(id);
            // A clash is settled by taking all away and writing what was chosen: one act.
            match pending.last_mut().filter(|p| p.field == field && p.after.is_none() && before.is_empty()) {
                Some(cleared) if kind == ObjType::Map => cleared.after = after,
                _ => pending.push(Pending { field, before, after }),
            }
        }
    }

    fn text_operation(&self, op: &Op, id: &OpId, path: String, texts: &mut Vec<TextEdit>) {
        let index = match texts.iter().position(|t| t.path == path) {
            Some(index) => index,
            None => {
                texts.push(TextEdit { path, deleted: String::new(), inserted: String::new() });
                texts.len() - 1
            }
        };
        let text = |id: &OpId| self.values.get(id).and_then(Json::as_str).unwrap_or_default();
        texts[index].inserted.push_str(text(id));
        for gone in op.pred.iter() {
            texts[index].deleted.push_str(text(gone));
        }
    }

    /// Values that an operation replaced: one as it is, several (a clash) as a list.
    fn joined(&self, ids: &[OpId]) -> Option<FieldValue> {
        let mut values: Vec<Json> = ids.iter().map(|id| self.content(id, 0)).collect();
        match values.len() {
            0 => None,
            1 => values.pop().map(FieldValue::from_json),
            _ => Some(FieldValue::from_json(Json::Array(values))),
        }
    }

    fn content(&self, id: &OpId, depth: usize) -> Json {
        let Some(object) = self.objects.get(id) else {
            return self.values.get(id).cloned().unwrap_or(Json::Null);
        };
        if depth > 16 {
            return Json::Null;
        }
        let inner = object.entries.iter().map(|(key, id)| (key, self.content(id, depth + 1)));
        match object.kind {
            ObjType::Text => Json::String(inner.filter_map(|(_, v)| v.as_str().map(String::from)).collect()),
            ObjType::List => Json::Array(inner.map(|(_, value)| value).collect()),
            ObjType::Map | ObjType::Table => {
                Json::Object(inner.filter_map(|(key, value)| Some((key.clone()?, value))).collect())
            }
        }
    }
}

impl Object {
    /// Keeps the entries as they stand for the writer of the latest change; good enough to tell what
    /// an object held, exact for lists, which are never changed within.
    fn note(&mut self, op: &Op, id: &OpId, writes: bool) {
        // The narrative is told by windows, and finding places in it here would cost its square.
        if self.path == NARRATIVE || self.entries.len() >= ENTRIES_MAX {
            return;
        }
        if op.insert {
            let at = match &op.key {
                Key::Seq(ElementId::Id(after)) => {
                    self.entries.iter().rposition(|(_, e)| e == after).map_or(0, |i| i + 1)
                }
                _ => 0,
            };
            self.entries.insert(at, (None, id.clone()));
            return;
        }
        self.entries.retain(|(_, entry)| !op.pred.iter().any(|gone| gone == entry));
        if writes {
            let key = if let Key::Map(key) = &op.key { Some(key.to_string()) } else { None };
            self.entries.push((key, id.clone()));
        }
    }
}
