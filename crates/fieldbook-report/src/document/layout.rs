//! Where everything stands in the automerge document, and how values become JSON. See
//! `protocol/report.md`.

use automerge::transaction::Transactable;
use automerge::{Automerge, ObjId, ObjType, ReadDoc, ScalarValue, Value};
use serde_json::{Map, Number, Value as Json};

use crate::document::ReportError;
use crate::value::FieldValue;

/// Version of this layout; stands at the root under [`VERSION`].
pub(super) const LAYOUT: i64 = 1;

pub(super) const VERSION: &str = "fieldbook";
pub(super) const TEMPLATE: &str = "template";
pub(super) const TITLE: &str = "title";
pub(super) const LANGUAGE: &str = "language";
pub(super) const FIELDS: &str = "fields";
pub(super) const NARRATIVE: &str = "narrative";
pub(super) const PEOPLE: &str = "people";
pub(super) const SOURCES: &str = "sources";
pub(super) const ATTACHMENTS: &str = "attachments";
/// Absent in documents of before there were notes.
pub(super) const NOTES: &str = "notes";
pub(super) const ADDENDUM_TO: &str = "addendum_to";
pub(super) const EXTRA: &str = "extra";
/// In a person or an attachment: `true` once it was removed.
pub(super) const REMOVED: &str = "removed";
/// In a person or an attachment: its place among the others.
pub(super) const ORDER: &str = "order";

/// Objects nested deeper than this in a document from elsewhere are shown as null.
pub(super) const DEPTH_READ_MAX: usize = 16;

/// The object under a key, if it is one of this type.
pub(super) fn child(doc: &impl ReadDoc, object: &ObjId, key: &str, kind: ObjType) -> Option<ObjId> {
    match doc.get(object, key) {
        Ok(Some((Value::Object(found), id))) if found == kind => Some(id),
        _ => None,
    }
}

/// The object under a key of the root, which every report has.
pub(super) fn part(doc: &impl ReadDoc, key: &str, kind: ObjType) -> Result<ObjId, ReportError> {
    child(doc, &ObjId::Root, key, kind)
        .ok_or_else(|| ReportError::Damaged { detail: format!("{key} is missing") })
}

/// The value under a key; `None` where there is none. Null is a value here.
pub(super) fn get(doc: &impl ReadDoc, object: &ObjId, key: &str) -> Option<FieldValue> {
    let (value, id) = doc.get(object, key).ok()??;
    Some(FieldValue::from_json(to_json(doc, &value, &id, 0)))
}

/// The text under a key, or an empty one.
pub(super) fn text(doc: &impl ReadDoc, object: &ObjId, key: &str) -> String {
    match get(doc, object, key) {
        Some(FieldValue::Text(text)) => text,
        _ => String::new(),
    }
}

/// The whole number under a key.
pub(super) fn number(doc: &impl ReadDoc, object: &ObjId, key: &str) -> Option<i64> {
    match get(doc, object, key) {
        Some(FieldValue::Number(number)) => Some(number),
        _ => None,
    }
}

/// The texts under a key; anything else in the list is left out.
pub(super) fn list(doc: &impl ReadDoc, object: &ObjId, key: &str) -> Vec<String> {
    match get(doc, object, key) {
        Some(FieldValue::List(items)) => items,
        Some(FieldValue::Other(Json::Array(items))) => {
            items.into_iter().filter_map(|item| item.as_str().map(String::from)).collect()
        }
        _ => Vec::new(),
    }
}

/// Any value of a document as JSON.
pub(super) fn to_json(doc: &impl ReadDoc, value: &Value<'_>, id: &ObjId, depth: usize) -> Json {
    match value {
        Value::Scalar(scalar) => scalar_to_json(scalar),
        Value::Object(_) if depth >= DEPTH_READ_MAX => Json::Null,
        Value::Object(ObjType::Text) => Json::String(doc.text(id).unwrap_or_default()),
        Value::Object(ObjType::List) => Json::Array(
            doc.list_range(id, ..)
                .map(|item| to_json(doc, &item.value.clone().into(), &item.id(), depth + 1))
                .collect(),
        ),
        Value::Object(ObjType::Map | ObjType::Table) => {
            let mut map = Map::new();
            for key in doc.keys(id) {
                if let Ok(Some((value, inner))) = doc.get(id, key.as_str()) {
                    map.insert(key.clone(), to_json(doc, &value, &inner, depth + 1));
                }
            }
            Json::Object(map)
        }
    }
}

pub(super) fn scalar_to_json(scalar: &ScalarValue) -> Json {
    match scalar {
        ScalarValue::Str(text) => Json::String(text.to_string()),
        ScalarValue::Int(number) | ScalarValue::Timestamp(number) => Json::Number(Number::from(*number)),
        ScalarValue::Uint(number) => Json::Number(Number::from(*number)),
        ScalarValue::F64(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        ScalarValue::Counter(counter) => Json::Number(Number::from(i64::from(counter))),
        ScalarValue::Boolean(flag) => Json::Bool(*flag),
        ScalarValue::Bytes(bytes) => Json::String(hex(bytes)),
        ScalarValue::Unknown { .. } | ScalarValue::Null => Json::Null,
    }
}

/// Writes any JSON under a key of a map; lists and objects are made anew.
pub(super) fn put_json(
    tx: &mut impl Transactable,
    object: &ObjId,
    key: &str,
    json: &Json,
) -> Result<(), ReportError> {
    match json {
        Json::Array(items) => {
            let list = tx.put_object(object, key, ObjType::List)?;
            fill_list(tx, &list, items)
        }
        Json::Object(map) => {
            let inner = tx.put_object(object, key, ObjType::Map)?;
            map.iter().try_for_each(|(key, value)| put_json(tx, &inner, key, value))
        }
        scalar => Ok(tx.put(object, key, json_to_scalar(scalar))?),
    }
}

fn fill_list(tx: &mut impl Transactable, list: &ObjId, items: &[Json]) -> Result<(), ReportError> {
    for (index, item) in items.iter().enumerate() {
        match item {
            Json::Array(inner_items) => {
                let inner = tx.insert_object(list, index, ObjType::List)?;
                fill_list(tx, &inner, inner_items)?;
            }
            Json::Object(map) => {
                let inner = tx.insert_object(list, index, ObjType::Map)?;
                map.iter().try_for_each(|(key, value)| put_json(tx, &inner, key, value))?;
            }
            scalar => tx.insert(list, index, json_to_scalar(scalar))?,
        }
    }
    Ok(())
}

fn json_to_scalar(json: &Json) -> ScalarValue {
    match json {
        Json::String(text) => ScalarValue::Str(text.as_str().into()),
        Json::Bool(flag) => ScalarValue::Boolean(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => ScalarValue::Int(whole),
            (None, Some(large)) => ScalarValue::Uint(large),
            _ => ScalarValue::F64(number.as_f64().unwrap_or(0.0)),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => ScalarValue::Null,
    }
}

/// The actor whose operation this is, in hexadecimal.
pub(super) fn actor_of(id: &ObjId) -> String {
    match id {
        ObjId::Id(_, actor, _) => actor.to_string(),
        ObjId::Root => String::new(),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Every key of a map with all its concurrent values, the winner last.
pub(super) fn all_values(doc: &Automerge, object: &ObjId, key: &str) -> Vec<(FieldValue, ObjId)> {
    let values = doc.get_all(object, key).unwrap_or_default();
    values.into_iter().map(|(value, id)| (FieldValue::from_json(to_json(doc, &value, &id, 0)), id)).collect()
}
