//! The secrets of a device: what signs its entries, speaks for it on the network, and reads what
//! is addressed to it.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Certificate, CertificateBody, DeviceKeys};
use zeroize::Zeroizing;

use crate::identity::ReadingIdentity;

const VERSION: u8 = 1;
/// Version, two seeds; the identity's text follows.
const SEEDS_END: usize = 1 + 32 + 32;

/// Stored device secrets that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretError {
    /// Written by a version that this one does not know.
    UnknownVersion,
    /// The bytes are not what [`DeviceSecret::to_bytes`] writes.
    Malformed,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownVersion => "the device's keys were written by a newer version",
            Self::Malformed => "the device's keys are damaged",
        })
    }
}

impl std::error::Error for SecretError {}

/// A device's three secrets. They wipe themselves, and printing shows the device id only.
pub struct DeviceSecret {
    signing: SigningKey,
    transport: SigningKey,
    identity: ReadingIdentity,
    keys: DeviceKeys,
}

impl DeviceSecret {
    /// A new device. The seeds are 32 random bytes each and must differ; the age identity is drawn
    /// from the operating system by the age crate.
    pub fn generate(signing_seed: [u8; 32], transport_seed: [u8; 32]) -> Self {
        let (signing, transport) = (Zeroizing::new(signing_seed), Zeroizing::new(transport_seed));
        Self::assemble(&signing, &transport, ReadingIdentity::generate())
    }

    /// A device of given seeds, which differ, and a given identity.
    pub(crate) fn assemble(signing: &[u8; 32], transport: &[u8; 32], identity: ReadingIdentity) -> Self {
        let signing = SigningKey::from_bytes(signing);
        let transport = SigningKey::from_bytes(transport);
        let keys = DeviceKeys {
            signing: signing.verifying_key().to_bytes(),
            transport: transport.verifying_key().to_bytes(),
            recipient: identity.recipient(),
        };
        Self { signing, transport, identity, keys }
    }

    /// The stored form: version (1) ‖ signing seed (32) ‖ transport seed (32) ‖ the identity's text.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let text = self.identity.to_text();
        // Sized once, so that no copy is left behind by a growing vector.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SEEDS_END + text.len()));
        bytes.push(VERSION);
        bytes.extend_from_slice(Zeroizing::new(self.signing.to_bytes()).as_slice());
        bytes.extend_from_slice(self.transport_seed().as_slice());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// Reads what [`DeviceSecret::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        let (seeds, text) = bytes.split_at_checked(SEEDS_END).ok_or(SecretError::Malformed)?;
        let (version, seeds) = seeds.split_first().ok_or(SecretError::Malformed)?;
        if *version != VERSION {
            return Err(SecretError::UnknownVersion);
        }
        let (mut signing, mut transport) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        signing.copy_from_slice(&seeds[..32]);
        transport.copy_from_slice(&seeds[32..]);
        let text = std::str::from_utf8(text).map_err(|_| SecretError::Malformed)?;
        let identity = ReadingIdentity::parse(text).map_err(|_| SecretError::Malformed)?;
        Ok(Self::assemble(&signing, &transport, identity))
    }

    /// The public keys.
    pub fn keys(&self) -> DeviceKeys {
        self.keys.clone()
    }

    /// The device's id.
    pub fn id(&self) -> DeviceId {
        self.keys.device_id()
    }

    /// The seed of the transport key: the one secret that the network process is given.
    pub fn transport_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.transport.to_bytes())
    }

    /// Signs with the device's signing key. `message` begins with a domain-separation label of its
    /// own, so that no signature can stand for another.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// Signs a certificate. Whether it stands is for those who judge it.
    pub fn issue(&self, body: CertificateBody) -> Certificate {
        let signature = self.sign(&body.signed_bytes());
        Certificate::new(body, signature)
    }

    /// Reads what is addressed to this device.
    pub const fn identity(&self) -> &ReadingIdentity {
        &self.identity
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSecret({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldbook_proto::certificate::{Authority, Role};
    use fieldbook_proto::{DeskId, TeamId};

    #[test]
    fn a_device_survives_storage_as_the_same_device() {
        let device = DeviceSecret::generate([1; 32], [2; 32]);
        let again = DeviceSecret::from_bytes(&device.to_bytes()).unwrap();
        assert_eq!(again.keys(), device.keys());
        assert_eq!(again.id(), device.id());
        assert_eq!(*again.transport_seed(), [2; 32]);
    }

    #[test]
    fn damaged_storage_is_refused() {
        let good = DeviceSecret::generate([1; 32], [2; 32]).to_bytes();
        for end in 0..good.len() {
            assert!(DeviceSecret::from_bytes(&good[..end]).is_err(), "cut at {end}");
        }
        let mut later = good.to_vec();
        later[0] = 2;
        assert_eq!(DeviceSecret::from_bytes(&later).err(), Some(SecretError::UnknownVersion));
    }

    #[test]
    fn a_founder_admits_itself() {
        let device = DeviceSecret::generate([1; 32], [2; 32]);
        let certificate = device.issue(CertificateBody {
            team: TeamId::from_bytes([3; 16]),
            keys: device.keys(),
            role: Role::Coordinator,
            desk: DeskId::from_bytes([4; 16]),
            admitted: 1,
            not_after: 2,
            issuer: device.id(),
            serial: 0,
        });
        assert!(Authority::new(certificate).is_ok());
    }
}
