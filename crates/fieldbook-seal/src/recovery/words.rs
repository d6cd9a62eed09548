//! The word list of SLIP-39: 1,024 English words that differ in their first four letters.
//!
//! `words.txt` is the list of the standard as the package `shamir-mnemonic` 0.3.0 carries it
//! (© SatoshiLabs, MIT licence).

use std::sync::OnceLock;

/// Letters that are enough to tell a word.
const PREFIX: usize = 4;

fn list() -> &'static [&'static str] {
    static LIST: OnceLock<Vec<&'static str>> = OnceLock::new();
    LIST.get_or_init(|| include_str!("words.txt").lines().collect())
}

/// The word with this number; the list is of 1,024, higher bits are ignored.
pub(super) fn word(number: u16) -> &'static str {
    list().get(usize::from(number & 0x3ff)).copied().unwrap_or_default()
}

/// The number of a word that somebody typed: in any case, whole or cut after its fourth letter or
/// later.
pub(super) fn number(typed: &str) -> Option<u16> {
    let typed = typed.to_ascii_lowercase();
    if typed.len() < PREFIX {
        return None;
    }
    // Sorted, and no word of it begins with another.
    let at = list().partition_point(|word| *word < typed.as_str());
    list().get(at).filter(|word| word.starts_with(&typed))?;
    u16::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_standards() {
        assert_eq!(list().len(), 1_024);
        assert!(list().windows(2).all(|pair| pair[0][..PREFIX] < pair[1][..PREFIX]));
        assert!(list().iter().all(|word| (PREFIX..=8).contains(&word.len())));
        assert_eq!((word(0), word(1_023)), ("academic", "zero"));
    }

    #[test]
    fn a_word_is_found_whole_or_cut_and_a_wrong_one_is_not() {
        for n in 0..1_024 {
            let whole = word(n);
            for end in PREFIX..=whole.len() {
                assert_eq!(number(&whole[..end]), Some(n));
            }
            assert_eq!(number(&whole.to_ascii_uppercase()), Some(n));
            assert_eq!(number(&whole[..3]), None);
            assert_eq!(number(&format!("{whole}x")), None);
        }
        for wrong in ["", "zzzz", "aaaa", "акадэмія", "academicacid"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
