//! The one-time code: four words, and where the inviter listens.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, Zeroizing};

use super::words::{WORDS, find, from_bits};
use super::{ADDRESS_MAX, ADDRESSES_MAX};

const SECRET_CONTEXT: &str = "fieldbook 2026 pairing code v1";

/// Text that is not a code. The text itself is left out: it may be nearly right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeError {
    /// There are not exactly four words.
    Words {
        /// How many there are.
        found: usize,
    },
    /// A word is not on the list.
    UnknownWord {
        /// Which one, from 1.
        position: usize,
    },
    /// An address is not `host:port`, or there are more than [`ADDRESSES_MAX`].
    Address,
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words { found } => write!(f, "a code has four words, this one has {found}"),
            Self::UnknownWord { position } => write!(f, "word {position} is not a word of a code"),
            Self::Address => {
                f.write_str("the part after @ is not a list of addresses like 192.168.1.5:40123")
            }
        }
    }
}

impl std::error::Error for CodeError {}

/// A one-time code: four words (40 bits) that only the two people know, and addresses, which are no
/// secret. `Display` and [`FromStr`] are its text, `Debug` hides the words; they are wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    words: Zeroizing<[usize; 4]>,
    addresses: Vec<String>,
}

impl Code {
    /// A new code from eight random bytes.
    ///
    /// # Errors
    /// [`CodeError::Address`].
    pub fn new(mut random: [u8; 8], addresses: Vec<String>) -> Result<Self, CodeError> {
        check_addresses(&addresses)?;
        let mut secret = Zeroizing::new([0; 5]);
        secret.copy_from_slice(&random[..5]);
        random.zeroize();
        Ok(Self { words: Zeroizing::new(from_bits(&secret)), addresses })
    }

    /// The four words.
    pub fn words(&self) -> [&'static str; 4] {
        self.words.map(|at| WORDS[at])
    }

    /// Where the inviter listens, `host:port` each.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The same words with other addresses.
    ///
    /// # Errors
    /// [`CodeError::Address`].
    pub fn with_addresses(&self, addresses: Vec<String>) -> Result<Self, CodeError> {
        check_addresses(&addresses)?;
        Ok(Self { words: self.words.clone(), addresses })
    }

    /// What enters the key exchange: a hash of the words, canonically written, without the addresses.
    pub(super) fn secret(&self) -> Zeroizing<[u8; 32]> {
        let text = Zeroizing::new(self.words().join("-"));
        Zeroizing::new(blake3::derive_key(SECRET_CONTEXT, text.as_bytes()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.words();
        write!(f, "{a}-{b}-{c}-{d}")?;
        for (at, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl FromStr for Code {
    type Err = CodeError;

    /// Takes words in any case, with any separators that are not letters, whole or by four letters
    /// or more of their beginning.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let (spoken, places) = text.split_once('@').map_or((text, None), |(words, rest)| (words, Some(rest)));
        let pieces = || spoken.split(|c: char| !c.is_alphabetic()).filter(|piece| !piece.is_empty());
        let found = pieces().count();
        let mut words = Zeroizing::new([0; 4]);
        if found != words.len() {
            return Err(CodeError::Words { found });
        }
        for (position, (word, piece)) in words.iter_mut().zip(pieces()).enumerate() {
            *word = find(piece).ok_or(CodeError::UnknownWord { position: position + 1 })?;
        }
        let addresses = match places {
            Some(list) => list.split(',').map(|address| address.trim().to_ascii_lowercase()).collect(),
            None => Vec::new(),
        };
        check_addresses(&addresses)?;
        Ok(Self { words, addresses })
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), CodeError> {
    let all_shaped = addresses.iter().all(|address| is_address(address));
    if all_shaped && addresses.len() <= ADDRESSES_MAX { Ok(()) } else { Err(CodeError::Address) }
}

/// Whether the text is `host:port` with a port from 1, the host a name, an IPv4 address or an IPv6
/// address in brackets. Only its shape: whoever dials resolves it.
pub(super) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.' || c == b'_';
    let host_shaped = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')),
        None => !host.is_empty() && host.bytes().all(name),
    };
    let port_shaped =
        port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    text.len() <= ADDRESS_MAX && host_shaped && port_shaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        Code::new([0, 1, 2, 3, 4, 0, 0, 0], vec!["192.168.1.5:40123".into(), "[fe80::1]:9".into()]).unwrap()
    }

    #[test]
    fn a_code_survives_its_text_however_it_is_typed() {
        let text = code().to_string();
        assert_eq!(text.parse(), Ok(code()));
        assert_eq!(text.replace('-', "  ").to_uppercase().replace('@', " @ ").parse(), Ok(code()));
        let short: Vec<_> = code().words().iter().map(|word| &word[..4]).collect();
        let by_prefix: Code = short.join(". ").parse().unwrap();
        assert_eq!(by_prefix.words(), code().words());
        assert_eq!(by_prefix.secret(), code().secret(), "addresses are no part of the secret");
    }

    #[test]
    fn what_is_not_a_code_is_refused_with_the_reason() {
        let [a, b, c, d] = code().words();
        assert_eq!("".parse::<Code>(), Err(CodeError::Words { found: 0 }));
        assert_eq!(format!("{a}-{b}-{c}").parse::<Code>(), Err(CodeError::Words { found: 3 }));
        assert_eq!(format!("{a}-{b}-{c}-{d}-{a}").parse::<Code>(), Err(CodeError::Words { found: 5 }));
        assert_eq!(format!("{a}-xyzzy-{c}-{d}").parse::<Code>(), Err(CodeError::UnknownWord { position: 2 }));
        assert_eq!(format!("{a}-{b}-{c}-жук").parse::<Code>(), Err(CodeError::UnknownWord { position: 4 }));
        for bad in ["", "host", "host:", "host:0", "host:65536", "host:+1", ":1", "a b:1", "[::1:1", "[]:1"] {
            let text = format!("{a}-{b}-{c}-{d}@{bad}");
            assert_eq!(text.parse::<Code>(), Err(CodeError::Address), "{bad}");
        }
    }

    #[test]
    fn debug_hides_the_words() {
        let shown = format!("{:?}", code());
        assert!(code().words().iter().all(|word| !shown.contains(word)));
    }
}
