//! What a coordinator tells others: its desk's monitors and relays what they need of the team, its
//! desk-mates the desk's members too, and the coordinators of other desks what concerns them all.

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Certificate, Recipient, Removal, Role};
use fieldbook_seal::body::{Announcement, DeskEpoch, Grant, Notice, TransportEpoch};
use fieldbook_seal::{Header, Kind};
use rusqlite::{Connection, params};

use super::epochs::{DeskEpochRow, TransportRow};
use super::house::House;
use super::members::{Known, at_desk};
use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::store;

/// Devices that one entry is sealed to when the desk is told something. Together with the desk, the
/// recovery sheets and what pads their number this stays below an entry's most.
const TOLD_AT_ONCE: usize = 45;
/// The number of an entry's recipients is padded to this, the most that is told at once, so that a monitor
/// who counts them does not learn how many devices its desk has.
const RECIPIENTS_STEP: usize = 48;
/// Certificates or removals in one grant, and hashes in one notice.
const GRANT_ITEMS_MAX: usize = 64;
/// Bytes of removals in one grant, after which another one begins.
const REMOVALS_BYTES_MAX: usize = 256 << 10;

/// Whether a device hears names. A relay hears none: whoever runs it need not be of the team, and has its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Names {
    Told,
    Withheld,
}

/// Devices that lack the same things.
type Groups = BTreeMap<(Names, Vec<[u8; 32]>), Vec<(DeviceId, Recipient)>>;

