//! The long code: 128 random bits and the addresses in one text of capitals and digits, for a QR code, a file or
//! a prompt. It has no scheme and no constant part: whoever sees it and does not know this page sees noise.

use std::fmt;

use zeroize::Zeroizing;

use super::{ADDRESS_MAX, ADDRESSES_MAX, CodeError, check_addresses};
use crate::codec::{DecodeError, Reader, Writer};

/// Random bytes in a long code.
pub const LONG_SECRET_LEN: usize = 16;
/// Fewest letters and digits: no code of four words has as many letters.
pub(super) const LETTERS_MIN: usize = (LONG_SECRET_LEN + 2 + CHECK_LEN) * 8 / 5;
/// Most letters and digits that are read.
const LETTERS_MAX: usize =
    (LONG_SECRET_LEN + 2 + ADDRESSES_MAX * (2 + ADDRESS_MAX) + CHECK_LEN).div_ceil(5) * 8;

const VERSION: u8 = 2;
const CHECK_LEN: usize = 4;
const SECRET_CONTEXT: &str = "fieldbook 2026 pairing long code v1";
const MASK_CONTEXT: &str = "fieldbook 2026 pairing long code mask v1";
const VEIL_CONTEXT: &str = "fieldbook 2026 pairing long code veil v1";
const CHECK_CONTEXT: &str = "fieldbook 2026 pairing long code check v1";

/// Crockford's base 32: no letter that looks like a digit, and all of them stand in the small alphabet of QR codes.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The 128 bits.
pub(super) type Secret = Zeroizing<[u8; LONG_SECRET_LEN]>;

/// What enters the key exchange.
pub(super) fn exchanged(secret: &Secret) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(SECRET_CONTEXT, secret.as_slice()))
}

/// What keys the veil.
pub(super) fn veil_key(secret: &Secret) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(VEIL_CONTEXT, secret.as_slice()))
}

/// The text of a code.
pub(super) fn write(secret: &Secret, addresses: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut writer = Writer::new();
    writer.u8(VERSION).u8(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
    for address in addresses {
        writer.u16(u16::try_from(address.len()).unwrap_or(u16::MAX)).raw(address.as_bytes());
    }
    f.write_str(&digits(&whole(secret, writer.finish())))
}

fn whole(secret: &Secret, mut body: Vec<u8>) -> Zeroizing<Vec<u8>> {
    let check = check(secret, &body);
    mask(secret, &mut body);
    Zeroizing::new([secret.as_slice(), &body, &check].concat())
}

fn digits(whole: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(whole.len() * 8 / 5 + 1));
    let (mut held, mut bits) = (0_u32, 0);
    for byte in whole {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(held >> bits));
        }
    }
    if bits > 0 {
        text.push(digit(held << (5 - bits)));
    }
    text
}

fn digit(value: u32) -> char {
    char::from(DIGITS[(value & 31) as usize])
}

/// Reads a code: letters in either case, O for 0, I and L for 1; spaces, ends of lines and hyphens anywhere.
pub(super) fn read(text: &str) -> Result<(Secret, Vec<String>), CodeError> {
    let mut whole = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut held, mut bits) = (0_u32, 0);
    for (at, letter) in letters(text).enumerate() {
        let digit = letter_value(letter).filter(|_| at < LETTERS_MAX).ok_or(CodeError::Long)?;
        held = held << 5 | digit;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            whole.push((held >> bits & 0xff) as u8);
        }
    }
    // What does not fill a byte is zero, and there is less of it than a digit.
    if bits >= 5 || held & ((1 << bits) - 1) != 0 || whole.len() < LONG_SECRET_LEN + 2 + CHECK_LEN {
        return Err(CodeError::Long);
    }
    let mut secret = Secret::default();
    let (random, rest) = whole.split_at(LONG_SECRET_LEN);
    secret.copy_from_slice(random);
    let (masked, found) = rest.split_at(rest.len() - CHECK_LEN);
    let mut body = masked.to_vec();
    mask(&secret, &mut body);
    // The check is for slips of a typing hand; the exchange itself judges the secret.
    if check(&secret, &body) != found {
        return Err(CodeError::Long);
    }
    if body[0] != VERSION {
        return Err(CodeError::Version { theirs: body[0] });
    }
    let addresses = addresses(&body[1..]).map_err(|_| CodeError::Address)?;
    check_addresses(&addresses)?;
    Ok((secret, addresses))
}

fn addresses(bytes: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = usize::from(reader.u8("addresses")?);
    if count > ADDRESSES_MAX {
        return Err(DecodeError::TooLong { field: "addresses", limit: ADDRESSES_MAX });
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let len = usize::from(reader.u16("address")?);
        let text = std::str::from_utf8(reader.raw("address", len)?);
        addresses.push(text.map_err(|_| DecodeError::Invalid { field: "address" })?.to_owned());
    }
    reader.end()?;
    Ok(addresses)
}

/// What counts in a typed code.
pub(super) fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-')
}

fn letter_value(letter: char) -> Option<u32> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    DIGITS.iter().position(|digit| char::from(*digit) == letter).and_then(|at| u32::try_from(at).ok())
}

fn mask(secret: &Secret, body: &mut [u8]) {
    let mut stream = blake3::Hasher::new_derive_key(MASK_CONTEXT).update(secret.as_slice()).finalize_xof();
    let mut pad = vec![0; body.len()];
    stream.fill(&mut pad);
    body.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
}

fn check(secret: &Secret, body: &[u8]) -> [u8; CHECK_LEN] {
    let key = Zeroizing::new(blake3::derive_key(CHECK_CONTEXT, secret.as_slice()));
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&blake3::keyed_hash(&key, body).as_bytes()[..CHECK_LEN]);
    check
}

#[cfg(test)]
mod tests {
    use super::super::Code;
    use super::*;

    #[test]
    fn another_version_and_a_body_that_is_none_are_called_so() {
        let secret = Secret::new([5; LONG_SECRET_LEN]);
        let parse = |body: &[u8]| digits(&whole(&secret, body.to_vec())).parse::<Code>();
        assert_eq!(parse(&[2, 9, 9, 9]), Err(CodeError::Version { theirs: 2 }));
        assert!(parse(&[1, 1, 0, 3, b'a', b':', b'1']).is_ok());
        for bad in [
            &[1, 1][..],
            &[1, 9],
            &[1, 0, 0],
            &[1, 1, 0, 3, b'a', b':', b'0'],
            &[1, 1, 0, 3, 0xff, b':', b'1'],
        ] {
            assert_eq!(parse(bad), Err(CodeError::Address), "{bad:?}");
        }
    }
}
