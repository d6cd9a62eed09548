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
        candidates(&self.0).into_iter().map(Self).collect()
    }

    /// How many guesses it withstands.
    pub fn judge(&self) -> Strength {
        judge(&self.0)
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
