//! Membership: a coordinator's signature over a device's keys, role, desk and times, and over the
//! removal of a device. See `protocol/certificate.md`.
//!
//! A verifier needs the coordinators' certificates and the removals, never a list of members: see
//! [`Authority`].

mod authority;
mod removal;
mod verdict;

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{CERTIFICATE_MAX, RECIPIENT_MAX};
use crate::{DeskId, DeviceId, TeamId};

pub use authority::{Author, Authority, CertifiedDevice};
pub use removal::{Act, Removal, RemovalHash};
pub use verdict::Rank;

/// The first of a device has no serial number; every later one has.
const VERSION_FIRST: u8 = 1;
const VERSION_LATER: u8 = 2;
const SIGNATURE_LABEL: &[u8] = b"fieldbook certificate v1\0";
const DEVICE_ID_CONTEXT: &str = "fieldbook 2026 device id v1";

/// What a device may do in its team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Receives, reads, checks, admits and removes.
    Coordinator,
    /// Writes reports for its desk.
    Monitor,
    /// Carries entries it cannot read.
    Relay,
}

impl Role {
    const fn code(self) -> u8 {
        match self {
            Self::Coordinator => 1,
            Self::Monitor => 2,
            Self::Relay => 3,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            1 => Ok(Self::Coordinator),
            2 => Ok(Self::Monitor),
            3 => Ok(Self::Relay),
            _ => Err(DecodeError::Invalid { field: "role" }),
        }
    }

    /// The word used in commands and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Monitor => "monitor",
            Self::Relay => "relay",
        }
    }
}

/// An age recipient in its text form (`age1…`): what others encrypt to.
/// Only its shape is checked here; the sealing crate decides whether it can encrypt to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(String);

impl Recipient {
    /// Takes the text form.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] unless it is `age1` and lowercase letters or digits,
    /// [`DecodeError::TooLong`] beyond [`RECIPIENT_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let field = "recipient";
        if text.len() > RECIPIENT_MAX {
            return Err(DecodeError::TooLong { field, limit: RECIPIENT_MAX });
        }
        let shaped = text.starts_with("age1")
            && text.len() > 40
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if shaped { Ok(Self(text.to_owned())) } else { Err(DecodeError::Invalid { field }) }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The public keys of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKeys {
    /// Ed25519: signs entries and, for coordinators, certificates.
    pub signing: [u8; 32],
    /// Ed25519: the TLS raw public key (RFC 7250). Apart from `signing`, so that the network
    /// process, which runs while the vault is locked, holds no key that can write an entry.
    pub transport: [u8; 32],
    /// Receives what is addressed to this device alone.
    pub recipient: Recipient,
}

impl DeviceKeys {
    /// The device's id: BLAKE3 in key-derivation mode over the encoded keys.
    pub fn device_id(&self) -> DeviceId {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        DeviceId::from_bytes(blake3::derive_key(DEVICE_ID_CONTEXT, &writer.finish()))
    }

    /// Appends the keys.
    pub fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.signing).raw(&self.transport).bytes(self.recipient.as_str().as_bytes());
    }

    /// Reads keys.
    ///
    /// # Errors
    /// Truncated, or a malformed recipient.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            signing: reader.array("signing key")?,
            transport: reader.array("transport key")?,
            recipient: Recipient::parse(reader.text("recipient", RECIPIENT_MAX)?)?,
        })
    }
}

/// What a certificate says, before it is signed. Times are seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateBody {
    /// The team.
    pub team: TeamId,
    /// The device's keys; its id follows from them.
    pub keys: DeviceKeys,
    /// Its role.
    pub role: Role,
    /// The desk it reports to or reads for.
    pub desk: DeskId,
    /// When it was admitted. Decides which of two coordinators who remove each other stands.
    pub admitted: u64,
    /// Last second of validity.
    pub not_after: u64,
    /// The coordinator who signs. The founder's certificate is signed by itself.
    pub issuer: DeviceId,
    /// Of two certificates of one device the one with the higher number counts: 0 for the first,
    /// one more for each renewal or change of role. No clock is asked.
    pub serial: u32,
}

