//! Whom a device believes: a set of certificates and removals that only grows, and verdicts that are
//! a function of that set and of nothing else, so that every device that has the same set, in
//! whatever order it came, says the same.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Certificates, Ended, Rank, Removals, Verdict};
use super::{Certificate, CertificateBody, CertificateError, Removal, RemovalHash, Role};
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{
    AUTHORITY_CERTIFICATES_MAX, CERTIFICATE_MAX, COORDINATORS_MAX, REMOVAL_MAX, REMOVALS_MAX,
    REMOVALS_OF_ONE_MAX, VOUCHED_MAX,
};
use crate::{DeskId, DeviceId, TeamId};

/// The encoding of version 1 began with the high byte of a count.
const VERSION: u8 = 2;

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

    /// What its certificate says; of a demoted coordinator, with the role that it has now.
    pub const fn body(&self) -> &CertificateBody {
        &self.body
    }

    /// Whether the certificate has run out, or the device is a coordinator's who was removed by a junior
    /// one and may still answer: such a device may deliver entries and fetch its renewal, and nothing else.
    pub const fn expired(&self) -> bool {
        self.expired
    }
}

/// The author of an entry, as it stood at that place of its chain: only [`Authority::judge_author`]
/// makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The device.
    pub id: DeviceId,
    /// The role it had there.
    pub role: Role,
    /// Its desk.
    pub desk: DeskId,
    /// Its place among the coordinators, if it was one: the lower, the longer it has been one.
    pub rank: Option<Rank>,
}

/// Whom a device of the team believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    team: TeamId,
    founder: DeviceId,
    /// The signing key of everybody who ever was a coordinator.
    signers: BTreeMap<DeviceId, [u8; 32]>,
    /// Of each coordinator and each who certified it: the certificate that admits it first.
    pub(super) certificates: Certificates,
    removals: Removals,
    /// Devices certified by coordinators who were removed later, for which this device knows that it
    /// was done before. Not part of what is passed on to others' judgement: coordinators only.
    vouched: BTreeSet<DeviceId>,
    verdict: Verdict,
}

impl Authority {
    /// Begins with the founder's certificate, which the device received when it was paired
    /// (or made itself). The founder's certificate is signed by its own key.
    ///
    /// # Errors
    /// [`CertificateError`] when it is not a self-signed coordinator's certificate.
    pub fn new(founder: Certificate) -> Result<Self, CertificateError> {
        let id = founder.device_id();
        let body = founder.body();
        if body.role != Role::Coordinator || body.issuer != id {
            return Err(CertificateError::UnknownIssuer);
        }
        if !founder.signed_by(&body.keys.signing) {
            return Err(CertificateError::BadSignature);
        }
        let mut authority = Self {
            team: body.team,
            founder: id,
            signers: BTreeMap::from([(id, body.keys.signing)]),
            certificates: BTreeMap::from([((id, id), founder)]),
            removals: BTreeMap::new(),
            vouched: BTreeSet::new(),
            verdict: Verdict::default(),
        };
        authority.conclude();
        Ok(authority)
    }

    /// The team.
    pub const fn team(&self) -> TeamId {
        self.team
    }

    /// The device that founded the team.
    pub const fn founder(&self) -> DeviceId {
        self.founder
    }

    /// The coordinators who stand, by device id.
    pub const fn coordinators(&self) -> &BTreeMap<DeviceId, Certificate> {
        &self.verdict.standing
    }

    /// The certificate of a coordinator who stands or stood.
    pub fn ever_coordinator(&self, device: &DeviceId) -> Option<&Certificate> {
        self.verdict.primary.get(device)
    }

    /// Whether the device is a coordinator's now.
    pub fn is_coordinator(&self, device: &DeviceId) -> bool {
        self.verdict.standing.contains_key(device)
    }

    /// The seniority of a coordinator who stands or stood.
    pub fn rank(&self, device: &DeviceId) -> Option<Rank> {
        self.verdict.ranks.get(device).copied()
    }

    /// The removal that counts, if the device was removed or demoted; the strictest, if it was both.
    pub fn removal(&self, device: &DeviceId) -> Option<&Removal> {
        self.verdict.ended.get(device).map(Ended::removal)
    }

    /// Whether the device no longer belongs to the team.
    pub fn is_removed(&self, device: &DeviceId) -> bool {
        self.removal(device).is_some_and(Removal::ends_membership)
    }

    /// The devices that no longer belong to the team.
    pub fn removed(&self) -> BTreeSet<DeviceId> {
        let ended = self.verdict.ended.iter().filter(|(_, ended)| ended.removal().ends_membership());
        ended.map(|(device, _)| *device).collect()
    }

