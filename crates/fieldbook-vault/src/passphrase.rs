//! The passphrase, as a value that does not print and wipes itself.

use std::fmt;

use age::secrecy::SecretString;
use zeroize::Zeroizing;

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

    /// Whether one of the two could be taken for the other.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        *self.0 == *other.0
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
