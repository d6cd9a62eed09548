//! A restored backup, or a copy, becomes a new device: two devices never continue one chain.
//!
//! In two halves, each whole or not at all:
//!
//! - [`strip`] takes the device out of the vault: its keys, its chain, its certificate, what it knew of the
//!   team's transport and had told whom. What it wrote and read stays, and so do the keys to read it. From
//!   then on there is no device.
//! - [`renew`] makes the new one, when the vault is opened or at once: keys, a name for its depot, and every
//!   draft written anew by its hand.
//!
//! A backup is written stripped. Entries that the old device signed stay in the outbox and the depot: they are
//! genuine, and are delivered as they are. If both copies wrote before one of them stopped, that shows at the
//! readers as what it is; nothing that was signed is thrown away for the sake of looking well.

mod drafts;

use fieldbook_depot::SqlDepot;
use fieldbook_proto::pairing::FormerDevice;
use fieldbook_proto::{DepotId, DeviceId};
use fieldbook_seal::DeviceSecret;
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::problems::{Class, SUPERSEDED};
use crate::rekey::step;
use crate::reports::clip;
use crate::team::{Team, save_author};
use crate::vault::{NAME_MAX, Vault};
use crate::{outgoing, place, rekey, slots, store};

/// Set from when the old device is gone until the new one is complete.
const RENEW: &str = "renew";
/// Small state of the device that goes.
const OF_THE_DEVICE: [&str; 6] = ["device", "team", "authority", "chain", "share-again", SUPERSEDED];
/// Tables of the device that goes. The desk's reading identities are not among them: what could be read is
/// still read.
const TABLES_OF_THE_DEVICE: [&str; 4] = ["transport_epoch", "desk_epoch", "told", "receipt_due"];
/// What the depot shows of the device to the network.
const SHOWN: [&str; 3] = ["authority", "certificate", "transport-secrets"];

/// Why this vault adds nothing to its device's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It lies in another place than it was used in last: it may be a copy.
    Moved,
    /// Another copy has gone on writing.
    Superseded,
    /// It was made a new device, which has not joined a team yet.
    New,
}

impl CopyState {
    /// The word in status.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Superseded => "superseded",
            Self::New => "new-device",
        }
    }
}

/// Refuses when another copy of this vault may sign with the same keys, or has done so.
pub(crate) fn check(db: &Connection) -> Result<(), VaultError> {
    if store::meta(db, SUPERSEDED)?.is_some() {
        return Err(VaultError::Superseded);
    }
    if place::is_moved(db)? { Err(VaultError::Moved) } else { Ok(()) }
}

/// Whether this is a vault without its device: a backup that was not opened yet, or one in between.
pub(crate) fn is_due(db: &Connection) -> Result<bool, VaultError> {
    Ok(store::meta(db, RENEW)?.is_some())
}

