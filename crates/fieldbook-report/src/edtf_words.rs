//! Reads a date or a duration out in English, Russian, Belarusian and Ukrainian.

use crate::edtf::{Bound, Date, Edtf, Member, Qualifier, is_duration};
use crate::language::Language;

/// The date in words, or the text itself where it is not a valid date: nothing is hidden.
pub fn date_in_words(text: &str, language: Language) -> String {
    let Ok(edtf) = Edtf::parse(text) else { return text.to_owned() };
    let words = words(language);
    match &edtf {
        Edtf::One(date) => one(date, words),
        Edtf::Interval(from, to) => match (from, to) {
            (Bound::Date(from), Bound::Date(to)) => format!("{} – {}", one(from, words), one(to, words)),
            (Bound::Date(from), Bound::Open) => format!("{} – {}", one(from, words), words.open),
            (Bound::Date(from), _) => format!("{} – {}", one(from, words), words.unknown),
            (Bound::Open, Bound::Date(to)) => format!("… – {}", one(to, words)),
            (_, Bound::Date(to)) => format!("{} – {}", words.unknown, one(to, words)),
            _ => text.to_owned(),
        },
        Edtf::OneOf(members) => format!("{}: {}", words.one_of, join(members, words)),
        Edtf::AllOf(members) => join(members, words),
    }
}

/// The value for HTML's `<time datetime="…">`, where the text is one that HTML knows.
pub fn html_datetime(text: &str) -> Option<&str> {
    match Edtf::parse(text) {
        Ok(Edtf::One(date)) if date.is_plain() => Some(text),
        _ => None,
    }
}

/// A duration in words ("2 h 30 min"), or the text itself.
pub fn duration_in_words(text: &str, language: Language) -> String {
    if !is_duration(text) {
        return text.to_owned();
    }
    let units = words(language).units;
    let (mut parts, mut number, mut in_time) = (Vec::new(), String::new(), false);
    for c in text.chars().skip(1) {
        let unit = match (c, in_time) {
            ('T', _) => {
                in_time = true;
                continue;
            }
            ('Y', _) => 0,
            ('M', false) => 1,
            ('W', _) => 2,
            ('D', _) => 3,
            ('H', _) => 4,
            ('M', true) => 5,
            ('S', _) => 6,
            (digit, _) => {
                number.push(digit);
                continue;
            }
        };
        parts.push(format!("{number}\u{a0}{}", units[unit]));
        number.clear();
    }
    parts.join(" ")
}

fn join(members: &[Member], words: &Words) -> String {
    let parts: Vec<String> = members
        .iter()
        .map(|member| match member {
            Member::Date(date) => one(date, words),
            Member::Range(from, to) => {
                let end = |d: &Option<Date>| d.as_ref().map_or_else(|| "…".to_owned(), |d| one(d, words));
                format!("{} – {}", end(from), end(to))
            }
        })
        .collect();
    parts.join("; ")
}

fn one(date: &Date, words: &Words) -> String {
    let mut text = body(date, words);
    if let Some(time) = &date.time {
        text = format!("{text}, {}", time.replace('Z', " UTC"));
    }
    match date.qualifier {
        None => text,
        Some(Qualifier::Approximate) => format!("{} {text}", words.about),
        Some(Qualifier::Uncertain) => format!("{text} ({})", words.uncertain),
        Some(Qualifier::Both) => format!("{} {text} ({})", words.about, words.uncertain),
    }
}

fn body(date: &Date, words: &Words) -> String {
    let year = year(&date.year, words);
    let Some(month) = &date.month else { return year };
    if let Some(season) = date.season() {
        return format!("{} {year}", words.seasons[usize::from(season - 21)]);
    }
    let number = month.parse::<usize>().ok().filter(|m| (1..=12).contains(m));
    let Some(number) = number else { return format!("{year} ({})", words.month_unknown) };
    match date.day.as_deref() {
        None => format!("{} {year}", words.months[number - 1]),
        Some("XX") => format!("{} {year} ({})", words.months[number - 1], words.day_unknown),
        Some(day) if day.contains('X') => {
            let (from, to) = match day.as_bytes()[0] {
                b'0' => (1, 9),
                b'1' => (10, 19),
                b'2' => (20, 29),
                _ => (30, 31),
            };
            format!("{from}–{to} {} {year} ({})", words.months_of[number - 1], words.day_unknown)
        }
        Some(day) => format!("{} {} {year}", day.trim_start_matches('0'), words.months_of[number - 1]),
    }
}

fn year(year: &str, words: &Words) -> String {
    let known = year.trim_end_matches('X');
    match year.len() - known.len() {
        0 => year.trim_start_matches('Y').to_owned(),
        missing if known.is_empty() || known == "-" || missing > 2 => words.year_unknown.to_owned(),
        missing => {
            let (first, last) = ("0".repeat(missing), "9".repeat(missing));
            format!("{known}{first}–{known}{last} ({})", words.year_unknown)
        }
    }
}

/// Every word that these readings can contain.
pub(crate) fn vocabulary() -> impl Iterator<Item = &'static str> {
    [&ENGLISH, &RUSSIAN, &BELARUSIAN, &UKRAINIAN].into_iter().flat_map(|w| {
        let single = [
            w.about,
            w.uncertain,
            w.one_of,
            w.open,
            w.unknown,
            w.day_unknown,
            w.month_unknown,
            w.year_unknown,
        ];
        w.months.into_iter().chain(w.months_of).chain(w.seasons).chain(w.units).chain(single)
    })
}

