//! The one-time code: a secret in one of two forms, and where the inviter listens. Four words (40 bits) are for the
//! voice; the [long form](long) (128 bits) is for a QR code, a file or a prompt.

mod long;

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, Zeroizing};

pub use long::LONG_SECRET_LEN;

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
    /// A long code that is cut off or has a wrong letter.
    Long,
    /// A long code of another version.
    Version {
        /// Theirs.
        theirs: u8,
    },
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words { found } => write!(f, "a code has four words, this one has {found}"),
            Self::UnknownWord { position } => write!(f, "word {position} is not a word of a code"),
            Self::Address => {
                f.write_str("the part after @ is not a list of addresses like 192.168.1.5:40123")
            }
            Self::Long => f.write_str("the code is cut off, or a letter of it is wrong"),
            Self::Version { theirs } => {
                write!(f, "the code has version {theirs}, which this version does not know")
            }
        }
    }
}

impl std::error::Error for CodeError {}

/// A one-time code: a secret that only the two people know, and addresses, which are none. `Display` and
/// [`FromStr`] are its text, `Debug` hides the secret; it is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    secret: Secret,
    addresses: Vec<String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Words(Zeroizing<[usize; 4]>),
    Long(long::Secret),
}

impl Code {
    /// A new code of four words from eight random bytes.
    ///
    /// # Errors
    /// [`CodeError::Address`].
    pub fn new(mut random: [u8; 8], addresses: Vec<String>) -> Result<Self, CodeError> {
        check_addresses(&addresses)?;
        let mut secret = Zeroizing::new([0; 5]);
        secret.copy_from_slice(&random[..5]);
        random.zeroize();
        Ok(Self { secret: Secret::Words(Zeroizing::new(from_bits(&secret))), addresses })
    }

    /// A new long code from sixteen random bytes.
    ///
    /// # Errors
    /// [`CodeError::Address`].
    pub fn long(mut random: [u8; LONG_SECRET_LEN], addresses: Vec<String>) -> Result<Self, CodeError> {
        check_addresses(&addresses)?;
        let secret = Zeroizing::new(random);
        random.zeroize();
        Ok(Self { secret: Secret::Long(secret), addresses })
    }

    /// The four words, unless the code is a long one.
    pub fn words(&self) -> Option<[&'static str; 4]> {
        match &self.secret {
            Secret::Words(words) => Some(words.map(|at| WORDS[at])),
            Secret::Long(_) => None,
        }
    }

    /// Where the inviter listens, `host:port` each.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What keys the veil of a pairing under a long code; words are too few for one. Whoever has it can tell who
    /// knows the code, and knows nothing that helps in the exchange.
    pub fn veil_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        match &self.secret {
            Secret::Words(_) => None,
            Secret::Long(secret) => Some(long::veil_key(secret)),
        }
    }

    /// What enters the key exchange: a hash of the secret, without the addresses.
    pub(super) fn secret(&self) -> Zeroizing<[u8; 32]> {
        match &self.secret {
            Secret::Words(words) => {
                let text = Zeroizing::new(words.map(|at| WORDS[at]).join("-"));
                Zeroizing::new(blake3::derive_key(SECRET_CONTEXT, text.as_bytes()))
            }
            Secret::Long(secret) => long::exchanged(secret),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = match &self.secret {
            Secret::Words(words) => words.map(|at| WORDS[at]),
            Secret::Long(secret) => return long::write(secret, &self.addresses, f),
        };
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
    /// or more of their beginning; and a long code in any case, with spaces, ends of lines and hyphens anywhere.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let (spoken, places) = text.split_once('@').map_or((text, None), |(words, rest)| (words, Some(rest)));
        let pieces = || spoken.split(|c: char| !c.is_alphabetic()).filter(|piece| !piece.is_empty());
        if places.is_none() && long::letters(text).count() >= long::LETTERS_MIN {
            let read = long::read(text);
            // Without one digit it is more likely a sentence than a long code with a slip.
            if read != Err(CodeError::Long) || text.contains(|c: char| c.is_ascii_digit()) {
                return read.map(|(secret, addresses)| Self { secret: Secret::Long(secret), addresses });
            }
        }
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
        Ok(Self { secret: Secret::Words(words), addresses })
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
        let short: Vec<_> = code().words().unwrap().map(|word| word[..4].to_owned()).into_iter().collect();
        let by_prefix: Code = short.join(". ").parse().unwrap();
        assert_eq!(by_prefix.words(), code().words());
        assert_eq!(by_prefix.secret(), code().secret(), "addresses are no part of the secret");
    }

    #[test]
    fn what_is_not_a_code_is_refused_with_the_reason() {
        let [a, b, c, d] = code().words().unwrap();
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

    fn long() -> Code {
        Code::long([0xf7; 16], vec!["192.168.1.5:40123".into(), "[fe80::1]:9".into()]).unwrap()
    }

    #[test]
    fn a_long_code_survives_its_text_however_it_is_typed() {
        let text = long().to_string();
        assert_eq!(text.parse(), Ok(long()));
        assert!(text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()), "{text}");
        let groups: Vec<String> =
            text.as_bytes().chunks(5).map(|group| String::from_utf8_lossy(group).into()).collect();
        assert_eq!(format!(" {}\r\n", groups.join("-\n").to_lowercase()).parse(), Ok(long()));
        assert_eq!(text.replace('0', "o").replace('1', "l").parse(), Ok(long()));
        assert_eq!((long().words(), long().addresses().len()), (None, 2));
        assert_eq!(long().veil_key(), text.parse::<Code>().unwrap().veil_key());
        assert_ne!(long().veil_key().unwrap(), long().secret());
        assert_eq!(code().veil_key(), None);
        let elsewhere = Code::long([0xf7; 16], vec![]).unwrap();
        assert_eq!(elsewhere.secret(), long().secret(), "addresses are no part of the secret");
        assert_eq!(elsewhere.to_string().parse(), Ok(elsewhere));
        let far = vec![format!("{}.example:65535", "a".repeat(200)); ADDRESSES_MAX];
        let far = Code::long([1; 16], far).unwrap();
        assert_eq!(far.to_string().parse(), Ok(far));
    }

    #[test]
    fn every_slip_in_a_long_code_is_noticed() {
        let text = long().to_string();
        for at in 0..text.len() {
            for other in ["2", "Z", "U", "ж"] {
                let slip = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert!(slip == text || slip.parse::<Code>() == Err(CodeError::Long), "{slip}");
            }
            assert!(text[..at].parse::<Code>().is_err(), "{at}");
            assert!(at == 0 || text[at..].parse::<Code>().is_err(), "{at}");
        }
        assert_eq!("A".repeat(20_000).replace('A', "A1").parse::<Code>(), Err(CodeError::Long));
    }

    #[test]
    fn two_long_codes_for_one_place_have_nothing_in_common() {
        let place = vec!["192.168.1.5:40123".to_owned()];
        let [a, b] = [[1; 16], [2; 16]].map(|random| Code::long(random, place.clone()).unwrap().to_string());
        let same = a.bytes().zip(b.bytes()).filter(|(a, b)| a == b).count();
        // The seeds share six bits of eight, so their own letters may agree.
        assert!(same < a.len() / 2, "{a} {b}");
        let common = (26..a.len() - 6).find(|at| b.contains(&a[*at..at + 6]));
        assert_eq!(common, None, "{a} {b}");
    }

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", code());
        assert!(code().words().unwrap().iter().all(|word| !shown.contains(word)));
        assert!(!format!("{:?}", long()).contains("f7"));
    }
}
