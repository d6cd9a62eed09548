//! Finds protected names in any text: whole or in parts, in any case of the letter and of the grammar
//! (Russian, Belarusian, Ukrainian), in Cyrillic or Latin, behind invisible characters.
//!
//! The rule: a word is a name's part when it is its stem and nothing but a Slavic ending beyond. It
//! takes too much rather than too little: a word that is also a common noun (Мороз, Вера) goes too.
//! What it cannot know: nicknames, diminutives, descriptions ("the tall editor of …").

use std::collections::{BTreeSet, HashMap};

use super::skeleton::{Token, is_vowel, skeleton, tokens};
use super::spellings::{canonical, variants};

/// Endings of nouns, adjectives and surnames in the coarse alphabet of [`super::skeleton`], and the
/// English genitive.
const ENDINGS: &[&str] = &[
    "", "a", "e", "i", "o", "u", "om", "em", "im", "am", "ag", "eg", "ig", "og", "ami", "imi", "mi", "ogo",
    "ego", "aga", "omu", "emu", "amu", "ou", "eu", "au", "ei", "oi", "ov", "ev", "av", "ovi", "evi", "av",
    "iv", "s", "es",
];

/// Words inside names that are no names; they go with a name beside them and stay elsewhere.
const PARTICLES: &[&str] = &[
    "al", "ben", "bin", "da", "de", "del", "della", "der", "di", "dos", "du", "el", "ibn", "la", "le", "of",
    "the", "van", "von", "und", "and", "jr", "sr", "oglu", "ogly", "kizi", "kyzy", "де", "ван", "фон", "дер",
    "бин", "ибн", "аль", "эль", "ля", "да", "и", "й", "оглы", "кызы",
];

/// English words that are names too: only with a capital letter.
const COMMON: &[&str] = &[
    "april", "art", "august", "bill", "black", "brown", "day", "faith", "field", "frank", "grace", "gray",
    "green", "hope", "joy", "june", "king", "law", "long", "mark", "may", "page", "pat", "price", "rich",
    "rose", "white", "will", "young", "man", "men", "case", "many", "some",
];

/// Latin words that a Cyrillic name of two letters does not mean (Ян is not An).
const LATIN_WORDS: &[&str] = &[
    "am", "an", "as", "at", "be", "bi", "do", "ge", "go", "if", "im", "in", "is", "it", "me", "mi", "no",
    "of", "on", "or", "so", "to", "up", "us", "ve",
];

/// A person whose name may not be seen.
#[derive(Debug, Clone)]
struct Needle {
    person: usize,
    full: String,
    stems: Vec<String>,
    /// Stems that need a vowel after them: Ользе of Ольга.
    softened: Vec<String>,
    cyrillic: bool,
    /// Written in up to three letters, or an English word: only with a capital letter.
    capital_only: bool,
}

/// Finds the names of protected people; knows the names that may stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    protected: Needles,
    named: Needles,
}

/// Many needles, found by what a word begins with.
#[derive(Debug, Clone, Default)]
struct Needles {
    all: Vec<Needle>,
    /// Every stem and full form, with the needles that have it.
    by_stem: HashMap<String, Vec<usize>>,
}

impl Needles {
    fn add(&mut self, needle: Needle) {
        let index = self.all.len();
        for stem in needle.stems.iter().chain(&needle.softened).chain([&needle.full]) {
            let list = self.by_stem.entry(stem.clone()).or_default();
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
        self.all.push(needle);
    }

    fn people(&self, token: &Token) -> BTreeSet<usize> {
        let mut people = BTreeSet::new();
        for word in std::iter::once(token).chain(&token.pieces) {
            for (at, c) in word.skeleton.char_indices() {
                let candidates = self.by_stem.get(&word.skeleton[..at + c.len_utf8()]);
                let matching =
                    candidates.into_iter().flatten().map(|i| &self.all[*i]).filter(|n| n.is_word(word));
                people.extend(matching.map(|n| n.person));
            }
        }
        people
    }
}

/// A place in a text where a protected name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Who, if it can only be one.
    pub(super) person: Option<usize>,
    /// The words belong to somebody who may be named as well.
    pub(super) shared: bool,
}

