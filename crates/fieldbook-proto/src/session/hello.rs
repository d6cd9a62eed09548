//! The hello: the first bytes of each side, sealed to the team and to this one connection.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use zeroize::Zeroizing;

use super::Side;
use super::limits::{EPOCHS_MAX, POSITION_MAX};
use crate::DepotId;
use crate::certificate::Certificate;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::CERTIFICATE_MAX;

/// The plaintext is padded to a multiple of this, so that its length tells nothing of what is inside.
pub const HELLO_STEP: usize = 320;
/// Version, features, depot, known, head, certificate.
const FIXED: usize = 1 + 4 + DepotId::LEN + 8 + 8 + 4;
const STEPS_MAX: usize = (FIXED + CERTIFICATE_MAX).div_ceil(HELLO_STEP);
const TAG: usize = 16;
/// The length in two bytes.
pub(super) const PREFIX_LEN: usize = 2;

/// A transport secret of the team: proof of membership in the first message, never sent.
#[derive(Clone)]
pub struct TransportSecret {
    /// Which one. Rises with every removal of a device.
    pub epoch: u32,
    secret: Zeroizing<[u8; 32]>,
}

impl TransportSecret {
    /// Takes the secret of an epoch.
    pub fn new(epoch: u32, secret: [u8; 32]) -> Self {
        Self { epoch, secret: Zeroizing::new(secret) }
    }

    /// Reads the stored form of a device's secrets: count (4), then of each the epoch (4) and the
    /// secret (32), newest first. Two may be of one epoch: two removals at once make two.
    ///
    /// # Errors
    /// Truncated, more than [`EPOCHS_MAX`], or followed by something.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut secrets = Vec::with_capacity(EPOCHS_MAX);
        for _ in 0..reader.count("transport secrets", EPOCHS_MAX)? {
            secrets.push(Self::new(reader.u32("epoch")?, reader.array("transport secret")?));
        }
        reader.end()?;
        Ok(secrets)
    }

    /// One key for each direction of each connection: the nonce can be constant.
    fn cipher(&self, side: Side, binding: &[u8; 32]) -> ChaCha20Poly1305 {
        let context = match side {
            Side::Client => "fieldbook 2026 hello v1 client",
            Side::Server => "fieldbook 2026 hello v1 server",
        };
        self.derived_cipher(context, binding)
    }

    /// A cipher whose key comes from the secret and `material`, which makes it a key for one use.
    pub(crate) fn derived_cipher(&self, context: &str, material: &[u8; 32]) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(Key::from_slice(&*self.derive(context, material)))
    }

    /// A key that comes from the secret and `material`, for what `context` names.
    pub fn derive(&self, context: &str, material: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&*self.secret).update(material);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for TransportSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportSecret(epoch {})", self.epoch)
    }
}

