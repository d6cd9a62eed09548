//! Creating, opening and closing a vault.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fieldbook_depot::{Depot, DepotKey, SqlDepot, cipher};
use fieldbook_proto::{DepotId, DeviceId, ReportId};
use fieldbook_seal::{DeviceSecret, ReadingIdentity};
use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::durable::{self, private_file};
use crate::duress::{self, Duress};
use crate::error::VaultError;
use crate::keyfile::{self, Kek, Keys};
use crate::layout::Layout;
use crate::merge::{InProcess, Merger};
use crate::passphrase::Passphrase;
use crate::place;
use crate::rejoin;
use crate::rekey::{self, Place, step};
use crate::rules::Rules;
use crate::slots::{self, Held, Opened};
use crate::store;
use crate::team::{self, Team};
use crate::twin::{self, Beside};
use crate::views::{DeviceInfo, TeamInfo};
use crate::wipe::room_for_a_vault;

/// Longest name of a device, in bytes.
pub(crate) const NAME_MAX: usize = 128;

/// What a new vault is made with.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// What others of the team will see as this device's label, at most 128 bytes.
    pub name: String,
    /// scrypt's log2(N); chosen for about one second on this machine when absent.
    pub work_factor: Option<u8>,
}

/// What a vault is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// To be used.
    Whatever,
    /// For its decoy.
    Decoy,
    /// To become a new device.
    Restored,
}

/// An open vault. Dropping it locks it.
pub struct Vault {
    pub(crate) db: Connection,
    pub(crate) depot: SqlDepot,
    pub(crate) device: DeviceSecret,
    pub(crate) me: DeviceId,
    pub(crate) name: String,
    pub(crate) team: Option<Team>,
    pub(crate) merger: Box<dyn Merger + Send>,
    /// What merging has cost in this absorption, by author.
    pub(crate) merge_costs: HashMap<DeviceId, Duration>,
    /// What waits is to be tried again, although nothing new may have come.
    pub(crate) retry_waiting: bool,
    /// While recovery sheets are read: their identity, tried on every entry.
    pub(crate) lent: Option<ReadingIdentity>,
    /// The reports that somebody has open to write in.
    pub(crate) being_written: Vec<ReportId>,
    /// The team changed since it was put in order last.
    pub(crate) house_due: bool,
    /// When that was, in seconds since 1970.
    pub(crate) house_kept_s: u64,
    keys: Keys,
    kek: Kek,
    slot: usize,
    /// What this opening destroyed, and whether this is a decoy that was opened from the vault beside it.
    pub(crate) duress: Duress,
    layout: Layout,
    /// Key slots that are not in the directory yet: while a backup is restored there is no vault in it.
    unpublished: Option<Vec<u8>>,
    /// Held for as long as the vault is open; the system releases it when the process ends.
    _lock: File,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("device", &self.me).finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes a vault in `dir`. The key slots are written last: until then there is no vault, and an
    /// interrupted attempt can be repeated.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`], [`VaultError::KeysDestroyed`], [`VaultError::WorkFactor`],
    /// [`VaultError::Input`] for an impossible name, and whatever the disk says.
    pub fn create(
        dir: &Path,
        passphrase: &Passphrase,
        options: &CreateOptions,
    ) -> Result<DeviceInfo, VaultError> {
        let layout = Layout::new(dir);
        room_for_a_vault(&layout)?;
        let name = crate::names::check_name(&options.name)?;
        durable::create_private_dir(dir)
            .map_err(VaultError::io("the vault's directory could not be made"))?;
        let _lock = lock(&layout)?;
        let mut choice = [0];
        slots::fill(&mut choice)?;
        let real = usize::from(choice[0] & 1);
        let (kek, keys) = (Kek::generate(), Keys::generate()?);
        let wrapped = slots::write_slots(&kek, passphrase, options.work_factor, real)?;

        for path in [layout.vault(0), layout.vault(1), layout.depot(0), layout.depot(1)] {
            durable::remove_store(&path)
                .map_err(VaultError::io("an unfinished vault could not be cleared"))?;
        }
        let device = create_vault_store(&layout.vault(real), &layout, &keys, &name)?;
        create_depot(&layout.depot(real), &keys, &device)?;
        for (real_file, filler) in
            [(layout.vault(real), layout.vault(1 - real)), (layout.depot(real), layout.depot(1 - real))]
        {
            durable::write_filler(&real_file, &filler)?;
        }
        keyfile::write_both(&layout, real, &kek, &keys)?;
        // Here from the first day: whether a daemon ever ran is nobody's business.
        private_file()
            .truncate(false)
            .open(layout.network_lock())
            .map_err(VaultError::io("the vault's lock file could not be made"))?;
        Rules::default().write(&layout)?;
        durable::replace(&layout, &layout.slots(), &wrapped)?;
        Ok(DeviceInfo { id: device.id().to_string(), name, role: None, team: None, copy: None })
    }

