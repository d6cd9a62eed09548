//! What a coordinator does for its team, inside one transaction: certify, remove, rotate, renew, tell.

use std::collections::BTreeSet;

use fieldbook_proto::certificate::{
    Act, Certificate, CertificateBody, Recipient, Removal, RemovalHash, Role,
};
use fieldbook_proto::limits::{ENTRY_RECIPIENTS_MAX, REMOVALS_OF_ONE_MAX};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{Announcement, DeskEpoch, Grant};
use fieldbook_seal::{DeviceSecret, Kind, ReadingIdentity};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use super::epochs::{DeskEpochRow, TransportRow, save_desk_epoch, save_transport};
use super::founding::MEMBER_LIFE_S;
use super::keeping::Keep;
use super::log;
use super::members::{Known, all, at_desk, save_device, set_label};
use super::telling::{desk_item, member_item, note_told, removal_item, transport_epoch, transport_item};
use super::{Team, save_desk_key};
use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::slots;
use crate::store;
use crate::vault::{now_ms, now_s};

const DAY_S: u64 = 24 * 60 * 60;
/// Whoever signed a certificate renews it when it has this much left …
const RENEW_OWN_S: u64 = 45 * DAY_S;
/// … and any other coordinator of the desk when it has this much left.
const RENEW_ANY_S: u64 = 30 * DAY_S;

/// Who may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A coordinator who stands.
    Stands,
    /// Also one who was removed by a junior one, and is about to answer.
    MayAnswer,
}

/// A coordinator at work.
pub(super) struct House<'a> {
    pub(super) db: &'a Connection,
    pub(super) device: &'a DeviceSecret,
    pub(super) me: DeviceId,
    pub team: Team,
    /// Entries that a device may fetch even when its certificate has run out.
    pub addressed: Vec<(DeviceId, EntryId)>,
    /// Devices of which nobody knows what they have heard.
    pub(super) unsure: BTreeSet<DeviceId>,
}

impl<'a> House<'a> {
    /// `db` must be inside a transaction.
    pub fn open(
        db: &'a Connection,
        device: &'a DeviceSecret,
        standing: Standing,
    ) -> Result<Self, VaultError> {
        let team = Team::load(db)?.ok_or(VaultError::NoTeam)?;
        let (me, addressed, unsure) = (device.id(), Vec::new(), BTreeSet::new());
        let house = Self { db, device, me, team, addressed, unsure };
        let authority = &house.team.authority;
        let answers = standing == Standing::MayAnswer && authority.answerable(&house.me).is_some();
        if authority.is_coordinator(&house.me) || answers { Ok(house) } else { Err(house.not_standing()?) }
    }

    /// Why this device may not act for the team.
    fn not_standing(&self) -> Result<VaultError, VaultError> {
        let authority = &self.team.authority;
        if let Some(removal) = authority.answerable(&self.me) {
            let by = super::members::find(self.db, &removal.issuer)?;
            let by = by.map_or_else(|| removal.issuer.short(), |known| known.label);
            return Ok(VaultError::RemovedByJunior(by));
        }
        let removed = authority.is_removed(&self.me);
        Ok(if removed { VaultError::Removed } else { VaultError::NotCoordinator })
    }

    /// The standing coordinators but this one, with their recipients.
    pub(super) fn other_coordinators(&self) -> Vec<(DeviceId, Recipient)> {
        self.team
            .authority
            .coordinators()
            .iter()
            .filter(|(id, _)| **id != self.me)
            .map(|(id, certificate)| (*id, certificate.body().keys.recipient.clone()))
            .collect()
    }

