//! One name in the three languages of the region: who is Зайцев in Russian is Зайцаў in Belarusian, and
//! Дмитрий is Дзмітрый and Дмитро. Given names are a table; surnames in -ов, -ев follow a rule. What is
//! made here is looked for with a capital letter only: Олена is Елена, олені are deer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::skeleton::skeleton;

/// Russian first, then Belarusian, Ukrainian, and other usual forms. A form that has the skeleton of
/// another is left out.
const GIVEN: &[&[&str]] = &[
    &["Александр", "Аляксандр", "Олександр"],
    &["Александра", "Аляксандра", "Олександра"],
    &["Алексей", "Аляксей", "Олексій"],
    &["Анатолий", "Анатоль"],
    &["Анна", "Ганна"],
    &["Артём", "Арцём"],
    &["Борис", "Барыс"],
    &["Вадим", "Вадзім"],
    &["Валентин", "Валянцін"],
    &["Валентина", "Валянціна"],
    &["Василий", "Васіль"],
    &["Вера", "Віра"],
    &["Виктор", "Віктар"],
    &["Виктория", "Вікторыя", "Вікторія"],
    &["Виталий", "Віталь"],
    &["Владимир", "Уладзімір", "Володимир"],
    &["Владислав", "Уладзіслаў"],
    &["Вячеслав", "Вячаслаў", "В'ячеслав"],
    &["Григорий", "Рыгор"],
    &["Даниил", "Данила", "Данило"],
    &["Денис", "Дзяніс"],
    &["Дмитрий", "Дзмітрый", "Дзміцер", "Дмитро"],
    &["Евгений", "Яўген", "Яўгеній", "Євген"],
    &["Евгения", "Яўгенія", "Євгенія"],
    &["Екатерина", "Кацярына", "Катерина"],
    &["Елена", "Алена", "Олена"],
    &["Иван", "Іван"],
    &["Игорь", "Ігар", "Ігор"],
    &["Кирилл", "Кірыла", "Кирило"],
    &["Константин", "Канстанцін", "Костянтин"],
    &["Лев", "Леў"],
    &["Леонид", "Леанід"],
    &["Любовь", "Любоў"],
    &["Людмила", "Людміла"],
    &["Матвей", "Мацвей", "Матвій"],
    &["Михаил", "Міхаіл", "Міхась", "Михайло"],
    &["Надежда", "Надзея", "Надія"],
    &["Наталья", "Наталля", "Наталія"],
    &["Никита", "Мікіта", "Микита"],
    &["Николай", "Мікалай", "Микола", "Мікола"],
    &["Оксана", "Аксана"],
    &["Олег", "Алег"],
    &["Ольга", "Вольга"],
    &["Павел", "Павал", "Павло"],
    &["Пётр", "Пятро", "Петро"],
    &["Полина", "Паліна"],
    &["Роман", "Раман"],
    &["Светлана", "Святлана", "Світлана"],
    &["Семён", "Сямён", "Семен"],
    &["Сергей", "Сяргей", "Сергій"],
    &["Станислав", "Станіслаў"],
    &["Степан", "Сцяпан"],
    &["Татьяна", "Таццяна", "Тетяна"],
    &["Тимофей", "Цімафей", "Тимофій"],
    &["Фёдор", "Фёдар", "Федір"],
    &["Ярослав", "Яраслаў"],
];

static ROWS: LazyLock<BTreeMap<String, usize>> = LazyLock::new(|| {
    let mut rows = BTreeMap::new();
    for (row, names) in GIVEN.iter().enumerate() {
        for name in *names {
            rows.entry(skeleton(name)).or_insert(row);
        }
    }
    rows
});

/// Every form of every given name in the table.
pub(super) fn given_names() -> impl Iterator<Item = &'static str> {
    GIVEN.iter().flat_map(|row| row.iter().copied())
}

/// Other skeletons of the same name, the given one not among them.
pub(super) fn variants(full: &str) -> Vec<String> {
    let mut all: Vec<String> = match (ROWS.get(full), surname(full)) {
        (Some(row), _) => GIVEN[*row].iter().map(|name| skeleton(name)).collect(),
        (None, Some((base, ending))) => {
            let endings: &[&str] = match ending {
                Ending::Masculine => &["ov", "ev", "av", "iv", "ou", "eu", "au"],
                Ending::Feminine => &["ova", "eva", "ava"],
            };
            // Unstressed о is а in Belarusian. Which one is stressed nobody wrote down, so it is all or none.
            let mut bases = vec![base.to_owned()];
            if base.chars().count() >= 4 {
                bases.push(base.replace('o', "a"));
                bases.push(base.replace('a', "o"));
            }
            bases.iter().flat_map(|base| endings.iter().map(move |e| format!("{base}{e}"))).collect()
        }
        (None, None) => Vec::new(),
    };
    all.retain(|other| other != full);
    all.sort();
    all.dedup();
    all
}

/// One skeleton for all the spellings that [`variants`] knows.
pub(super) fn canonical(full: &str) -> String {
    match (ROWS.get(full), surname(full)) {
        (Some(row), _) => skeleton(GIVEN[*row][0]),
        (None, Some((base, Ending::Masculine))) => format!("{}av", base.replace('o', "a")),
        (None, Some((base, Ending::Feminine))) => format!("{}ava", base.replace('o', "a")),
        (None, None) => full.to_owned(),
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Masculine,
    Feminine,
}

/// What stands before -ов, -ев, -аў, -ів or -ова, -ева, -ава; three letters at least.
fn surname(full: &str) -> Option<(&str, Ending)> {
    let masculine = ["ov", "ev", "av", "iv", "ou", "eu", "au"].into_iter().map(|e| (e, Ending::Masculine));
    let feminine = ["ova", "eva", "ava"].into_iter().map(|e| (e, Ending::Feminine));
    let (base, ending) =
        masculine.chain(feminine).find_map(|(end, kind)| Some((full.strip_suffix(end)?, kind)))?;
    (base.chars().count() >= 3).then_some((base, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_given_name_leads_to_the_others() {
        for names in GIVEN {
            for name in *names {
                let full = skeleton(name);
                for other in *names {
                    let other = skeleton(other);
                    assert!(other == full || variants(&full).contains(&other), "{name}: {other}");
                    assert_eq!(canonical(&full), canonical(&other), "{name}: {other}");
                }
            }
        }
    }

    #[test]
    fn surnames_follow_the_rule_and_other_words_have_no_variants() {
        for (one, other) in [("Зайцев", "Zajcaŭ"), ("Иванов", "Іваноў"), ("Воробьёва", "Варабьёва")]
        {
            let (one, other) = (skeleton(one), skeleton(other));
            assert!(one == other || variants(&one).contains(&other), "{one}: {other}");
            assert!(one == other || variants(&other).contains(&one), "{other}: {one}");
            assert_eq!(canonical(&one), canonical(&other));
        }
        assert_ne!(canonical(&skeleton("Зайцев")), canonical(&skeleton("Зайцева")));
        for word in ["Ковальчук", "Smith", "Ева", "Шевченко"] {
            assert!(variants(&skeleton(word)).is_empty(), "{word}");
        }
    }
}
