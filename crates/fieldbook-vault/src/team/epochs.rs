//! Epochs: of a desk's reading identity and of the transport secret.
//!
//! Both are sets that only grow. Which one is current follows from the set and from who stands, so
//! that devices that learned of two rotations in different order agree.

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::{Authority, Recipient};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::epoch::{self, DeskClaim, SecretClaim};
use fieldbook_proto::session::limits::EPOCHS_MAX;
use fieldbook_proto::{DeskId, DeviceId};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::Team;
use crate::error::VaultError;
use crate::store;

/// Most transport secrets, and most public epochs of a desk, that are kept of one issuer: its newest.
const KEPT_OF_ISSUER: i64 = 64;
/// Most reading identities that are taken from one issuer. Every entry is tried with each.
pub(super) const IDENTITIES_OF_ISSUER: usize = 256;

/// What is public of one epoch of a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeskEpochRow {
    pub desk: DeskId,
    pub epoch: u32,
    pub recipient: Recipient,
    pub name: String,
    /// The coordinator who made it.
    pub issuer: DeviceId,
    /// The coordinators who were given the identity.
    pub readers: Vec<DeviceId>,
}

/// One epoch of the transport secret.
#[derive(Clone)]
pub(crate) struct TransportRow {
    pub epoch: u32,
    pub secret: Zeroizing<[u8; 32]>,
    /// The coordinator who made it.
    pub issuer: DeviceId,
    /// The removed devices that were not given it.
    pub without: Vec<DeviceId>,
}

impl Team {
    /// The current epoch of a desk, see [`epoch::current`].
    pub fn desk_epoch(&self, desk: DeskId) -> Option<&DeskEpochRow> {
        let rows: Vec<&DeskEpochRow> = self.desk_epochs.iter().filter(|row| row.desk == desk).collect();
        let place = epoch::current(rows.iter().map(|row| DeskClaim {
            speaks: self.authority.reads_for(&row.issuer, desk),
            epoch: row.epoch,
            recipient: row.recipient.as_str(),
        }))?;
        rows.get(place).copied()
    }

    /// The epoch of this device's desk to seal to: the current one, while a person who reads for the desk
    /// has its identity. Nothing is sealed to what only those can open who were removed.
    pub fn open_epoch(&self) -> Option<&DeskEpochRow> {
        let row = self.desk_epoch(self.desk)?;
        let people = self.people_who_read(self.desk);
        let has_it = |device: &DeviceId| people.contains(device);
        (has_it(&row.issuer) || row.readers.iter().any(has_it)).then_some(row)
    }

    /// The transport secrets, the one to use first, see [`epoch::in_order`].
    pub fn transport_in_order(&self) -> Vec<TransportRow> {
        let claims: Vec<SecretClaim<'_>> = self
            .transport
            .iter()
            .map(|row| SecretClaim {
                stands: self.authority.is_coordinator(&row.issuer),
                epoch: row.epoch,
                issuer: row.issuer,
                secret: &row.secret,
            })
            .collect();
        epoch::in_order(&claims).into_iter().map(|place| self.transport[place].clone()).collect()
    }
}

pub(super) fn encode_transport(rows: &[TransportRow]) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::new();
    writer.u32(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    for row in rows {
        writer.u32(row.epoch).raw(&*row.secret);
    }
    Zeroizing::new(writer.finish())
}

/// The secrets that the first version of a vault kept in the depot alone.
pub(crate) fn import_transport_epochs(db: &mut Connection, depot: &impl Depot) -> Result<(), VaultError> {
    let known: i64 = db.query_row("SELECT count(*) FROM transport_epoch", [], |row| row.get(0))?;
    let Some(bytes) = depot.setting("transport-secrets")?.map(Zeroizing::new) else { return Ok(()) };
    let Some(authority) = store::meta(db, "authority")? else { return Ok(()) };
    if known > 0 {
        return Ok(());
    }
    let issuer = Authority::decode(&authority)?.founder();
    let mut reader = Reader::new(&bytes);
    let tx = db.transaction()?;
    for _ in 0..reader.count("transport secrets", EPOCHS_MAX)? {
        let epoch = reader.u32("epoch")?;
        let secret = Zeroizing::new(reader.array("transport secret")?);
        save_transport(&tx, &TransportRow { epoch, secret, issuer, without: Vec::new() })?;
    }
    tx.commit()?;
    Ok(())
}