    /// Writes an entry for the desk, the recovery sheets and these devices.
    pub(super) fn write(
        &mut self,
        kind: Kind,
        body: &[u8],
        to: &[(DeviceId, Recipient)],
    ) -> Result<EntryId, VaultError> {
        let (mut audience, mut recipients) = self.team.desk_audience();
        // The desk and the sheets take two places.
        for (device, recipient) in to.iter().take(ENTRY_RECIPIENTS_MAX - 2) {
            audience.readers.push(*device);
            recipients.push(recipient.clone());
        }
        let entry = Outgoing { kind, report: None, audience, body, recipients: &recipients };
        let (id, _) = outgoing::queue(self.db, self.device, &entry)?;
        Ok(id)
    }

    fn save_authority(&self) -> Result<(), VaultError> {
        store::set_meta(self.db, "authority", &self.team.authority.encode())
    }

    /// Lets the desk, the device itself and, of a coordinator, all coordinators know its certificate.
    pub fn announce(&mut self, certificate: &Certificate, label: &str) -> Result<(), VaultError> {
        let (device, body) = (certificate.device_id(), certificate.body());
        let announcement = Announcement { certificate: certificate.clone(), label: label.to_owned() };
        // Never to this device itself, which announces its own renewal like anybody's.
        let mut to: Vec<(DeviceId, Recipient)> = Vec::new();
        if device != self.me {
            to.push((device, body.keys.recipient.clone()));
        }
        if body.role == Role::Coordinator {
            self.team.authority.add_coordinator(certificate.clone()).map_err(VaultError::untrusted)?;
            self.save_authority()?;
            to.extend(self.other_coordinators().into_iter().filter(|(id, _)| *id != device));
        }
        let sequence = outgoing::next_sequence(self.db)?;
        let id = self.write(Kind::Certificate, &announcement.encode(), &to)?;
        if device == self.me {
            Team::set_certificate(self.db, certificate)?;
            self.team.certificate = certificate.clone();
            return Ok(());
        }
        let new = super::members::find(self.db, &device)?.is_none();
        save_device(self.db, &self.team.authority, certificate, label, sequence)?;
        // This device's person has just seen the name that it gives.
        set_label(self.db, &device, label)?;
        self.addressed.push((device, id));
        let knows: Vec<DeviceId> = to.iter().map(|(id, _)| *id).collect();
        let desk_mates = self.team.authority.readers_of(self.team.desk);
        note_told(self.db, &[member_item(certificate)], &[desk_mates, knows].concat())?;
        if new {
            let items = self.told_at_admission(certificate);
            self.told(&items, &[device])?;
            let act =
                log::Act { kind: "admitted", subject: Some(device.as_bytes()), detail: body.role.word() };
            log::note(self.db, now_ms(), &self.me, &act, Some(&id))?;
        }
        Ok(())
    }

    /// Signs a removal and puts it into force here. The desk's key and the transport secret are rotated
    /// before anything is said, so that nothing about it is sealed to what the device can open.
    pub fn remove(&mut self, device: DeviceId, act: Act, cut: u64, keep: &Keep) -> Result<bool, VaultError> {
        let keeps = self.team.kept_without(&device, &self.me, keep);
        let sequence = outgoing::next_sequence(self.db)?;
        let mut removal = Removal {
            team: self.team.authority.team(),
            issuer: self.me,
            sequence,
            device,
            act,
            cut,
            cut_entry: self.entry_at(&device, cut)?,
            keeps,
            honours: self.honoured(&device),
            time_s: now_s(),
            signature: [0; 64],
        };
        removal.signature = self.device.sign(&removal.signed_bytes());
        self.team.authority.add_removal(removal.clone()).map_err(VaultError::untrusted)?;
        self.save_authority()?;
        let next = self.next_desk_epoch(None)?;
        let to = self.other_coordinators();
        // The new epoch stands in the audience from the first entry on; who reads gets it in the next.
        let (mut audience, mut recipients) = match &next {
            Some((row, _)) => self.team.audience_in(Some(row)),
            None => self.team.desk_audience(),
        };
        for (device, recipient) in to.iter().take(ENTRY_RECIPIENTS_MAX - 2) {
            audience.readers.push(*device);
            recipients.push(recipient.clone());
        }
        let body = removal.encode();
        let entry =
            Outgoing { kind: Kind::Revocation, report: None, audience, body: &body, recipients: &recipients };
        let (id, _) = outgoing::queue(self.db, self.device, &entry)?;
        note_told(self.db, &[removal_item(&removal)], &to.iter().map(|(id, _)| *id).collect::<Vec<_>>())?;
        let line = log::Act { kind: act.word(), subject: Some(device.as_bytes()), detail: "" };
        log::note(self.db, now_ms(), &self.me, &line, Some(&id))?;
        if let Some((row, identity)) = next {
            self.grant_desk_epoch(row, identity)?;
        }
        let authority = &self.team.authority;
        Ok(match act {
            Act::Demoted => authority.removal(&device).is_some(),
            Act::Removed | Act::Lost => authority.is_removed(&device),
        })
    }