impl House<'_> {
    /// What every device of the desk is to know.
    pub(super) fn items(&self) -> Vec<([u8; 32], Item)> {
        let authority = &self.team.authority;
        let mut items: Vec<Item> = authority.removals().cloned().map(Item::Removal).collect();
        // Whoever certified one who stands is needed to judge it, even if it does not stand itself.
        let mut coordinators: BTreeSet<DeviceId> = authority.coordinators().keys().copied().collect();
        let mut above: Vec<DeviceId> = coordinators.iter().copied().collect();
        while let Some(id) = above.pop() {
            let issuer = authority.ever_coordinator(&id).map(|certificate| certificate.body().issuer);
            above.extend(issuer.filter(|issuer| coordinators.insert(*issuer)));
        }
        let mut coordinators: Vec<DeviceId> = coordinators.into_iter().collect();
        coordinators.sort_by_key(|id| authority.rank(id));
        items.extend(
            coordinators
                .iter()
                .filter_map(|id| authority.ever_coordinator(id))
                .cloned()
                .map(Item::Certificate),
        );
        items.extend(self.team.transport_in_order().into_iter().take(1).map(Item::Transport));
        items.extend(self.team.desk_epoch(self.team.desk).cloned().map(Item::Desk));
        items.extend(self.team.sheets().cloned().map(Item::Recovery));
        items.into_iter().map(|item| (item.hash(), item)).collect()
    }

    /// What a device has learned when it was admitted: all that its own desk is told, but for the epoch of a
    /// desk that is not its own.
    pub(super) fn told_at_admission(&self, certificate: &Certificate) -> Vec<[u8; 32]> {
        let here = certificate.body().desk == self.team.desk;
        let in_admission = |item: &Item| here || !matches!(item, Item::Desk(_) | Item::Recovery(_));
        self.items().into_iter().filter(|(_, item)| in_admission(item)).map(|(hash, _)| hash).collect()
    }

    /// Tells everybody what they have not been told, in entries that name none of them.
    ///
    /// A coordinator of another desk is told too: of this desk's epoch, or it could not answer here, and of
    /// everything that it may have missed because somebody admitted it who did not know it yet.
    pub(super) fn tell(&mut self, members: &[Known]) -> Result<(), VaultError> {
        let desk = self.team.desk;
        let common = self.items();
        let mut all: BTreeMap<[u8; 32], Item> = BTreeMap::new();
        let (mut for_desk, mut for_mates, mut for_others) = (Vec::new(), Vec::new(), Vec::new());
        for (hash, item) in common {
            for_desk.push(hash);
            for_mates.push(hash);
            if !matches!(item, Item::Recovery(_)) {
                for_others.push(hash);
            }
            all.insert(hash, item);
        }
        for known in at_desk(members, desk).filter(|known| known.member && !is_coordinator(known)) {
            let hash = member_item(&known.certificate);
            for_mates.push(hash);
            all.insert(hash, Item::Certificate(known.certificate.clone()));
        }
        let (mut groups, mut alone): (Groups, Vec<_>) = (BTreeMap::new(), Vec::new());
        for known in members.iter().filter(|known| known.member) {
            let id = known.id();
            if id == self.me || self.team.authority.is_removed(&id) {
                continue;
            }
            let items = if self.team.authority.reads_for(&id, desk) {
                &for_mates
            } else if self.team.authority.is_coordinator(&id) {
                &for_others
            } else if known.certificate.body().desk == desk {
                &for_desk
            } else {
                continue;
            };
            let told = told(self.db, &id)?;
            let lacks: Vec<[u8; 32]> = items.iter().filter(|hash| !told.contains(*hash)).copied().collect();
            if lacks.is_empty() {
                continue;
            }
            let body = known.certificate.body();
            let device = (id, body.keys.recipient.clone());
            let names = if body.role == Role::Relay { Names::Withheld } else { Names::Told };
            if self.unsure.contains(&id) {
                alone.push((names, lacks, device));
            } else {
                groups.entry((names, lacks)).or_default().push(device);
            }
        }
        let name = String::from_utf8(store::required_meta(self.db, "name")?).unwrap_or_default();
        let labels: BTreeMap<DeviceId, &str> =
            members.iter().map(|known| (known.id(), known.label.as_str())).collect();
        let me = self.me;
        let label = |id: DeviceId| {
            let unknown = if id == me { name.as_str() } else { "" };
            labels.get(&id).copied().unwrap_or(unknown).to_owned()
        };
        for ((names, lacks), devices) in &groups {
            let items = named(lacks, &all, *names, &label);
            for devices in devices.chunks(TOLD_AT_ONCE) {
                self.tell_group(lacks, &items, devices, false)?;
            }
        }
        for (names, lacks, device) in &alone {
            let items = named(lacks, &all, *names, &label);
            self.tell_group(lacks, &items, std::slice::from_ref(device), true)?;
        }
        Ok(())
    }

    /// `addressed`: the one device may fetch it before it gets anything else. Then the entry names it.
    fn tell_group(
        &mut self,
        lacks: &[[u8; 32]],
        grants: &[Grant],
        devices: &[(DeviceId, Recipient)],
        addressed: bool,
    ) -> Result<(), VaultError> {
        let ids: Vec<DeviceId> = devices.iter().map(|(id, _)| *id).collect();
        let (mut audience, mut recipients) = self.team.desk_audience();
        recipients.extend(devices.iter().map(|(_, recipient)| recipient.clone()));
        if addressed {
            audience.readers.clone_from(&ids);
        }
        for grant in grants {
            let body = grant.encode();
            let entry = Outgoing {
                kind: Kind::Grant,
                report: None,
                audience: audience.clone(),
                body: &body,
                recipients: &recipients,
            };
            let (entry, _) = outgoing::queue_padded(self.db, self.device, &entry, RECIPIENTS_STEP)?;
            if addressed {
                self.addressed.extend(ids.iter().map(|id| (*id, entry)));
            }
        }
        self.told(lacks, &ids)
    }

    /// Notes who was told what, and lets the desk's other coordinators know, who need not tell it again.
    pub(super) fn told(&mut self, what: &[[u8; 32]], devices: &[DeviceId]) -> Result<(), VaultError> {
        note_told(self.db, what, devices)?;
        if self.team.people_who_read(self.team.desk).iter().any(|id| *id != self.me) {
            for what in what.chunks(GRANT_ITEMS_MAX) {
                let notice = Notice::Told { what: what.to_vec(), devices: devices.to_vec() };
                self.write(Kind::Notice, &notice.encode(), &[])?;
            }
        }
        Ok(())
    }

    /// From now on the device is told everything anew, in entries of its own that it may fetch although its
    /// certificate has run out: nobody knows what it has heard.
    pub(super) fn tell_anew(&mut self, device: DeviceId) -> Result<(), VaultError> {
        self.db.execute("DELETE FROM told WHERE device = ?1", [device.as_bytes()])?;
        self.unsure.insert(device);
        Ok(())
    }
}

