//! The words that a publication itself uses, in four languages, and the set of all of them: a
//! protected name that is also one of these words does not count as leaked where it stands as a word.

use std::collections::BTreeSet;

use super::redact::What;
use super::skeleton::tokens;
use crate::edtf_words;
use crate::language::Language;
use crate::template::builtin;

/// One word or phrase: en, ru, be, uk.
pub(super) type Phrase = [&'static str; 4];

pub(super) fn say(phrase: &Phrase, language: Language) -> &'static str {
    match language {
        Language::English => phrase[0],
        Language::Russian => phrase[1],
        Language::Belarusian => phrase[2],
        Language::Ukrainian => phrase[3],
    }
}

pub(super) const REPORTS: Phrase = ["Reports", "Сообщения", "Паведамленні", "Повідомлення"];
pub(super) const REPORT: Phrase = ["Report", "Сообщение", "Паведамленне", "Повідомлення"];
pub(super) const CONTENTS: Phrase = ["Contents", "Содержание", "Змест", "Зміст"];
pub(super) const NARRATIVE: Phrase = ["What happened", "Что произошло", "Што адбылося", "Що сталося"];
pub(super) const PEOPLE: Phrase = ["People", "Люди", "Людзі", "Люди"];
pub(super) const SOURCES: Phrase = ["Sources", "Источники", "Крыніцы", "Джерела"];
pub(super) const ATTACHMENTS: Phrase = ["Attachments", "Вложения", "Укладанні", "Вкладення"];
pub(super) const ATTACHMENTS_WITHHELD: Phrase = [
    "Attachments not published",
    "Неопубликованных вложений",
    "Неапублікаваных укладанняў",
    "Неопублікованих вкладень",
];
pub(super) const SUPPLEMENTS: Phrase =
    ["Addendum to report", "Дополнение к сообщению", "Дадатак да паведамлення", "Доповнення до повідомлення"];
pub(super) const SUPPLEMENTS_ELSEWHERE: Phrase = [
    "Addendum to a report that is published elsewhere",
    "Дополнение к сообщению, опубликованному в другом месте",
    "Дадатак да паведамлення, апублікаванага ў іншым месцы",
    "Доповнення до повідомлення, опублікованого в іншому місці",
];
/// Heads what only an internal export holds.
pub(super) const NOTES: Phrase = [
    "Questions and notes (internal)",
    "Вопросы и заметки (для внутреннего пользования)",
    "Пытанні і нататкі (для ўнутранага карыстання)",
    "Запитання і нотатки (для внутрішнього користування)",
];
pub(super) const OTHER: Phrase = ["Other data", "Прочие данные", "Іншыя звесткі", "Інші дані"];
pub(super) const YES: Phrase = ["yes", "да", "так", "так"];
pub(super) const NO: Phrase = ["no", "нет", "не", "ні"];
pub(super) const WITHHELD: Phrase = ["[withheld]", "[скрыто]", "[схавана]", "[приховано]"];
pub(super) const NAME_WITHHELD: Phrase =
    ["[name withheld]", "[имя скрыто]", "[імя схавана]", "[ім'я приховано]"];
pub(super) const CONTACT_WITHHELD: Phrase =
    ["[contact withheld]", "[контакт скрыт]", "[кантакт схаваны]", "[контакт приховано]"];
pub(super) const CHANGED: Phrase = [
    "Names of people who did not agree to be named were replaced, and details that could lead to them left out; \
     redactions.json lists how often and where.",
    "Имена людей, не давших согласия на их публикацию, заменены, а сведения, по которым их можно узнать, убраны; \
     redactions.json перечисляет, где и сколько раз.",
    "Імёны людзей, якія не далі згоды на іх публікацыю, замененыя, а звесткі, па якіх іх можна пазнаць, прыбраныя; \
     redactions.json пералічвае, дзе і колькі разоў.",
    "Імена людей, які не дали згоди на їх публікацію, замінено, а відомості, за якими їх можна впізнати, вилучено; \
     redactions.json перелічує, де і скільки разів.",
];
pub(super) const PLACE_KEYS: [(&str, Phrase); 4] = [
    ("country", ["Country", "Страна", "Краіна", "Країна"]),
    ("region", ["Region", "Область", "Вобласць", "Область"]),
    ("locality", ["Locality", "Населённый пункт", "Населены пункт", "Населений пункт"]),
    ("exact", ["Exact place", "Точное место", "Дакладнае месца", "Точне місце"]),
];

/// Stands at the head of every file that was exported with nothing taken out.
pub(crate) const INTERNAL: &str = "INTERNAL – NOT FOR PUBLICATION";

