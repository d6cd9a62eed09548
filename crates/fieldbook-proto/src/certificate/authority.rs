//! Whom a device believes: a set of certificates and removals that only grows, and verdicts that are
//! a function of that set and of nothing else, so that every device that has the same set, in
//! whatever order it came, says the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{Act, Certificate, CertificateBody, CertificateError, Removal, Role};
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{
    AUTHORITY_CERTIFICATES_MAX, CERTIFICATE_MAX, COORDINATORS_MAX, REMOVAL_MAX, REMOVALS_MAX, VOUCHED_MAX,
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

    /// Whether the certificate has run out: such a device may deliver entries and fetch its
    /// renewal, and nothing else.
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

/// Seniority among coordinators: when a coordinator was admitted, but never before the one who
/// admitted it; then how many stand between it and the founder; then the device id.
pub type Rank = (u64, u32, DeviceId);

/// Whom a device of the team believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    team: TeamId,
    founder: DeviceId,
    /// Of each coordinator and each who certified it: the certificate that admits it first.
    certificates: BTreeMap<(DeviceId, DeviceId), Certificate>,
    /// Of each coordinator and each device it removed: the earliest removal.
    removals: BTreeMap<(DeviceId, DeviceId), Removal>,
    /// Devices certified by coordinators who were removed later, for which this device knows that it
    /// was done before. Not part of what is passed on to others' judgement: coordinators only.
    vouched: BTreeSet<DeviceId>,
    verdict: Verdict,
}

