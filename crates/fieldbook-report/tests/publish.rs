//! What a publication must never hold, and what it must still say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use fieldbook_report::publish::{Format, PublishError, RedactOptions, What, export, leaks, redact, render};
use fieldbook_report::{AttachmentManifest, Consent, Edit, ReportDocument, ReportInput, ReportView};
use proptest::prelude::*;

const ALL: [Format; 4] = [Format::Html, Format::Markdown, Format::Json, Format::Csv];

fn document(line: &str) -> ReportDocument {
    let input = ReportInput::from_json(line).unwrap_or_else(|e| panic!("{line}\n{e}"));
    let mut next = 0_u32;
    let mut ids = || {
        next += 1;
        format!("{next:08x}")
    };
    ReportDocument::create([7; 16], &input, &mut ids, 1_490_436_000_000).unwrap()
}

fn view(line: &str) -> ReportView {
    document(line).view()
}

fn published(views: &[ReportView], format: Format) -> String {
    let publication = export(views, format, &RedactOptions::default()).unwrap();
    publication.files.into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect()
}

fn secret_report() -> ReportView {
    let mut document = document(
        r#"{"template":"detention","title":"Задержание Светланы Ковальчук","language":"ru","fields":{"date":"2017-03-25~",
        "place":{"country":"BY","locality":"Минск","exact":"улица Ленина, 5, квартира 12"},"people_detained":700,
        "people_detained_precision":"more than","authority":"ОМОН (по словам Ковальчук)","internal_note":"Звонить Светлане",
        "x-van":"белый, Ковальчук","outcome":"released",
        "persons":[{"name":"Светлана Ковальчук","also_spelled":["Sviatlana Kavalchuk"],"role":"witness","consent":"keep internally",
          "phone":"+375 29 123-45-67","email":"sk@example.org","age":34,"friend":"Пётр Ковальчук"},
          {"name":"Пётр Орлов","role":"victim","consent":"publish named","phone":"+375 33 765-43-21"}]},
        "narrative":"Светлану Ковальчук вывели из дома на улице Ленина, 5 кв. 12. С. Ковальчук позвонила (8 029 123-45-67, sk@example.org). KAVALCHUK said so. Свет\u00adлана молчала. Пётр Орлов видел это.",
        "sources":["Письмо Ковальчук С. от 26 марта"],"chain":"from S. Kovalchuk"}"#,
    );
    let manifest = AttachmentManifest {
        id: "ab".repeat(16),
        name: "Ковальчук.jpg".into(),
        media_type: "image/jpeg".into(),
        size: 12,
        blake3: "0a".repeat(32),
        sha256: "1b".repeat(32),
        identity: "AGE-SECRET-KEY-1QQ".into(),
        parts: Vec::new(),
    };
    document.edit(&[Edit::AddAttachment(manifest)], 1_490_436_000_000).unwrap();
    document.view()
}

fn note(id: &str, text: &str, reply_to: Option<&str>) -> Edit {
    Edit::AddNote {
        id: id.into(),
        text: text.into(),
        time_ms: 1_490_436_060_000,
        reply_to: reply_to.map(String::from),
    }
}

