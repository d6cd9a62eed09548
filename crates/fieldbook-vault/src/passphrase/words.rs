//! Four lists of 2,048 words, and passphrases picked from them by chance.
//!
//! The lists are our own: common words that are easy to spell and to type, that offend nobody, and that are harmless to be
//! found with. Sorted by code point, one a line. In English, Russian, Ukrainian and Belarusian no word begins another, and
//! no two differ in their last letter alone. Russian has `е` for `ё`; no list has an apostrophe; Ukrainian has no `ґ`,
//! which some keyboards hide.

use std::sync::LazyLock;

use zeroize::Zeroizing;

use super::layout::Board;

/// How many words a list has: a power of two, so that eleven random bits pick one and none is likelier than another.
pub const LIST_LEN: usize = 2048;

/// How many words a generated passphrase has unless its owner wants more: 66 bits.
pub const WORDS: usize = 6;

/// The fewest words that [`generate`] gives: 55 bits, more than [`super::strength::ENOUGH_BITS`].
pub const MIN_WORDS: usize = 5;

/// The most words that [`generate`] gives: more than 256 bits.
pub const MAX_WORDS: usize = 24;

/// No word is longer in UTF-8.
const WORD_BYTES: usize = 18;

/// A language that has a word list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Russian.
    Russian,
    /// Ukrainian.
    Ukrainian,
    /// Belarusian.
    Belarusian,
}

static LISTS: LazyLock<[Vec<&'static str>; 4]> = LazyLock::new(|| {
    [
        include_str!("english.txt"),
        include_str!("russian.txt"),
        include_str!("ukrainian.txt"),
        include_str!("belarusian.txt"),
    ]
    .map(|list| list.lines().collect())
});

impl Language {
    /// Every language that has a list.
    pub const ALL: [Self; 4] = [Self::English, Self::Russian, Self::Ukrainian, Self::Belarusian];

    /// Its two letters in ISO 639-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
            Self::Ukrainian => "uk",
            Self::Belarusian => "be",
        }
    }

    /// The language of a code such as `be`, or of a locale such as `be_BY.UTF-8`.
    pub fn from_code(code: &str) -> Option<Self> {
        let letters = code.split(['_', '-', '.', '@']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| letters.eq_ignore_ascii_case(language.code()))
    }

    /// Its list, [`LIST_LEN`] words.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::English => &LISTS[0],
            Self::Russian => &LISTS[1],
            Self::Ukrainian => &LISTS[2],
            Self::Belarusian => &LISTS[3],
        }
    }

    /// The keyboard layout on which its words are typed.
    pub const fn board(self) -> Board {
        match self {
            Self::English => Board::Us,
            Self::Russian => Board::Russian,
            Self::Ukrainian => Board::Ukrainian,
            Self::Belarusian => Board::Belarusian,
        }
    }
}