    /// The entry at a place of a device's chain.
    fn entry_at(&self, device: &DeviceId, sequence: u64) -> Result<Option<EntryId>, VaultError> {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        let id: Option<Vec<u8>> = self
            .db
            .prepare_cached("SELECT id FROM entry WHERE device = ?1 AND sequence = ?2 ORDER BY id LIMIT 1")?
            .query_row(rusqlite::params![device.as_bytes(), sequence], |row| row.get(0))
            .optional()?;
        id.map(|id| Ok(EntryId::from_bytes(store::array(&id, "an entry id")?))).transpose()
    }

    /// What a coordinator removed before it is removed itself stays removed. Of one who removed this device,
    /// its senior, that holds only for what it did earlier, and to no coordinator.
    fn honoured(&self, device: &DeviceId) -> Vec<RemovalHash> {
        let authority = &self.team.authority;
        let Some(answered) = authority.answerable(&self.me) else { return authority.removals_by(device) };
        let mut honoured: Vec<RemovalHash> = authority
            .removals()
            .filter(|removal| removal.issuer == *device && removal.sequence < answered.sequence)
            .filter(|removal| authority.ever_coordinator(&removal.device).is_none())
            .map(Removal::hash)
            .take(REMOVALS_OF_ONE_MAX)
            .collect();
        honoured.sort_unstable();
        honoured
    }

    /// Makes everything as it should be: certificates that run out or whose signer was removed, epochs
    /// that a removed device knows, and what the desk's monitors have not been told.
    pub fn put_in_order(&mut self) -> Result<(), VaultError> {
        let members = all(self.db)?;
        self.vouch(&members)?;
        if self.team.authority.reads_for(&self.me, self.team.desk) {
            self.rotate_desk_if_stale()?;
        }
        self.rotate_transport_if_stale()?;
        self.renew(&members)?;
        self.tell(&all(self.db)?)
    }

    /// What a removed coordinator certified before it was removed counts, as far as this device saw it in
    /// its chain.
    fn vouch(&mut self, members: &[Known]) -> Result<(), VaultError> {
        let mut changed = false;
        for known in at_desk(members, self.team.desk).filter(|known| known.member) {
            let issuer = known.certificate.body().issuer;
            let Some(removal) = self.team.authority.removal(&issuer) else { continue };
            // A coordinator stands by who certified or kept it, and by nothing else.
            let coordinator = self.team.authority.ever_coordinator(&known.id()).is_some();
            if known.via <= removal.cut && !coordinator && !self.team.authority.is_removed(&known.id()) {
                // A crowd that somebody certified to fill the list must not keep them from being removed.
                changed |= self.team.authority.vouch(known.id()).unwrap_or(false);
            }
        }
        if changed { self.save_authority() } else { Ok(()) }
    }

