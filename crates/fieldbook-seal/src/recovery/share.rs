//! One share: 33 words on one sheet.

use std::fmt;

use zeroize::Zeroizing;

use super::checksum;
use super::cipher::Setting;
use super::words;

/// Words of a share of a 32-byte secret.
pub const SHARE_WORDS: usize = 33;

/// Words before the value: two of identifier, flag and exponent, two of group and member numbers.
const HEAD: usize = 4;
/// The fewest words that the standard knows: a secret of 16 bytes.
const WORDS_MIN: usize = 20;
/// Characters of what somebody typed that an error repeats.
const QUOTED: usize = 24;

/// Why words are not a share. Positions count from 1, as the sheet numbers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareError {
    /// A word that is not in the list.
    UnknownWord {
        /// Its position.
        position: usize,
        /// What was typed, cut to a few letters.
        typed: String,
    },
    /// Too few words or too many.
    Length {
        /// How many there were; a share has [`SHARE_WORDS`].
        found: usize,
    },
    /// The words are all in the list, and at least one is not the one that was printed.
    Checksum {
        /// Which one it is, if it is one.
        suspect: Option<usize>,
    },
    /// The checksum holds and the content is not what the standard allows.
    Malformed,
    /// A share of a secret that was split in several groups; recovery sheets are one group.
    SeveralGroups,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownWord { position, typed } => {
                write!(f, "word {position}, \"{typed}\", is not a word of recovery sheets")
            }
            Self::Length { found } => {
                write!(f, "a sheet has {SHARE_WORDS} words, and these are {found}")
            }
            Self::Checksum { suspect: Some(position) } => {
                write!(f, "one word is not the one on the sheet, probably word {position}")
            }
            Self::Checksum { suspect: None } => {
                f.write_str("two or more words are not those on the sheet, or stand in another order")
            }
            Self::Malformed => f.write_str("these words are not a recovery sheet"),
            Self::SeveralGroups => f.write_str(
                "these words belong to a secret that was split in several groups by another program",
            ),
        }
    }
}

impl std::error::Error for ShareError {}

/// What all shares of one set have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) setting: Setting,
    /// How many shares give the secret back, 1 to 16.
    pub(super) threshold: u8,
}

/// A share of a [`RecoverySecret`](super::RecoverySecret). Wipes itself and does not print.
#[derive(Clone)]
pub struct Share {
    pub(super) set: Set,
    /// Its x coordinate, 0 to 15.
    pub(super) index: u8,
    pub(super) value: Zeroizing<Vec<u8>>,
}

impl Share {
    /// How many shares of this set give the secret back.
    pub fn threshold(&self) -> usize {
        usize::from(self.set.threshold)
    }

    /// The sheet's number in its set, from 1.
    pub fn number(&self) -> usize {
        usize::from(self.index) + 1
    }

    /// A number that the sheets of one set have in common, 0 to 32767. It is no secret and leads to
    /// nothing; people tell by it which sheets belong together.
    pub fn set_number(&self) -> u16 {
        self.set.setting.identifier
    }

    /// The words, lower case, with a space between each two.
    pub fn words(&self) -> Zeroizing<String> {
        let numbers = self.to_numbers();
        // Sized once, so that no copy is left behind by a growing text.
        let mut text = Zeroizing::new(String::with_capacity(numbers.len() * 9));
        for (at, number) in numbers.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(words::word(*number));
        }
        text
    }

    /// Takes the words as somebody typed them: in any case, whole or cut after the fourth letter,
    /// with numbers, punctuation and line breaks between them.
    ///
    /// # Errors
    /// [`ShareError`]; the first wrong word is named by its position.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        let numbers = numbers(text)?;
        if numbers.len() != SHARE_WORDS {
            return Err(ShareError::Length { found: numbers.len() });
        }
        Self::from_numbers(&numbers)
    }

    /// Reads the numbers of a share of any length that the standard allows.
    pub(super) fn from_numbers(numbers: &[u16]) -> Result<Self, ShareError> {
        if numbers.len() < WORDS_MIN {
            return Err(ShareError::Length { found: numbers.len() });
        }
        let (head, rest) = numbers.split_at(HEAD);
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|at| u32::from(head[at]));
        let front = first << 10 | second;
        let setting = Setting {
            identifier: (front >> 5 & 0x7fff) as u16,
            extendable: front >> 4 & 1 == 1,
            exponent: (front & 0xf) as u8,
        };
        if !checksum::holds(setting.label(), numbers) {
            return Err(ShareError::Checksum { suspect: suspect(numbers) });
        }
        let counts = third << 10 | fourth;
        let [group, group_threshold, groups, index, threshold] =
            [16, 12, 8, 4, 0].map(|shift| (counts >> shift & 0xf) as u8);
        if group_threshold > groups {
            return Err(ShareError::Malformed);
        }
        let value = unpack(&rest[..rest.len() - checksum::WORDS])?;
        if (group, group_threshold, groups) != (0, 0, 0) {
            return Err(ShareError::SeveralGroups);
        }
        Ok(Self { set: Set { setting, threshold: threshold + 1 }, index, value })
    }

    fn to_numbers(&self) -> Zeroizing<Vec<u16>> {
        let Setting { identifier, extendable, exponent } = self.set.setting;
        let front = u32::from(identifier) << 5 | u32::from(extendable) << 4 | u32::from(exponent);
        // One group of one: group number, threshold and count are zero.
        let counts = u32::from(self.index) << 4 | u32::from(self.set.threshold - 1);
        let value = pack(&self.value);
        let mut numbers = Zeroizing::new(Vec::with_capacity(HEAD + value.len() + checksum::WORDS));
        for half in [front, counts] {
            numbers.extend([(half >> 10 & 0x3ff) as u16, (half & 0x3ff) as u16]);
        }
        numbers.extend_from_slice(&value);
        let check = checksum::create(self.set.setting.label(), &numbers);
        numbers.extend(check);
        numbers
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} of set {})", self.number(), self.set_number())
    }
}

