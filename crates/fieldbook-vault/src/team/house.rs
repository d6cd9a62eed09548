//! What a coordinator does for its team, inside one transaction: certify, remove, rotate, renew, tell.

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_proto::certificate::{
    Act, Certificate, CertificateBody, Recipient, Removal, RemovalHash, Role,
};
use fieldbook_proto::limits::{COORDINATORS_MAX, ENTRY_RECIPIENTS_MAX, REMOVALS_OF_ONE_MAX};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{Announcement, DeskEpoch, Grant, Notice, TransportEpoch};
use fieldbook_seal::{Audience, DeviceSecret, Kind, ReadingIdentity};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use super::arrivals::note_told;
use super::epochs::{DeskEpochRow, TransportRow, save_desk_epoch, save_transport};
use super::founding::MEMBER_LIFE_S;
use super::log;
use super::members::{Known, all, at_desk, save_device};
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
/// Devices that one entry is sealed to when the desk is told something. Together with the desk, the
/// recovery sheets and what pads their number this stays below an entry's most.
const TOLD_AT_ONCE: usize = 45;
/// The number of an entry's recipients is padded to a multiple of this, so that a monitor who counts them
/// does not learn how many devices its desk has.
const RECIPIENTS_STEP: usize = 16;
/// Certificates or removals in one grant.
const GRANT_ITEMS_MAX: usize = 64;

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
}

impl<'a> House<'a> {
    /// `db` must be inside a transaction.
    pub fn open(
        db: &'a Connection,
        device: &'a DeviceSecret,
        standing: Standing,
    ) -> Result<Self, VaultError> {
        let team = Team::load(db)?.ok_or(VaultError::NoTeam)?;
        let house = Self { db, device, me: device.id(), team, addressed: Vec::new() };
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
        let mut to = vec![(device, body.keys.recipient.clone())];
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
        save_device(self.db, certificate, label, sequence)?;
        self.addressed.push((device, id));
        let desk_mates = self.team.authority.readers_of(self.team.desk);
        note_told(self.db, &[member_item(certificate)], &desk_mates)?;
        if new {
            // What it is told when it joins.
            let items: Vec<[u8; 32]> = self.items().into_iter().map(|(hash, _)| hash).collect();
            note_told(self.db, &items, &[device])?;
            let act =
                log::Act { kind: "admitted", subject: Some(device.as_bytes()), detail: body.role.word() };
            log::note(self.db, now_ms(), &self.me, &act, Some(&id))?;
        }
        Ok(())
    }