impl Names {
    /// Protects a name in this spelling and in those of the neighbouring languages.
    pub(super) fn protect(&mut self, person: usize, name: &str) {
        for needle in needles(person, name) {
            for full in variants(&needle.full) {
                let (stems, softened) = stems(&full);
                self.protected.add(Needle { full, stems, softened, capital_only: true, ..needle.clone() });
            }
            self.protected.add(needle);
        }
    }

    pub(super) fn allow(&mut self, person: usize, name: &str) {
        needles(person, name).into_iter().for_each(|needle| self.named.add(needle));
    }

    /// Every place where a protected name stands.
    pub(super) fn find(&self, text: &str) -> Vec<Hit> {
        if self.protected.all.is_empty() {
            return Vec::new();
        }
        let tokens = tokens(text);
        let marks: Vec<Mark> = tokens.iter().map(|token| self.mark(token)).collect();
        let mut hits = Vec::new();
        let mut index = 0;
        while index < tokens.len() {
            if marks[index].protected.is_empty() {
                index += 1;
                continue;
            }
            // A run: name after name with nothing but spaces, hyphens and initials between.
            let (mut first, mut last) = (index, index);
            while last + 1 < tokens.len() && joined(text, &tokens, &marks, last) {
                last += 1;
            }
            while last > index && !marks[last].touched() {
                last -= 1;
            }
            while first > 0
                && (initial(text, &tokens, first - 1) || named_before(text, &tokens, &marks, first))
            {
                first -= 1;
            }
            while last + 1 < tokens.len() && initial(text, &tokens, last + 1) && near(text, &tokens, last) {
                last += 1;
            }
            hits.extend(decide(text, &tokens, &marks, first, last));
            index = last + 1;
        }
        hits
    }

    /// Whether this word may be part of a name that is known, protected or not.
    pub(super) fn knows(&self, token: &Token) -> bool {
        self.mark(token).touched()
    }

    fn mark(&self, token: &Token) -> Mark {
        Mark { protected: self.protected.people(token), named: self.named.people(token) }
    }
}

/// Whose name a word may be.
struct Mark {
    protected: BTreeSet<usize>,
    named: BTreeSet<usize>,
}

impl Mark {
    fn touched(&self) -> bool {
        !self.protected.is_empty() || !self.named.is_empty()
    }
}

/// Decides over a run of names. Somebody who may be named stands only where a word is theirs alone
/// and every word of the run can be theirs; everything else goes.
fn decide(text: &str, tokens: &[Token], marks: &[Mark], first: usize, last: usize) -> Option<Hit> {
    let run: Vec<&Mark> = marks[first..=last].iter().filter(|mark| mark.touched()).collect();
    let named = run.iter().map(|m| m.named.clone()).reduce(|a, b| &a & &b).unwrap_or_default();
    if !named.is_empty() && run.iter().any(|mark| mark.protected.is_empty()) {
        return None;
    }
    let common = run
        .iter()
        .filter(|m| !m.protected.is_empty())
        .map(|m| m.protected.clone())
        .reduce(|a, b| &a & &b)
        .unwrap_or_default();
    let shared = run.iter().any(|mark| !mark.named.is_empty());
    let person = if common.len() == 1 && !shared { common.first().copied() } else { None };
    let mut end = tokens[last].end;
    // The dot of a last initial goes with it.
    if tokens[last].letters == 1 && text[end..].starts_with('.') {
        end += 1;
    }
    // Marks and invisible characters after the last letter belong to it.
    let tail = text[end..]
        .find(|c: char| !unicode_normalization::char::is_combining_mark(c))
        .unwrap_or(text.len() - end);
    Some(Hit { start: tokens[first].start, end: end + tail, person, shared })
}