/// The numbers of the words of a text, in order. Whatever is not a letter stands between words.
pub(super) fn numbers(text: &str) -> Result<Zeroizing<Vec<u16>>, ShareError> {
    let mut numbers = Zeroizing::new(Vec::with_capacity(SHARE_WORDS));
    for typed in text.split(|c: char| !c.is_alphabetic()).filter(|typed| !typed.is_empty()) {
        if numbers.len() == SHARE_WORDS {
            // Somebody pasted something else, or two sheets: no need to keep all of it.
            let found = text.split(|c: char| !c.is_alphabetic()).filter(|typed| !typed.is_empty()).count();
            return Err(ShareError::Length { found });
        }
        let position = numbers.len() + 1;
        let number = words::number(typed).ok_or_else(|| ShareError::UnknownWord {
            position,
            typed: typed.chars().take(QUOTED).collect(),
        })?;
        numbers.push(number);
    }
    Ok(numbers)
}

/// Which single word, from 1, may be the wrong one. The label hangs on a bit of the second word, so
/// both are tried.
fn suspect(numbers: &[u16]) -> Option<usize> {
    use super::cipher::{LABEL, LABEL_EXTENDABLE};
    let extendable = numbers.get(1).is_some_and(|word| word >> 4 & 1 == 1);
    let (said, other) = if extendable { (LABEL_EXTENDABLE, LABEL) } else { (LABEL, LABEL_EXTENDABLE) };
    checksum::suspect(said, numbers)
        .or_else(|| checksum::suspect(other, numbers).filter(|at| *at == 1))
        .map(|at| at + 1)
}

/// Bytes as words of ten bits, zeros in front.
fn pack(value: &[u8]) -> Zeroizing<Vec<u16>> {
    let count = (value.len() * 8).div_ceil(10);
    let mut words = Zeroizing::new(Vec::with_capacity(count));
    let (mut held, mut bits) = (0_u32, count * 10 - value.len() * 8);
    for byte in value {
        held = (held << 8 | u32::from(*byte)) & 0x3_ffff;
        bits += 8;
        if bits >= 10 {
            bits -= 10;
            words.push((held >> bits & 0x3ff) as u16);
        }
    }
    words
}

/// The inverse of [`pack`]. The value has an even number of bytes and fewer than nine zeros in front.
fn unpack(words: &[u16]) -> Result<Zeroizing<Vec<u8>>, ShareError> {
    let padding = words.len() * 10 % 16;
    if padding > 8 {
        return Err(ShareError::Length { found: words.len() + HEAD + checksum::WORDS });
    }
    let mut value = Zeroizing::new(Vec::with_capacity(words.len() * 10 / 8));
    let (mut held, mut bits) = (0_u32, 0);
    for (at, word) in words.iter().enumerate() {
        if at == 0 && word >> (10 - padding) != 0 {
            return Err(ShareError::Malformed);
        }
        held = (held << 10 | u32::from(*word)) & 0x3_ffff;
        bits += if at == 0 { 10 - padding } else { 10 };
        while bits >= 8 {
            bits -= 8;
            value.push((held >> bits & 0xff) as u8);
        }
    }
    Ok(value)
}
