//! The cipher of SLIP-39 between the secret and what is split: four Feistel rounds of
//! PBKDF2-HMAC-SHA256. It is there for passphrases. Recovery sheets have an empty one: then it
//! hides nothing, and is computed because the standard says so and other tools expect it.

use hmac::Hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

/// All rounds together, at exponent 0.
const ITERATIONS: u32 = 10_000;
const ROUNDS: u8 = 4;
/// The label of shares that are not extendable.
pub(super) const LABEL: &[u8] = b"shamir";
/// The label of extendable ones.
pub(super) const LABEL_EXTENDABLE: &[u8] = b"shamir_extendable";

/// What the cipher depends on beside the passphrase; printed in every share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// 15 random bits that shares of one set have in common.
    pub(super) identifier: u16,
    /// Whether another set of the same secret may follow with another identifier.
    pub(super) extendable: bool,
    /// 10,000 times two to this power iterations; 0 to 15.
    pub(super) exponent: u8,
}

impl Setting {
    pub(super) const fn label(self) -> &'static [u8] {
        if self.extendable { LABEL_EXTENDABLE } else { LABEL }
    }

    fn salt(self) -> Vec<u8> {
        if self.extendable { Vec::new() } else { [LABEL, &self.identifier.to_be_bytes()].concat() }
    }
}

/// The secret in the form that is split. `secret` has an even number of bytes.
pub(super) fn encrypt(secret: &[u8], passphrase: &[u8], setting: Setting) -> Zeroizing<Vec<u8>> {
    feistel(secret, passphrase, setting, 0..ROUNDS)
}

/// The inverse of [`encrypt`]. A wrong passphrase gives another secret; nothing can tell.
pub(super) fn decrypt(encrypted: &[u8], passphrase: &[u8], setting: Setting) -> Zeroizing<Vec<u8>> {
    feistel(encrypted, passphrase, setting, (0..ROUNDS).rev())
}

fn feistel(
    input: &[u8],
    passphrase: &[u8],
    setting: Setting,
    rounds: impl Iterator<Item = u8>,
) -> Zeroizing<Vec<u8>> {
    let (left, right) = input.split_at(input.len() / 2);
    let (mut left, mut right) = (Zeroizing::new(left.to_vec()), Zeroizing::new(right.to_vec()));
    let iterations = (ITERATIONS << setting.exponent) / u32::from(ROUNDS);
    for round in rounds {
        let key = Zeroizing::new([&[round], passphrase].concat());
        let salt = Zeroizing::new([setting.salt().as_slice(), &right].concat());
        let mut mixed = Zeroizing::new(vec![0; right.len()]);
        // Fails on a key longer than HMAC takes only; HMAC takes any.
        let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(&key, &salt, iterations, &mut mixed);
        for (byte, other) in mixed.iter_mut().zip(left.iter()) {
            *byte ^= other;
        }
        left = std::mem::replace(&mut right, mixed);
    }
    let mut output = Zeroizing::new(Vec::with_capacity(input.len()));
    output.extend_from_slice(&right);
    output.extend_from_slice(&left);
    output
}
