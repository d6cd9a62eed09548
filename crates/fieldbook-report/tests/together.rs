//! Several people write the same report apart, in any order: all end with the same report, nothing that
//! anybody wrote is lost, and what clashes is seen until somebody chooses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use fieldbook_report::{
    AttachmentManifest, Consent, Edit, FieldValue, HistoryEdit, InputError, Keep, Person, ReportDocument,
    ReportError, ReportInput,
};
use proptest::prelude::*;

const NOW: i64 = 1_490_436_000_000;

fn actor(index: usize) -> [u8; 16] {
    [u8::try_from(index + 1).unwrap(); 16]
}

fn report(line: &str) -> ReportDocument {
    let input = ReportInput::from_json(line).unwrap();
    let mut next = 0_u32;
    let mut ids = || {
        next += 1;
        format!("{next:08x}")
    };
    ReportDocument::create(actor(0), &input, &mut ids, NOW).unwrap()
}

fn detention() -> ReportDocument {
    report(
        r#"{"template":"detention","title":"Detention","language":"en","fields":{"date":"2017-03-25",
        "place":{"country":"BY"},"persons":[{"name":"Anna","role":"witness","phone":"1"}]},
        "narrative":"They were taken from the office.","sources":["an observer"]}"#,
    )
}

fn pair() -> (ReportDocument, ReportDocument) {
    let mut one = detention();
    let two = ReportDocument::load(actor(1), &one.save()).unwrap();
    (one, two)
}

fn meet(one: &mut ReportDocument, two: &mut ReportDocument) {
    let from_one = one.changes_since(&two.heads()).concat();
    let from_two = two.changes_since(&one.heads()).concat();
    two.apply(&from_one, None).unwrap();
    one.apply(&from_two, None).unwrap();
    assert_eq!(one.heads(), two.heads());
    assert_eq!(one.view(), two.view());
    assert_eq!(one.clashes(), two.clashes());
}

fn set(name: &str, value: impl Into<FieldValue>) -> Edit {
    Edit::Field { name: name.into(), value: Some(value.into()) }
}

fn clashing(document: &ReportDocument) -> Vec<String> {
    document.clashes().into_iter().map(|clash| clash.field).collect()
}

#[test]
fn a_text_merges_by_character_and_a_field_clashes() {
    let (mut one, mut two) = pair();
    one.edit(
        &[Edit::Narrative("They were taken from the office at noon.".into()), set("date", "2017-03-26")],
        NOW + 1000,
    )
    .unwrap();
    two.edit(
        &[Edit::Narrative("Fifty people were taken from the office.".into()), set("date", "2017-03-24")],
        NOW + 2000,
    )
    .unwrap();
    meet(&mut one, &mut two);
    assert_eq!(one.view().narrative, "Fifty people were taken from the office at noon.");

    let clashes = one.clashes();
    assert_eq!(clashes.len(), 1);
    assert_eq!(clashes[0].field, "fields.date");
    let values: Vec<(String, i64)> =
        clashes[0].values.iter().map(|v| (v.value.to_string(), v.time_ms)).collect();
    assert_eq!(values, [("2017-03-26".to_owned(), NOW + 1000), ("2017-03-24".to_owned(), NOW + 2000)]);
    assert_eq!(clashes[0].values[1].actor, "02".repeat(16));
    assert_eq!(clashes[0].values.iter().filter(|v| v.winner).count(), 1);

    one.resolve("date", &Keep::Both, NOW + 3000).unwrap();
    assert_eq!(one.view().field("date"), Some(&"[2017-03-24,2017-03-26]".into()));
    meet(&mut one, &mut two);
    assert!(two.clashes().is_empty());
}

#[test]
fn different_keys_of_a_place_do_not_clash_and_equal_values_neither() {
    let (mut one, mut two) = pair();
    one.edit(&[set("place.locality", "Minsk"), set("authority", "police")], NOW).unwrap();
    two.edit(&[set("place.region", "Minsk region"), set("authority", "police")], NOW).unwrap();
    meet(&mut one, &mut two);
    assert_eq!(clashing(&one), Vec::<String>::new());
    assert_eq!(
        one.view().field("place").unwrap().to_string(),
        "country: BY; region: Minsk region; locality: Minsk"
    );
}