#[test]
fn notes_stay_inside_and_whom_they_name_is_withheld() {
    let line = r#"{"template":"detention","title":"Обыск","language":"ru","fields":{"date":"2017-03-25"},
        "narrative":"Пришли двое. Сидоренко подписал протокол, и Пётр Сидоренко ушёл. Говорили с Зайцевым."}"#;
    let mut document = document(line);
    let notes = [
        note("0000000a", "Кто это видел? Позвоните Петру Сидоренко, +375 29 765-43-21", None),
        note("0000000b", "Видел Дмитрий Зайцев из соседнего дома", Some("0000000a")),
    ];
    document.edit(&notes, 1_490_436_060_000).unwrap();
    for format in ALL {
        let text = published(&[document.view()], format);
        for secret in
            ["Позвоните", "соседнего", "Сидоренко", "Зайцев", "765", "0000000a", "0000000b", "Кто это"]
        {
            assert!(!text.contains(secret), "{format:?}: {secret} in {text}");
        }
        assert!(text.contains("имя скрыто") && text.contains("подписал протокол"), "{format:?}: {text}");
        let options = RedactOptions { include_unredacted: true, ..RedactOptions::default() };
        let internal = export(&[document.view()], format, &options).unwrap();
        let internal: String =
            internal.files.into_iter().map(|(_, b)| String::from_utf8(b).unwrap()).collect();
        assert!(internal.contains("Позвоните") && internal.contains("0000000b"), "{format:?}: {internal}");
        if matches!(format, Format::Html | Format::Markdown) {
            assert!(internal.contains("Вопросы и заметки"), "{format:?}: {internal}");
        }
    }
    // A file that a fault let a name of a note into is refused.
    let redacted = redact(&[document.view()], &RedactOptions::default());
    let file = |text: &str| vec![("reports.md".to_owned(), text.as_bytes().to_vec())];
    assert_eq!(leaks(&file("Ответил Зайцев."), &redacted).len(), 1);
    assert!(leaks(&file("Никто не ответил."), &redacted).is_empty());
}

#[test]
fn an_addendum_is_published_with_its_report_and_names_it_by_its_number() {
    let id = "5e".repeat(16);
    let report = view(r#"{"template":"raid","language":"en","title":"Raid","narrative":"n"}"#);
    let addendum = view(&format!(
        r#"{{"template":"addendum","language":"en","narrative":"They came again.","addendum_to":"{id}"}}"#
    ));
    assert_eq!(addendum.addendum_to.as_deref(), Some(id.as_str()));
    let views = [report, addendum.clone()];
    let together = RedactOptions { ids: vec![id.clone(), "0".repeat(32)], ..RedactOptions::default() };
    let beside = RedactOptions { addenda_alone: true, ..RedactOptions::default() };
    for format in ALL {
        let alone = export(std::slice::from_ref(&addendum), format, &RedactOptions::default());
        assert_eq!(alone.unwrap_err(), PublishError::AddendumAlone { numbers: vec![1] });
        let text = |views: &[ReportView], options: &RedactOptions| {
            let files = export(views, format, options).unwrap().files;
            files.into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect::<String>()
        };
        let (with, without) = (text(&views, &together), text(std::slice::from_ref(&addendum), &beside));
        assert!(!with.contains(&id) && !without.contains(&id), "{format:?}");
        let expected = match format {
            Format::Html => ["<a href=\"#report-1\">Addendum to report 1</a>", "published elsewhere"],
            Format::Markdown => ["Addendum to report 1\n", "published elsewhere"],
            Format::Json => ["\"supplements\":1", "\"supplements\":\"elsewhere\""],
            Format::Csv => ["supplements", "elsewhere"],
        };
        assert!(with.contains(expected[0]), "{format:?}: {with}");
        assert!(without.contains(expected[1]), "{format:?}: {without}");
        let internal = text(&views, &RedactOptions { include_unredacted: true, ..together.clone() });
        assert_eq!(internal.contains(&id), format == Format::Json, "{format:?}: {internal}");
    }
}

#[test]
fn who_agrees_under_a_longer_name_elsewhere_does_not_unmask_who_does_not() {
    let report = |narrative: &str, name: &str, consent: &str| {
        view(&format!(
            r#"{{"template":"detention","title":"A","language":"ru","narrative":"{narrative}",
            "people":[{{"name":"{name}","role":"witness","consent":"{consent}"}}]}}"#
        ))
    };
    let views = [
        report("Ольга Петровна Иванова видела автобус.", "Ольга Иванова", "keep internally"),
        report("Что-то.", "Иванова Ольга Петровна", "publish named"),
        report("Анна Кузнецова видела.", "Анна", "keep internally"),
        report("Что-то.", "Анна Кузнецова", "publish named"),
    ];
    for format in ALL {
        let text = published(&views, format);
        assert!(!text.contains("Ольга") && !text.contains("Иванова"), "{text}");
    }
    let pseudonyms = redact(&views, &RedactOptions::default()).private.pseudonyms;
    assert_eq!(pseudonyms.len(), 2);
    assert_eq!(pseudonyms.iter().filter(|p| p.contradicts).count(), 1);
}