    /// The next epoch of the desk, for the coordinators who read for it now, if the current one is known
    /// to others or not to all of them.
    fn next_desk_epoch(
        &self,
        name: Option<&str>,
    ) -> Result<Option<(DeskEpochRow, ReadingIdentity)>, VaultError> {
        let desk = self.team.desk;
        let readers = self.team.authority.readers_of(desk);
        if !readers.contains(&self.me) {
            return Ok(None);
        }
        let current = self.team.desk_epoch(desk);
        let given: BTreeSet<DeviceId> =
            current.map(|row| row.readers.iter().copied().collect()).unwrap_or_default();
        let mine = current.is_some_and(|row| {
            self.team.desk_keys.iter().any(|key| key.identity.recipient() == row.recipient)
        });
        let fresh = current.is_some_and(|row| self.team.authority.reads_for(&row.issuer, desk));
        if name.is_none() && mine && fresh && given == readers.iter().copied().collect() {
            return Ok(None);
        }
        let epochs = self.team.desk_epochs.iter().filter(|row| row.desk == desk);
        let highest = epochs
            .filter(|row| self.team.authority.reads_for(&row.issuer, desk))
            .map(|row| row.epoch)
            .max()
            .unwrap_or(0);
        let epoch =
            highest.checked_add(1).ok_or_else(|| VaultError::untrusted("the desk's epochs are used up"))?;
        let identity = ReadingIdentity::generate();
        let row = DeskEpochRow {
            desk,
            epoch,
            recipient: identity.recipient(),
            name: name.map_or_else(|| current.map(|row| row.name.clone()).unwrap_or_default(), str::to_owned),
            issuer: self.me,
            readers,
        };
        Ok(Some((row, identity)))
    }

    fn rotate_desk_if_stale(&mut self) -> Result<(), VaultError> {
        match self.next_desk_epoch(None)? {
            Some((row, identity)) => self.grant_desk_epoch(row, identity),
            None => Ok(()),
        }
    }

    /// Gives the desk a name, with a new epoch: a name travels with it.
    pub fn name_desk(&mut self, name: &str) -> Result<(), VaultError> {
        match self.next_desk_epoch(Some(name))? {
            Some((row, identity)) => self.grant_desk_epoch(row, identity),
            None => Err(VaultError::NotCoordinator),
        }
    }

    fn grant_desk_epoch(&mut self, row: DeskEpochRow, identity: ReadingIdentity) -> Result<(), VaultError> {
        save_desk_epoch(self.db, &row)?;
        save_desk_key(self.db, row.epoch, &identity, &self.me)?;
        let text = identity.to_text();
        self.team.desk_keys.insert(0, super::DeskKey { epoch: row.epoch, identity });
        self.team.desk_epochs.push(row.clone());
        let (mates, others): (Vec<_>, Vec<_>) =
            self.other_coordinators().into_iter().partition(|(id, _)| row.readers.contains(id));
        let public = DeskEpoch {
            desk: row.desk,
            epoch: row.epoch,
            recipient: row.recipient.clone(),
            name: row.name.clone(),
            readers: row.readers.clone(),
            identity: None,
        };
        let secret = DeskEpoch { identity: Some(text), ..public.clone() };
        let grant = Grant { desk: Some(secret), ..Grant::default() };
        let id = self.write(Kind::Grant, &grant.encode(), &mates)?;
        if !others.is_empty() {
            let grant = Grant { desk: Some(public), ..Grant::default() };
            self.write(Kind::Grant, &grant.encode(), &others)?;
        }
        let know: Vec<DeviceId> = mates.iter().chain(&others).map(|(id, _)| *id).collect();
        note_told(self.db, &[desk_item(&row.recipient)], &know)?;
        let act = log::Act { kind: "rotated", subject: Some(row.desk.as_bytes()), detail: "the desk's key" };
        log::note(self.db, now_ms(), &self.me, &act, Some(&id))
    }