/// What follows from the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Verdict {
    ranks: BTreeMap<DeviceId, Rank>,
    /// The certificate by which each coordinator, removed or not, has its rank.
    primary: BTreeMap<DeviceId, Certificate>,
    /// The removal that counts, of each device that is removed or demoted.
    removed: BTreeMap<DeviceId, Removal>,
    standing: BTreeMap<DeviceId, Certificate>,
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

    /// The removal that counts, if the device was removed or demoted.
    pub fn removal(&self, device: &DeviceId) -> Option<&Removal> {
        self.verdict.removed.get(device)
    }

    /// Whether the device no longer belongs to the team.
    pub fn is_removed(&self, device: &DeviceId) -> bool {
        self.removal(device).is_some_and(|removal| removal.act != Act::Demoted)
    }

    /// The devices that no longer belong to the team.
    pub fn removed(&self) -> BTreeSet<DeviceId> {
        let removed = self.verdict.removed.iter().filter(|(_, removal)| removal.act != Act::Demoted);
        removed.map(|(device, _)| *device).collect()
    }

    /// Every removal that arrived, whether it counts or not.
    pub fn removals(&self) -> impl Iterator<Item = &Removal> {
        self.removals.values()
    }

    /// Whether the device may speak for a desk: a coordinator who stands, whose certificate names the
    /// desk, as do those of the ones who admitted it, up to the desk's founder.
    pub fn reads_for(&self, device: &DeviceId, desk: DeskId) -> bool {
        if !self.is_coordinator(device) {
            return false;
        }
        let mut at = *device;
        // Ranks rise with every step down, so the way up ends.
        while let Some(certificate) = self.verdict.primary.get(&at) {
            let body = certificate.body();
            if body.desk != desk {
                return false;
            }
            if at == self.founder || DeskId::founded_by(&at) == desk {
                return true;
            }
            at = body.issuer;
        }
        false
    }

    /// The coordinators of a desk, the most senior first.
    pub fn readers_of(&self, desk: DeskId) -> Vec<DeviceId> {
        let mut readers: Vec<DeviceId> =
            self.coordinators().keys().copied().filter(|device| self.reads_for(device, desk)).collect();
        readers.sort_by_key(|device| self.rank(device));
        readers
    }

    /// Adds a coordinator whose certificate a coordinator signed, standing or not: what stands is
    /// judged over the whole set. Certifying a coordinator anew changes neither its desk nor, but for
    /// one who outranks all who certified it before, its rank: nobody takes a place, the founder's least
    /// of all, by certifying its holder. Whether anything changed.
    ///
    /// # Errors
    /// [`CertificateError`] when the certificate is not a coordinator's, its issuer is not known as a
    /// coordinator (yet), or it is one more than [`Authority::encode`] could say.
    pub fn add_coordinator(&mut self, certificate: Certificate) -> Result<bool, CertificateError> {
        let device = self.genuine(&certificate)?;
        let body = certificate.body();
        if body.role != Role::Coordinator {
            return Err(CertificateError::UnknownIssuer);
        }
        if device == body.issuer || device == self.founder {
            return Ok(false);
        }
        let known = self.verdict.primary.contains_key(&device);
        if !known && self.verdict.primary.len() >= COORDINATORS_MAX {
            return Err(CertificateError::TooMany);
        }
        let key = (device, body.issuer);
        match self.certificates.get(&key) {
            Some(present) if order(present) <= order(&certificate) => return Ok(false),
            None if self.certificates.len() >= AUTHORITY_CERTIFICATES_MAX => {
                return Err(CertificateError::TooMany);
            }
            _ => {}
        }
        self.certificates.insert(key, certificate);
        self.conclude();
        Ok(true)
    }

    /// Adds a removal by a coordinator, standing or not. Whether anything changed.
    ///
    /// # Errors
    /// [`CertificateError`] when its signature does not stand, its issuer is not known as a coordinator
    /// (yet), or it is one more than [`Authority::encode`] could say.
    pub fn add_removal(&mut self, removal: Removal) -> Result<bool, CertificateError> {
        let changed = self.insert_removal(removal)?;
        if changed {
            self.conclude();
        }
        Ok(changed)
    }

    fn insert_removal(&mut self, removal: Removal) -> Result<bool, CertificateError> {
        if removal.team != self.team {
            return Err(CertificateError::WrongTeam);
        }
        let issuer = self.ever_coordinator(&removal.issuer).ok_or(CertificateError::UnknownIssuer)?;
        if !removal.signed_by(&issuer.body().keys.signing) {
            return Err(CertificateError::BadSignature);
        }
        let key = (removal.issuer, removal.device);
        match self.removals.get(&key) {
            Some(present) if *present <= removal => return Ok(false),
            None if self.removals.len() >= REMOVALS_MAX => return Err(CertificateError::TooMany),
            _ => {}
        }
        self.removals.insert(key, removal);
        Ok(true)
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

    /// Judges the certificate that a device shows on a connection at `now` (seconds since 1970). An
    /// expired one is not an error: see [`CertifiedDevice::expired`].
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn judge(&self, certificate: &Certificate, now: u64) -> Result<CertifiedDevice, CertificateError> {
        let id = self.genuine(certificate)?;
        if self.is_removed(&id) {
            return Err(CertificateError::Revoked);
        }
        if !self.issuer_counts(&certificate.body().issuer, &id) {
            return Err(CertificateError::IssuerRemoved);
        }
        let mut body = certificate.body().clone();
        // A demoted coordinator still has its old certificate until it fetches the new one.
        if body.role == Role::Coordinator && self.removal(&id).is_some() {
            body.role = Role::Monitor;
        }
        let expired = now > body.not_after;
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
        if let Some(removal) = self.removal(&id) {
            let after = sequence > removal.cut;
            match removal.act {
                Act::Demoted if after => role = Role::Monitor,
                Act::Removed | Act::Lost if after => return Err(CertificateError::AfterRemoval),
                _ => {}
            }
        } else if !self.issuer_counts(&body.issuer, &id) && !self.is_coordinator(&id) {
            return Err(CertificateError::IssuerRemoved);
        }
        let desk = ever.map_or(body.desk, |certificate| certificate.body().desk);
        let rank = if role == Role::Coordinator { self.rank(&id) } else { None };
        Ok(Author { id, role, desk, rank })
    }

    /// The device, if the certificate is of this team and signed by a coordinator who stands or stood.
    fn genuine(&self, certificate: &Certificate) -> Result<DeviceId, CertificateError> {
        let body = certificate.body();
        if body.team != self.team {
            return Err(CertificateError::WrongTeam);
        }
        let issuer = self.ever_coordinator(&body.issuer).ok_or(CertificateError::UnknownIssuer)?;
        if !certificate.signed_by(&issuer.body().keys.signing) {
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
        let (ranks, primary) = self.rank_all();
        // Coordinators who fall because the one who certified them was removed have removed nobody. Which
        // ones fall depends on who removed whom, so this goes on until it changes nothing; a set made to
        // go round in circles is judged after as many rounds as there may be coordinators, by every
        // device alike.
        let mut fallen = BTreeSet::new();
        let (mut removed, mut standing) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..COORDINATORS_MAX {
            removed = self.judge_removals(&ranks, &fallen);
            standing = self.standing(&primary, &removed);
            let falls = |device: &DeviceId| !standing.contains_key(device) && !removed.contains_key(device);
            let again: BTreeSet<DeviceId> = primary.keys().copied().filter(falls).collect();
            if again == fallen {
                break;
            }
            fallen = again;
        }
        self.verdict = Verdict { ranks, primary, removed, standing };
    }

    /// The seniority of every coordinator ever, and the certificate it follows from. Whoever outranks
    /// the others is settled first, as in Dijkstra's shortest paths.
    fn rank_all(&self) -> (BTreeMap<DeviceId, Rank>, BTreeMap<DeviceId, Certificate>) {
        let (mut ranks, mut primary) = (BTreeMap::new(), BTreeMap::new());
        if let Some(founder) = self.certificates.get(&(self.founder, self.founder)) {
            ranks.insert(self.founder, (founder.body().admitted, 0, self.founder));
            primary.insert(self.founder, founder.clone());
        }
        loop {
            let next = self
                .certificates
                .iter()
                .filter(|((device, _), _)| !ranks.contains_key(device))
                .filter_map(|((device, issuer), certificate)| {
                    let (above, depth, _): &Rank = ranks.get(issuer)?;
                    let admitted = certificate.body().admitted.max(*above);
                    Some(((admitted, depth.saturating_add(1), *device), certificate))
                })
                .min_by_key(|(rank, certificate)| (*rank, order(certificate)));
            let Some((rank, certificate)) = next else { return (ranks, primary) };
            ranks.insert(rank.2, rank);
            primary.insert(rank.2, certificate.clone());
        }
    }

    /// The removals that count, by device: those of more senior coordinators first. One is void if its
    /// issuer was itself removed by then, as far as the one who did that had seen.
    fn judge_removals(
        &self,
        ranks: &BTreeMap<DeviceId, Rank>,
        fallen: &BTreeSet<DeviceId>,
    ) -> BTreeMap<DeviceId, Removal> {
        let mut all: Vec<&Removal> =
            self.removals.values().filter(|removal| !fallen.contains(&removal.issuer)).collect();
        all.sort_by_key(|removal| (ranks.get(&removal.issuer), removal.sequence, removal.device));
        let mut counts: BTreeMap<DeviceId, Removal> = BTreeMap::new();
        for removal in all {
            if counts.get(&removal.issuer).is_some_and(|cut| cut.cut < removal.sequence) {
                continue;
            }
            match counts.get_mut(&removal.device) {
                // Whoever demotes does not shield from being removed.
                Some(present) if present.act == Act::Demoted && removal.act != Act::Demoted => {
                    *present = removal.clone();
                }
                Some(_) => {}
                None => {
                    counts.insert(removal.device, removal.clone());
                }
            }
        }
        counts
    }

    /// The coordinators who are not removed and were certified by one who stands, or who was removed by
    /// somebody who keeps them. Support comes from the founder downwards, never from a circle.
    fn standing(
        &self,
        primary: &BTreeMap<DeviceId, Certificate>,
        removed: &BTreeMap<DeviceId, Removal>,
    ) -> BTreeMap<DeviceId, Certificate> {
        let mut standing: BTreeMap<DeviceId, Certificate> = BTreeMap::new();
        loop {
            let before = standing.len();
            for (device, issuer) in self.certificates.keys() {
                if removed.contains_key(device) || standing.contains_key(device) {
                    continue;
                }
                let counts = *device == self.founder
                    || standing.contains_key(issuer)
                    || removed.get(issuer).is_some_and(|removal| removal.keeps.contains(device));
                if let (true, Some(certificate)) = (counts, primary.get(device)) {
                    standing.insert(*device, certificate.clone());
                }
            }
            if standing.len() == before {
                return standing;
            }
        }
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
            authority.add_coordinator(certificate).map_err(invalid)?;
        }
        let invalid = |_| DecodeError::Invalid { field: "removal" };
        for _ in 0..reader.count("removals", REMOVALS_MAX)? {
            if first {
                return Err(DecodeError::Invalid { field: "removal" });
            }
            let removal = Removal::decode(reader.bytes("removal", REMOVAL_MAX)?)?;
            authority.insert_removal(removal).map_err(invalid)?;
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