    /// Signs a removal and puts it into force here. The desk's key and the transport secret are rotated
    /// before anything is said, so that nothing about it is sealed to what the device can open.
    pub fn remove(&mut self, device: DeviceId, act: Act, cut: u64) -> Result<bool, VaultError> {
        let mut keeps: Vec<DeviceId> = self
            .team
            .authority
            .coordinators()
            .iter()
            .filter(|(id, certificate)| **id != device && certificate.body().issuer == device)
            .map(|(id, _)| *id)
            .collect();
        keeps.sort();
        keeps.truncate(COORDINATORS_MAX);
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
        let (mut audience, mut recipients) = self.team.desk_audience();
        if let Some((row, _)) = &next {
            // The new epoch stands in the audience from the first entry on; who reads gets it in the next.
            audience.desk = Some((row.desk, row.epoch));
            recipients[0] = row.recipient.clone();
        }
        for (device, recipient) in to.iter().take(ENTRY_RECIPIENTS_MAX - 2) {
            audience.readers.push(*device);
            recipients.push(recipient.clone());
        }
        let body = removal.encode();
        let entry =
            Outgoing { kind: Kind::Revocation, report: None, audience, body: &body, recipients: &recipients };
        let (id, _) = outgoing::queue(self.db, self.device, &entry)?;
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
            if known.via <= removal.cut && !self.team.authority.is_removed(&known.id()) {
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
        save_desk_key(self.db, row.epoch, &identity)?;
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
        self.team.transport.push(row);
        let to = self.other_coordinators();
        self.write(Kind::Grant, &grant.encode(), &to)?;
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
            let stands = self.team.authority.is_coordinator(&body.issuer);
            if !stands && self.team.authority.judge(&known.certificate, now).is_err() {
                continue;
            }
            let ahead = if body.issuer == self.me { RENEW_OWN_S } else { RENEW_ANY_S };
            let demoted = body.role == Role::Coordinator && self.team.authority.removal(&id).is_some();
            if !stands || demoted || body.not_after < now.saturating_add(ahead) {
                due.push((known.certificate.clone(), known.label.clone()));
            }
        }
        for (certificate, label) in due {
            let removal = self.team.authority.removal(&certificate.device_id());
            let role = if removal.is_some() { Role::Monitor } else { certificate.body().role };
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

    /// What every monitor of the desk is to know.
    fn items(&self) -> Vec<([u8; 32], Item)> {
        let mut items: Vec<Item> = self.team.authority.removals().cloned().map(Item::Removal).collect();
        items.extend(self.team.authority.coordinators().values().cloned().map(Item::Certificate));
        items.extend(self.team.transport_in_order().into_iter().take(1).map(Item::Transport));
        items.extend(self.team.desk_epoch(self.team.desk).cloned().map(Item::Desk));
        items.extend(self.team.recovery.clone().map(Item::Recovery));
        items.into_iter().map(|item| (item.hash(), item)).collect()
    }

    /// Tells the desk's monitors and new coordinators what they have not been told, in entries that name
    /// none of them.
    fn tell(&mut self, members: &[Known]) -> Result<(), VaultError> {
        let for_monitors = self.items();
        let desk = self.team.desk;
        let for_mates: Vec<([u8; 32], Item)> = at_desk(members, desk)
            .filter(|known| known.member && known.certificate.body().role != Role::Coordinator)
            .map(|known| (member_item(&known.certificate), Item::Certificate(known.certificate.clone())))
            .collect();
        let name = String::from_utf8(store::required_meta(self.db, "name")?).unwrap_or_default();
        let labels: BTreeMap<DeviceId, &str> =
            members.iter().map(|known| (known.id(), known.label.as_str())).collect();
        // Devices that lack the same things are told together.
        let mut groups: BTreeMap<Vec<[u8; 32]>, Vec<(DeviceId, Recipient)>> = BTreeMap::new();
        for known in at_desk(members, desk).filter(|known| known.member) {
            let id = known.id();
            if id == self.me || self.team.authority.is_removed(&id) {
                continue;
            }
            let told = told(self.db, &id)?;
            let mate = self.team.authority.reads_for(&id, desk);
            let items = if mate { &for_mates } else { &for_monitors };
            let lacks: Vec<[u8; 32]> =
                items.iter().map(|(hash, _)| *hash).filter(|hash| !told.contains(hash)).collect();
            if !lacks.is_empty() {
                let recipient = known.certificate.body().keys.recipient.clone();
                groups.entry(lacks).or_default().push((id, recipient));
            }
        }
        let all: BTreeMap<[u8; 32], &Item> =
            for_monitors.iter().chain(&for_mates).map(|(hash, item)| (*hash, item)).collect();
        let mates = self.team.authority.readers_of(desk).len() > 1;
        for (lacks, devices) in groups {
            let items: Vec<&Item> = lacks.iter().filter_map(|hash| all.get(hash).copied()).collect();
            let own = self.team.certificate.clone();
            let grants = grants(&items, |id| {
                let unknown = if id == own.device_id() { name.as_str() } else { "" };
                labels.get(&id).copied().unwrap_or(unknown).to_owned()
            });
            for devices in devices.chunks(TOLD_AT_ONCE) {
                let (audience, base) = self.team.desk_audience();
                let audience = Audience { readers: Vec::new(), ..audience };
                let recipients: Vec<Recipient> =
                    base.into_iter().chain(devices.iter().map(|(_, recipient)| recipient.clone())).collect();
                for grant in &grants {
                    let body = grant.encode();
                    let entry = Outgoing {
                        kind: Kind::Grant,
                        report: None,
                        audience: audience.clone(),
                        body: &body,
                        recipients: &recipients,
                    };
                    outgoing::queue_padded(self.db, self.device, &entry, RECIPIENTS_STEP)?;
                }
                let ids: Vec<DeviceId> = devices.iter().map(|(id, _)| *id).collect();
                note_told(self.db, &lacks, &ids)?;
                if mates {
                    for what in lacks.chunks(GRANT_ITEMS_MAX) {
                        let notice = Notice::Told { what: what.to_vec(), devices: ids.clone() };
                        self.write(Kind::Notice, &notice.encode(), &[])?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Something to be told.
enum Item {
    Removal(Removal),
    Certificate(Certificate),
    Transport(TransportRow),
    Desk(DeskEpochRow),
    Recovery(Recipient),
}

impl Item {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::Removal(removal) => hash(b'r', &removal.encode()),
            Self::Certificate(certificate) => member_item(certificate),
            Self::Transport(row) => hash(b't', &*row.secret),
            Self::Desk(row) => hash(b'd', row.recipient.as_str().as_bytes()),
            Self::Recovery(recipient) => hash(b'p', recipient.as_str().as_bytes()),
        }
    }
}

fn hash(tag: u8, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("fieldbook 2026 told v1");
    hasher.update(&[tag]).update(bytes);
    *hasher.finalize().as_bytes()
}

fn member_item(certificate: &Certificate) -> [u8; 32] {
    hash(b'c', &certificate.encode())
}

/// As few grants as carry these items.
fn grants(items: &[&Item], label: impl Fn(DeviceId) -> String) -> Vec<Grant> {
    let mut grants = vec![Grant::default()];
    for item in items {
        let full = |grant: &Grant| {
            grant.removals.len() >= GRANT_ITEMS_MAX || grant.coordinators.len() >= GRANT_ITEMS_MAX
        };
        if grants.last().is_none_or(full) {
            grants.push(Grant::default());
        }
        let Some(grant) = grants.last_mut() else { continue };
        match item {
            Item::Removal(removal) => grant.removals.push(removal.clone()),
            Item::Certificate(certificate) => grant.coordinators.push(Announcement {
                certificate: certificate.clone(),
                label: label(certificate.device_id()),
            }),
            Item::Transport(row) => grant.transport = Some(transport_epoch(row)),
            Item::Desk(row) => {
                grant.desk = Some(DeskEpoch {
                    desk: row.desk,
                    epoch: row.epoch,
                    recipient: row.recipient.clone(),
                    name: row.name.clone(),
                    readers: row.readers.clone(),
                    identity: None,
                });
            }
            Item::Recovery(recipient) => grant.recovery = Some(recipient.clone()),
        }
    }
    grants
}

fn transport_epoch(row: &TransportRow) -> TransportEpoch {
    TransportEpoch { epoch: row.epoch, secret: row.secret.clone(), without: row.without.clone() }
}

fn told(db: &Connection, device: &DeviceId) -> Result<BTreeSet<[u8; 32]>, VaultError> {
    let mut statement = db.prepare_cached("SELECT what FROM told WHERE device = ?1")?;
    let mut rows = statement.query([device.as_bytes()])?;
    let mut told = BTreeSet::new();
    while let Some(row) = rows.next()? {
        told.insert(store::array(&row.get::<_, Vec<u8>>(0)?, "what a device was told")?);
    }
    Ok(told)
}
