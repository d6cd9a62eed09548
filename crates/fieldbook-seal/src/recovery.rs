//! The team's recovery secret, and splitting it over sheets of paper (`protocol/recovery.md`).
//!
//! The format is SLIP-39: 33 words a share, so that other programs can put the secret together
//! again. One group, an empty passphrase. The secret is the scalar of an age identity, an extra
//! recipient of every entry, and derives the keys of the *paper device*, which can admit a
//! coordinator when all of them have lost theirs.
//!
//! ```
//! use fieldbook_seal::recovery::{RecoverySecret, Share, combine};
//!
//! // In earnest, random bytes come from the operating system.
//! let secret = RecoverySecret::from_bytes(&[7; 32]);
//! let shares = secret.split(2, 3, |bytes| bytes.fill(9))?;
//! let typed = shares[2].words().to_uppercase();
//!
//! let again = combine(&[shares[0].clone(), Share::parse(&typed)?])?;
//! assert_eq!(again.identity().recipient(), secret.identity().recipient());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checksum;
mod cipher;
mod gf256;
mod share;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::device::DeviceSecret;
use crate::identity::ReadingIdentity;
use cipher::Setting;
use share::Set;
pub use share::{SHARE_WORDS, Share, ShareError};

/// The most shares that a secret can be split in.
pub const SHARES_MAX: usize = 16;

/// BLAKE3 context of the paper device's signing seed.
const SIGNING_CONTEXT: &str = "fieldbook 2026 recovery signing v1";
/// BLAKE3 context of its transport seed.
const TRANSPORT_CONTEXT: &str = "fieldbook 2026 recovery transport v1";

/// Where the shared value lies on the polynomials, and where its digest.
const SECRET_AT: u8 = 255;
const DIGEST_AT: u8 = 254;
/// Bytes of the digest; random ones follow.
const DIGEST_LEN: usize = 4;

/// A number of shares that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitError;

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there can be 2 to {SHARES_MAX} sheets, and from 2 to all of them can be needed to recover")
    }
}

impl std::error::Error for SplitError {}

/// Why shares do not give a secret. Shares are named by their place among those given, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CombineError {
    /// Not enough of them.
    TooFew {
        /// How many there were.
        given: usize,
        /// How many it takes; 0 when none was given, as it is not known then.
        needed: usize,
    },
    /// This one belongs to another set than the first.
    AnotherSet {
        /// Its place.
        share: usize,
    },
    /// The same sheet twice.
    Duplicate {
        /// Place of the first.
        first: usize,
        /// Place of the second.
        second: usize,
    },
    /// Each is well formed, and together they are not a secret: one of them was made up or altered.
    DoNotFit,
}

impl fmt::Display for CombineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { needed: 0, .. } => f.write_str("no sheet was given"),
            Self::TooFew { given, needed } => {
                let missing = needed.saturating_sub(*given);
                write!(f, "{needed} different sheets are needed, {missing} more than were given")
            }
            Self::AnotherSet { share } => {
                write!(f, "sheet {share} of those given belongs to another set than the first")
            }
            Self::Duplicate { first, second } => {
                write!(f, "sheets {first} and {second} of those given are the same sheet")
            }
            Self::DoNotFit => f.write_str("these sheets do not fit together: one of them was altered"),
        }
    }
}

impl std::error::Error for CombineError {}

/// The 32 bytes that the sheets give back. They wipe themselves and do not print.
pub struct RecoverySecret(Zeroizing<[u8; 32]>);

impl RecoverySecret {
    /// Takes 32 random bytes from the operating system.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Splits the secret in `shares` of which any `threshold` give it back; fewer tell nothing about
    /// it. `random` fills what it is given with fresh random bytes: whoever knows them and one share
    /// knows the secret.
    ///
    /// # Errors
    /// [`SplitError`] unless 2 ≤ threshold ≤ shares ≤ [`SHARES_MAX`].
    pub fn split(
        &self,
        threshold: usize,
        shares: usize,
        mut random: impl FnMut(&mut [u8]),
    ) -> Result<Vec<Share>, SplitError> {
        if !(2..=shares).contains(&threshold) || shares > SHARES_MAX {
            return Err(SplitError);
        }
        let mut identifier = [0; 2];
        random(&mut identifier);
        // Not extendable and exponent 0: what every implementation of the standard can read, also
        // one from before 2024. Both matter with a passphrase only.
        let setting =
            Setting { identifier: u16::from_be_bytes(identifier) & 0x7fff, extendable: false, exponent: 0 };
        let set = Set { setting, threshold: u8::try_from(threshold).map_err(|_| SplitError)? };
        let encrypted = cipher::encrypt(self.0.as_slice(), b"", setting);
        let values = split_value(&encrypted, threshold, shares, random);
        Ok((0..).zip(values).map(|(index, value)| Share { set, index, value }).collect())
    }