#[test]
fn nothing_of_a_protected_person_is_in_any_format() {
    let view = secret_report();
    for format in ALL {
        let text = published(std::slice::from_ref(&view), format);
        let plain = text.to_lowercase();
        for secret in [
            "ковальчук",
            "светлан",
            "kavalchuk",
            "kovalchuk",
            "sviatlana",
            "123-45-67",
            "sk@example",
            "sk@",
            "квартира",
            "765-43-21",
            "белый",
            "звонить",
            "image/jpeg",
            "0a0a0a",
            "1b1b1b",
            "secret-key",
            "07070707",
            "00000001",
            "1490436",
        ] {
            assert!(!plain.contains(secret), "{format:?} holds {secret}:\n{text}");
        }
        assert!(text.contains("Свидетель 1"), "{format:?}\n{text}");
        assert!(text.contains("Пётр Орлов видел это"), "{format:?}\n{text}");
        assert!(text.contains("Минск"), "{format:?}");
    }
}

#[test]
fn the_logs_tell_what_was_done_and_only_the_private_one_names() {
    let redacted = redact(&[secret_report()], &RedactOptions::default());
    let count =
        |what: What| redacted.log.entries.iter().filter(|e| e.what == what).map(|e| e.count).sum::<usize>();
    assert_eq!(count(What::AttachmentsLeftOut), 1);
    assert_eq!(count(What::IdentifyingFieldLeftOut), 2); // place.exact and the internal note
    assert_eq!(count(What::UnknownFieldLeftOut), 2); // x-van and chain
    assert_eq!(count(What::PersonDetailsLeftOut), 5);
    assert!(count(What::NameReplaced) >= 6);
    assert!(count(What::DetailReplaced) >= 2);
    let public = serde_json::to_string(&redacted.log).unwrap().to_lowercase();
    assert!(!public.contains("ковальчук") && !public.contains("x-van"));
    assert_eq!(redacted.private.pseudonyms.len(), 1);
    assert!(redacted.private.pseudonyms[0].names.iter().any(|n| n == "Светлана Ковальчук"));
    assert!(redacted.private.pseudonyms[0].replaced >= 5);
}

#[test]
fn precision_and_dates_are_read_out_and_kept_for_machines() {
    let view = secret_report();
    let html = published(std::slice::from_ref(&view), Format::Html);
    assert!(html.contains("более 700"), "{html}");
    assert!(html.contains("около 25 марта 2017"));
    assert!(html.contains("освобождены"));
    assert!(html.contains(r#"<html lang="ru">"#) && html.contains(r#"<article id="report-1" lang="ru""#));
    let json = published(std::slice::from_ref(&view), Format::Json);
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["fields"]["date"], "2017-03-25~");
    assert_eq!(line["fields"]["people_detained_precision"], "more than");
    assert_eq!(line["attachments_withheld"], 1);
    let csv = published(&[view], Format::Csv);
    assert!(csv.starts_with('\u{feff}') && csv.contains("more than") && csv.contains("2017-03-25~"));
}

#[test]
fn the_seed_is_published_whole_where_nobody_is_protected() {
    let seed = include_str!("data/minsk-2017.jsonl");
    let views: Vec<ReportView> = seed.lines().map(view).collect();
    for format in ALL {
        let text = published(&views, format);
        for named in ["Michail Žamchužny", "Dzmitry Palijenka", "Elena Tonkacheva"] {
            assert!(text.contains(named), "{format:?} lost {named}");
        }
        assert!(export(&views, format, &RedactOptions::default()).unwrap().log.entries.is_empty());
    }
    let json = export(&views, Format::Json, &RedactOptions::default()).unwrap();
    let text = String::from_utf8(json.files[0].1.clone()).unwrap();
    for (line, original) in text.lines().zip(seed.lines()) {
        let (line, original): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(line).unwrap(), serde_json::from_str(original).unwrap());
        assert_eq!(line, original);
    }
    let html = published(&views, Format::Html);
    for words in
        ["more than 700", "almost 150", "hundreds", "вясна 2017", "1999 – 2000", "2\u{a0}h 30\u{a0}min"]
    {
        assert!(html.contains(words), "{words}");
    }
    assert!(html.contains(r#"<time datetime="2017-03-25">25 March 2017</time>"#));
}

#[test]
fn a_person_keeps_one_pseudonym_in_every_report_and_language() {
    let one = view(
        r#"{"template":"raid","language":"en","narrative":"Anna Petrova and Olga Petrova spoke.",
        "fields":{"persons":[{"name":"Anna Petrova","role":"witness"},{"name":"Olga Petrova","role":"witness"}]}}"#,
    );
    let two = view(
        r#"{"template":"raid","language":"ru","narrative":"Ольга Петрова вышла. Петрова молчала.",
        "fields":{"persons":[{"name":"Петрова Ольга","role":"victim"}]}}"#,
    );
    let redacted = redact(&[one, two], &RedactOptions::default());
    assert_eq!(redacted.reports[0].narrative, "Witness 1 and Person 1 spoke.");
    assert_eq!(redacted.reports[1].narrative, "Лицо 1 вышла. [имя скрыто] молчала.");
}

