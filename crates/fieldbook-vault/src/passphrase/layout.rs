//! The same keys under other keyboard layouts, and the few other readings of a passphrase that a person meant otherwise.
//!
//! Whoever writes in two alphabets types a passphrase in the wrong one now and then, and sees nothing of it. So a try that
//! does not open is read again as the same keys under the other layouts. What was typed always comes first and byte for
//! byte: no other reading replaces it, and a vault whose passphrase has two spaces in it stays open to its owner.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// How many readings [`candidates`] gives at most, with what was typed. Each costs the one who waits a second of scrypt.
pub const MAX_CANDIDATES: usize = 6;

/// Nobody types more than this by hand; a longer text is read as it stands and in no other way.
const MAX_TYPED: usize = 1024;

/// A keyboard layout, as on the PC keyboards of its country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// QWERTY of the United States.
    Us,
    /// Russian ЙЦУКЕН.
    Russian,
    /// Ukrainian ЙЦУКЕН.
    Ukrainian,
    /// Belarusian ЙЦУКЕН.
    Belarusian,
}

/// Which reading is tried in which order: the wrong layout is most often the Latin one.
const READINGS: [(Board, Board); 12] = [
    (Board::Us, Board::Russian),
    (Board::Us, Board::Ukrainian),
    (Board::Us, Board::Belarusian),
    (Board::Russian, Board::Us),
    (Board::Ukrainian, Board::Us),
    (Board::Belarusian, Board::Us),
    (Board::Russian, Board::Ukrainian),
    (Board::Russian, Board::Belarusian),
    (Board::Ukrainian, Board::Belarusian),
    (Board::Belarusian, Board::Ukrainian),
    (Board::Ukrainian, Board::Russian),
    (Board::Belarusian, Board::Russian),
];

impl Board {
    /// Every layout that is known.
    pub const ALL: [Self; 4] = [Self::Us, Self::Russian, Self::Ukrainian, Self::Belarusian];

    /// What each of the 47 keys gives, row by row from the upper left, without Shift and then with it.
    pub(super) const fn keys(self) -> &'static str {
        match self {
            Self::Us => concat!(
                "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./",
                "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"ZXCVBNM<>?"
            ),
            Self::Russian => concat!(
                "ё1234567890-=йцукенгшщзхъ\\фывапролджэячсмитьбю.",
                "Ё!\"№;%:?*()_+ЙЦУКЕНГШЩЗХЪ/ФЫВАПРОЛДЖЭЯЧСМИТЬБЮ,"
            ),
            Self::Ukrainian => concat!(
                "'1234567890-=йцукенгшщзхїґфівапролджєячсмитьбю.",
                "ʼ!\"№;%:?*()_+ЙЦУКЕНГШЩЗХЇҐФІВАПРОЛДЖЄЯЧСМИТЬБЮ,"
            ),
            // The key of the apostrophe gives it with Shift too.
            Self::Belarusian => concat!(
                "ё1234567890-=йцукенгшўзх'\\фывапролджэячсмітьбю.",
                "Ё!\"№;%:?*()_+ЙЦУКЕНГШЎЗХ'/ФЫВАПРОЛДЖЭЯЧСМІТЬБЮ,"
            ),
        }
    }

    /// Which key gives `letter` here: 0..47 without Shift, 47..94 with it.
    pub(super) fn key_of(self, letter: char) -> Option<usize> {
        self.keys().chars().position(|key| key == letter)
    }

    /// What the key that gives `letter` here gives under `other`.
    pub(super) fn under(self, letter: char, other: Self) -> Option<char> {
        other.keys().chars().nth(self.key_of(letter)?)
    }
}

/// The keys that gave `text` under `from`, read under `to`. `None` if `text` cannot have been typed under `from`.
pub fn retype(text: &str, from: Board, to: Board) -> Option<Zeroizing<String>> {
    // Four bytes for each letter, so that the text never moves and leaves a copy behind.
    let mut read = Zeroizing::new(String::with_capacity(text.len() * 4));
    for letter in text.chars() {
        read.push(if letter.is_whitespace() { letter } else { from.under(letter, to)? });
    }
    Some(read)
}