/// What a pseudonym calls a person, and the words for the role that lead to it.
pub(super) const ROLES: [(Phrase, &[&str]); 11] = [
    (
        ["Victim", "Пострадавший", "Пацярпелы", "Потерпілий"],
        &[
            "victim",
            "пострадавший",
            "пострадавшая",
            "потерпевший",
            "пацярпелы",
            "пацярпелая",
            "потерпілий",
            "потерпіла",
            "жертва",
            "ахвяра",
        ],
    ),
    (
        ["Witness", "Свидетель", "Сведка", "Свідок"],
        &["witness", "свидетель", "свидетельница", "сведка", "свідок"],
    ),
    (
        ["Accused", "Обвиняемый", "Абвінавачаны", "Обвинувачений"],
        &[
            "accused",
            "defendant",
            "обвиняемый",
            "обвиняемая",
            "абвінавачаны",
            "абвінавачаная",
            "обвинувачений",
            "обвинувачена",
        ],
    ),
    (
        ["Alleged perpetrator", "Предполагаемый нарушитель", "Меркаваны парушальнік", "Ймовірний порушник"],
        &["perpetrator", "alleged perpetrator", "нарушитель", "парушальнік", "порушник"],
    ),
    (["Source", "Источник", "Крыніца", "Джерело"], &["source", "источник", "крыніца", "джерело"]),
    (
        ["Detainee", "Задержанный", "Затрыманы", "Затриманий"],
        &[
            "detainee",
            "detained",
            "задержанный",
            "задержанная",
            "затрыманы",
            "затрыманая",
            "затриманий",
            "затримана",
        ],
    ),
    (
        ["Relative", "Родственник", "Сваяк", "Родич"],
        &["relative", "family", "родственник", "родственница", "сваяк", "родич"],
    ),
    (["Lawyer", "Адвокат", "Адвакат", "Адвокат"], &["lawyer", "адвокат", "адвакат"]),
    (
        ["Journalist", "Журналист", "Журналіст", "Журналіст"],
        &["journalist", "журналист", "журналистка", "журналіст", "журналістка"],
    ),
    (
        ["Observer", "Наблюдатель", "Назіральнік", "Спостерігач"],
        &["observer", "monitor", "наблюдатель", "назіральнік", "спостерігач"],
    ),
    (["Person", "Лицо", "Асоба", "Особа"], &[]),
];

/// The neutral word: [`ROLES`]' last.
pub(super) const PERSON: usize = ROLES.len() - 1;

/// A role in the language of the page, where there is a word for it. Beside a pseudonym always the word
/// that stands in pseudonyms, which does not tell a man from a woman; beside a name, what was written
/// stays if it is in the alphabet of the page.
pub(super) fn role(written: &str, pseudonym: bool, language: Language) -> String {
    let class = role_class(written);
    let own = written.is_ascii() == (language == Language::English);
    if class == PERSON || (own && !pseudonym) {
        return written.to_owned();
    }
    say(&ROLES[class].0, language).to_lowercase()
}

/// Index into [`ROLES`]; the last for any role without a word of its own.
pub(super) fn role_class(role: &str) -> usize {
    let role = role.trim().to_lowercase();
    ROLES.iter().position(|(_, words)| words.contains(&role.as_str())).unwrap_or(PERSON)
}

/// The skeletons of all words that a publication writes by itself.
pub(super) fn vocabulary() -> BTreeSet<String> {
    let phrases = [
        &REPORTS,
        &REPORT,
        &CONTENTS,
        &NARRATIVE,
        &PEOPLE,
        &SOURCES,
        &ATTACHMENTS,
        &ATTACHMENTS_WITHHELD,
        &SUPPLEMENTS,
        &SUPPLEMENTS_ELSEWHERE,
        &OTHER,
        &YES,
        &NO,
        &WITHHELD,
        &NAME_WITHHELD,
        &CONTACT_WITHHELD,
        &CHANGED,
    ];
    let mut words: Vec<&str> = phrases.into_iter().flatten().copied().collect();
    words.extend(ROLES.iter().flat_map(|(phrase, _)| phrase));
    words.extend(PLACE_KEYS.iter().flat_map(|(key, phrase)| phrase.iter().chain([key])));
    words.extend(edtf_words::vocabulary());
    for template in builtin() {
        words.push(&template.name);
        for language in Language::ALL {
            words.push(template.labels.get(language));
            for field in &template.fields {
                words.push(&field.name);
                words.push(field.labels.get(language));
                for choice in &field.choices {
                    words.extend([choice.value.as_str(), choice.labels.get(language)]);
                }
            }
        }
    }
    words.push(INTERNAL);
    words.extend([MARKUP, super::html::STYLE]);
    words.extend(What::ALL.map(What::why));
    words.into_iter().flat_map(tokens).map(|token| token.skeleton).collect()
}

/// Words of the formats themselves.
const MARKUP: &str = "doctype html head meta charset utf http equiv Content Security Policy content default src none style \
    unsafe inline base uri form action name viewport width device initial scale referrer no title body font family \
    serif sans max margin auto padding line height color border left solid em rem px print page break inside avoid \
    main header nav ol ul li a href id article section lang h1 h2 h3 dl dt dd p time datetime class note template title \
    language fields narrative persons role consent sources also_spelled publish anonymised named keep internally share \
    with bodies number people attachments_withheld report fieldbook system ui weight bold display block block size \
    grid columns gap space pre wrap white und en ru be uk overflow anywhere \
    aria label labelledby noreferrer entries place what why replaced_by count name_replaced ambiguous_name_replaced \
    detail_replaced identifying_field_left_out unknown_field_left_out person_details_left_out \
    attachments_left_out other data unknown notice supplements elsewhere";