    /// Every removal that arrived, whether it counts or not.
    pub fn removals(&self) -> impl Iterator<Item = &Removal> {
        self.removals.values()
    }

    /// The names of the removals that this device has heard of by one coordinator, ascending: what a removal
    /// of it honours if all of them are to stay in force.
    pub fn removals_by(&self, issuer: &DeviceId) -> Vec<RemovalHash> {
        let its = self.removals.iter().filter(|(_, removal)| removal.issuer == *issuer);
        its.map(|(hash, _)| *hash).take(REMOVALS_OF_ONE_MAX).collect()
    }

    /// The removal that a coordinator may answer by removing whoever signed it: by somebody junior. Of two
    /// who remove each other the senior one stands.
    pub fn answerable(&self, device: &DeviceId) -> Option<&Removal> {
        let ended = self.verdict.ended.get(device)?;
        let senior = self.verdict.turns.get(device)? < self.verdict.turns.get(ended.by())?;
        Some(ended.removal()).filter(|_| senior)
    }

    /// Whether the device may speak for a desk: a coordinator who stands and has its place there from its
    /// coordinators, up to the desk's founder.
    pub fn reads_for(&self, device: &DeviceId, desk: DeskId) -> bool {
        let place = self.verdict.places.get(device);
        self.is_coordinator(device) && place.is_some_and(|place| place.speaks && place.desk == desk)
    }

    /// The coordinators of a desk, the most senior first.
    pub fn readers_of(&self, desk: DeskId) -> Vec<DeviceId> {
        let mut readers: Vec<DeviceId> =
            self.coordinators().keys().copied().filter(|device| self.reads_for(device, desk)).collect();
        readers.sort_by_key(|device| self.rank(device));
        readers
    }

    /// Adds a coordinator whose certificate a coordinator signed, standing or not: what stands is
    /// judged over the whole set. Certifying a coordinator anew changes its rank only if whoever does it is
    /// senior to all who certified it before: nobody takes a place, the founder's least of all, by certifying
    /// its holder. Whether anything changed.
    ///
    /// # Errors
    /// [`CertificateError`] when the certificate is not a coordinator's, its issuer is not known as a
    /// coordinator (yet), or there is no room (which there may be when somebody is removed).
    pub fn add_coordinator(&mut self, certificate: Certificate) -> Result<bool, CertificateError> {
        let issuer = certificate.body().issuer;
        let known = self.verdict.primary.contains_key(&certificate.device_id());
        // Who fell takes no place: a coordinator who admits a crowd is removed, and the crowd with it.
        let full = self.verdict.standing.len() >= COORDINATORS_MAX && self.is_coordinator(&issuer);
        if full && !known && self.genuine(&certificate).is_ok() {
            return Err(CertificateError::TooMany);
        }
        let changed = self.insert_coordinator(certificate)?;
        if changed {
            self.conclude();
        }
        Ok(changed)
    }

    fn insert_coordinator(&mut self, certificate: Certificate) -> Result<bool, CertificateError> {
        let device = self.genuine(&certificate)?;
        let body = certificate.body();
        if body.role != Role::Coordinator {
            return Err(CertificateError::UnknownIssuer);
        }
        if device == body.issuer || device == self.founder {
            return Ok(false);
        }
        let key = (device, body.issuer);
        match self.certificates.get(&key) {
            Some(present) if order(present) <= order(&certificate) => return Ok(false),
            None if self.certificates.len() >= AUTHORITY_CERTIFICATES_MAX => {
                // A full house gives up a certificate that nothing follows from.
                let fallen = |(device, issuer): &&(DeviceId, DeviceId)| {
                    !self.is_coordinator(issuer) && !self.verdict.ended.contains_key(issuer)
                        || self
                            .verdict
                            .primary
                            .get(device)
                            .is_some_and(|primary| primary.body().issuer != *issuer)
                };
                let standing = self.is_coordinator(&body.issuer);
                let Some(out) = self.certificates.keys().find(fallen).copied().filter(|_| standing) else {
                    return Err(CertificateError::TooMany);
                };
                self.certificates.remove(&out);
            }
            _ => {}
        }
        self.signers.insert(device, body.keys.signing);
        self.certificates.insert(key, certificate);
        Ok(true)
    }