#[test]
fn roles_beside_pseudonyms_speak_the_language_of_the_report() {
    let line = |language: &str, role: &str, consent: &str| {
        view(&format!(
            r#"{{"template":"raid","language":"{language}","fields":{{"persons":[
            {{"name":"Анна Петрова","role":"{role}","consent":"{consent}"}}]}}}}"#
        ))
    };
    for (language, role, shown) in [
        ("ru", "witness", "Свидетель 1 – свидетель"),
        ("be", "defendant", "Абвінавачаны 1 – абвінавачаны"),
        ("uk", "свидетельница", "Свідок 1 – свідок"),
        ("en", "свидетель", "Witness 1 – witness"),
        ("ru", "редактор", "Лицо 1 – редактор"),
    ] {
        for format in [Format::Html, Format::Markdown, Format::Csv] {
            let text = published(&[line(language, role, "publish anonymised")], format);
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }
    // Beside a name the report's own word stays.
    let named = published(&[line("ru", "свидетельница", "publish named")], Format::Markdown);
    assert!(named.contains("Анна Петрова – свидетельница"), "{named}");
    assert!(published(&[line("be", "witness", "publish named")], Format::Markdown).contains("– сведка"));
    // No role in one report contradicts nothing.
    let redacted =
        redact(&[line("ru", "", "internal"), line("en", "witness", "internal")], &RedactOptions::default());
    assert_eq!(redacted.reports[0].people[0].name, "Свидетель 1");
    assert_eq!(redacted.reports[1].people[0].name, "Witness 1");
}

#[test]
fn a_person_written_in_two_languages_is_one_person() {
    let line = |language: &str, name: &str, narrative: &str| {
        view(&format!(
            r#"{{"template":"raid","language":"{language}","narrative":"{narrative}",
            "fields":{{"persons":[{{"name":"{name}","role":"witness"}}]}}}}"#
        ))
    };
    let views = [
        line("ru", "Дмитрий Зайцев", "Олексій и Дзмітрый Зайцаў ушли."),
        line("be", "Дзмітрый Зайцаў", "Дмитрия Зайцева не было."),
    ];
    let redacted = redact(&views, &RedactOptions::default());
    assert_eq!(redacted.reports[0].narrative, "Олексій и Свидетель 1 ушли.");
    assert_eq!(redacted.reports[1].narrative, "Сведка 1 не было.");
    assert_eq!(redacted.private.pseudonyms.len(), 1);
    for format in ALL {
        assert!(export(&views, format, &RedactOptions::default()).is_ok());
    }
}

