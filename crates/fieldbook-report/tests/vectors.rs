//! The vectors of `protocol/vectors/report/`: documents as bytes, and what a reader makes of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ObjType, ROOT};
use fieldbook_report::limits::DOCUMENT_MAX;
use fieldbook_report::{Edit, FieldValue, ReportDocument, ReportError, ReportInput};
use serde_json::{Value, json};

const NOW: i64 = 1_490_436_000_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/vectors/report")
}

/// What this implementation makes of the bytes.
fn outcome(bytes: &[u8]) -> Value {
    match ReportDocument::load([0xee; 16], bytes) {
        Ok(document) => json!({
            "expect": "report",
            "view": document.view(),
            "clashes": document.clashes(),
            "history": document.history(),
            "waits_for": document.waits_for().len(),
        }),
        Err(ReportError::NotAReport) => json!({"expect": "not a report"}),
        Err(ReportError::NewerVersion { .. }) => json!({"expect": "newer version"}),
        Err(ReportError::TooLarge) => json!({"expect": "too large"}),
        Err(ReportError::Damaged { .. }) => json!({"expect": "damaged"}),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_vector_of_the_folder_holds() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "automerge") {
            assert!(path.with_extension("automerge").exists(), "{} has no document", path.display());
            continue;
        }
        let text = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let mut expected: Value = serde_json::from_str(&text).unwrap();
        assert!(expected.as_object_mut().unwrap().remove("comment").is_some());
        assert_eq!(outcome(&std::fs::read(&path).unwrap()), expected, "{}", path.display());
        count += 1;
    }
    assert!(count >= 10, "only {count} vectors");
}

fn report(line: &str) -> ReportDocument {
    let mut next = 0_u32;
    let mut ids = || {
        next += 1;
        format!("{next:08x}")
    };
    ReportDocument::create([1; 16], &ReportInput::from_json(line).unwrap(), &mut ids, NOW).unwrap()
}

fn full() -> ReportDocument {
    report(
        r#"{"template":"detention","title":"Задержание у входа","language":"ru","fields":{"date":"2017-03-25~",
        "place":{"country":"BY","locality":"Minsk"},"people_detained":700,"people_detained_precision":"more than",
        "warrant_shown":false,"duration":"PT2H30M","outcome":"released","x-list":["a","b"],"x-any":{"n":1.5,"l":[null,true]},
        "persons":[{"name":"Анна Петрова","also_spelled":["Hanna Piatrova"],"role":"witness","consent":"keep internally","phone":"1"}]},
        "narrative":"Их вывели из офиса. 😀","sources":["resolution"],"checked":true}"#,
    )
}

fn set(name: &str, value: &str) -> Edit {
    Edit::Field { name: name.into(), value: Some(FieldValue::Text(value.into())) }
}

