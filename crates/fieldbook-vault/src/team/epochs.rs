//! Epochs: of a desk's reading identity and of the transport secret.
//!
//! Both are sets that only grow. Which one is current follows from the set and from who stands, so
//! that devices that learned of two rotations in different order agree.

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::{Authority, Recipient};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::{DeskId, DeviceId};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::Team;
use crate::error::VaultError;
use crate::store;

/// Most transport secrets that are shown to the network process.
const TRANSPORT_MAX: usize = 64;

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
    /// The current epoch of a desk: the highest by a coordinator who speaks for the desk; of two at once
    /// the one with the smaller recipient. While none is by one who stands, the highest of all.
    pub fn desk_epoch(&self, desk: DeskId) -> Option<&DeskEpochRow> {
        let stands = |row: &&DeskEpochRow| self.authority.reads_for(&row.issuer, desk);
        self.desk_epochs.iter().filter(|row| row.desk == desk).max_by(|a, b| {
            let order = |row| (stands(row), row.epoch);
            order(a).cmp(&order(b)).then_with(|| b.recipient.cmp(&a.recipient))
        })
    }

    /// The transport secrets, the one to use first: by coordinators who stand before the others, higher
    /// epochs before lower ones, of two at once the one with the smaller hash.
    pub fn transport_in_order(&self) -> Vec<TransportRow> {
        let mut rows = self.transport.clone();
        rows.sort_by_cached_key(|row| order(&self.authority, row));
        rows.truncate(TRANSPORT_MAX);
        rows
    }
}

type Order = (bool, std::cmp::Reverse<u32>, [u8; 32]);

fn order(authority: &Authority, row: &TransportRow) -> Order {
    let stands = authority.is_coordinator(&row.issuer);
    (!stands, std::cmp::Reverse(row.epoch), *blake3::hash(&*row.secret).as_bytes())
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
    for _ in 0..reader.count("transport secrets", TRANSPORT_MAX)? {
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

fn join(devices: &[DeviceId]) -> Vec<u8> {
    devices.iter().flat_map(|device| *device.as_bytes()).collect()
}

fn split(bytes: &[u8]) -> Result<Vec<DeviceId>, VaultError> {
    bytes
        .chunks(DeviceId::LEN)
        .map(|device| Ok(DeviceId::from_bytes(store::array(device, "a device id")?)))
        .collect()
}
