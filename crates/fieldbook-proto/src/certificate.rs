//! Membership: a coordinator's signature over a device's keys, role, desk and times.
//! See `protocol/certificate.md`.
//!
//! A verifier needs the coordinators' certificates and the list of revoked ids, never a list of
//! members: see [`Authority`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{CERTIFICATE_MAX, COORDINATORS_MAX, RECIPIENT_MAX, REVOKED_MAX};
use crate::{DeskId, DeviceId, TeamId};

const VERSION: u8 = 1;
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
}

impl CertificateBody {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION).raw(self.team.as_bytes());
        self.keys.encode(&mut writer);
        writer
            .u8(self.role.code())
            .raw(self.desk.as_bytes())
            .u64(self.admitted)
            .u64(self.not_after)
            .raw(self.issuer.as_bytes());
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
        if reader.u8("certificate version")? != VERSION {
            return Err(DecodeError::Invalid { field: "certificate version" });
        }
        let body = CertificateBody {
            team: TeamId::from_bytes(reader.array("team")?),
            keys: DeviceKeys::decode(&mut reader)?,
            role: Role::from_code(reader.u8("role")?)?,
            desk: DeskId::from_bytes(reader.array("desk")?),
            admitted: reader.u64("admitted")?,
            not_after: reader.u64("not after")?,
            issuer: DeviceId::from_bytes(reader.array("issuer")?),
        };
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
    /// The team has as many coordinators as an [`Authority`] can name.
    TooManyCoordinators,
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
            Self::TooManyCoordinators => "the team has as many coordinators as it may have",
        })
    }
}

impl std::error::Error for CertificateError {}

/// A device whose certificate was judged: only [`Authority::judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedDevice {
    id: DeviceId,
    body: CertificateBody,
    expired: bool,
}

impl CertifiedDevice {
    /// The device.
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// What its certificate says.
    pub const fn body(&self) -> &CertificateBody {
        &self.body
    }

    /// Whether the certificate has run out: such a device may deliver entries and fetch its
    /// renewal, and nothing else.
    pub const fn expired(&self) -> bool {
        self.expired
    }
}

/// Whom a device of the team believes: the coordinators' certificates and the revoked ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    team: TeamId,
    coordinators: BTreeMap<DeviceId, Certificate>,
    revoked: BTreeSet<DeviceId>,
}

impl Authority {
    /// Begins with the founder's certificate, which the device received when it was paired
    /// (or made itself). The founder's certificate is signed by its own key.
    ///
    /// # Errors
    /// [`CertificateError`] when it is not a self-signed coordinator's certificate.
    pub fn new(founder: Certificate) -> Result<Self, CertificateError> {
        let id = founder.device_id();
        if founder.body.role != Role::Coordinator || founder.body.issuer != id {
            return Err(CertificateError::UnknownIssuer);
        }
        if !founder.signed_by(&founder.body.keys.signing) {
            return Err(CertificateError::BadSignature);
        }
        let team = founder.body.team;
        Ok(Self { team, coordinators: BTreeMap::from([(id, founder)]), revoked: BTreeSet::new() })
    }

    /// The team.
    pub const fn team(&self) -> TeamId {
        self.team
    }

    /// The coordinators' certificates, by device id.
    pub const fn coordinators(&self) -> &BTreeMap<DeviceId, Certificate> {
        &self.coordinators
    }

    /// The revoked devices.
    pub const fn revoked(&self) -> &BTreeSet<DeviceId> {
        &self.revoked
    }

    /// Adds a coordinator whose certificate a known coordinator signed. Who is a coordinator already
    /// stays so under the certificate that stands: nobody takes a place, the founder's least of all,
    /// by certifying its holder anew.
    ///
    /// # Errors
    /// [`CertificateError`] when the certificate does not stand, is not a coordinator's, or is one
    /// more than [`Authority::encode`] could say.
    pub fn add_coordinator(&mut self, certificate: Certificate) -> Result<(), CertificateError> {
        let device = self.judge(&certificate, 0)?;
        if device.body.role != Role::Coordinator {
            return Err(CertificateError::UnknownIssuer);
        }
        if self.coordinators.contains_key(&device.id) {
            return Ok(());
        }
        if self.coordinators.len() >= COORDINATORS_MAX {
            return Err(CertificateError::TooManyCoordinators);
        }
        self.coordinators.insert(device.id, certificate);
        Ok(())
    }

    /// Marks a device as removed.
    pub fn revoke(&mut self, device: DeviceId) {
        self.revoked.insert(device);
    }

    /// Judges a certificate at `now` (seconds since 1970). An expired one is not an error: see
    /// [`CertifiedDevice::expired`].
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn judge(&self, certificate: &Certificate, now: u64) -> Result<CertifiedDevice, CertificateError> {
        let body = &certificate.body;
        if body.team != self.team {
            return Err(CertificateError::WrongTeam);
        }
        let issuer = self.coordinators.get(&body.issuer).ok_or(CertificateError::UnknownIssuer)?;
        if !certificate.signed_by(&issuer.body.keys.signing) {
            return Err(CertificateError::BadSignature);
        }
        let id = certificate.device_id();
        if self.revoked.contains(&id) {
            return Err(CertificateError::Revoked);
        }
        Ok(CertifiedDevice { id, body: body.clone(), expired: now > body.not_after })
    }

