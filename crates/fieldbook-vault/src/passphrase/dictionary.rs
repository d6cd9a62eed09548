//! What a guesser tries first: known words and passwords, and how letters follow one another in words that are not known.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::layout::lower;
use super::words::{LIST_LEN, Language};

/// Known words, sayings and the habits of letters. Made once, at the first judgement; holds nothing secret.
pub(super) static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(Dictionary::new);

/// The longest text that is looked up as one word.
pub(super) const LONGEST_WORD: usize = 20;

/// What a known word is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A word of one of our lists.
    Listed,
    /// A little word that holds a sentence together.
    Little,
    /// A notorious password, a name or a place.
    Notorious,
}

/// A known word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// What it costs a guesser.
    pub bits: f64,
    pub kind: Kind,
}

pub(super) struct Dictionary {
    known: HashMap<String, Known>,
    /// Words without their last one or two letters, which change with case, number and person.
    stems: HashMap<String, f64>,
    /// Sayings without their spaces, and what one costs.
    sayings: Vec<(String, f64)>,
    latin: Habits,
    cyrillic: Habits,
    spellings: [Spelling; 2],
}

impl Dictionary {
    fn new() -> Self {
        let mut made = Self {
            known: HashMap::new(),
            stems: HashMap::new(),
            sayings: Vec::new(),
            latin: Habits::of(LATIN),
            cyrillic: Habits::of(CYRILLIC),
            spellings: [spelling(OFFICE), spelling(STREET)],
        };
        made.read_common(include_str!("common.txt"));
        let bits = (LIST_LEN as f64).log2();
        for word in Language::ALL.into_iter().flat_map(Language::words) {
            made.learn(word, Known { bits, kind: Kind::Listed });
        }
        made.latin.finish();
        made.cyrillic.finish();
        made
    }

    /// Lines of words under headings `= bits`; a line with a heading of ten bits and more is a saying.
    fn read_common(&mut self, text: &str) {
        let mut bits = 0.0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(number) = line.strip_prefix("= ") {
                bits = number.parse().unwrap_or(bits);
            } else if bits >= SAYING_BITS {
                let letters: String =
                    line.chars().filter(|letter| !letter.is_whitespace()).map(folded).collect();
                let latin = self.spellings.iter().filter_map(|spelling| transliterated(&letters, spelling));
                self.sayings.extend(latin.map(|latin| (latin, bits)));
                self.sayings.push((letters, bits));
            } else {
                let kind = if bits == LITTLE_BITS { Kind::Little } else { Kind::Notorious };
                for word in line.split_whitespace() {
                    self.learn(word, Known { bits, kind });
                }
            }
        }
    }

    fn learn(&mut self, word: &str, known: Known) {
        let word: String = word.chars().map(folded).collect();
        let spelt: Vec<String> =
            self.spellings.iter().filter_map(|spelling| transliterated(&word, spelling)).collect();
        for latin in spelt {
            self.latin.count(&latin);
            self.add(latin, Known { bits: known.bits + 1.0, ..known });
        }
        self.latin.count(&word);
        self.cyrillic.count(&word);
        let ends: Vec<usize> = word.char_indices().map(|(end, _)| end).skip(SHORTEST_STEM).collect();
        for stem in ends.iter().rev().take(2).filter_map(|end| word.get(..*end)).chain([word.as_str()]) {
            let held = self.stems.entry(stem.to_owned()).or_insert(known.bits);
            *held = held.min(known.bits);
        }
        self.add(word, known);
    }

    /// The cheapest meaning of a word is what counts.
    fn add(&mut self, word: String, known: Known) {
        let held = self.known.entry(word).or_insert(known);
        if known.bits < held.bits {
            *held = known;
        }
    }

    /// `word`, which must be [`folded`].
    pub(super) fn find(&self, word: &str) -> Option<Known> {
        self.known.get(word).copied()
    }

    /// What `word`, which must be [`folded`], costs as another form of a known word.
    pub(super) fn form(&self, word: &str) -> Option<f64> {
        let ends: Vec<usize> = word.char_indices().map(|(end, _)| end).skip(SHORTEST_STEM).collect();
        let whole = (word.chars().count() >= SHORTEST_STEM).then_some(word);
        let stems = ends.iter().rev().take(3).filter_map(|end| word.get(..*end)).chain(whole);
        stems
            .filter_map(|stem| self.stems.get(stem))
            .copied()
            .min_by(f64::total_cmp)
            .map(|bits| bits + FORM_BITS)
    }

    /// The longest saying in `letters`, which must be [`folded`] and without spaces: its letters and its cost.
    pub(super) fn saying_in(&self, letters: &str) -> Option<(usize, f64)> {
        let within = self.sayings.iter().filter(|(saying, _)| letters.contains(saying.as_str()));
        within.map(|(saying, bits)| (saying.chars().count(), *bits)).max_by_key(|(letters, _)| *letters)
    }

    /// How surprising `next` is after `before` (`None`: at the beginning of a word), in bits; `None` if the two are not
    /// letters of one alphabet.
    pub(super) fn surprise(&self, before: Option<char>, next: char) -> Option<f64> {
        self.latin.surprise(before, next).or_else(|| self.cyrillic.surprise(before, next))
    }
}

/// A stem has as many letters at least.
const SHORTEST_STEM: usize = 4;

/// Which form of a word it is.
const FORM_BITS: f64 = 3.0;

/// The heading of little words.
const LITTLE_BITS: f64 = 5.0;