/// What a side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Highest version of the session that it speaks; it speaks all lower ones too.
    pub version: u8,
    /// Optional parts of the protocol that it can use, one bit each, see [`super::limits::FEATURES`]. Bits that a
    /// side does not know it ignores.
    pub features: u32,
    /// Its depot.
    pub depot: DepotId,
    /// How many ids it knows.
    pub known: u64,
    /// The last position of its arrival order.
    pub head: u64,
    /// Its certificate, to be judged.
    pub certificate: Certificate,
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(self.version).u32(self.features).raw(self.depot.as_bytes()).u64(self.known).u64(self.head);
        let mut plain = writer.bytes(&self.certificate.encode()).finish();
        plain.resize(plain.len().next_multiple_of(HELLO_STEP), 0);
        plain
    }

    fn decode(plain: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(plain);
        let version = reader.u8("version")?;
        if version == 0 {
            return Err(DecodeError::Invalid { field: "version" });
        }
        let hello = Self {
            version,
            features: reader.u32("features")?,
            depot: DepotId::from_bytes(reader.array("depot")?),
            known: reader.u64("known")?,
            head: reader.u64("head")?,
            certificate: Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?,
        };
        if hello.head > POSITION_MAX {
            return Err(DecodeError::Invalid { field: "head" });
        }
        let padding = reader.rest();
        if padding.len() >= HELLO_STEP || padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Invalid { field: "padding" });
        }
        Ok(hello)
    }

    /// Seals the hello of `side`: its length in two bytes, then the box.
    pub fn seal(&self, secret: &TransportSecret, side: Side, binding: &[u8; 32]) -> Vec<u8> {
        let plain = self.encode();
        // The certificate's limit keeps the length below 65,536.
        let prefix = u16::try_from(plain.len() + TAG).unwrap_or(u16::MAX).to_be_bytes();
        let payload = Payload { msg: &plain, aad: &prefix };
        // Encryption fails only for messages of 256 GiB.
        let boxed = secret.cipher(side, binding).encrypt(&Nonce::default(), payload).unwrap_or_default();
        [&prefix[..], &boxed].concat()
    }

    /// The length of the box that a prefix announces, `None` if no hello has it.
    pub(super) fn boxed_len(prefix: [u8; PREFIX_LEN]) -> Option<usize> {
        let len = usize::from(u16::from_be_bytes(prefix));
        let plain = len.checked_sub(TAG)?;
        let steps = plain / HELLO_STEP;
        (plain % HELLO_STEP == 0 && (1..=STEPS_MAX).contains(&steps)).then_some(len)
    }

    /// Opens what the other side sealed: the prefix and the box. Tells which of `secrets` (at most
    /// [`EPOCHS_MAX`] are tried) opened it.
    ///
    /// # Errors
    /// `None` in the place of a hello: it is not for this team, or not for this connection, or not a hello.
    pub fn open(
        sealed: &[u8],
        secrets: &[TransportSecret],
        side: Side,
        binding: &[u8; 32],
    ) -> Option<(usize, Self)> {
        let (prefix, boxed) = sealed.split_first_chunk::<PREFIX_LEN>()?;
        if Self::boxed_len(*prefix)? != boxed.len() {
            return None;
        }
        secrets.iter().take(EPOCHS_MAX).enumerate().find_map(|(at, secret)| {
            let payload = Payload { msg: boxed, aad: prefix };
            let plain = secret.cipher(side, binding).decrypt(&Nonce::default(), payload).ok()?;
            Some((at, Self::decode(&plain).ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn only_the_team_on_this_connection_and_in_this_direction_opens_a_hello() {
        let team = testing::Team::new(1);
        let hello = testing::hello(&team, 2);
        let (old, new) = (TransportSecret::new(1, [1; 32]), TransportSecret::new(2, [2; 32]));
        let binding = [9; 32];
        let sealed = hello.seal(&old, Side::Client, &binding);
        let open = |secrets: &[TransportSecret], side, binding: [u8; 32]| {
            Hello::open(&sealed, secrets, side, &binding)
        };
        assert_eq!(open(&[new.clone(), old.clone()], Side::Client, binding), Some((1, hello)));
        assert_eq!(open(std::slice::from_ref(&new), Side::Client, binding), None);
        assert_eq!(open(std::slice::from_ref(&old), Side::Server, binding), None);
        assert_eq!(open(std::slice::from_ref(&old), Side::Client, [8; 32]), None);
        // Another of the same epoch is tried too: two removals at once make two.
        let twin = TransportSecret::new(1, [3; 32]);
        assert!(open(&[twin, old.clone()], Side::Client, binding).is_some_and(|(at, _)| at == 1));
        let after =
            |count| (0..count).map(|_| new.clone()).chain([old.clone()]).collect::<Vec<TransportSecret>>();
        assert!(
            open(&after(EPOCHS_MAX - 1), Side::Client, binding).is_some(),
            "the last of those that count"
        );
        assert_eq!(open(&after(EPOCHS_MAX), Side::Client, binding), None);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(
                Hello::open(&bad, std::slice::from_ref(&old), Side::Client, &binding),
                None,
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_hello_has_the_size_of_a_step() {
        let team = testing::Team::new(1);
        let sealed = testing::hello(&team, 2).seal(&TransportSecret::new(1, [1; 32]), Side::Server, &[0; 32]);
        assert_eq!(sealed.len(), PREFIX_LEN + HELLO_STEP + TAG);
        for len in [0, 1, 15, 16, 335, 337, 65_535_u16] {
            assert_eq!(Hello::boxed_len(len.to_be_bytes()), None, "{len}");
        }
        assert_eq!(Hello::boxed_len(336_u16.to_be_bytes()), Some(336));
    }

    #[test]
    fn stored_secrets_are_read_and_nothing_else() {
        let stored = |secrets: &[(u32, u8)]| {
            let mut writer = Writer::new();
            writer.u32(u32::try_from(secrets.len()).unwrap());
            for (epoch, secret) in secrets {
                writer.u32(*epoch).raw(&[*secret; 32]);
            }
            writer.finish()
        };
        let bytes = stored(&[(7, 7), (7, 9), (6, 6)]);
        let secrets = TransportSecret::decode_list(&bytes).unwrap();
        let read: Vec<_> = secrets.iter().map(|s| (s.epoch, s.secret[0])).collect();
        assert_eq!(read, [(7, 7), (7, 9), (6, 6)]);
        assert_eq!(TransportSecret::decode_list(&stored(&[(1, 1); EPOCHS_MAX])).unwrap().len(), EPOCHS_MAX);
        assert!(TransportSecret::decode_list(&stored(&[(1, 1); EPOCHS_MAX + 1])).is_err());
        assert!(TransportSecret::decode_list(&bytes[..bytes.len() - 1]).is_err());
        assert!(TransportSecret::decode_list(&[bytes, vec![0]].concat()).is_err());
    }
}