fn gap<'a>(text: &'a str, tokens: &[Token], index: usize) -> &'a str {
    &text[tokens[index].end..tokens[index + 1].start]
}

/// Whether the next word stands directly beside this one.
fn near(text: &str, tokens: &[Token], index: usize) -> bool {
    gap(text, tokens, index)
        .chars()
        .all(|c| c.is_whitespace() || matches!(c, '-' | '‐' | '‑' | '.') || c == '\u{ad}')
}

fn joined(text: &str, tokens: &[Token], marks: &[Mark], last: usize) -> bool {
    let next = last + 1;
    let word = text[tokens[next].start..tokens[next].end].to_lowercase();
    let goes_on = marks[next].touched()
        || (tokens[next].letters == 1 && tokens[next].capital)
        || (PARTICLES.contains(&word.as_str()) && !matches!(word.as_str(), "и" | "й" | "and" | "und" | "да"));
    let sentence_ends = gap(text, tokens, last).contains('.') && tokens[last].letters > 1;
    goes_on && near(text, tokens, last) && !sentence_ends
}

/// A single capital letter with a dot, directly before or after a name.
fn initial(text: &str, tokens: &[Token], index: usize) -> bool {
    tokens[index].letters == 1
        && tokens[index].capital
        && text[tokens[index].end..].starts_with('.')
        && (index + 1 >= tokens.len() || near(text, tokens, index))
}

/// The word before is the name of somebody who may be named: the run begins with it.
fn named_before(text: &str, tokens: &[Token], marks: &[Mark], first: usize) -> bool {
    let before = first - 1;
    marks[before].protected.is_empty()
        && !marks[before].named.is_empty()
        && near(text, tokens, before)
        && !gap(text, tokens, before).contains('.')
}

fn needles(person: usize, name: &str) -> Vec<Needle> {
    let parts = tokens(name);
    let alone = parts.len() == 1;
    parts
        .iter()
        .filter_map(|part| {
            let word = name[part.start..part.end].to_lowercase();
            let particle = PARTICLES.contains(&word.as_str()) && !alone;
            if particle || part.letters < 2 {
                return None;
            }
            let full = part.skeleton.clone();
            let (stems, softened) = stems(&full);
            let capital_only = part.letters <= 3 || COMMON.contains(&word.as_str());
            Some(Needle { person, full, stems, softened, cyrillic: part.cyrillic, capital_only })
        })
        .collect()
}

impl Needle {
    fn is_word(&self, token: &Token) -> bool {
        if self.capital_only && !token.capital {
            return false;
        }
        let word = token.skeleton.as_str();
        if word == self.full {
            // An, To and the like are words before they are names.
            let text = self.full.as_str();
            return token.letters > 2 || token.cyrillic || !self.cyrillic || !LATIN_WORDS.contains(&text);
        }
        let ends = |stem: &String, vowel: bool| {
            word.strip_prefix(stem.as_str()).is_some_and(|rest| {
                let length = stem.chars().count();
                let strong = length >= 3 || (token.cyrillic && length == 2 && !rest.is_empty());
                strong && ENDINGS.contains(&rest) && (!vowel || rest.starts_with(is_vowel))
            })
        };
        self.stems.iter().any(|stem| ends(stem, false)) || self.softened.iter().any(|stem| ends(stem, true))
    }
}