/// `text` as it is written down: letters composed (NFC), no space at the ends, one between words. A *new* passphrase is
/// best kept in this form.
pub fn tidied(text: &str) -> Zeroizing<String> {
    // Composition may lengthen a text in UTF-8, though never more than threefold.
    let mut tidy = Zeroizing::new(String::with_capacity(text.len() * 3 + 3));
    let mut gap = false;
    for letter in text.nfc() {
        if letter.is_whitespace() {
            gap = true;
            continue;
        }
        if gap && !tidy.is_empty() {
            tidy.push(' ');
        }
        gap = false;
        tidy.push(letter);
    }
    tidy
}

/// What the one who typed `text` may have meant, likeliest first, without doubles, [`MAX_CANDIDATES`] at most.
///
/// The first is always `text` itself. Then: spaces and composed letters put right; `ё` written `е`, as in our word lists;
/// Caps Lock undone if most letters are capitals; the same keys under the other layouts.
pub fn candidates(text: &str) -> Vec<Zeroizing<String>> {
    let mut found = vec![Zeroizing::new(text.to_owned())];
    if text.len() > MAX_TYPED {
        return found;
    }
    let tidy = tidied(text);
    add(&mut found, &tidy);
    if tidy.contains(['ё', 'Ё']) {
        add(&mut found, &without_dots(&tidy));
    }
    let keys = if mostly_capitals(&tidy) {
        let swapped = swap_case(&tidy);
        add(&mut found, &swapped);
        swapped
    } else {
        tidy
    };
    for (from, to) in READINGS {
        if let Some(read) = retype(&keys, from, to) {
            add(&mut found, &read);
        }
    }
    found
}

fn add(found: &mut Vec<Zeroizing<String>>, text: &Zeroizing<String>) {
    if found.len() < MAX_CANDIDATES && !text.is_empty() && !found.contains(text) {
        found.push(text.clone());
    }
}

fn without_dots(text: &str) -> Zeroizing<String> {
    mapped(text, |letter| match letter {
        'ё' => 'е',
        'Ё' => 'Е',
        other => other,
    })
}

/// More capitals than small letters: somebody shouts, or Caps Lock is on.
fn mostly_capitals(text: &str) -> bool {
    let capitals = text.chars().filter(|letter| letter.is_uppercase()).count();
    capitals > text.chars().filter(|letter| letter.is_lowercase()).count()
}

fn swap_case(text: &str) -> Zeroizing<String> {
    mapped(text, |letter| if letter.is_uppercase() { lower(letter) } else { upper(letter) })
}

fn mapped(text: &str, map: impl Fn(char) -> char) -> Zeroizing<String> {
    let mut read = Zeroizing::new(String::with_capacity(text.len() * 4));
    text.chars().for_each(|letter| read.push(map(letter)));
    read
}

/// The small letter of `letter`, if that is one letter.
pub(super) fn lower(letter: char) -> char {
    one(letter.to_lowercase(), letter)
}

fn upper(letter: char) -> char {
    one(letter.to_uppercase(), letter)
}