impl CertificateBody {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let version = if self.serial == 0 { VERSION_FIRST } else { VERSION_LATER };
        writer.u8(version).raw(self.team.as_bytes());
        self.keys.encode(&mut writer);
        writer
            .u8(self.role.code())
            .raw(self.desk.as_bytes())
            .u64(self.admitted)
            .u64(self.not_after)
            .raw(self.issuer.as_bytes());
        if self.serial > 0 {
            writer.u32(self.serial);
        }
        writer.finish()
    }

    /// The bytes that the issuer signs: a domain-separation label and the encoded body.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [SIGNATURE_LABEL, &self.encode()].concat()
    }
}

/// A certificate as it travels: well formed, but not yet judged. See [`Authority::judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    body: CertificateBody,
    signature: [u8; 64],
}

impl Certificate {
    /// Joins a body and the issuer's signature over [`CertificateBody::signed_bytes`].
    pub const fn new(body: CertificateBody, signature: [u8; 64]) -> Self {
        Self { body, signature }
    }

    /// What it claims.
    pub const fn body(&self) -> &CertificateBody {
        &self.body
    }

    /// The id of the device it speaks of.
    pub fn device_id(&self) -> DeviceId {
        self.body.keys.device_id()
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        [self.body.encode().as_slice(), &self.signature].concat()
    }

    /// Reads a whole certificate.
    ///
    /// # Errors
    /// Anything but one well-formed certificate of at most [`CERTIFICATE_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > CERTIFICATE_MAX {
            return Err(DecodeError::TooLong { field: "certificate", limit: CERTIFICATE_MAX });
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8("certificate version")?;
        if version != VERSION_FIRST && version != VERSION_LATER {
            return Err(DecodeError::Invalid { field: "certificate version" });
        }
        let mut body = CertificateBody {
            team: TeamId::from_bytes(reader.array("team")?),
            keys: DeviceKeys::decode(&mut reader)?,
            role: Role::from_code(reader.u8("role")?)?,
            desk: DeskId::from_bytes(reader.array("desk")?),
            admitted: reader.u64("admitted")?,
            not_after: reader.u64("not after")?,
            issuer: DeviceId::from_bytes(reader.array("issuer")?),
            serial: 0,
        };
        if version == VERSION_LATER {
            body.serial = reader.u32("serial")?;
            // One encoding for each certificate: number 0 is written as version 1.
            if body.serial == 0 {
                return Err(DecodeError::Invalid { field: "serial" });
            }
        }
        let signature = reader.array("signature")?;
        reader.end()?;
        Ok(Self { body, signature })
    }

    fn signed_by(&self, key: &[u8; 32]) -> bool {
        verify(key, &self.body.signed_bytes(), &self.signature)
    }
}

/// Checks an Ed25519 signature strictly (RFC 8032, no small-order keys).
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

/// Why a certificate does not admit its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateError {
    /// It belongs to another team.
    WrongTeam,
    /// Its issuer is not a coordinator we know.
    UnknownIssuer,
    /// The signature does not match: forged or altered.
    BadSignature,
    /// The device was removed from the team.
    Revoked,
    /// The coordinator who signed it was removed, and nobody who stands has vouched for the device.
    IssuerRemoved,
    /// The entry was written after its author was removed, or nobody can tell that it was before.
    AfterRemoval,
    /// The team has as many coordinators, certificates or removals as an [`Authority`] can name.
    TooMany,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongTeam => "the certificate belongs to another team",
            Self::UnknownIssuer => {
                "the certificate was signed by somebody who is not a coordinator of this team"
            }
            Self::BadSignature => "the certificate's signature does not match: it was forged or altered",
            Self::Revoked => "the device was removed from the team",
            Self::IssuerRemoved => {
                "the coordinator who signed the certificate was removed from the team, and no other \
                 coordinator has signed a new one yet"
            }
            Self::AfterRemoval => "it was written after its author was removed from the team",
            Self::TooMany => "the team has as many coordinators or removals as it may have",
        })
    }
}

impl std::error::Error for CertificateError {}

#[cfg(test)]
mod tests;