/// The stems of a name's part: as it is, without its last vowel, without a fleeting vowel (Павел,
/// Павла), with і turned into о or е (Сидір, Сидора); and the softened ones (Ольга, Ользе; Рита, Рыце).
fn stems(full: &str) -> (Vec<String>, Vec<String>) {
    let mut stems = vec![full.to_owned()];
    let letters: Vec<char> = full.chars().collect();
    let bare: String = match letters.last() {
        Some(last) if is_vowel(*last) && letters.len() > 2 => letters[..letters.len() - 1].iter().collect(),
        _ => full.to_owned(),
    };
    if let [front @ .., vowel, last] = letters.as_slice()
        && !is_vowel(*last)
        && !front.is_empty()
    {
        let rebuilt = |middle: &str| format!("{}{middle}{last}", front.iter().collect::<String>());
        let before = front.last().is_some_and(|c| !is_vowel(*c));
        if before && matches!(vowel, 'e' | 'o' | 'a') && front.len() + 1 >= 2 {
            stems.push(rebuilt(""));
        }
        if *vowel == 'i' {
            stems.extend([rebuilt("o"), rebuilt("e")]);
        }
    }
    // Belarusian ў is в before a vowel: Быкаў, Быкава.
    if let [front @ .., vowel, 'u'] = letters.as_slice()
        && is_vowel(*vowel)
    {
        stems.push(front.iter().chain([vowel, &'v']).collect());
    }
    let mut softened = Vec::new();
    if let Some(last) = bare.chars().last().filter(|_| bare.chars().count() >= 3) {
        let head = &bare[..bare.len() - last.len_utf8()];
        let turned: &[&str] = match last {
            'k' | 't' => &["g"],
            'g' => &["z", "s"],
            'd' => &["dz"],
            _ => &[],
        };
        softened.extend(turned.iter().map(|end| format!("{head}{end}")));
    }
    stems.push(bare);
    stems.sort();
    stems.dedup();
    (stems, softened)
}