    /// The encoding: founder first, then the other coordinators, then the revoked ids.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(u32::try_from(self.coordinators.len()).unwrap_or(u32::MAX));
        for certificate in issuers_first(&self.coordinators) {
            writer.bytes(&certificate.encode());
        }
        writer.u32(u32::try_from(self.revoked.len()).unwrap_or(u32::MAX));
        for id in &self.revoked {
            writer.raw(id.as_bytes());
        }
        writer.finish()
    }

    /// Reads what [`Authority::encode`] wrote, and judges every coordinator anew.
    ///
    /// # Errors
    /// [`DecodeError`]; a coordinator's certificate that does not stand is [`DecodeError::Invalid`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let invalid = |_| DecodeError::Invalid { field: "coordinator" };
        let mut reader = Reader::new(bytes);
        let mut count = reader.count("coordinators", COORDINATORS_MAX)?;
        let founder = Certificate::decode(reader.bytes("coordinator", CERTIFICATE_MAX)?)?;
        let mut authority = Self::new(founder).map_err(invalid)?;
        while count > 1 {
            let certificate = Certificate::decode(reader.bytes("coordinator", CERTIFICATE_MAX)?)?;
            authority.add_coordinator(certificate).map_err(invalid)?;
            count -= 1;
        }
        for _ in 0..reader.count("revoked", REVOKED_MAX)? {
            authority.revoke(DeviceId::from_bytes(reader.array("revoked")?));
        }
        reader.end()?;
        Ok(authority)
    }
}

/// Each issuer before those it admitted, so that a reader can judge in one pass; among those that could
/// follow, the one admitted earliest. The times alone would not do: they are read off the issuers'
/// clocks, and a coordinator whose clock is slow admits another before it was itself admitted.
fn issuers_first(coordinators: &BTreeMap<DeviceId, Certificate>) -> Vec<&Certificate> {
    let mut rest: Vec<(DeviceId, &Certificate)> = coordinators.iter().map(|(id, c)| (*id, c)).collect();
    rest.sort_by_key(|(id, certificate)| (certificate.body.admitted, *id));
    let (mut placed, mut ordered) = (BTreeSet::new(), Vec::with_capacity(rest.len()));
    while let Some(next) =
        rest.iter().position(|(id, c)| c.body.issuer == *id || placed.contains(&c.body.issuer))
    {
        let (id, certificate) = rest.remove(next);
        placed.insert(id);
        ordered.push(certificate);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    fn keys(seed: u8) -> (SigningKey, DeviceKeys) {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let transport = SigningKey::from_bytes(&[seed ^ 0x80; 32]);
        let recipient = Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap();
        let keys = DeviceKeys {
            signing: signing.verifying_key().to_bytes(),
            transport: transport.verifying_key().to_bytes(),
            recipient,
        };
        (signing, keys)
    }

    fn certificate(issuer: u8, subject: u8, role: Role) -> Certificate {
        let (signer, issuer_keys) = keys(issuer);
        let (_, subject_keys) = keys(subject);
        let body = CertificateBody {
            team: TeamId::from_bytes([7; 16]),
            keys: subject_keys,
            role,
            desk: DeskId::from_bytes([8; 16]),
            admitted: 1_000,
            not_after: 2_000,
            issuer: issuer_keys.device_id(),
        };
        let signature = signer.sign(&body.signed_bytes()).to_bytes();
        Certificate::new(body, signature)
    }

    #[test]
    fn a_coordinator_admits_and_a_monitor_does_not() {
        let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
        let monitor = certificate(1, 2, Role::Monitor);
        let device = authority.judge(&monitor, 1_500).unwrap();
        assert!(!device.expired());
        assert!(authority.judge(&monitor, 2_001).unwrap().expired());
        let by_monitor = certificate(2, 3, Role::Monitor);
        assert_eq!(authority.judge(&by_monitor, 1_500), Err(CertificateError::UnknownIssuer));
    }

    #[test]
    fn a_slow_clock_a_self_made_certificate_or_too_many_do_not_break_the_encoding() {
        let mut authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
        authority.add_coordinator(certificate(1, 4, Role::Coordinator)).unwrap();
        // Admitted by 4 before 4 was, as the clock of 4 has it.
        let (signer, _) = keys(4);
        let mut early = certificate(4, 5, Role::Coordinator).body;
        early.admitted = 10;
        let signature = signer.sign(&early.signed_bytes()).to_bytes();
        authority.add_coordinator(Certificate::new(early, signature)).unwrap();
        assert_eq!(Authority::decode(&authority.encode()).as_ref(), Ok(&authority));
        // 4 certifies itself, and the founder: both stay what they are.
        let before = authority.clone();
        authority.add_coordinator(certificate(4, 4, Role::Coordinator)).unwrap();
        authority.add_coordinator(certificate(4, 1, Role::Coordinator)).unwrap();
        assert_eq!(authority, before);
        let more = (10..10 + 61).map(|n| authority.add_coordinator(certificate(4, n, Role::Coordinator)));
        assert!(more.collect::<Result<Vec<_>, _>>().is_ok());
        let one_more = authority.add_coordinator(certificate(4, 99, Role::Coordinator));
        assert_eq!(one_more, Err(CertificateError::TooManyCoordinators));
        assert_eq!(Authority::decode(&authority.encode()), Ok(authority));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
        let good = certificate(1, 2, Role::Monitor).encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let verdict = Certificate::decode(&bad).map(|c| authority.judge(&c, 1_500));
            assert!(!matches!(verdict, Ok(Ok(_))), "byte {at} can be changed unnoticed");
        }
    }

    #[test]
    fn a_removed_device_is_refused_and_the_authority_survives_its_encoding() {
        let mut authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
        authority.add_coordinator(certificate(1, 4, Role::Coordinator)).unwrap();
        let monitor = certificate(4, 2, Role::Monitor);
        assert!(authority.judge(&monitor, 1_500).is_ok());
        authority.revoke(monitor.device_id());
        assert_eq!(authority.judge(&monitor, 1_500), Err(CertificateError::Revoked));
        assert_eq!(Authority::decode(&authority.encode()), Ok(authority));
    }
}
