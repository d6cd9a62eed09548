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

    /// Whether one of the two could be taken for the other.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        let others = other.readings();
        self.readings().iter().any(|reading| others.iter().any(|other| *other.0 == *reading.0))
    }

    /// The text, to be sent to the process that opens the vault.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What was typed, and what the key file adds with the line feed before it.
    fn parts(&self) -> (&str, &str) {
        self.0.split_at(self.0.find('\n').unwrap_or(self.0.len()))
    }

    pub(crate) fn to_secret(&self) -> SecretString {
        SecretString::from(self.0.to_string())
    }
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
        assert!(!one.resembles(&other) && !one.resembles(&typed) && one.resembles(&one));
        let swapped = retype("zebra canoe", Board::Us, Board::Russian).unwrap();
        let swapped = Passphrase::new(swapped.to_string());
        assert!(swapped.resembles(&typed) && swapped.with_factor(b"one").resembles(&one));
        assert!(!swapped.with_factor(b"one").resembles(&other));
        for reading in swapped.with_factor(b"one").readings() {
            assert_eq!(reading.parts().1, one.parts().1);
        }
        assert_eq!(one.judge().bits(), typed.judge().bits());
    }
}