/// From here on a line is a saying, not a row of words.
const SAYING_BITS: f64 = 10.0;

const LATIN: &str = "abcdefghijklmnopqrstuvwxyz";
const CYRILLIC: &str = "абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґў";

/// A letter as it is looked up: small, and `ё` as `е`.
pub(super) fn folded(letter: char) -> char {
    match lower(letter) {
        'ё' => 'е',
        other => other,
    }
}

/// How often which letter follows which, in the words of one alphabet.
struct Habits {
    order: Vec<char>,
    /// Counts, and after `finish` bits. Row and column 0 are the edge of a word.
    table: Vec<Vec<f64>>,
}

impl Habits {
    fn of(alphabet: &str) -> Self {
        let order: Vec<char> = alphabet.chars().collect();
        // A little for what was never seen, so that it is surprising and not impossible.
        let table = vec![vec![0.5; order.len() + 1]; order.len() + 1];
        Self { order, table }
    }

    fn index(&self, letter: char) -> Option<usize> {
        self.order.iter().position(|held| *held == letter).map(|at| at + 1)
    }

    fn count(&mut self, word: &str) {
        let Some(indices) = word.chars().map(|letter| self.index(letter)).collect::<Option<Vec<_>>>() else {
            return;
        };
        let mut before = 0;
        for index in indices {
            self.table[before][index] += 1.0;
            before = index;
        }
    }

    fn finish(&mut self) {
        for row in &mut self.table {
            let all: f64 = row.iter().skip(1).sum();
            for count in row.iter_mut() {
                *count = (all / *count).log2();
            }
        }
    }

    fn surprise(&self, before: Option<char>, next: char) -> Option<f64> {
        let row = match before {
            Some(letter) => self.index(letter)?,
            None => 0,
        };
        Some(self.table[row][self.index(next)?])
    }
}

/// Cyrillic letters, each with its Latin spelling, as in passports.
const OFFICE: &str = "аa бb вv гg дd еe жzh зz иi йy кk лl мm нn оo пp рr сs тt уu фf хkh цts чch шsh щshch ъ ыy ь эe \
                      юyu яya іi їyi єye ґg ўu";

/// As in messages.
const STREET: &str = "аa бb вv гh дd еe жj зz иy йj кk лl мm нn оo пp рr сs тt уu фf хh цc чch шsh щsch ъ ыi ь эe \
                      юju яja іi їji єje ґg ўw";

type Spelling = HashMap<char, &'static str>;

fn spelling(table: &'static str) -> Spelling {
    let pairs = table.split_whitespace().filter_map(|pair| {
        let letter = pair.chars().next()?;
        Some((letter, pair.get(letter.len_utf8()..)?))
    });
    pairs.collect()
}

/// `word` in Latin letters; `None` if it is not wholly Cyrillic.
fn transliterated(word: &str, spelling: &Spelling) -> Option<String> {
    word.chars().map(|letter| spelling.get(&letter).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_both_alphabets_and_at_their_cheapest() {
        let bits = |word| DICTIONARY.find(word).map(|known| known.bits);
        assert_eq!(bits("пароль"), Some(3.0));
        assert_eq!(bits("parol"), Some(4.0));
        assert_eq!(bits("natasha"), Some(8.0));
        assert_eq!(bits("zhuravl"), Some(12.0));
        assert_eq!(bits("журавль"), Some(11.0));
        assert_eq!(bits("theorem"), None);
        assert_eq!(DICTIONARY.find("минск").unwrap().kind, Kind::Notorious);
        assert_eq!(DICTIONARY.find("что").unwrap().kind, Kind::Little);
    }

    #[test]
    fn forms_of_known_words_are_known() {
        assert_eq!(DICTIONARY.form("гомеле"), Some(10.0));
        assert_eq!(DICTIONARY.form("минском"), Some(10.0));
        assert_eq!(DICTIONARY.form("radiators"), None);
        assert_eq!(DICTIONARY.form("журавлями"), Some(14.0));
        assert_eq!(DICTIONARY.form("кот"), None);
    }

    #[test]
    fn sayings_are_found_inside_a_text() {
        let found = |text| DICTIONARY.saying_in(text);
        assert_eq!(found("correcthorsebatterystaple").map(|(letters, _)| letters), Some(25));
        assert_eq!(found("1мамамылараму1").map(|(letters, _)| letters), Some(12));
        assert_eq!(found("mamamylaramu").map(|(letters, _)| letters), Some(12));
        assert_eq!(found("somethingelse"), None);
    }

    #[test]
    fn rare_pairs_of_letters_surprise_more_than_common_ones() {
        let surprise = |before, next| DICTIONARY.surprise(before, next).unwrap();
        assert!(surprise(Some('s'), 't') + 3.0 < surprise(Some('x'), 'k'));
        assert!(surprise(Some('с'), 'т') + 3.0 < surprise(Some('ж'), 'щ'));
        assert_eq!(DICTIONARY.surprise(Some('s'), 'т'), None);
        assert_eq!(DICTIONARY.surprise(None, '1'), None);
    }

    #[test]
    fn no_word_is_longer_than_what_is_looked_up() {
        let longest = DICTIONARY.known.keys().map(|word| word.chars().count()).max().unwrap();
        assert!(longest <= LONGEST_WORD, "{longest}");
        assert!(DICTIONARY.known.keys().all(|word| word.chars().all(|letter| folded(letter) == letter)));
    }
}