struct Words {
    months: [&'static str; 12],
    months_of: [&'static str; 12],
    seasons: [&'static str; 4],
    about: &'static str,
    uncertain: &'static str,
    one_of: &'static str,
    open: &'static str,
    unknown: &'static str,
    day_unknown: &'static str,
    month_unknown: &'static str,
    year_unknown: &'static str,
    units: [&'static str; 7],
}

fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Russian => &RUSSIAN,
        Language::Belarusian => &BELARUSIAN,
        Language::Ukrainian => &UKRAINIAN,
    }
}

const ENGLISH_MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

static ENGLISH: Words = Words {
    months: ENGLISH_MONTHS,
    months_of: ENGLISH_MONTHS,
    seasons: ["spring", "summer", "autumn", "winter"],
    about: "about",
    uncertain: "uncertain",
    one_of: "one of",
    open: "ongoing",
    unknown: "not known",
    day_unknown: "exact day not known",
    month_unknown: "month not known",
    year_unknown: "exact year not known",
    units: ["y", "mo", "wk", "d", "h", "min", "s"],
};

static RUSSIAN: Words = Words {
    months: [
        "январь",
        "февраль",
        "март",
        "апрель",
        "май",
        "июнь",
        "июль",
        "август",
        "сентябрь",
        "октябрь",
        "ноябрь",
        "декабрь",
    ],
    months_of: [
        "января",
        "февраля",
        "марта",
        "апреля",
        "мая",
        "июня",
        "июля",
        "августа",
        "сентября",
        "октября",
        "ноября",
        "декабря",
    ],
    seasons: ["весна", "лето", "осень", "зима"],
    about: "около",
    uncertain: "не точно",
    one_of: "одна из дат",
    open: "продолжается",
    unknown: "неизвестно",
    day_unknown: "точный день неизвестен",
    month_unknown: "месяц неизвестен",
    year_unknown: "точный год неизвестен",
    units: ["г.", "мес.", "нед.", "дн.", "ч", "мин", "с"],
};

static BELARUSIAN: Words = Words {
    months: [
        "студзень",
        "люты",
        "сакавік",
        "красавік",
        "май",
        "чэрвень",
        "ліпень",
        "жнівень",
        "верасень",
        "кастрычнік",
        "лістапад",
        "снежань",
    ],
    months_of: [
        "студзеня",
        "лютага",
        "сакавіка",
        "красавіка",
        "мая",
        "чэрвеня",
        "ліпеня",
        "жніўня",
        "верасня",
        "кастрычніка",
        "лістапада",
        "снежня",
    ],
    seasons: ["вясна", "лета", "восень", "зіма"],
    about: "каля",
    uncertain: "не дакладна",
    one_of: "адна з дат",
    open: "працягваецца",
    unknown: "невядома",
    day_unknown: "дакладны дзень невядомы",
    month_unknown: "месяц невядомы",
    year_unknown: "дакладны год невядомы",
    units: ["г.", "мес.", "тыдз.", "дн.", "гадз", "хв", "с"],
};

static UKRAINIAN: Words = Words {
    months: [
        "січень",
        "лютий",
        "березень",
        "квітень",
        "травень",
        "червень",
        "липень",
        "серпень",
        "вересень",
        "жовтень",
        "листопад",
        "грудень",
    ],
    months_of: [
        "січня",
        "лютого",
        "березня",
        "квітня",
        "травня",
        "червня",
        "липня",
        "серпня",
        "вересня",
        "жовтня",
        "листопада",
        "грудня",
    ],
    seasons: ["весна", "літо", "осінь", "зима"],
    about: "близько",
    uncertain: "не точно",
    one_of: "одна з дат",
    open: "триває",
    unknown: "невідомо",
    day_unknown: "точний день невідомий",
    month_unknown: "місяць невідомий",
    year_unknown: "точний рік невідомий",
    units: ["р.", "міс.", "тиж.", "дн.", "год", "хв", "с"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_out_in_four_languages() {
        let read = |text, tag| date_in_words(text, Language::of(tag));
        assert_eq!(read("2017-03-25", "en"), "25 March 2017");
        assert_eq!(read("2017-03-25", "ru"), "25 марта 2017");
        assert_eq!(read("2017-03", "be"), "сакавік 2017");
        assert_eq!(read("2017-21", "be"), "вясна 2017");
        assert_eq!(read("2017-21", "uk"), "весна 2017");
        assert_eq!(read("1999/2000", "en"), "1999 – 2000");
        assert_eq!(read("2017-03-05~", "en"), "about 5 March 2017");
        assert_eq!(read("2017-03-2X", "en"), "20–29 March 2017 (exact day not known)");
        assert_eq!(read("201X", "en"), "2010–2019 (exact year not known)");
        assert_eq!(read("[2017-03-25,2017-03-26]", "en"), "one of: 25 March 2017; 26 March 2017");
        assert_eq!(read("2017-03-22/..", "uk"), "22 березня 2017 – триває");
        assert_eq!(read("not a date", "en"), "not a date");
        assert_eq!(html_datetime("2017-21"), None);
        assert_eq!(html_datetime("2017-03-25"), Some("2017-03-25"));
        assert_eq!(duration_in_words("PT2H30M", Language::Russian), "2\u{a0}ч 30\u{a0}мин");
    }
}