/// Grants of what some lack, with names or without.
fn named(
    lacks: &[[u8; 32]],
    all: &BTreeMap<[u8; 32], Item>,
    names: Names,
    label: &impl Fn(DeviceId) -> String,
) -> Vec<Grant> {
    let items: Vec<&Item> = lacks.iter().filter_map(|hash| all.get(hash)).collect();
    match names {
        Names::Told => grants(&items, label),
        Names::Withheld => {
            let mut grants = grants(&items, |_| String::new());
            for desk in grants.iter_mut().filter_map(|grant| grant.desk.as_mut()) {
                desk.name = String::new();
            }
            grants
        }
    }
}

fn is_coordinator(known: &Known) -> bool {
    known.certificate.body().role == Role::Coordinator
}

/// Something to be told.
pub(super) enum Item {
    Removal(Removal),
    Certificate(Certificate),
    Transport(TransportRow),
    Desk(DeskEpochRow),
    Recovery(Recipient),
}

impl Item {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::Removal(removal) => removal_item(removal),
            Self::Certificate(certificate) => member_item(certificate),
            Self::Transport(row) => transport_item(&row.secret),
            Self::Desk(row) => desk_item(&row.recipient),
            Self::Recovery(recipient) => hash(b'p', recipient.as_str().as_bytes()),
        }
    }
}

fn hash(tag: u8, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("fieldbook 2026 told v1");
    hasher.update(&[tag]).update(bytes);
    *hasher.finalize().as_bytes()
}

pub(super) fn removal_item(removal: &Removal) -> [u8; 32] {
    hash(b'r', &removal.encode())
}

pub(super) fn member_item(certificate: &Certificate) -> [u8; 32] {
    hash(b'c', &certificate.encode())
}

pub(super) fn transport_item(secret: &[u8; 32]) -> [u8; 32] {
    hash(b't', secret)
}

pub(super) fn desk_item(recipient: &Recipient) -> [u8; 32] {
    hash(b'd', recipient.as_str().as_bytes())
}

/// As few grants as carry these items.
fn grants(items: &[&Item], label: impl Fn(DeviceId) -> String) -> Vec<Grant> {
    let mut grants = vec![Grant::default()];
    for item in items {
        // What a removal honours makes it long: an entry has room for few of those.
        let removals = |grant: &Grant| grant.removals.iter().map(|one| one.encode().len()).sum::<usize>();
        let full = |grant: &Grant| {
            grant.removals.len() >= GRANT_ITEMS_MAX
                || grant.coordinators.len() >= GRANT_ITEMS_MAX
                || removals(grant) >= REMOVALS_BYTES_MAX
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

pub(super) fn transport_epoch(row: &TransportRow) -> TransportEpoch {
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

/// Remembers who was told what.
pub(super) fn note_told(db: &Connection, what: &[[u8; 32]], devices: &[DeviceId]) -> Result<(), VaultError> {
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO told (device, what) VALUES (?1, ?2)")?;
    for device in devices {
        for item in what {
            insert.execute(params![device.as_bytes(), item.as_slice()])?;
        }
    }
    Ok(())
}

/// Remembers what an entry of somebody else tells: whoever signed it and whom it names know it.
pub(super) fn note_heard(db: &Connection, what: [u8; 32], header: &Header) -> Result<(), VaultError> {
    note_told(db, &[what], &[header.device])?;
    note_told(db, &[what], &header.audience.readers)
}