/// Takes the device out of the vault, in one transaction.
pub(crate) fn strip(db: &mut Connection) -> Result<(), VaultError> {
    let tx = db.transaction()?;
    let secret = DeviceSecret::from_bytes(&Zeroizing::new(store::required_meta(&tx, "device")?))
        .map_err(|_| VaultError::damaged("the device's keys do not read back"))?;
    let me = secret.id();
    if let Some(team) = Team::load(&tx)? {
        save_author(&tx, &team.certificate)?;
        let name = String::from_utf8(store::required_meta(&tx, "name")?).unwrap_or_default();
        let label = format!("{} (before it was restored)", clip(&name, NAME_MAX - 32));
        tx.execute("UPDATE device SET label = ?2 WHERE id = ?1", params![me.as_bytes(), label])?;
        let sequence = outgoing::next_sequence(&tx)?.saturating_sub(1);
        tx.execute(
            "INSERT OR IGNORE INTO former_device (id, sequence) VALUES (?1, ?2)",
            params![me.as_bytes(), i64::try_from(sequence).unwrap_or(i64::MAX)],
        )?;
    }
    for table in TABLES_OF_THE_DEVICE {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    for name in OF_THE_DEVICE {
        tx.execute("DELETE FROM meta WHERE name = ?1", [name])?;
    }
    // What made it go is answered by its going.
    tx.execute("DELETE FROM problem WHERE class = ?1", [Class::OlderCopy.word()])?;
    place::forget(&tx)?;
    store::set_meta(&tx, RENEW, &[1])?;
    // The keys that went lie in old blocks of the disk.
    rekey::ask(&tx)?;
    tx.commit()?;
    step()
}

/// Makes the new device of a vault that has none. Repeated after a crash, it goes on where it stopped.
pub(crate) fn renew(db: &mut Connection, depot: &mut SqlDepot) -> Result<(), VaultError> {
    let device = match store::meta(db, "device")?.map(Zeroizing::new) {
        Some(bytes) => DeviceSecret::from_bytes(&bytes)
            .map_err(|_| VaultError::damaged("the device's keys do not read back"))?,
        None => {
            let device = generate()?;
            let tx = db.transaction()?;
            drafts::write_anew(&tx, depot, &device.id())?;
            store::set_meta(&tx, "device", &device.to_bytes())?;
            tx.commit()?;
            step()?;
            device
        }
    };
    let mut name = [0; 16];
    slots::fill(&mut name)?;
    let seed = device.transport_seed();
    let mut settings: Vec<(&str, Option<&[u8]>)> = vec![("transport-seed", Some(seed.as_slice()))];
    settings.extend(SHOWN.map(|name| (name, None)));
    depot.start_anew(DepotId::from_bytes(name), &settings)?;
    step()?;
    db.execute("DELETE FROM meta WHERE name = ?1", [RENEW])?;
    step()
}

/// The keys of a new device.
pub(crate) fn generate() -> Result<DeviceSecret, VaultError> {
    let mut seeds = Zeroizing::new([0; 64]);
    slots::fill(&mut *seeds)?;
    Ok(DeviceSecret::generate(store::array(&seeds[..32], "seed")?, store::array(&seeds[32..], "seed")?))
}

/// The devices that this vault was before, the latest last.
pub(crate) fn former(db: &Connection) -> Result<Vec<FormerDevice>, VaultError> {
    let mut statement = db.prepare_cached("SELECT id, sequence FROM former_device ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut former = Vec::new();
    while let Some(row) = rows.next()? {
        let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a device id")?);
        former.push(FormerDevice { device, sequence: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0) });
    }
    Ok(former)
}

/// Whether this vault was that device before.
pub(crate) fn was(db: &Connection, device: &DeviceId) -> Result<bool, VaultError> {
    Ok(db.prepare_cached("SELECT 1 FROM former_device WHERE id = ?1")?.exists([device.as_bytes()])?)
}

impl Vault {
    /// Makes this vault a new device: another identity, no team. Reports stay, with what reads them; those
    /// that the old device finished stay its own, drafts become the new device's, under new ids. What the old
    /// device had signed is still delivered.
    ///
    /// # Errors
    /// The disk's. Then it is the old device still, or becomes the new one when the vault is opened next.
    pub fn become_new_device(&mut self) -> Result<(), VaultError> {
        // What waits to be opened is opened while this device's identity is here, and nothing is signed.
        place::doubt(&self.db)?;
        self.absorb()?;
        self.flush()?;
        strip(&mut self.db)?;
        self.team = None;
        renew(&mut self.db, &mut self.depot)?;
        place::accept(&self.db, self.layout())?;
        self.device = DeviceSecret::from_bytes(&Zeroizing::new(store::required_meta(&self.db, "device")?))
            .map_err(|_| VaultError::damaged("the device's keys do not read back"))?;
        self.me = self.device.id();
        self.retry_waiting = true;
        Ok(())
    }

    /// Whether another copy of this vault may sign with the same keys, or this one was made a new device.
    ///
    /// # Errors
    /// The store's.
    pub fn copy_state(&self) -> Result<Option<CopyState>, VaultError> {
        match check(&self.db) {
            Err(VaultError::Superseded) => Ok(Some(CopyState::Superseded)),
            Err(VaultError::Moved) => Ok(Some(CopyState::Moved)),
            Err(error) => Err(error),
            Ok(()) if self.team.is_none() && !former(&self.db)?.is_empty() => Ok(Some(CopyState::New)),
            Ok(()) => Ok(None),
        }
    }

    /// Whether this vault may sign anything.
    pub(crate) fn may_sign(&self) -> Result<bool, VaultError> {
        match check(&self.db) {
            Ok(()) => Ok(true),
            Err(VaultError::Superseded | VaultError::Moved) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes its person's word that this vault was moved, and that no other copy of it is used.
    ///
    /// # Errors
    /// [`VaultError::Superseded`] where that is known to be wrong; the store's.
    pub fn accept_place(&mut self) -> Result<(), VaultError> {
        match check(&self.db) {
            Err(VaultError::Moved) | Ok(()) => place::accept(&self.db, self.layout()),
            refused => refused,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod tests;