/// What makes two spellings the same person within one publication: the same parts in any order,
/// in any of the three languages.
pub(super) fn identity(name: &str) -> String {
    let mut parts: Vec<String> =
        tokens(name).into_iter().filter(|t| t.letters > 1).map(|t| canonical(&t.skeleton)).collect();
    if parts.is_empty() {
        parts.push(skeleton(name));
    }
    parts.sort();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(names: &[&str], text: &str) -> String {
        let mut all = Names::default();
        for (index, name) in names.iter().enumerate() {
            all.protect(index, name);
        }
        cover(&all, text)
    }

    fn cover(names: &Names, text: &str) -> String {
        let mut out = String::new();
        let mut at = 0;
        for hit in names.find(text) {
            out.push_str(&text[at..hit.start]);
            out.push('#');
            at = hit.end;
        }
        out + &text[at..]
    }

    #[test]
    fn every_case_of_a_name_is_found() {
        for (name, text) in [
            ("Иван Иванов", "Ивана Иванова Ивану Иванову Иваном Ивановым Иване Иванове ИВАНОВ иванова"),
            ("Светлана Ковальчук", "Светлане Светланой Светлану Светланы Ковальчук Светлана"),
            ("Пётр Ковальчук", "Петра Петру Петром Пётр Ковальчуку Ковальчуком Ковальчука Ковальчуке"),
            ("Павел Кравец", "Павла Павлу Павлом Павле Кравца Кравцу Кравцом"),
            ("Лев Толстой", "Льва Льву Львом Льве Толстого Толстому Толстым Толстом"),
            ("Ольга Чёрная", "Ольге Ольгой Ользі Вользе Чёрной Чёрную Черная"),
            ("Мария Янукович", "Марии Марию Марией Янукович Януковичу"),
            ("Сергей Дмитриев", "Сергея Сергею Сергеем Сергее Дмитриева Дмитриевым"),
            ("Дмитрий Мицкевич", "Дмитрия Дмитрию Дмитрием Дмитрии Мицкевичем"),
            ("Юля Шевченко", "Юле Юлю Юлей Юли Шевченко Шевченка Шевченку"),
            ("Сидір Коваленко", "Сидора Сидору Сидором Коваленкові Коваленком"),
            ("Васіль Быкаў", "Васіля Васілю Васілём Быкава Быкаву Быкавым"),
            ("Анна Рыцева", "Анне Анной Анну анна Рыцевой Рыцеву"),
            ("Ян Ли", "Яна Яну Яном Ли ЛИ"),
            ("Игорь Соловей", "Игоря Игорю Игорем Соловья Соловью Соловьём"),
        ] {
            for word in text.split(' ') {
                let covered = hidden(&[name], word);
                assert!(covered == "#", "{name}: {word} became {covered}");
            }
        }
    }

    #[test]
    fn names_are_found_in_the_other_script_and_behind_tricks() {
        for (name, text) in [
            ("Иван Ковальчук", "Ivan Kovalchuk"),
            ("Ivan Kavalchuk", "Ивану Кавальчуку"),
            ("Светлана Ковальчук", "Светла\u{301}на Коваль\u{ad}чук"),
            ("Светлана Ковальчук", "С\u{200b}ветлана\u{a0}Ко\u{2060}вальчук"),
            ("Анна-Мария Петренко", "Анна‑Мария Петренко"),
            ("Наталья Д'яченко", "Наталье Дʼяченко"),
            ("Елена Королёва", "ЕЛЕНА КОРОЛЕВА"),
            ("Anna Smith", "Anna Smith's"),
            ("Иван Иванов", "И. И. Иванов"),
            ("Иван Иванов", "Иванов И.И."),
            ("Ludwig van Beethoven", "Ludwig van Beethoven"),
            ("Максим Петров", "Mаксим Петpов"),
            ("Anna Petrova", "l'Anna"),
        ] {
            assert_eq!(hidden(&[name], text), "#", "{name} in {text}");
        }
    }

    #[test]
    fn a_name_is_protected_in_the_neighbouring_languages() {
        for (name, texts) in [
            (
                "Дмитрий Зайцев",
                &["Дзмітрый Зайцаў", "Дмитра Зайцева", "Dzmitry Zajcaŭ", "Зайцавым", "Дзмітрыю"][..],
            ),
            ("Дзмітрый Зайцаў", &["Дмитрию Зайцеву", "Дмитро Зайцев", "Zaytsev"]),
            ("Лев Воробьёв", &["Леў Варабьёў", "Варабьёва"]),
            ("Олена Попова", &["Елене Поповой", "Алене Попавай"]),
            ("Уладзімір Кот", &["Владимира", "Володимиром"]),
        ] {
            for text in texts {
                assert_eq!(hidden(&[name], text), "#", "{name} in {text}");
            }
        }
        let text = "У лесу были олени и зайцы, на поле зайцаў не было.";
        assert_eq!(hidden(&["Елена Зайцева"], text), text.to_owned());
        assert_eq!(identity("Дмитрий Зайцев"), identity("Зайцаў Дзмітрый"));
    }

    #[test]
    fn other_words_stay() {
        let names = ["Иван Иванов", "Анна Ли", "Mark Will", "Ян Ко"];
        for text in [
            "Они вышли из офиса и не знали, что ли, кто там был.",
            "An officer will mark every page.",
            "Не был ли он там?",
            "В марте 2017 года задержали более 700 человек.",
        ] {
            assert_eq!(hidden(&names, text), text);
        }
    }

    #[test]
    fn a_name_that_may_stand_stands_when_it_is_whole() {
        let mut names = Names::default();
        names.protect(0, "Анна Иванова");
        names.allow(1, "Пётр Иванов");
        assert_eq!(cover(&names, "Пётр Иванов и Анна Иванова"), "Пётр Иванов и #");
        assert_eq!(cover(&names, "Иванов молчал"), "# молчал");
        assert!(names.find("Иванов молчал")[0].shared);
        assert_eq!(names.find("Иванов молчал")[0].person, None);
        assert_eq!(names.find("Анна вышла")[0].person, Some(0));
        assert_eq!(cover(&names, "Петра Иванова"), "Петра Иванова");
    }
}