#[test]
fn contacts_of_anybody_are_withheld_wherever_they_stand() {
    let report = view(
        r#"{"template":"detention","language":"be","title":"Тэл. 8 029 123-45-67","narrative":"Пісаць на hata@example.org. Затрымалі 2017-03-25 700 чалавек, арт. 193.1.",
        "fields":{"date":"2017-03-25/2017-03-26","duration":"PT2H30M","people_detained":1234567890,"authority":"РУУС, +375 (17) 222-33-44",
        "persons":[{"name":"Contact Кантакт","role":"witness"}]},"sources":["x@example.org"]}"#,
    );
    for format in ALL {
        let text = published(std::slice::from_ref(&report), format);
        for secret in ["123-45", "222-33", "hata", "example.org"] {
            assert!(!text.contains(secret), "{format:?} holds {secret}: {text}");
        }
        for kept in ["2017-03-25 700 чалавек, арт. 193.1", "1234567890", "РУУС"] {
            assert!(text.contains(kept), "{format:?} lost {kept}: {text}");
        }
        assert!(text.contains("схаваны"), "{format:?}: {text}");
    }
    let log = redact(&[report], &RedactOptions::default()).log;
    let places: Vec<&str> =
        log.entries.iter().filter(|e| e.what == What::DetailReplaced).map(|e| e.place.as_str()).collect();
    assert_eq!(places, ["fields.authority", "narrative", "sources", "title"]);
}

#[test]
fn a_name_protected_in_one_report_is_protected_in_all() {
    let one = view(
        r#"{"template":"raid","language":"en","fields":{"persons":[{"name":"Anna Petrova","consent":"publish named"}]}}"#,
    );
    let two = view(
        r#"{"template":"raid","language":"en","fields":{"persons":[{"name":"Anna Petrova","consent":"anonymised"}]}}"#,
    );
    let redacted = redact(&[one, two], &RedactOptions::default());
    assert!(redacted.reports.iter().all(|r| r.people[0].name == "Person 1"));
    assert!(redacted.private.pseudonyms[0].contradicts);
}

#[test]
fn markup_in_a_report_stays_text() {
    let line = serde_json::json!({"template":"raid","title":"<script>alert(1)</script> [x](javascript:y)","language":"en",
        "fields":{"authority":"=cmd|' /C calc'!A0","date":"2017"},"narrative":"# a\n\n<img src=http://x> \"q\", https://e.org","sources":["@SUM(1)","a,b"]});
    let view = view(&line.to_string());
    let html = published(std::slice::from_ref(&view), Format::Html);
    assert!(!html.contains("<script") && !html.contains("<img") && html.contains("&lt;script&gt;"));
    assert!(html.contains("default-src &#39;none&#39;") || html.contains("default-src 'none'"));
    let md = published(std::slice::from_ref(&view), Format::Markdown);
    assert!(
        md.contains("\\<script\\>")
            && md.contains("\\[x\\]")
            && md.contains("\n\\# a\n")
            && !md.contains("https://")
    );
    let csv = published(&[view], Format::Csv);
    assert!(csv.contains("'=cmd") && csv.contains("'@SUM(1); a,b") && csv.contains("\r\n"));
}

#[test]
fn an_internal_export_keeps_everything_and_says_so_in_every_file() {
    let options = RedactOptions { include_unredacted: true, ..RedactOptions::default() };
    for format in ALL {
        let publication = export(&[secret_report()], format, &options).unwrap();
        assert_eq!(publication.files.len(), 1);
        let (name, bytes) = &publication.files[0];
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(name.starts_with("INTERNAL-"));
        assert!(text.contains("INTERNAL – NOT FOR PUBLICATION"), "{format:?}");
        assert!(text.contains("Светлана Ковальчук"), "{format:?}");
        assert!(!text.contains("AGE-SECRET"));
    }
}