    fn rotate_transport_if_stale(&mut self) -> Result<(), VaultError> {
        let removed = self.team.authority.removed();
        let order = self.team.transport_in_order();
        let fresh = order.first().is_some_and(|top| {
            self.team.authority.is_coordinator(&top.issuer)
                && removed.iter().all(|device| top.without.contains(device))
        });
        if fresh {
            return Ok(());
        }
        let standing = order.iter().filter(|row| self.team.authority.is_coordinator(&row.issuer));
        let epoch = standing
            .map(|row| row.epoch)
            .max()
            .unwrap_or(0)
            .checked_add(1)
            .ok_or_else(|| VaultError::untrusted("the transport epochs are used up"))?;
        let mut secret = Zeroizing::new([0; 32]);
        slots::fill(&mut *secret)?;
        let without: Vec<DeviceId> = removed.into_iter().collect();
        let row = TransportRow { epoch, secret, issuer: self.me, without };
        save_transport(self.db, &row)?;
        let grant = Grant { transport: Some(transport_epoch(&row)), ..Grant::default() };
        let to = self.other_coordinators();
        self.write(Kind::Grant, &grant.encode(), &to)?;
        let know: Vec<DeviceId> = to.iter().map(|(id, _)| *id).collect();
        note_told(self.db, &[transport_item(&row.secret)], &know)?;
        self.team.transport.push(row);
        Ok(())
    }

    /// Issues certificates anew: those that run out, those whose signer was removed, and those that say
    /// more than the device is.
    fn renew(&mut self, members: &[Known]) -> Result<(), VaultError> {
        let now = now_s();
        let own = self.team.certificate.clone();
        let mut due: Vec<(Certificate, String)> = Vec::new();
        if own.body().not_after < now.saturating_add(RENEW_ANY_S) {
            due.push((own, String::new()));
        }
        for known in at_desk(members, self.team.desk).filter(|known| known.member) {
            let (body, id) = (known.certificate.body(), known.id());
            if id == self.me || self.team.authority.is_removed(&id) {
                continue;
            }
            // A coordinator renews itself. What another signed would hold it up when whoever admitted it
            // falls, and bring back whom nobody kept.
            let demoted = self.team.authority.removal(&id).is_some();
            if self.team.authority.ever_coordinator(&id).is_some() && !demoted {
                continue;
            }
            let stands = self.team.authority.is_coordinator(&body.issuer);
            if !stands && !demoted && self.team.authority.judge(&known.certificate, now).is_err() {
                continue;
            }
            let ahead = if body.issuer == self.me { RENEW_OWN_S } else { RENEW_ANY_S };
            let demoted = demoted && body.role == Role::Coordinator;
            if !stands || demoted || body.not_after < now.saturating_add(ahead) {
                due.push((known.certificate.clone(), known.label.clone()));
            }
        }
        for (certificate, label) in due {
            let removal = self.team.authority.removal(&certificate.device_id());
            let role = if removal.is_some() { Role::Monitor } else { certificate.body().role };
            // A device that sleeps knows for certain only who signed what it has. It is told who signs now,
            // or it could not judge its renewal when it wakes up with a certificate that has run out.
            let knows_me = certificate.body().issuer == self.me && now <= certificate.body().not_after;
            if certificate.device_id() != self.me && !knows_me {
                self.tell_anew(certificate.device_id())?;
            }
            let renewed = self.reissue(&certificate, role);
            self.announce(&renewed, &label)?;
        }
        Ok(())
    }

    /// The next certificate of a device.
    pub fn reissue(&self, certificate: &Certificate, role: Role) -> Certificate {
        let body = certificate.body();
        let now = now_s();
        let promoted = role == Role::Coordinator && body.role != Role::Coordinator;
        self.device.issue(CertificateBody {
            role,
            admitted: if promoted { now } else { body.admitted },
            not_after: now + MEMBER_LIFE_S,
            issuer: self.me,
            serial: body.serial.saturating_add(1),
            ..body.clone()
        })
    }
}
