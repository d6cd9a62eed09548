//! Reading identities: the secret halves that open entries, and the check of the public halves.

use std::fmt;
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use fieldbook_proto::certificate::Recipient;
use zeroize::Zeroizing;

/// Why a recipient cannot be encrypted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientError {
    /// Its prefix is not one that this version knows; a newer version may.
    UnknownKind,
    /// The text is damaged: its checksum or length is wrong.
    Malformed,
    /// A key that has no secret (a low-order point). Encrypting to it would protect nothing.
    Worthless,
}

impl fmt::Display for RecipientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKind => "the recipient is of a kind that this version does not know",
            Self::Malformed => "the recipient is damaged: its checksum or length is wrong",
            Self::Worthless => "the recipient is not a real key: anybody could read what is encrypted to it",
        })
    }
}

impl std::error::Error for RecipientError {}

/// A recipient that age can encrypt to: one variant for each kind of key that this version knows.
pub(crate) enum AgeRecipient {
    /// `age1…` with 58 characters: X25519.
    X25519(age::x25519::Recipient),
}

impl AgeRecipient {
    pub(crate) fn parse(recipient: &Recipient) -> Result<Self, RecipientError> {
        let text = recipient.as_str();
        // Post-quantum recipients ("age1pq1…") become a second variant here. The Bech32 data of an
        // X25519 recipient holds no '1', so a second '1' marks another kind.
        match text.strip_prefix("age1") {
            Some(data) if !data.contains('1') => {
                let key = age::x25519::Recipient::from_str(text).map_err(|_| RecipientError::Malformed)?;
                if is_low_order(data).ok_or(RecipientError::Malformed)? {
                    return Err(RecipientError::Worthless);
                }
                Ok(Self::X25519(key))
            }
            _ => Err(RecipientError::UnknownKind),
        }
    }

    pub(crate) fn as_age(&self) -> &dyn age::Recipient {
        match self {
            Self::X25519(key) => key,
        }
    }

    /// The canonical text, so that two spellings of one key count as one.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::X25519(key) => key.to_string(),
        }
    }
}

/// Checks that entries can be sealed to `recipient`. Done before a device is admitted, so that no
/// later entry fails on it.
///
/// # Errors
/// [`RecipientError`].
pub fn check_recipient(recipient: &Recipient) -> Result<(), RecipientError> {
    AgeRecipient::parse(recipient).map(|_| ())
}

/// The u-coordinates of low order on Curve25519 and its twist (RFC 7748 section 6.1; the list is
/// the one of libsodium), little-endian with the ignored top bit cleared. A shared secret with one
/// of them is zero, and the age crate panics on that: such a key must not reach it.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    with_ends(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Whether the Bech32 data (after the prefix, checksum verified by age) is a low-order point.
/// None when it is not 32 bytes.
fn is_low_order(data: &str) -> Option<bool> {
    const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let digits = data.as_bytes().get(..52)?;
    let (mut key, mut at, mut bits, mut held) = ([0_u8; 32], 0, 0_u32, 0_u32);
    for digit in digits {
        let value = ALPHABET.iter().position(|c| c == digit)?;
        held = (held << 5 | u32::try_from(value).ok()?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *key.get_mut(at)? = u8::try_from(held >> bits & 0xff).ok()?;
            at += 1;
        }
    }
    key[31] &= 0x7f;
    Some(LOW_ORDER.contains(&key))
}

/// An age identity: a desk's, a report's return identity, an attachment's, the recovery identity
/// or a device's own. Wipes itself and does not print its secret.
#[derive(Clone)]
pub struct ReadingIdentity {
    inner: Secret,
}

#[derive(Clone)]
enum Secret {
    X25519(age::x25519::Identity),
}

impl ReadingIdentity {
    /// A new identity, from the operating system's randomness.
    pub fn generate() -> Self {
        Self { inner: Secret::X25519(age::x25519::Identity::generate()) }
    }

    /// The X25519 identity with this scalar, clamped by its use as RFC 7748 says.
    #[expect(clippy::expect_used, reason = "the Bech32 of 32 bytes is short enough and has a valid prefix")]
    pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Self {
        let prefix = bech32::Hrp::parse("age-secret-key-").expect("a valid prefix");
        let text = bech32::encode_upper::<bech32::Bech32>(prefix, scalar).expect("a short text");
        Self::parse(&Zeroizing::new(text)).expect("an identity's own text")
    }