fn vectors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut one = full();
    let saved = one.save();
    let mut two = ReportDocument::load([2; 16], &saved).unwrap();
    let heads = one.heads();
    one.edit(
        &[set("date", "2017-03-26"), Edit::Narrative("Их вывели из офиса в полдень. 😀".into())],
        NOW + 1000,
    )
    .unwrap();
    two.edit(&[set("date", "2017-03-24"), Edit::Narrative("Всех вывели из офиса. 😀".into())], NOW + 2000)
        .unwrap();
    let mut clash = one.clone();
    clash.apply(&two.changes_since(&heads).concat(), Some([2; 16])).unwrap();

    let mut remover = ReportDocument::load([1; 16], &saved).unwrap();
    remover.edit(&[Edit::RemovePerson("00000001".into())], NOW + 1000).unwrap();
    let mut gone = remover.clone();
    let mut changer = ReportDocument::load([2; 16], &saved).unwrap();
    let phone = Edit::SetPerson { id: "00000001".into(), key: "phone".into(), value: Some("2".into()) };
    changer.edit(&[phone], NOW + 2000).unwrap();
    remover.apply(&changer.changes_since(&heads).concat(), None).unwrap();

    let mut late = ReportDocument::load([2; 16], &saved).unwrap();
    late.edit(&[Edit::Title("first".into())], NOW + 1000).unwrap();
    let between = late.heads();
    late.edit(&[Edit::Title("second".into())], NOW + 2000).unwrap();
    let waiting = [full().changes_since(&[]).concat(), late.changes_since(&between).concat()].concat();

    // As JavaScript writes: every string a text object, numbers unsigned, fields in any order.
    let mut foreign = AutoCommit::new().with_actor(automerge::ActorId::from([9; 16]));
    foreign.put(ROOT, "fieldbook", 1_u64).unwrap();
    foreign.put(ROOT, "template", "raid@1").unwrap();
    let title = foreign.put_object(ROOT, "title", ObjType::Text).unwrap();
    foreign.splice_text(&title, 0, 0, "Written elsewhere").unwrap();
    let fields = foreign.put_object(ROOT, "fields", ObjType::Map).unwrap();
    let authority = foreign.put_object(&fields, "authority", ObjType::Text).unwrap();
    foreign.splice_text(&authority, 0, 0, "police").unwrap();
    foreign.put(&fields, "people_detained", 57_u64).unwrap();
    foreign.commit_with(automerge::transaction::CommitOptions::default().with_time(NOW / 1000));

    let mut other = AutoCommit::new().with_actor(automerge::ActorId::from([9; 16]));
    other.put(ROOT, "title", "a shopping list").unwrap();
    let mut newer = AutoCommit::new().with_actor(automerge::ActorId::from([9; 16]));
    newer.put(ROOT, "fieldbook", 2).unwrap();

    // Asked by two, answered by one; and the same in a document of before there were notes, where each
    // made the list.
    let note = |id: &str, text: &str, reply_to: Option<&str>| Edit::AddNote {
        id: id.into(),
        text: text.into(),
        time_ms: NOW + 500,
        reply_to: reply_to.map(String::from),
    };
    let talk = |saved: &[u8]| {
        let mut one = ReportDocument::load([1; 16], saved).unwrap();
        let mut two = ReportDocument::load([2; 16], saved).unwrap();
        let heads = one.heads();
        one.edit(&[note("0000000a", "Кто это видел?", None)], NOW + 1000).unwrap();
        two.edit(&[note("0000000b", "Is there a photo?", None)], NOW + 2000).unwrap();
        one.apply(&two.changes_since(&heads).concat(), Some([2; 16])).unwrap();
        one.edit(&[note("0000000c", "No.", Some("0000000b"))], NOW + 3000).unwrap();
        one.save()
    };
    let notes = talk(&saved);
    let mut before_notes = AutoCommit::load(&saved).unwrap();
    before_notes.set_actor(automerge::ActorId::from([1; 16]));
    before_notes.delete(ROOT, "notes").unwrap();
    before_notes.commit_with(automerge::transaction::CommitOptions::default().with_time(NOW / 1000));
    let notes_apart = talk(&before_notes.save());
    let addendum = report(&format!(
        r#"{{"template":"addendum","language":"en","narrative":"They came again.","addendum_to":"{}"}}"#,
        "5e".repeat(16)
    ))
    .save();

    let mut altered = saved.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;

    let mut huge = AutoCommit::new().with_actor(automerge::ActorId::from([9; 16]));
    huge.put(ROOT, "fieldbook", 1).unwrap();
    huge.put(ROOT, "x", "a".repeat(DOCUMENT_MAX + 1)).unwrap();
    let inflates = huge.get_changes(&[]).into_iter().next().unwrap().bytes().into_owned();

    vec![
        ("good-document", "a report with a value of every type, as saved", saved.clone()),
        ("good-changes", "the same as its one change", full().changes_since(&[]).concat()),
        ("good-clash", "two wrote the date apart; the narrative merged", clash.save()),
        ("good-removed", "a person was removed", gone.save()),
        (
            "good-removed-and-changed",
            "a person was removed by one and changed by another: kept, and a clash",
            remover.save(),
        ),
        ("good-waiting", "a change whose predecessor has not come", waiting),
        ("good-foreign-types", "texts as text objects and unsigned numbers, parts missing", foreign.save()),
        ("good-notes", "two ask, one answers", notes),
        ("good-notes-apart", "two made the list of notes apart: the notes of both count", notes_apart),
        ("good-addendum", "a report that supplements another", addendum),
        ("not-a-report", "an automerge document without the layout's version", other.save()),
        ("newer-version", "layout 2", newer.save()),
        ("altered", "one bit of a saved document", altered),
        ("truncated", "a saved document without its last byte", saved[..last].to_vec()),
        ("not-automerge", "no chunk", b"FBENTRY1".to_vec()),
        ("empty", "nothing at all", Vec::new()),
        ("inflates", "a deflated change of more than 8 MiB", inflates),
    ]
}

#[test]
#[ignore = "writes protocol/vectors/report; run by hand when the layout changes"]
fn write_vectors() {
    std::fs::create_dir_all(folder()).unwrap();
    for (name, comment, bytes) in vectors() {
        // Those of earlier programs stay as they are: their documents must be read for ever.
        if folder().join(format!("{name}.automerge")).exists() {
            continue;
        }
        let mut expected = outcome(&bytes);
        expected["comment"] = comment.into();
        std::fs::write(folder().join(format!("{name}.automerge")), &bytes).unwrap();
        let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
        std::fs::write(folder().join(format!("{name}.json")), text).unwrap();
    }
}
