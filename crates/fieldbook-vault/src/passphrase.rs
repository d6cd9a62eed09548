//! The passphrase, as a value that does not print and wipes itself; how one is made, judged and read again.
//!
//! `words` picks one by chance, `strength` says how many guesses one withstands (with `dictionary` and `patterns`), `layout`
//! reads the same keys under other keyboard layouts. None of them touches a disk or keeps anything.

use std::fmt;

use age::secrecy::SecretString;
use zeroize::Zeroizing;

mod dictionary;
mod layout;
mod patterns;
mod strength;
mod words;

pub use layout::{Board, MAX_CANDIDATES, candidates, retype, tidied};
pub use strength::{ENOUGH_BITS, Reason, Strength, judge};
pub use words::{LIST_LEN, Language, MAX_WORDS, MIN_WORDS, WORDS, generate};

/// BLAKE3's context for a key file.
const FACTOR: &str = "fieldbook 2026 second factor";

/// Two passphrases of one vault differ by more letters than this.
const SLIPS: usize = 3;

/// What a person types to open a vault.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the text as typed.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether nothing was typed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This, and what its owner may have meant: see [`candidates`]. The first is always what was typed.
    pub fn readings(&self) -> Vec<Self> {
        let (typed, factor) = self.parts();
        let joined = |typed: Zeroizing<String>| {
            let mut text = Zeroizing::new(String::with_capacity(typed.len() + factor.len()));
            text.push_str(&typed);
            text.push_str(factor);
            Self(text)
        };
        candidates(typed).into_iter().map(joined).collect()
    }

    /// How many guesses what was typed withstands.
    pub fn judge(&self) -> Strength {
        judge(self.parts().0)
    }

    /// This with the bytes of a key file, which are needed from then on: see `protocol/vault.md`.
    #[must_use]
    pub fn with_factor(&self, key_file: &[u8]) -> Self {
        let digest = Zeroizing::new(blake3::derive_key(FACTOR, key_file));
        let hex = Zeroizing::new(fieldbook_proto::encode_hex(&*digest));
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() + 1 + hex.len()));
        text.push_str(&self.0);
        text.push('\n');
        text.push_str(&hex);
        Self(text)
    }

    /// Whether a slip of the finger, another keyboard layout, or letters of another size could make one of the two out of
    /// the other.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        let folded = |of: &Self| -> Vec<Zeroizing<Vec<char>>> {
            of.readings().iter().map(|reading| fold(reading.parts().0)).collect()
        };
        let others = folded(other);
        folded(self).iter().any(|one| others.iter().any(|other| distance(one, other) <= SLIPS))
    }

    /// What was typed with capitals for small letters and the other way round; what a key file adds stays.
    pub(crate) fn other_case(&self) -> Self {
        let (typed, factor) = self.parts();
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 2));
        for letter in typed.chars() {
            if letter.is_uppercase() {
                text.extend(letter.to_lowercase());
            } else {
                text.extend(letter.to_uppercase());
            }
        }
        text.push_str(factor);
        Self(text)
    }

    /// The text, to be sent to the process that opens the vault.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What the key file adds; empty without one.
    pub(crate) fn factor(&self) -> &str {
        self.parts().1
    }

    /// What was typed, and what the key file adds with the line feed before it.
    fn parts(&self) -> (&str, &str) {
        self.0.split_at(self.0.find('\n').unwrap_or(self.0.len()))
    }

    pub(crate) fn to_secret(&self) -> SecretString {
        SecretString::from(self.0.to_string())
    }
}

/// Letters without their size, spaces, and the dots of ё.
fn fold(text: &str) -> Zeroizing<Vec<char>> {
    let mut folded = Zeroizing::new(Vec::with_capacity(text.len() * 2));
    let small = text.chars().filter(|letter| !letter.is_whitespace()).flat_map(char::to_lowercase);
    folded.extend(small.map(|letter| if letter == 'ё' { 'е' } else { letter }));
    folded
}

/// How many letters must be put in, left out or changed to make one text of the other (Levenshtein's distance).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Zeroizing<Vec<usize>> = Zeroizing::new((0..=other.len()).collect());
    for (n, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, against) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != against);
            diagonal = row[m + 1];
            row[m + 1] = changed.min(diagonal + 1).min(row[m] + 1);
        }
    }
    row[other.len()]
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_a_part_of_the_passphrase_whatever_the_layout() {
        let typed = Passphrase::new("zebra canoe".into());
        let (one, other) = (typed.with_factor(b"one"), typed.with_factor(b"other"));
        assert_ne!(one.as_bytes(), other.as_bytes());
        assert!(one.resembles(&typed), "a key file does not make two of them");
        let swapped = retype("zebra canoe", Board::Us, Board::Russian).unwrap();
        let swapped = Passphrase::new(swapped.to_string());
        for slip in ["Zebra Canoe", "zebracanoe", "zebra cance", "ZEBRA  CANOE"] {
            assert!(typed.resembles(&Passphrase::new(slip.into())), "{slip}");
        }
        assert!(!typed.resembles(&Passphrase::new("zebra lantern".into())));
        assert_eq!(typed.other_case().as_bytes(), b"ZEBRA CANOE");
        assert_eq!(distance(&['a', 'b'], &['b', 'c', 'd']), 3);
        assert!(swapped.resembles(&typed) && swapped.with_factor(b"one").resembles(&one));
        for reading in swapped.with_factor(b"one").readings() {
            assert_eq!(reading.parts().1, one.parts().1);
        }
        assert_eq!(one.judge().bits(), typed.judge().bits());
    }
}