fn one(mut letters: impl Iterator<Item = char>, otherwise: char) -> char {
    match (letters.next(), letters.next()) {
        (Some(only), None) => only,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::passphrase::words::Language;

    fn read(text: &str) -> Vec<String> {
        candidates(text).iter().map(|read| read.to_string()).collect()
    }

    #[test]
    fn every_layout_has_all_keys_and_none_twice_but_the_apostrophe() {
        for board in Board::ALL {
            let keys: Vec<char> = board.keys().chars().collect();
            assert_eq!(keys.len(), 94, "{board:?}");
            for (at, key) in keys.iter().enumerate() {
                let first = board.key_of(*key).unwrap();
                assert!(first == at || (board == Board::Belarusian && *key == '\''), "{board:?} {key}");
            }
        }
    }

    #[test]
    fn well_known_words_under_other_layouts() {
        let retyped = |text, from, to| retype(text, from, to).map(|text| text.to_string());
        assert_eq!(retyped("gfhjkm123", Board::Us, Board::Russian).unwrap(), "пароль123");
        assert_eq!(retyped("Ghbdtn!", Board::Us, Board::Russian).unwrap(), "Привет!");
        assert_eq!(retyped("руддщ", Board::Russian, Board::Us).unwrap(), "hello");
        assert_eq!(retyped("rj[fyyz", Board::Us, Board::Ukrainian).unwrap(), "кохання");
        assert_eq!(retyped("cjytqrf", Board::Us, Board::Belarusian).unwrap(), "сонейка");
        assert_eq!(retyped("djrf", Board::Us, Board::Belarusian).unwrap(), "вока");
        assert_eq!(retyped("зьвкф", Board::Belarusian, Board::Us).unwrap(), "pmdra");
        assert_eq!(retyped("привет", Board::Us, Board::Russian), None);
        assert_eq!(retyped("日本", Board::Us, Board::Russian), None);
    }

    #[test]
    fn what_was_typed_comes_first_and_unchanged() {
        for text in ["  two  spaces ", "и\u{306}од", "ПАРОЛЬ", "", "日本", "\u{0}"] {
            assert_eq!(read(text)[0], text);
        }
        assert_eq!(read("日本"), ["日本"]);
        assert_eq!(read(&"a".repeat(2000)).len(), 1);
    }

    #[test]
    fn a_passphrase_in_the_wrong_layout_is_among_the_readings() {
        for meant in ["apple river stone", "ель жираф объем", "їжак кавун ґава", "вожык дождж ёлка ўзор"]
        {
            let boards = Board::ALL.into_iter().filter(|board| retype(meant, *board, *board).is_some());
            for own in boards.collect::<Vec<_>>() {
                for wrong in Board::ALL {
                    let typed = retype(meant, own, wrong).unwrap();
                    assert!(read(&typed).contains(&meant.to_owned()), "{meant} under {wrong:?}: {typed:?}");
                }
            }
        }
    }

    #[test]
    fn caps_lock_spaces_and_dots_are_put_right() {
        assert!(read("APPLE RIVER").contains(&"apple river".to_owned()));
        assert!(read("fPPLE").len() > 1 && read("fPPLE").contains(&"Fpple".to_owned()));
        assert!(!read("Apple River").contains(&"aPPLE rIVER".to_owned()));
        assert!(read(" apple   river\n").contains(&"apple river".to_owned()));
        assert!(read("и\u{306}од").contains(&"йод".to_owned()));
        assert!(read("утёнок").contains(&"утенок".to_owned()));
        // Caps Lock and the wrong layout at once.
        assert!(read("GFHJKM [JHJIJ").contains(&"пароль хорошо".to_owned()));
    }

    #[test]
    fn every_word_of_a_list_can_be_typed_under_the_layout_of_its_language() {
        for language in Language::ALL {
            for word in language.words() {
                assert!(retype(word, language.board(), Board::Us).is_some(), "{word}");
            }
        }
    }

    proptest! {
        #[test]
        fn reading_there_and_back_gives_the_same_text(
            keys in proptest::collection::vec(0_usize..94, 0..40), own in 0_usize..4, other in 0_usize..4,
        ) {
            let (own, other) = (Board::ALL[own], Board::ALL[other]);
            let text: String = keys.iter().map(|key| own.keys().chars().nth(*key).unwrap()).collect();
            // One key of the Belarusian layout gives the apostrophe twice, so that alone has no way back.
            prop_assume!(own == Board::Belarusian && !text.contains('\'') || own != Board::Belarusian);
            let there = retype(&text, own, other).unwrap();
            prop_assume!(other != Board::Belarusian || !there.contains('\''));
            let back = retype(&there, other, own).unwrap();
            prop_assert_eq!(back.as_str(), text.as_str());
        }

        #[test]
        fn readings_of_anything_are_few_and_distinct(text in any::<String>()) {
            let found = read(&text);
            prop_assert!(found.len() <= MAX_CANDIDATES);
            prop_assert_eq!(&found[0], &text);
            for (at, one) in found.iter().enumerate() {
                prop_assert!(!found[..at].contains(one));
            }
        }

        #[test]
        fn a_tidy_text_stays_as_it_is(text in any::<String>()) {
            let tidy = tidied(&text);
            let again = tidied(&tidy);
            prop_assert_eq!(again, tidy);
        }
    }
}
