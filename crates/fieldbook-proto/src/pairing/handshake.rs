//! The key exchange: SPAKE2 over the code, the transcript, and what is derived from both.

use blake3::OutputReader;
use chacha20poly1305::aead::rand_core::{CryptoRng, Error, RngCore};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::message::EXCHANGE_LEN;
use super::words::{WORDS, from_bits};
use crate::codec::{DecodeError, Writer};

const JOINER: &[u8] = b"fieldbook pairing v1 joiner";
const INVITER: &[u8] = b"fieldbook pairing v1 inviter";

const RANDOM_CONTEXT: &str = "fieldbook 2026 pairing randomness v1";
const COMMITMENT_CONTEXT: &str = "fieldbook 2026 pairing commitment v1";
const TRANSCRIPT_CONTEXT: &str = "fieldbook 2026 pairing transcript v1";
const JOINER_PROOF_CONTEXT: &str = "fieldbook 2026 pairing joiner proof v1";
const INVITER_PROOF_CONTEXT: &str = "fieldbook 2026 pairing inviter proof v1";
const TO_INVITER_CONTEXT: &str = "fieldbook 2026 pairing joiner to inviter v1";
const TO_JOINER_CONTEXT: &str = "fieldbook 2026 pairing inviter to joiner v1";
const WORDS_CONTEXT: &str = "fieldbook 2026 pairing check words v1";

/// The caller's seed, stretched: the exchange takes 64 bytes of it and the nonce 32.
struct Stretched(OutputReader);

impl Stretched {
    fn new(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_derive_key(RANDOM_CONTEXT).update(seed).finalize_xof())
    }
}

impl RngCore for Stretched {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl CryptoRng for Stretched {}

/// Which end of the exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Joiner,
    Inviter,
}

/// One side's half of the exchange, waiting for the other half.
pub(super) struct Exchange {
    spake: Spake2<Ed25519Group>,
    /// What the other side receives.
    pub(super) public: [u8; EXCHANGE_LEN],
    /// This side's share of the check words.
    pub(super) nonce: [u8; 32],
}

impl Exchange {
    pub(super) fn start(side: Side, secret: &[u8; 32], seed: &[u8; 32]) -> Self {
        let mut random = Stretched::new(seed);
        let password = Password::new(secret);
        let (joiner, inviter) = (Identity::new(JOINER), Identity::new(INVITER));
        let (spake, message) = match side {
            Side::Joiner => Spake2::start_a_with_rng(&password, &joiner, &inviter, &mut random),
            Side::Inviter => Spake2::start_b_with_rng(&password, &joiner, &inviter, &mut random),
        };
        let (mut public, mut nonce) = ([0; EXCHANGE_LEN], [0; 32]);
        // The crate documents 33 bytes; should it ever write another length, the other side's
        // check of the group element refuses the exchange.
        for (to, from) in public.iter_mut().zip(message) {
            *to = from;
        }
        random.fill_bytes(&mut nonce);
        Self { spake, public, nonce }
    }

    /// The key that both sides share exactly when both used the same code.
    pub(super) fn finish(self, theirs: &[u8; EXCHANGE_LEN]) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
        let key = self.spake.finish(theirs).map_err(|_| DecodeError::Invalid { field: "key exchange" })?;
        Ok(Zeroizing::new(key))
    }
}

/// What the joiner sends ahead of its nonce, so that neither side can choose its nonce, and with it
/// the check words, after it has seen the other's.
pub(super) fn commitment(nonce: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(COMMITMENT_CONTEXT, nonce)
}

/// The hash of everything that was said before the proofs.
pub(super) fn transcript(hello: &[u8], answer: &[u8], joiner_nonce: &[u8; 32]) -> [u8; 32] {
    let said = Writer::new().bytes(hello).bytes(answer).raw(joiner_nonce).finish();
    blake3::derive_key(TRANSCRIPT_CONTEXT, &said)
}

/// Everything derived from one exchange.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Keys {
    pub(super) joiner_proof: [u8; 32],
    pub(super) inviter_proof: [u8; 32],
    pub(super) to_inviter: [u8; 32],
    pub(super) to_joiner: [u8; 32],
    check: [u8; 5],
}

impl Keys {
    pub(super) fn derive(shared: &[u8], transcript: &[u8; 32]) -> Self {
        let material = Zeroizing::new([shared, transcript.as_slice()].concat());
        let key = |context| blake3::derive_key(context, &material);
        let proof = |context| *blake3::keyed_hash(&key(context), transcript).as_bytes();
        let words = key(WORDS_CONTEXT);
        let mut check = [0; 5];
        check.copy_from_slice(&words[..5]);
        Self {
            joiner_proof: proof(JOINER_PROOF_CONTEXT),
            inviter_proof: proof(INVITER_PROOF_CONTEXT),
            to_inviter: key(TO_INVITER_CONTEXT),
            to_joiner: key(TO_JOINER_CONTEXT),
            check,
        }
    }

    /// The words that both screens show.
    pub(super) fn check_words(&self) -> [&'static str; 4] {
        from_bits(&self.check).map(|at| WORDS[at])
    }
}

/// Compares in constant time.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(joiner: &[u8; 32], inviter: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
        let a = Exchange::start(Side::Joiner, joiner, &[1; 32]);
        let b = Exchange::start(Side::Inviter, inviter, &[2; 32]);
        let (to_b, to_a) = (a.public, b.public);
        (a.finish(&to_a).unwrap().to_vec(), b.finish(&to_b).unwrap().to_vec())
    }

    #[test]
    fn the_same_code_and_nothing_else_gives_the_same_key() {
        let (a, b) = shared(&[7; 32], &[7; 32]);
        assert_eq!(a, b);
        let (a, b) = shared(&[7; 32], &[8; 32]);
        assert_ne!(a, b);
    }

    #[test]
    fn an_exchange_reflected_to_its_sender_is_refused() {
        let a = Exchange::start(Side::Joiner, &[7; 32], &[1; 32]);
        let own = a.public;
        assert!(a.finish(&own).is_err());
    }

    #[test]
    fn another_seed_makes_another_exchange() {
        let a = Exchange::start(Side::Joiner, &[7; 32], &[1; 32]);
        let b = Exchange::start(Side::Joiner, &[7; 32], &[2; 32]);
        assert_ne!(a.public, b.public);
        assert_ne!(a.nonce, b.nonce);
    }
}