pub(crate) fn save_transport(db: &Connection, row: &TransportRow) -> Result<bool, VaultError> {
    let new = db.execute(
        "INSERT OR IGNORE INTO transport_epoch (epoch, secret, issuer, without) VALUES (?1, ?2, ?3, ?4)",
        params![row.epoch, row.secret.as_slice(), row.issuer.as_bytes(), join(&row.without)],
    )?;
    db.execute(
        "DELETE FROM transport_epoch WHERE issuer = ?1 AND (epoch, secret) NOT IN
             (SELECT epoch, secret FROM transport_epoch WHERE issuer = ?1 ORDER BY epoch DESC, secret LIMIT ?2)",
        params![row.issuer.as_bytes(), KEPT_OF_ISSUER],
    )?;
    Ok(new > 0)
}

pub(super) fn load_transport(db: &Connection) -> Result<Vec<TransportRow>, VaultError> {
    let mut statement = db.prepare("SELECT epoch, secret, issuer, without FROM transport_epoch")?;
    let mut rows = statement.query([])?;
    let mut transport = Vec::new();
    while let Some(row) = rows.next()? {
        let secret = Zeroizing::new(row.get::<_, Vec<u8>>(1)?);
        transport.push(TransportRow {
            epoch: row.get(0)?,
            secret: Zeroizing::new(store::array(&secret, "a transport secret")?),
            issuer: DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(2)?, "a device id")?),
            without: split(&row.get::<_, Vec<u8>>(3)?)?,
        });
    }
    Ok(transport)
}

pub(crate) fn save_desk_epoch(db: &Connection, row: &DeskEpochRow) -> Result<bool, VaultError> {
    let new = db.execute(
        "INSERT OR IGNORE INTO desk_epoch (desk, epoch, recipient, name, issuer, readers)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            row.desk.as_bytes(),
            row.epoch,
            row.recipient.as_str(),
            row.name,
            row.issuer.as_bytes(),
            join(&row.readers)
        ],
    )?;
    db.execute(
        "DELETE FROM desk_epoch WHERE issuer = ?1 AND desk = ?2 AND (epoch, recipient) NOT IN
             (SELECT epoch, recipient FROM desk_epoch WHERE issuer = ?1 AND desk = ?2
              ORDER BY epoch DESC, recipient LIMIT ?3)",
        params![row.issuer.as_bytes(), row.desk.as_bytes(), KEPT_OF_ISSUER],
    )?;
    Ok(new > 0)
}

pub(super) fn load_desk_epochs(db: &Connection) -> Result<Vec<DeskEpochRow>, VaultError> {
    let mut statement = db.prepare("SELECT desk, epoch, recipient, name, issuer, readers FROM desk_epoch")?;
    let mut rows = statement.query([])?;
    let mut epochs = Vec::new();
    while let Some(row) = rows.next()? {
        epochs.push(DeskEpochRow {
            desk: DeskId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a desk id")?),
            epoch: row.get(1)?,
            recipient: Recipient::parse(&row.get::<_, String>(2)?)?,
            name: row.get(3)?,
            issuer: DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(4)?, "a device id")?),
            readers: split(&row.get::<_, Vec<u8>>(5)?)?,
        });
    }
    Ok(epochs)
}

/// Whether a transport epoch may follow those that are known.
pub(super) fn transport_may_follow(db: &Connection, epoch: u32) -> Result<bool, VaultError> {
    let highest: Option<u32> =
        db.query_row("SELECT max(epoch) FROM transport_epoch", [], |row| row.get(0))?;
    Ok(epoch::may_follow(highest.unwrap_or(0), epoch))
}

/// Whether an epoch of a desk may follow those that are known.
pub(super) fn desk_may_follow(db: &Connection, desk: DeskId, epoch: u32) -> Result<bool, VaultError> {
    let highest: Option<u32> =
        db.query_row("SELECT max(epoch) FROM desk_epoch WHERE desk = ?1", [desk.as_bytes()], |row| {
            row.get(0)
        })?;
    Ok(epoch::may_follow(highest.unwrap_or(0), epoch))
}

/// How many reading identities came from an issuer.
pub(super) fn identities_of(db: &Connection, issuer: &DeviceId) -> Result<usize, VaultError> {
    let count: i64 =
        db.query_row("SELECT count(*) FROM desk_identity WHERE issuer = ?1", [issuer.as_bytes()], |row| {
            row.get(0)
        })?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn join(devices: &[DeviceId]) -> Vec<u8> {
    devices.iter().flat_map(|device| *device.as_bytes()).collect()
}

fn split(bytes: &[u8]) -> Result<Vec<DeviceId>, VaultError> {
    bytes
        .chunks(DeviceId::LEN)
        .map(|device| Ok(DeviceId::from_bytes(store::array(device, "a device id")?)))
        .collect()
}