/// A passphrase of `words` words of one list, each picked by eleven bits of `random`, with one space between them.
///
/// `random` fills what it is given, or fails, and then so does this. `words` is kept between [`MIN_WORDS`] and
/// [`MAX_WORDS`].
///
/// # Errors
/// What `random` says.
pub fn generate<E>(
    language: Language,
    words: usize,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Zeroizing<String>, E> {
    let words = words.clamp(MIN_WORDS, MAX_WORDS);
    let list = language.words();
    // Room for all from the start: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(words * (WORD_BYTES + 1)));
    for at in 0..words {
        let mut bits = Zeroizing::new([0_u8; 2]);
        random(bits.as_mut_slice())?;
        let index = usize::from(u16::from_le_bytes(*bits)) % LIST_LEN;
        if at > 0 {
            text.push(' ');
        }
        // A test holds every list to its length, so the index is always within it.
        text.push_str(list.get(index).copied().unwrap_or_default());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use super::*;

    fn alphabet(language: Language) -> &'static str {
        match language {
            Language::English => "abcdefghijklmnopqrstuvwxyz",
            Language::Russian => "абвгдежзийклмнопрстуфхцчшщъыьэюя",
            Language::Ukrainian => "абвгдеєжзиіїйклмнопрстуфхцчшщьюя",
            Language::Belarusian => "абвгдеёжзійклмнопрстуўфхцчшыьэюя",
        }
    }

    #[test]
    fn every_list_is_whole_sorted_and_in_its_alphabet() {
        for language in Language::ALL {
            let list = language.words();
            assert_eq!(list.len(), LIST_LEN, "{language:?}");
            for pair in list.windows(2) {
                assert!(pair[0] < pair[1], "{language:?}: {} is not before {}", pair[0], pair[1]);
                assert!(!pair[1].starts_with(pair[0]), "{language:?}: {} begins {}", pair[0], pair[1]);
            }
            for word in list {
                assert!((3..=9).contains(&word.chars().count()), "{word}");
                assert!(word.len() <= WORD_BYTES, "{word}");
                assert!(word.chars().all(|letter| alphabet(language).contains(letter)), "{word}");
            }
        }
    }

    #[test]
    fn no_two_words_of_a_list_differ_in_the_last_letter_alone() {
        for language in Language::ALL {
            let mut stems = BTreeSet::new();
            for word in language.words() {
                let (last, _) = word.char_indices().next_back().unwrap();
                assert!(stems.insert(&word[..last]), "{word}");
            }
        }
    }

    /// Counts through all pairs of bytes.
    fn counting() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
        let mut next = 0_u16;
        move |bytes: &mut [u8]| {
            bytes.copy_from_slice(&next.to_le_bytes());
            next = next.wrapping_add(1);
            Ok(())
        }
    }

    #[test]
    fn every_word_is_given_equally_often() {
        for language in Language::ALL {
            let mut random = counting();
            let mut counts = std::collections::BTreeMap::new();
            // 65,536 draws of two bytes each: as many passphrases of eight words as use each value once.
            for _ in 0..65_536 / 8 {
                let text = generate(language, 8, &mut random).unwrap();
                assert_eq!(text.split(' ').count(), 8);
                for word in text.split(' ') {
                    *counts.entry(word.to_owned()).or_insert(0) += 1;
                }
            }
            assert_eq!(counts.len(), LIST_LEN);
            assert!(counts.values().all(|count| *count == 65_536 / LIST_LEN), "{language:?}");
            assert!(counts.keys().all(|word| language.words().contains(&word.as_str())));
        }
    }

    #[test]
    fn the_first_and_the_last_word_are_reached() {
        let list = Language::Belarusian.words();
        for (byte, word) in [(0x00, list[0]), (0xff, list[LIST_LEN - 1])] {
            let mut random = |bytes: &mut [u8]| {
                bytes.fill(byte);
                Ok::<(), Infallible>(())
            };
            let text = generate(Language::Belarusian, WORDS, &mut random).unwrap();
            assert_eq!(*text, [word; WORDS].join(" "));
        }
    }

    #[test]
    fn a_failing_source_of_random_bytes_fails_and_the_number_of_words_is_bounded() {
        let mut left = 3;
        let mut random = |bytes: &mut [u8]| {
            left -= 1;
            bytes.fill(7);
            if left == 0 { Err("dry") } else { Ok(()) }
        };
        assert_eq!(generate(Language::English, WORDS, &mut random), Err("dry"));
        let count = |words| generate(Language::English, words, &mut counting()).unwrap().split(' ').count();
        assert_eq!((count(0), count(6), count(usize::MAX)), (MIN_WORDS, 6, MAX_WORDS));
    }

    #[test]
    fn the_text_never_outgrows_the_room_made_for_it() {
        for language in Language::ALL {
            let text = generate(language, MAX_WORDS, &mut counting()).unwrap();
            assert!(text.capacity() >= text.len());
            assert_eq!(text.capacity(), MAX_WORDS * (WORD_BYTES + 1));
        }
    }

    #[test]
    fn a_locale_names_its_language() {
        assert_eq!(Language::from_code("be_BY.UTF-8"), Some(Language::Belarusian));
        assert_eq!(Language::from_code("UK"), Some(Language::Ukrainian));
        assert_eq!(Language::from_code("ru-RU"), Some(Language::Russian));
        assert_eq!(Language::from_code("C.UTF-8"), None);
        assert_eq!(Language::from_code(""), None);
    }
}