    /// Opens the vault in `dir`. If the passphrase is the duress passphrase, that opens the decoy, and the other
    /// pair's keys are destroyed before anything else.
    ///
    /// # Errors
    /// [`VaultError::NoVault`], [`VaultError::InUse`], [`VaultError::WrongPassphrase`],
    /// [`VaultError::KeysDestroyed`], [`VaultError::Damaged`], [`VaultError::NewerVersion`], or the disk's.
    pub fn open(dir: &Path, passphrase: &Passphrase) -> Result<Self, VaultError> {
        Self::open_for(dir, passphrase, Opening::Whatever)
    }

    /// Opens the decoy that lies beside the vault in `dir`, with that vault's own passphrase, and destroys nothing.
    ///
    /// # Errors
    /// [`VaultError::NoDecoy`], also for the duress passphrase: whoever has that must not learn what it is, and whoever took
    /// it by mistake must not lose anything. Else those of [`Vault::open`].
    pub fn open_decoy(dir: &Path, passphrase: &Passphrase) -> Result<Self, VaultError> {
        Self::open_for(dir, passphrase, Opening::Decoy)?.into_decoy()
    }

    fn open_for(dir: &Path, passphrase: &Passphrase, opening: Opening) -> Result<Self, VaultError> {
        let layout = Layout::new(dir);
        if Rules::enforce(&layout)? {
            return Err(VaultError::KeysDestroyed);
        }
        if !layout.slots().exists() {
            return Err(VaultError::NoVault);
        }
        let lock = lock(&layout)?;
        // Not before: whoever has the vault may put others in their place.
        let slots = slots::read(&layout)?;
        Ok(Self::open_with(layout, lock, &slots, passphrase, opening)?.0)
    }

    /// Opens the vault whose key slots are given, and which is locked. Whether it was made a new device.
    /// While it is restored the slots stay out of the directory until [`Vault::publish_slots`].
    pub(crate) fn open_with(
        layout: Layout,
        lock: File,
        slots: &[u8],
        passphrase: &Passphrase,
        opening: Opening,
    ) -> Result<(Self, bool), VaultError> {
        let restoring = opening == Opening::Restored;
        let Opened { slot, held, meant } = slots::open_slots(slots, passphrase)?;
        let destroys = matches!(held, Held::Identity { destroys: true, .. });
        if destroys && opening == Opening::Decoy {
            return Err(VaultError::NoDecoy);
        }
        let mut unpublished = match (restoring, destroys) {
            (false, _) => None,
            (true, false) => Some(slots.to_vec()),
            (true, true) => Some(slots::with_filler(slots, 1 - slot)?),
        };
        let kek = match held {
            Held::Identity { kek, .. } => kek,
            Held::Keys(keys, work_factor) => {
                let (kek, wrapped) = renew_slots(&layout, slot, &keys, &meant, work_factor)?;
                if restoring {
                    unpublished = Some(wrapped);
                } else {
                    durable::replace(&layout, &layout.slots(), &wrapped)?;
                }
                step()?;
                kek
            }
        };
        // It may not open. What it destroys is destroyed all the same, before anything is shown or told.
        let stores = Place { layout: &layout, slot, kek: &kek }.open();
        let db = stores.as_ref().ok().map(|(db, _)| db);
        // Asked in any case: it takes time.
        let found = duress::on_opening(&layout, slot, &kek, db);
        let (duress, beside) = match (destroys, restoring) {
            (false, _) => (Duress::None, Beside::Stays),
            (true, false) => found,
            (true, true) => {
                twin::destroy_key(&layout, slot, &kek)?;
                (Duress::Destroyed, Beside::Stays)
            }
        };
        if !restoring {
            // A medium that cannot be written keeps its keys: nothing can be done, and nothing is to be seen of it.
            let _ = twin::freshen(&layout, slot, beside);
            Rules::unlocked(&layout);
        }
        let (vault, renewed) = Self::open_pair(layout, lock, (slot, kek), stores?, duress, unpublished)?;
        Rules::bring_back(&vault.db, &vault.layout);
        // Under the duress passphrase at the next opening: it takes a write and a sync that an ordinary one does not.
        if vault.duress != Duress::Destroyed {
            Rules::keep(&vault.db, &vault.layout);
        }
        Ok((vault, renewed))
    }