    /// Adds a removal by a coordinator, standing or not. Whether anything changed.
    ///
    /// # Errors
    /// [`CertificateError`] when its signature does not stand, its issuer is not known as a coordinator
    /// (yet), or there is no room (which there may be when somebody more is heard of).
    pub fn add_removal(&mut self, removal: Removal) -> Result<bool, CertificateError> {
        if removal.team != self.team {
            return Err(CertificateError::WrongTeam);
        }
        let issuer = self.signers.get(&removal.issuer).ok_or(CertificateError::UnknownIssuer)?;
        let hash = removal.hash();
        if self.removals.contains_key(&hash) {
            return Ok(false);
        }
        if !removal.signed_by(issuer) {
            return Err(CertificateError::BadSignature);
        }
        // Nobody leaves by removing oneself: what such a word is worth would depend on its own number.
        if removal.issuer == removal.device {
            return Ok(false);
        }
        self.make_room(&hash, &removal)?;
        self.removals.insert(hash, removal);
        self.conclude();
        Ok(true)
    }

    /// Nobody keeps others from being heard by saying much. What somebody honours has its place; of the rest
    /// each coordinator has so many; and when there is no place left, the latest word of the most junior
    /// coordinator goes.
    fn make_room(&mut self, hash: &RemovalHash, removal: &Removal) -> Result<(), CertificateError> {
        let honoured: BTreeSet<RemovalHash> =
            self.removals.values().flat_map(|removal| removal.honours.iter().copied()).collect();
        let others = self.removals.iter().filter(|(_, other)| other.issuer == removal.issuer);
        let open = others.filter(|(hash, _)| !honoured.contains(*hash)).count();
        if open >= REMOVALS_OF_ONE_MAX && !honoured.contains(hash) {
            return Err(CertificateError::TooMany);
        }
        if self.removals.len() < REMOVALS_MAX {
            return Ok(());
        }
        let worth = |hash: &RemovalHash, removal: &Removal| {
            (!honoured.contains(hash), self.rank(&removal.issuer), removal.sequence, *hash)
        };
        let least = self.removals.iter().map(|(hash, removal)| worth(hash, removal)).max();
        match least {
            Some(least) if worth(hash, removal) < least => {
                self.removals.remove(&least.3);
                Ok(())
            }
            _ => Err(CertificateError::TooMany),
        }
    }

    /// Notes that a device was certified by a coordinator before that one was removed, as this device
    /// knows from that coordinator's chain. Whether that was new.
    ///
    /// # Errors
    /// [`CertificateError::TooMany`].
    pub fn vouch(&mut self, device: DeviceId) -> Result<bool, CertificateError> {
        if self.vouched.len() >= VOUCHED_MAX && !self.vouched.contains(&device) {
            return Err(CertificateError::TooMany);
        }
        Ok(self.vouched.insert(device))
    }

    /// What another device may be given: everything but whom this one vouches for.
    pub fn without_vouched(&self) -> Self {
        Self { vouched: BTreeSet::new(), ..self.clone() }
    }

    /// Whether a device is let into no session any more because it was removed.
    pub fn is_out(&self, device: &DeviceId) -> bool {
        self.is_removed(device) && self.answerable(device).is_none()
    }

    /// Judges the certificate that a device shows on a connection at `now` (seconds since 1970). An
    /// expired one is not an error: see [`CertifiedDevice::expired`].
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn judge(&self, certificate: &Certificate, now: u64) -> Result<CertifiedDevice, CertificateError> {
        let id = self.genuine(certificate)?;
        let answers = self.answerable(&id).is_some();
        if self.is_out(&id) {
            return Err(CertificateError::Revoked);
        }
        if !answers && !self.issuer_counts(&certificate.body().issuer, &id) {
            return Err(CertificateError::IssuerRemoved);
        }
        let mut body = certificate.body().clone();
        // A demoted coordinator still has its old certificate until it fetches the new one.
        if body.role == Role::Coordinator && self.removal(&id).is_some() {
            body.role = Role::Monitor;
        }
        let expired = now > body.not_after || answers;
        Ok(CertifiedDevice { id, body, expired })
    }

    /// Judges the author of an entry at a place in its chain. Time plays no part: an entry may arrive
    /// months after it was written.
    ///
    /// # Errors
    /// [`CertificateError`]: [`CertificateError::AfterRemoval`] beyond the cut of its removal.
    pub fn judge_author(&self, certificate: &Certificate, sequence: u64) -> Result<Author, CertificateError> {
        let id = self.genuine(certificate)?;
        let body = certificate.body();
        let mut role = body.role;
        let ever = self.verdict.primary.get(&id);
        if ever.is_some() {
            role = Role::Coordinator;
        }
        if let Some(ended) = self.verdict.ended.get(&id) {
            let removal = ended.removal();
            if removal.ends_membership() && sequence > removal.cut {
                return Err(CertificateError::AfterRemoval);
            }
            if ended.demotion().is_some_and(|demotion| sequence > demotion.cut) {
                role = Role::Monitor;
            }
        } else if !self.issuer_counts(&body.issuer, &id) && !self.is_coordinator(&id) {
            return Err(CertificateError::IssuerRemoved);
        }
        let desk = self.verdict.places.get(&id).map_or(body.desk, |place| place.desk);
        let rank = if role == Role::Coordinator { self.rank(&id) } else { None };
        Ok(Author { id, role, desk, rank })
    }