#[test]
fn a_place_that_nobody_had_given_does_not_race() {
    let mut one = report(r#"{"template":"raid"}"#);
    assert_eq!(one.view().field("place"), None);
    let mut two = ReportDocument::load(actor(1), &one.save()).unwrap();
    one.edit(&[set("place.locality", "Minsk")], NOW).unwrap();
    two.edit(&[set("place.country", "BY")], NOW).unwrap();
    meet(&mut one, &mut two);
    assert_eq!(clashing(&one), Vec::<String>::new());
    one.edit(&[Edit::Field { name: "place".into(), value: None }], NOW).unwrap();
    assert_eq!(one.view().field("place"), None);
}

#[test]
fn what_one_takes_away_and_another_writes_clashes() {
    let (mut one, mut two) = pair();
    one.edit(&[Edit::Field { name: "date".into(), value: None }], NOW).unwrap();
    two.edit(&[set("date", "2017-03-24")], NOW).unwrap();
    assert_eq!(one.view().field("date"), None);
    meet(&mut one, &mut two);
    assert_eq!(clashing(&one), ["fields.date"]);
    two.resolve("fields.date", &Keep::Value(String::new()), NOW).unwrap();
    meet(&mut one, &mut two);
    assert_eq!(one.view().field("date"), None);
    assert!(one.clashes().is_empty());
}

#[test]
fn a_person_removed_here_and_changed_there_does_not_vanish() {
    let (mut one, mut two) = pair();
    let id = one.view().people[0].id.clone();
    one.edit(&[Edit::RemovePerson(id.clone())], NOW).unwrap();
    assert!(one.view().people.is_empty());
    let gone = one.edit(&[Edit::RemovePerson(id.clone())], NOW).unwrap_err();
    assert_eq!(gone, ReportError::Input(InputError::NoSuchPerson { id: id.clone() }));
    two.edit(&[Edit::SetPerson { id: id.clone(), key: "phone".into(), value: Some("2".into()) }], NOW)
        .unwrap();
    meet(&mut one, &mut two);
    assert_eq!(one.view().people.len(), 1);
    let field = format!("people.{id}.removed");
    assert_eq!(clashing(&one), std::slice::from_ref(&field));
    assert!(matches!(one.resolve(&field, &Keep::Both, NOW), Err(ReportError::CannotKeepBoth { .. })));

    let mut other = ReportDocument::load(actor(2), &two.save()).unwrap();
    one.resolve(&field, &Keep::Value("kept".into()), NOW).unwrap();
    meet(&mut one, &mut two);
    assert!(one.clashes().is_empty());
    assert_eq!(one.view().people[0].extra, [("phone".to_owned(), "2".into())]);
    other.resolve(&field, &Keep::Value("removed".into()), NOW).unwrap();
    assert!(other.view().people.is_empty());
    assert!(other.clashes().is_empty());
    meet(&mut one, &mut other);
    assert_eq!(clashing(&one), [field]);
}

#[test]
fn the_strictest_consent_holds_while_consents_clash() {
    let (mut one, mut two) = pair();
    let id = one.view().people[0].id.clone();
    let consent =
        |word: &str| Edit::SetPerson { id: id.clone(), key: "consent".into(), value: Some(word.into()) };
    one.edit(&[consent("named")], NOW).unwrap();
    two.edit(&[consent("anonymised")], NOW).unwrap();
    meet(&mut one, &mut two);
    assert_eq!(one.view().people[0].consent, Consent::PublishAnonymised);
}

#[test]
fn lists_are_joined_and_numbers_are_chosen() {
    let mut one = report(r#"{"template":"ill_treatment","fields":{"date":"2010-12-19"}}"#);
    let mut two = ReportDocument::load(actor(1), &one.save()).unwrap();
    let methods =
        |list: &[&str]| set("methods", FieldValue::List(list.iter().map(|s| (*s).to_owned()).collect()));
    one.edit(&[methods(&["beating", "cold"]), set("people_affected", FieldValue::Number(3))], NOW).unwrap();
    two.edit(&[methods(&["beating", "threats"]), set("people_affected", FieldValue::Number(4))], NOW + 1000)
        .unwrap();
    meet(&mut one, &mut two);
    one.resolve("methods", &Keep::Both, NOW).unwrap();
    assert_eq!(one.view().field("methods").unwrap().to_string(), "beating; cold; threats");
    assert!(matches!(
        one.resolve("people_affected", &Keep::Both, NOW),
        Err(ReportError::CannotKeepBoth { .. })
    ));
    let unknown = one.resolve("people_affected", &Keep::Value("5".into()), NOW).unwrap_err();
    assert!(unknown.to_string().contains("3 | 4"));
    one.resolve("people_affected", &Keep::Value("4".into()), NOW).unwrap();
    assert!(one.clashes().is_empty());
}

#[test]
fn an_edit_that_is_wrong_changes_nothing_and_one_that_changes_nothing_is_no_change() {
    let mut one = detention();
    let before = (one.heads(), one.view());
    let wrong = [Edit::Title("New".into()), Edit::RemoveSource("no such".into())];
    assert!(one.edit(&wrong, NOW).is_err());
    assert!(one.edit(&[set("date", "25.03.2017")], NOW).is_err());
    assert_eq!(one.edit(&[Edit::Title("Detention".into()), set("date", "2017-03-25")], NOW), Ok(false));
    assert_eq!((one.heads(), one.view()), before);
}

#[test]
fn a_device_may_send_its_own_changes_only() {
    let (mut one, mut two) = pair();
    two.edit(&[Edit::Title("By two".into())], NOW).unwrap();
    let sent = two.changes_since(&one.heads()).concat();
    let before = one.heads();
    assert!(matches!(one.apply(&sent, Some(actor(0))), Err(ReportError::ForeignActor { .. })));
    assert_eq!(one.heads(), before);
    assert_eq!(one.apply(&sent, Some(actor(1))), Ok(1));
    assert_eq!(one.apply(&sent, Some(actor(0))), Ok(0));
}

#[test]
fn a_change_that_comes_too_early_waits() {
    let (mut one, mut two) = pair();
    let mut batches = Vec::new();
    for title in ["first", "second"] {
        let heads = two.heads();
        two.edit(&[Edit::Title(title.into())], NOW).unwrap();
        batches.push(two.changes_since(&heads).concat());
    }
    assert_eq!(one.apply(&batches[1], Some(actor(1))), Ok(0));
    assert_eq!(one.waits_for().len(), 1);
    let mut one = ReportDocument::load(actor(0), &one.save()).unwrap();
    assert_eq!(one.apply(&batches[0], Some(actor(1))), Ok(2));
    assert_eq!(one.view().title, "second");
    assert!(one.waits_for().is_empty());
}

#[test]
fn damaged_bytes_are_refused_and_leave_the_document_whole() {
    let (mut one, mut two) = pair();
    two.edit(&[Edit::Narrative("x".repeat(2000))], NOW).unwrap();
    let sent = two.changes_since(&one.heads()).concat();
    let saved = two.save();
    let before = one.view();
    for (index, byte) in sent.iter().enumerate() {
        let mut bad = sent.clone();
        bad[index] = byte ^ 0x41;
        assert!(one.apply(&bad, None).is_err(), "byte {index} of a change");
        assert_eq!(one.view(), before);
    }
    for cut in 0..sent.len() {
        assert!(one.apply(&sent[..cut], None).is_err() || cut == 0, "cut at {cut}");
    }
    for index in 0..saved.len() {
        let mut bad = saved.clone();
        bad[index] ^= 0x41;
        assert!(ReportDocument::load(actor(1), &bad).is_err(), "byte {index} of a document");
    }
    assert_eq!(ReportDocument::load(actor(1), b"").unwrap_err(), ReportError::NotAReport);
}

#[test]
fn an_attachments_secret_is_in_no_view_clash_or_debug_text() {
    let (mut one, mut two) = pair();
    let manifest = AttachmentManifest {
        id: "ab".repeat(16),
        name: "photo.jpg".into(),
        media_type: "image/jpeg".into(),
        size: 12,
        blake3: "00".repeat(32),
        sha256: "11".repeat(32),
        identity: "AGE-SECRET-KEY-1QQ".into(),
        parts: Vec::new(),
    };
    one.edit(&[Edit::AddAttachment(manifest.clone())], NOW).unwrap();
    one.edit(&[Edit::SetAttachmentParts { id: manifest.id.clone(), parts: vec!["22".repeat(32)] }], NOW)
        .unwrap();
    meet(&mut one, &mut two);
    assert_eq!(two.attachment(&manifest.id).unwrap().identity, manifest.identity);
    assert_eq!(two.view().attachments[0].parts, 1);
    one.edit(&[Edit::RemoveAttachment(manifest.id.clone())], NOW).unwrap();
    two.edit(&[Edit::SetAttachmentParts { id: manifest.id.clone(), parts: Vec::new() }], NOW).unwrap();
    meet(&mut one, &mut two);
    assert_eq!(clashing(&one), [format!("attachments.{}.removed", manifest.id)]);
    let shown = serde_json::to_string(&one.view()).unwrap()
        + &serde_json::to_string(&one.clashes()).unwrap()
        + &serde_json::to_string(&one.history()).unwrap()
        + &format!("{one:?}{manifest:?}");
    assert!(!shown.contains("SECRET"));
}

#[test]
fn history_tells_what_each_change_did() {
    let (mut one, mut two) = pair();
    one.edit(
        &[set("date", "2017-03-26"), Edit::Narrative("They were taken from the flat.".into())],
        NOW + 5000,
    )
    .unwrap();
    two.edit(&[set("date", "2017-03-24"), Edit::RemoveSource("an observer".into())], NOW + 6000).unwrap();
    meet(&mut one, &mut two);
    one.resolve("date", &Keep::Value("2017-03-24".into()), NOW + 7000).unwrap();
    let history = one.history();
    assert_eq!(history.len(), 4);
    let edit = |field: &str, before: Option<FieldValue>, after: Option<FieldValue>, at| HistoryEdit {
        field: field.into(),
        before,
        after,
        at,
    };
    assert!(history[0].edits.contains(&edit("fields.date", None, Some("2017-03-25".into()), None)));
    assert!(history[0].edits.contains(&edit("fields.place.country", None, Some("BY".into()), None)));
    assert!(history[0].edits.contains(&edit("people.00000001.extra.phone", None, Some("1".into()), None)));
    assert!(history[1].edits.contains(&edit(
        "fields.date",
        Some("2017-03-25".into()),
        Some("2017-03-26".into()),
        None
    )));
    assert!(history[1].edits.contains(&edit(
        "narrative",
        Some("office".into()),
        Some("flat".into()),
        Some(25)
    )));
    assert!(history[2].edits.contains(&edit("sources", Some("an observer".into()), None, None)));
    let both = FieldValue::List(vec!["2017-03-26".into(), "2017-03-24".into()]);
    let last = &history[3].edits[0];
    assert_eq!((last.field.as_str(), last.after.as_ref()), ("fields.date", Some(&"2017-03-24".into())));
    assert!(
        last.before == Some(both)
            || last.before == Some(FieldValue::List(vec!["2017-03-24".into(), "2017-03-26".into()]))
    );
    assert_eq!(history[3].time_ms, NOW + 7000);
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Write { who: usize, what: usize, word: u16 },
    Meet { one: usize, two: usize },
    Hear { from: usize, to: usize },
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (2_usize..=5).prop_flat_map(|count| {
        let step = prop_oneof![
            3 => (0..count, 0..8_usize, any::<u16>()).prop_map(|(who, what, word)| Step::Write { who, what, word }),
            1 => (0..count, 0..count).prop_map(|(one, two)| Step::Meet { one, two }),
            1 => (0..count, 0..count).prop_map(|(from, to)| Step::Hear { from, to }),
        ];
        (Just(count), prop::collection::vec(step, 1..40))
    })
}

/// Everything that stands anywhere in a history, as one text.
fn told(document: &ReportDocument) -> String {
    serde_json::to_string(&document.history()).unwrap()
}

fn write(document: &mut ReportDocument, what: usize, word: &str, id: &str) {
    let narrative = document.view().narrative;
    let person = document.view().people.first().map(|p| p.id.clone());
    let edit = match (what, person) {
        (0, _) => set("date", "2017"),
        (1, _) => set("authority", word),
        (2, _) => Edit::Narrative(format!("{narrative} {word}")),
        (3, _) => Edit::Narrative(format!("{word} {narrative}")),
        (4, _) => set("place.locality", word),
        (5, Some(id)) => Edit::SetPerson { id, key: "phone".into(), value: Some(word.into()) },
        (6, Some(id)) => Edit::RemovePerson(id),
        (7, _) => Edit::AddSource(word.into()),
        _ => Edit::AddPerson(Person {
            id: id.into(),
            name: word.into(),
            also_spelled: Vec::new(),
            role: "witness".into(),
            consent: Consent::Internal,
            extra: Vec::new(),
        }),
    };
    document.edit(&[edit], NOW).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_converges_and_loses_nothing((count, steps) in steps()) {
        let mut first = detention();
        let saved = first.save();
        let mut all: Vec<ReportDocument> =
            (0..count).map(|i| ReportDocument::load(actor(i), &saved).unwrap()).collect();
        let mut written = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            match *step {
                Step::Write { who, what, word } => {
                    let word = format!("w{index}x{word}");
                    write(&mut all[who], what, &word, &format!("a{index:07x}"));
                    if what != 0 && told(&all[who]).contains(&word) {
                        written.push(word);
                    } else {
                        prop_assert!(what == 0 || what == 6, "what was written is not in history: {what} {word}");
                    }
                }
                Step::Meet { one, two } if one != two => {
                    let (mut a, mut b) = (all[one].clone(), all[two].clone());
                    meet(&mut a, &mut b);
                    all[one] = a;
                    all[two] = b;
                }
                Step::Hear { from, to } if from != to => {
                    let heads = all[to].heads();
                    let heard = all[from].changes_since(&heads).concat();
                    all[to].apply(&heard, None).unwrap();
                }
                _ => {}
            }
        }
        // Everybody hears from everybody, each in another order, and twice.
        let everything: Vec<Vec<u8>> = all.iter_mut().map(|d| d.changes_since(&[]).concat()).collect();
        for round in 0..2 {
            for (index, document) in all.iter_mut().enumerate() {
                for offset in 0..count {
                    document.apply(&everything[(index + offset + round) % count], None).unwrap();
                }
            }
        }
        let (view, heads) = (all[0].view(), all[0].heads());
        let history = told(&all[0]);
        for document in &mut all {
            prop_assert_eq!(document.heads(), heads.clone());
            prop_assert_eq!(&document.view(), &view);
            prop_assert_eq!(told(document), history.clone());
            let again = ReportDocument::load(actor(9), &document.save()).unwrap();
            prop_assert_eq!(&again.view(), &view);
            prop_assert_eq!(again.clashes(), document.clashes());
        }
        for word in &written {
            prop_assert!(history.contains(word.as_str()), "{} is lost", word);
        }
        // A clash stays until somebody chooses, and is gone for all once that is heard.
        while let Some(clash) = all[0].clashes().first().cloned() {
            let value = &clash.values[0].value;
            let wanted = if value.is_null() { String::new() } else { value.to_string() };
            all[0].resolve(&clash.field, &Keep::Value(wanted), NOW).unwrap();
        }
        prop_assert!(all[0].clashes().is_empty());
        let settled = all[0].changes_since(&[]).concat();
        for document in &mut all[1..] {
            document.apply(&settled, None).unwrap();
            prop_assert!(document.clashes().is_empty());
        }
    }
}

fn note(id: &str, text: &str, reply_to: Option<&str>) -> Edit {
    Edit::AddNote {
        id: id.into(),
        text: text.into(),
        time_ms: NOW + 500,
        reply_to: reply_to.map(String::from),
    }
}

#[test]
fn questions_and_answers_of_two_devices_all_stay_in_one_order() {
    let (mut one, mut two) = pair();
    one.edit(&[note("0000000a", "Who saw it?", None)], NOW + 1000).unwrap();
    two.edit(&[note("0000000b", "Is there a photo?", None)], NOW + 2000).unwrap();
    meet(&mut one, &mut two);
    two.edit(&[note("0000000c", "A neighbour.", Some("0000000a"))], NOW + 3000).unwrap();
    one.edit(&[note("0000000d", "And a second one?", None)], NOW + 3000).unwrap();
    meet(&mut one, &mut two);
    let notes = one.view().notes;
    assert_eq!(notes.len(), 4);
    let place = |id: &str| notes.iter().position(|n| n.id == id).unwrap();
    assert!(place("0000000a") < place("0000000c"), "an answer stands behind its question");
    let of = |id: &str| notes[place(id)].clone();
    assert_eq!(of("0000000a").actor, "01".repeat(16));
    assert_eq!(of("0000000c").actor, "02".repeat(16));
    assert_eq!((of("0000000a").time_ms, of("0000000c").reply_to), (NOW + 500, Some("0000000a".into())));
    let open: Vec<&str> = fieldbook_report::open_questions(&notes).map(|n| n.id.as_str()).collect();
    assert!(open.contains(&"0000000b") && open.contains(&"0000000d") && open.len() == 2);
    assert!(one.clashes().is_empty());

    let told: Vec<HistoryEdit> = one.history().into_iter().skip(1).flat_map(|item| item.edits).collect();
    assert_eq!(told.len(), 4);
    assert!(told.iter().all(|edit| edit.field == "notes" && edit.before.is_none()));
    assert!(told.iter().any(|edit| edit.after == Some("A neighbour.".into())));
}

#[test]
fn a_note_needs_words_an_id_of_its_own_and_a_question_that_is_there() {
    let mut report = detention();
    report.edit(&[note("0000000a", "Who saw it?", None)], NOW).unwrap();
    for (edit, error) in [
        (note("0000000b", " \n", None), InputError::EmptyNote),
        (note("0000000a", "Again?", None), InputError::IdInUse { id: "0000000a".into() }),
        (note("0000000b", "I did.", Some("0000000c")), InputError::NoSuchNote { id: "0000000c".into() }),
        (
            note("0000000b", &"a".repeat(8 * 1024 + 1), None),
            InputError::TooLong { field: "a note".into(), limit: 8 * 1024 },
        ),
    ] {
        assert_eq!(report.edit(&[edit], NOW).unwrap_err(), ReportError::Input(error));
    }
    assert_eq!(report.view().notes.len(), 1);
}

/// A document as programs made it before there were notes.
fn earlier(document: &mut ReportDocument) -> Vec<u8> {
    use automerge::transaction::Transactable as _;
    let mut doc = automerge::AutoCommit::load(&document.save()).unwrap();
    doc.set_actor(automerge::ActorId::from(actor(0)));
    doc.delete(automerge::ROOT, "notes").unwrap();
    doc.save()
}

#[test]
fn a_document_of_before_there_were_notes_takes_them_from_two_devices_at_once() {
    let saved = earlier(&mut detention());
    let mut one = ReportDocument::load(actor(1), &saved).unwrap();
    let mut two = ReportDocument::load(actor(2), &saved).unwrap();
    // A program of that time knows nothing of notes, and passes them on.
    let mut old = automerge::AutoCommit::load(&saved).unwrap();
    assert!(one.view().notes.is_empty());
    one.edit(&[note("0000000a", "one", None)], NOW).unwrap();
    two.edit(&[note("0000000b", "two", None)], NOW).unwrap();
    for document in [&mut one, &mut two] {
        for change in document.changes_since(&[]) {
            old.load_incremental(&change).unwrap();
        }
    }
    meet(&mut one, &mut two);
    one.edit(&[note("0000000c", "three", Some("0000000b"))], NOW).unwrap();
    two.edit(&[note("0000000d", "four", Some("0000000a"))], NOW).unwrap();
    meet(&mut one, &mut two);
    let ids: Vec<String> = one.view().notes.into_iter().map(|n| n.id).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    let through_old = ReportDocument::load(actor(3), &old.save()).unwrap();
    assert_eq!(through_old.view().notes.len(), 2);
}

#[test]
fn words_put_over_a_note_stand_under_the_name_of_who_put_them_there() {
    use automerge::transaction::Transactable as _;
    use automerge::{ROOT, ReadDoc as _};
    let mut mine = detention();
    mine.edit(&[note("0000000a", "Who saw it?", None)], NOW).unwrap();
    let mut doc = automerge::AutoCommit::load(&mine.save()).unwrap();
    doc.set_actor(automerge::ActorId::from(actor(4)));
    let list = doc.get(ROOT, "notes").unwrap().unwrap().1;
    let item = doc.get(&list, 0).unwrap().unwrap().1;
    doc.put(&item, "text", "Nobody saw it.").unwrap();
    let changes = doc.save();
    mine.apply(&changes, None).unwrap();
    assert_eq!(mine.view().notes[0].actor, "05".repeat(16));
    let last = mine.history().pop().unwrap().edits.pop().unwrap();
    assert_eq!((last.field.as_str(), last.before), ("notes", Some("Who saw it?".into())));
}