    /// The age identity whose scalar the secret is: stock `age` takes its text.
    pub fn identity(&self) -> ReadingIdentity {
        ReadingIdentity::from_scalar(&self.0)
    }

    /// The device that speaks with the authority of the sheets. It is certified as a coordinator when
    /// they are made, and speaks once, when they are used.
    pub fn paper_device(&self) -> DeviceSecret {
        let signing = Zeroizing::new(blake3::derive_key(SIGNING_CONTEXT, self.0.as_slice()));
        let transport = Zeroizing::new(blake3::derive_key(TRANSPORT_CONTEXT, self.0.as_slice()));
        DeviceSecret::assemble(&signing, &transport, self.identity())
    }
}

impl fmt::Debug for RecoverySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoverySecret")
    }
}

/// Puts the secret together from shares of one set, in any order. More than needed are welcome, and
/// then all must fit.
///
/// # Errors
/// [`CombineError`].
pub fn combine(shares: &[Share]) -> Result<RecoverySecret, CombineError> {
    let secret = combine_value(shares, b"")?;
    let bytes = <&[u8; 32]>::try_from(secret.as_slice()).map_err(|_| CombineError::DoNotFit)?;
    Ok(RecoverySecret::from_bytes(bytes))
}

/// The values at 0, 1, … of random polynomials through the value and its digest. `threshold` ≥ 2.
fn split_value(
    value: &[u8],
    threshold: usize,
    shares: usize,
    mut random: impl FnMut(&mut [u8]),
) -> Vec<Zeroizing<Vec<u8>>> {
    let mut values: Vec<Zeroizing<Vec<u8>>> = Vec::with_capacity(shares);
    for _ in 0..threshold - 2 {
        let mut free = Zeroizing::new(vec![0; value.len()]);
        random(&mut free);
        values.push(free);
    }
    let mut check = Zeroizing::new(vec![0; value.len()]);
    random(&mut check[DIGEST_LEN..]);
    let (digest, key) = check.split_at_mut(DIGEST_LEN);
    digest.copy_from_slice(&mac(key, value).finalize().into_bytes()[..DIGEST_LEN]);
    let rest = {
        let mut points: Vec<(u8, &[u8])> = (0..).zip(values.iter().map(|free| free.as_slice())).collect();
        points.extend([(DIGEST_AT, check.as_slice()), (SECRET_AT, value)]);
        (0..).take(shares).skip(threshold - 2).map(|x| gf256::interpolate(&points, x)).collect::<Vec<_>>()
    };
    values.extend(rest);
    values
}

fn combine_value(shares: &[Share], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, CombineError> {
    let Some(first) = shares.first() else {
        return Err(CombineError::TooFew { given: 0, needed: 0 });
    };
    for (at, share) in shares.iter().enumerate() {
        if share.set != first.set || share.value.len() != first.value.len() {
            return Err(CombineError::AnotherSet { share: at + 1 });
        }
        if let Some(same) = shares[..at].iter().position(|other| other.index == share.index) {
            return Err(CombineError::Duplicate { first: same + 1, second: at + 1 });
        }
    }
    if shares.len() < first.threshold() {
        return Err(CombineError::TooFew { given: shares.len(), needed: first.threshold() });
    }
    let points: Vec<(u8, &[u8])> = shares.iter().map(|share| (share.index, share.value.as_slice())).collect();
    let encrypted = if first.threshold() == 1 {
        // As other programs may make them: each share is the value itself, and nothing checks it.
        first.value.clone()
    } else {
        let encrypted = gf256::interpolate(&points, SECRET_AT);
        let check = gf256::interpolate(&points, DIGEST_AT);
        let (digest, key) = check.split_at(DIGEST_LEN);
        mac(key, &encrypted).verify_truncated_left(digest).map_err(|_| CombineError::DoNotFit)?;
        encrypted
    };
    Ok(cipher::decrypt(&encrypted, passphrase, first.set.setting))
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac(key: &[u8], value: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("a key of any length");
    mac.update(value);
    mac
}