    /// The device, if the certificate is of this team and signed by a coordinator who stands or stood.
    fn genuine(&self, certificate: &Certificate) -> Result<DeviceId, CertificateError> {
        let body = certificate.body();
        if body.team != self.team {
            return Err(CertificateError::WrongTeam);
        }
        let issuer = self.signers.get(&body.issuer).ok_or(CertificateError::UnknownIssuer)?;
        if !certificate.signed_by(issuer) {
            return Err(CertificateError::BadSignature);
        }
        Ok(certificate.device_id())
    }

    /// Whether what the issuer certified about this device still counts.
    fn issuer_counts(&self, issuer: &DeviceId, device: &DeviceId) -> bool {
        self.is_coordinator(issuer) || self.vouched.contains(device) || self.is_coordinator(device)
    }

    /// Judges the set anew.
    fn conclude(&mut self) {
        self.verdict = Verdict::of(self.founder, &self.certificates, &self.removals);
    }

    /// The encoding: version, founder first and then each coordinator's certificates in the order in
    /// which they can be judged, the removals, the vouched devices.
    pub fn encode(&self) -> Vec<u8> {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut writer = Writer::new();
        writer.u8(VERSION).u32(count(self.certificates.len()));
        let mut certificates: Vec<(&(DeviceId, DeviceId), &Certificate)> = self.certificates.iter().collect();
        // Every issuer outranks those it certified, unless they certified each other: then the one
        // that gave the rank comes first.
        certificates.sort_by_key(|((device, issuer), certificate)| {
            let primary = self.verdict.primary.get(device) == Some(certificate);
            (!primary, self.verdict.ranks.get(device), *issuer)
        });
        for (_, certificate) in certificates {
            writer.bytes(&certificate.encode());
        }
        writer.u32(count(self.removals.len()));
        for removal in self.removals.values() {
            writer.bytes(&removal.encode());
        }
        writer.u32(count(self.vouched.len()));
        for device in &self.vouched {
            writer.raw(device.as_bytes());
        }
        writer.finish()
    }

    /// Reads what [`Authority::encode`] wrote, and judges everything anew. The encoding of version 1,
    /// which had no removals, is read too.
    ///
    /// # Errors
    /// [`DecodeError`]; a certificate or removal that is not genuine is [`DecodeError::Invalid`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let first = bytes.first().copied() == Some(0);
        if !first && reader.u8("authority version")? != VERSION {
            return Err(DecodeError::Invalid { field: "authority version" });
        }
        let invalid = |_| DecodeError::Invalid { field: "coordinator" };
        let count = reader.count("coordinators", AUTHORITY_CERTIFICATES_MAX)?;
        let founder = Certificate::decode(reader.bytes("coordinator", CERTIFICATE_MAX)?)?;
        let mut authority = Self::new(founder).map_err(invalid)?;
        for _ in 1..count {
            let certificate = Certificate::decode(reader.bytes("coordinator", CERTIFICATE_MAX)?)?;
            authority.insert_coordinator(certificate).map_err(invalid)?;
        }
        let invalid = DecodeError::Invalid { field: "removal" };
        for _ in 0..reader.count("removals", REMOVALS_MAX)? {
            let removal = Removal::decode(reader.bytes("removal", REMOVAL_MAX)?)?;
            let genuine = authority.signers.get(&removal.issuer).is_some_and(|key| removal.signed_by(key));
            let own = removal.issuer == removal.device;
            if first || own || !genuine || removal.team != authority.team {
                return Err(invalid);
            }
            authority.removals.insert(removal.hash(), removal);
        }
        if !first {
            for _ in 0..reader.count("vouched", VOUCHED_MAX)? {
                authority.vouched.insert(DeviceId::from_bytes(reader.array("vouched")?));
            }
        }
        reader.end()?;
        authority.conclude();
        Ok(authority)
    }
}

/// Which of two certificates of one device by one issuer admits it first.
fn order(certificate: &Certificate) -> (u64, u32, &[u8; 64]) {
    (certificate.body.admitted, certificate.body.serial, &certificate.signature)
}