    /// Opens one of the two pairs of stores, whose vault's store is open already.
    pub(crate) fn open_pair(
        layout: Layout,
        lock: File,
        (slot, kek): (usize, Kek),
        (mut db, mut keys): (Connection, Keys),
        duress: Duress,
        unpublished: Option<Vec<u8>>,
    ) -> Result<(Self, bool), VaultError> {
        let place = Place { layout: &layout, slot, kek: &kek };
        store::migrate(&mut db)?;
        if rekey::is_due(&db)? {
            // It was not closed as it should have been. A full disk must not keep it shut: the change
            // stays due then.
            let _ = place.change(db, keys);
            (db, keys) = place.open()?;
        }
        let mut depot = SqlDepot::open(&layout.depot(slot), &DepotKey::new(*keys.depot))?;
        let renewed = rejoin::is_due(&db)?;
        if renewed {
            rejoin::renew(&mut db, &mut depot)?;
        }
        place::look(&db, &layout)?;
        let device = DeviceSecret::from_bytes(&Zeroizing::new(store::required_meta(&db, "device")?))
            .map_err(|_| VaultError::damaged("the device's keys do not read back"))?;
        let name = String::from_utf8(store::required_meta(&db, "name")?)
            .map_err(|_| VaultError::damaged("the device's name is not text"))?;
        team::import_transport_epochs(&mut db, &depot)?;
        let team = Team::load(&db)?;
        let me = device.id();
        let mut vault = Self {
            db,
            depot,
            device,
            me,
            name,
            team,
            merger: Box::new(InProcess),
            merge_costs: HashMap::new(),
            keys,
            kek,
            slot,
            duress,
            retry_waiting: true,
            lent: None,
            being_written: Vec::new(),
            house_due: true,
            house_kept_s: 0,
            layout,
            unpublished,
            _lock: lock,
        };
        vault.tell_depot()?;
        vault.finish_forgetting()?;
        vault.clear_incomplete_attachments()?;
        vault.flush()?;
        Ok((vault, renewed))
    }

    /// Puts the key slots into the directory, if they are not there: from now on there is a vault.
    pub(crate) fn publish_slots(&mut self) -> Result<(), VaultError> {
        match self.unpublished.take() {
            Some(wrapped) => durable::replace(&self.layout, &self.layout.slots(), &wrapped),
            None => Ok(()),
        }
    }

    /// Closes the vault. If something was forgotten since it was opened, its store gets a new key now,
    /// so that what remains of it in old blocks of the disk opens with nothing that is here.
    ///
    /// # Errors
    /// The disk's. The vault is closed all the same, and nothing in it is lost; a new key that is due
    /// stays due, and is made when the vault is opened or closed the next time.
    pub fn close(self) -> Result<(), VaultError> {
        self.close_stores().map(drop)
    }

    /// Closes the stores. The vault is locked for others for as long as what is returned lives.
    pub(crate) fn close_stores(self) -> Result<File, VaultError> {
        let Self { db, depot, keys, kek, slot, duress, layout, _lock, .. } = self;
        // A log that a crash left beside the decoy would tell that there is one.
        duress::tidy_decoy(&db, &layout, slot);
        if rekey::is_due(&db)? {
            Place { layout: &layout, slot, kek: &kek }.change(db, keys)?;
        } else {
            rekey::close(db)?;
        }
        depot.close()?;
        // What does not succeed, on a full disk for example, is made up for the next time.
        let _ = twin::even(&layout, slot, duress.is_to_cut(), true);
        Ok(_lock)
    }

    /// Gives the store a new key if something was forgotten, as [`Vault::close`] does, and goes on.
    /// Whether it was due.
    ///
    /// # Errors
    /// The disk's; the change stays due, and the vault open, unless the disk does not let it be opened again.
    pub fn rekey_if_due(&mut self) -> Result<bool, VaultError> {
        if !rekey::is_due(&self.db)? {
            return Ok(false);
        }
        let db = std::mem::replace(&mut self.db, Connection::open_in_memory()?);
        let place = Place { layout: &self.layout, slot: self.slot, kek: &self.kek };
        let keys = Keys { vault: self.keys.vault.clone(), depot: self.keys.depot.clone(), next: None };
        let changed = place.change(db, keys);
        (self.db, self.keys) = place.open()?;
        changed.map(|()| true)
    }