    /// Takes the text form, `AGE-SECRET-KEY-1…`, as it stands in an age identity file.
    ///
    /// # Errors
    /// [`RecipientError::UnknownKind`] for another prefix, [`RecipientError::Malformed`] for a wrong
    /// checksum or length.
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        let text = text.trim();
        if !text.starts_with("AGE-SECRET-KEY-1") {
            return Err(RecipientError::UnknownKind);
        }
        age::x25519::Identity::from_str(text)
            .map(|key| Self { inner: Secret::X25519(key) })
            .map_err(|_| RecipientError::Malformed)
    }

    /// The text form, as age's own tools take it.
    pub fn to_text(&self) -> Zeroizing<String> {
        match &self.inner {
            Secret::X25519(key) => Zeroizing::new(key.to_string().expose_secret().to_owned()),
        }
    }

    /// The public half.
    #[expect(clippy::expect_used, reason = "age prints an X25519 recipient as age1 and 58 Bech32 characters")]
    pub fn recipient(&self) -> Recipient {
        match &self.inner {
            Secret::X25519(key) => {
                Recipient::parse(&key.to_public().to_string()).expect("a recipient's own text")
            }
        }
    }

    pub(crate) fn as_age(&self) -> &dyn age::Identity {
        match &self.inner {
            Secret::X25519(key) => key,
        }
    }
}

impl fmt::Debug for ReadingIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadingIdentity({})", self.recipient().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text_and_hides_it_from_debug() {
        let identity = ReadingIdentity::generate();
        let again = ReadingIdentity::parse(&identity.to_text()).unwrap();
        assert_eq!(again.recipient(), identity.recipient());
        assert!(!format!("{identity:?}").contains("SECRET"));
    }

    #[test]
    fn a_recipient_of_a_later_kind_is_named_as_such() {
        let later = Recipient::parse(&format!("age1pq1{}", "q".repeat(1_900))).unwrap();
        assert_eq!(check_recipient(&later), Err(RecipientError::UnknownKind));
        let damaged = Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap();
        assert_eq!(check_recipient(&damaged), Err(RecipientError::Malformed));
    }

    /// Writes 32 bytes as an age recipient, checksum included (BIP 173).
    fn recipient_of(key: &[u8; 32]) -> Recipient {
        const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
        let mut digits = Vec::new();
        let (mut held, mut bits) = (0_u32, 0);
        for byte in key {
            held = (held << 8 | u32::from(*byte)) & 0xffff;
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                digits.push((held >> bits & 31) as u8);
            }
        }
        digits.push((held << (5 - bits) & 31) as u8);
        let polymod = |values: &[u8]| {
            let mut checksum = 1_u32;
            for value in values {
                let top = checksum >> 25;
                checksum = (checksum & 0x1ff_ffff) << 5 ^ u32::from(*value);
                for (bit, generator) in
                    [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3].iter().enumerate()
                {
                    if top >> bit & 1 == 1 {
                        checksum ^= generator;
                    }
                }
            }
            checksum
        };
        let mut input: Vec<u8> = b"age".iter().map(|c| c >> 5).collect();
        input.push(0);
        input.extend(b"age".iter().map(|c| c & 31));
        input.extend(&digits);
        input.extend([0; 6]);
        let checksum = polymod(&input) ^ 1;
        digits.extend((0..6).map(|n| (checksum >> (5 * (5 - n)) & 31) as u8));
        let data: String = digits.iter().map(|d| char::from(ALPHABET[usize::from(*d)])).collect();
        Recipient::parse(&format!("age1{data}")).unwrap()
    }

    #[test]
    fn a_key_without_a_secret_is_refused_with_and_without_its_top_bit() {
        for key in LOW_ORDER {
            assert_eq!(check_recipient(&recipient_of(&key)), Err(RecipientError::Worthless));
            let mut top = key;
            top[31] |= 0x80;
            assert_eq!(check_recipient(&recipient_of(&top)), Err(RecipientError::Worthless));
        }
        assert_eq!(check_recipient(&recipient_of(&[9; 32])), Ok(()), "the check is not too broad");
    }
}