#[test]
fn the_last_check_sees_what_redaction_missed() {
    let redacted = redact(&[secret_report()], &RedactOptions::default());
    let file = |text: &str| vec![("x.md".to_owned(), text.as_bytes().to_vec())];
    for text in ["Ковальчуку", "Коваль\\чук", "S. KOVALCHUK", "\"sk@example.org\"", "375291234567"]
    {
        assert_eq!(leaks(&file(text), &redacted).len(), 1, "{text}");
    }
    for format in ALL {
        assert!(leaks(&render(&redacted, format), &redacted).is_empty());
    }
    let mut spoiled = redacted.clone();
    spoiled.reports[0].sources.push("Ковальчук".into());
    assert_eq!(leaks(&render(&spoiled, Format::Html), &spoiled).len(), 1);
    let message = PublishError::Leak { leaks: leaks(&file("Ковальчуку"), &redacted) }.to_string();
    assert!(!message.contains("Ковальчук"));
}

#[test]
fn a_name_that_is_also_a_word_of_the_page_does_not_stop_the_export() {
    let line = r#"{"template":"trial","language":"en","title":"Court hearing","fields":{"date":"2017-03","outcome":"convicted",
        "persons":[{"name":"Marta Court","role":"witness"},{"name":"April Fine","role":"witness"}]},"narrative":"Marta Court said."}"#;
    let text = published(&[view(line)], Format::Html);
    assert!(text.contains("Witness 1 said."), "{text}");
}

/// Names as people in the region have them, declined by hand.
const PEOPLE: [(&str, &[&str]); 5] = [
    (
        "Иван Мицкевич",
        &[
            "Ивана Мицкевича",
            "Ивану Мицкевичу",
            "Ivan Mickievič",
            "И. Мицкевич",
            "ИВАН МИЦКЕВИЧ",
            "Мицкевич Иван",
        ],
    ),
    ("Ганна Дубоўская", &["Ганне Дубоўскай", "Ганну Дубоўскую", "Hanna Dubouskaja", "Г. Дубоўская"]),
    ("Олена Шевчук", &["Олені Шевчук", "Олену", "Olena Shevchuk", "Шевчук О."]),
    ("Павел Соловьёв", &["Павла Соловьева", "Павлу Соловьёву", "Pavel Solovyov", "Соловьёвым"]),
    ("John O'Neill", &["John O’Neill", "O'Neill's", "JOHN", "J. O'Neill"]),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn wherever_a_protected_name_is_put_it_does_not_come_out(
        who in 0..PEOPLE.len(), form in 0..8_usize, before in "[a-zа-я .,«»()0-9\\-]{0,12}", after in "[a-zа-я .,«»()0-9\\-]{0,12}", place in 0..4_usize,
    ) {
        let (name, forms) = PEOPLE[who];
        let form = forms.get(form).copied().unwrap_or(name);
        let text = format!("{before} {form} {after}");
        let mut json = serde_json::json!({"template":"raid","language":"ru","title":"t","narrative":"n","sources":["s"],
            "fields":{"authority":"a","persons":[{"name":name,"role":"witness"}]}});
        match place {
            0 => json["title"] = text.into(),
            1 => json["narrative"] = text.into(),
            2 => json["sources"][0] = text.into(),
            _ => json["fields"]["authority"] = text.into(),
        }
        let view = view(&json.to_string());
        for format in ALL {
            let out = published(std::slice::from_ref(&view), format);
            for part in form.split([' ', '.']).filter(|p| p.chars().count() > 2) {
                prop_assert!(!out.contains(part), "{format:?} holds {part}: {out}");
            }
        }
    }

    #[test]
    fn any_text_can_be_published(title in "\\PC{0,40}", narrative in "(?s).{0,200}", name in "\\PC{1,30}", extra in "\\PC{0,20}") {
        prop_assume!(!name.trim().is_empty());
        let json = serde_json::json!({"template":"raid","language":"be","title":title,"narrative":narrative,
            "fields":{"persons":[{"name":name,"role":extra,"note":extra}]}});
        let view = view(&json.to_string());
        prop_assert_eq!(view.people[0].consent, Consent::Internal);
        for format in ALL {
            prop_assert!(export(std::slice::from_ref(&view), format, &RedactOptions::default()).is_ok());
        }
    }
}