    /// This device.
    pub fn device(&self) -> DeviceInfo {
        DeviceInfo {
            id: self.me.to_string(),
            name: self.name.clone(),
            role: self.team.as_ref().map(|team| team.role().word().to_owned()),
            team: self.team.as_ref().map(Team::info),
            copy: self.copy_state().ok().flatten().map(|state| state.word().to_owned()),
        }
    }

    /// The team, if the device belongs to one.
    pub fn team_info(&self) -> Option<TeamInfo> {
        self.team.as_ref().map(Team::info)
    }

    /// The key of the depot, for the process that speaks to the network.
    pub fn depot_key(&self) -> DepotKey {
        DepotKey::new(*self.keys.depot)
    }

    /// Where this vault's depot lies, for the process that speaks to the network.
    pub fn depot_path(&self) -> std::path::PathBuf {
        self.depot.path().to_owned()
    }

    /// From now on, others' changes are merged by `merger`: for example in a process with a cap on its
    /// memory, so that a crafted change costs its entry and nothing else.
    pub fn set_merger(&mut self, merger: Box<dyn Merger + Send>) {
        self.merger = merger;
    }

    /// The files of this vault.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) const fn slot(&self) -> usize {
        self.slot
    }

    pub(crate) const fn kek(&self) -> &Kek {
        &self.kek
    }

    pub(crate) fn team(&self) -> Result<&Team, VaultError> {
        self.team.as_ref().ok_or(VaultError::NoTeam)
    }
}

/// Milliseconds since 1970, as this device's clock claims.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// Seconds since 1970, as this device's clock claims.
pub(crate) fn now_s() -> u64 {
    u64::try_from(now_ms() / 1000).unwrap_or(0)
}

/// Makes a vault's store at `path`, for a device that is new.
pub(crate) fn create_vault_store(
    path: &Path,
    layout: &Layout,
    keys: &Keys,
    name: &str,
) -> Result<DeviceSecret, VaultError> {
    let device = rejoin::generate()?;
    let mut db = cipher::open_database(path, &keys.vault, true)?;
    store::migrate(&mut db)?;
    store::set_meta(&db, "device", &device.to_bytes())?;
    store::set_meta(&db, "name", name.as_bytes())?;
    place::accept(&db, layout)?;
    db.close().map_err(|(_, error)| error)?;
    Ok(device)
}

/// Makes a depot at `path`.
pub(crate) fn create_depot(path: &Path, keys: &Keys, device: &DeviceSecret) -> Result<(), VaultError> {
    let mut depot_id = [0; 16];
    slots::fill(&mut depot_id)?;
    let depot = SqlDepot::create(path, &DepotKey::new(*keys.depot), DepotId::from_bytes(depot_id))?;
    depot.set_setting("transport-seed", Some(&*device.transport_seed()))?;
    Ok(depot.close()?)
}

/// Brings slots of version 1, which hold the keys themselves, to the present form: these are to be put in
/// place after the key files. Until then the old ones are there and open.
fn renew_slots(
    layout: &Layout,
    slot: usize,
    keys: &Keys,
    passphrase: &Passphrase,
    work_factor: u8,
) -> Result<(Kek, Vec<u8>), VaultError> {
    let kek = Kek::generate();
    keyfile::write_both(layout, slot, &kek, keys)?;
    step()?;
    let wrapped = slots::write_slots(&kek, passphrase, Some(work_factor), slot)?;
    Ok((kek, wrapped))
}

pub(crate) fn lock(layout: &Layout) -> Result<File, VaultError> {
    let doing = "the vault's lock file could not be opened";
    let file = private_file().truncate(false).open(layout.lock()).map_err(VaultError::io(doing))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(VaultError::InUse),
        Err(TryLockError::Error(error)) => Err(VaultError::io(doing)(error)),
    }
}

#[cfg(test)]
impl Vault {
    pub(crate) const fn slot_for_tests(&self) -> usize {
        self.slot
    }

    pub(crate) fn vault_key_for_tests(&self) -> [u8; 32] {
        *self.keys.vault
    }
}
