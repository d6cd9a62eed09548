//! Creating, opening and closing a vault.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fieldbook_depot::{Depot, DepotKey, SqlDepot, cipher};
use fieldbook_proto::{DepotId, DeviceId};
use fieldbook_seal::DeviceSecret;
use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::layout::Layout;
use crate::merge::{InProcess, Merger};
use crate::passphrase::Passphrase;
use crate::slots::{self, Keys};
use crate::store;
use crate::team::Team;
use crate::views::{DeviceInfo, TeamInfo};

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
    depot_key: Zeroizing<[u8; 32]>,
    layout: Layout,
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
    /// [`VaultError::AlreadyExists`], [`VaultError::WorkFactor`], [`VaultError::Input`] for an
    /// impossible name, and whatever the disk says.
    pub fn create(
        dir: &Path,
        passphrase: &Passphrase,
        options: &CreateOptions,
    ) -> Result<DeviceInfo, VaultError> {
        let layout = Layout::new(dir);
        if layout.slots().exists() {
            return Err(VaultError::AlreadyExists);
        }
        let name = crate::names::check_name(&options.name)?;
        create_private_dir(dir).map_err(VaultError::io("the vault's directory could not be made"))?;
        let _lock = lock(&layout)?;
        let mut choice = [0];
        slots::fill(&mut choice)?;
        let real = usize::from(choice[0] & 1);
        let keys = Keys::generate()?;
        let wrapped = slots::write_slots(&keys, passphrase, options.work_factor, real)?;

        for path in [layout.vault(0), layout.vault(1), layout.depot(0), layout.depot(1)] {
            remove_remnants(&path).map_err(VaultError::io("an unfinished vault could not be cleared"))?;
        }
        let device = create_stores(&layout, real, &keys, &name)?;
        for (real_file, filler) in
            [(layout.vault(real), layout.vault(1 - real)), (layout.depot(real), layout.depot(1 - real))]
        {
            write_filler(&real_file, &filler)?;
        }
        // Here from the first day: whether a daemon ever ran is nobody's business.
        private_file()
            .truncate(false)
            .open(layout.network_lock())
            .map_err(VaultError::io("the vault's lock file could not be made"))?;
        write_durably(&layout.slots(), &wrapped)?;
        Ok(DeviceInfo { id: device.id().to_string(), name, role: None, team: None })
    }

    /// Opens the vault in `dir`.
    ///
    /// # Errors
    /// [`VaultError::NoVault`], [`VaultError::InUse`], [`VaultError::WrongPassphrase`],
    /// [`VaultError::Damaged`], [`VaultError::NewerVersion`], or the disk's.
    pub fn open(dir: &Path, passphrase: &Passphrase) -> Result<Self, VaultError> {
        let layout = Layout::new(dir);
        let mut slots = Vec::new();
        match File::open(layout.slots()) {
            Ok(file) => file
                .take(64 * 1024)
                .read_to_end(&mut slots)
                .map_err(VaultError::io("the key slots could not be read"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(VaultError::NoVault),
            Err(error) => return Err(VaultError::io("the key slots could not be read")(error)),
        };
        let lock = lock(&layout)?;
        let (real, keys) = slots::open_slots(&slots, passphrase)?;
        let db = cipher::open_database(&layout.vault(real), &keys.vault, false)?;
        store::migrate(&db)?;
        let depot = SqlDepot::open(&layout.depot(real), &DepotKey::new(*keys.depot))?;
        let device = DeviceSecret::from_bytes(&Zeroizing::new(store::required_meta(&db, "device")?))
            .map_err(|_| VaultError::damaged("the device's keys do not read back"))?;
        let name = String::from_utf8(store::required_meta(&db, "name")?)
            .map_err(|_| VaultError::damaged("the device's name is not text"))?;
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
            depot_key: keys.depot,
            retry_waiting: true,
            layout,
            _lock: lock,
        };
        vault.tell_depot_authority()?;
        vault.clear_incomplete_attachments()?;
        vault.flush()?;
        Ok(vault)
    }

    /// This device.
    pub fn device(&self) -> DeviceInfo {
        DeviceInfo {
            id: self.me.to_string(),
            name: self.name.clone(),
            role: self.team.as_ref().map(|team| team.role().word().to_owned()),
            team: self.team.as_ref().map(Team::info),
        }
    }

    /// The team, if the device belongs to one.
    pub fn team_info(&self) -> Option<TeamInfo> {
        self.team.as_ref().map(Team::info)
    }

    /// The key of the depot, for the process that speaks to the network.
    pub fn depot_key(&self) -> DepotKey {
        DepotKey::new(*self.depot_key)
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

fn create_stores(layout: &Layout, real: usize, keys: &Keys, name: &str) -> Result<DeviceSecret, VaultError> {
    let mut seeds = Zeroizing::new([0; 64]);
    slots::fill(&mut *seeds)?;
    let device =
        DeviceSecret::generate(store::array(&seeds[..32], "seed")?, store::array(&seeds[32..], "seed")?);
    let db = cipher::open_database(&layout.vault(real), &keys.vault, true)?;
    store::migrate(&db)?;
    store::set_meta(&db, "device", &device.to_bytes())?;
    store::set_meta(&db, "name", name.as_bytes())?;
    db.close().map_err(|(_, error)| error)?;

    let mut depot_id = [0; 16];
    slots::fill(&mut depot_id)?;
    let depot =
        SqlDepot::create(&layout.depot(real), &DepotKey::new(*keys.depot), DepotId::from_bytes(depot_id))?;
    depot.set_setting("transport-seed", Some(&*device.transport_seed()))?;
    depot.close()?;
    Ok(device)
}

fn create_private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn lock(layout: &Layout) -> Result<File, VaultError> {
    let doing = "the vault's lock file could not be opened";
    let file = private_file().truncate(false).open(layout.lock()).map_err(VaultError::io(doing))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(VaultError::InUse),
        Err(TryLockError::Error(error)) => Err(VaultError::io(doing)(error)),
    }
}

fn remove_remnants(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The unused pair's file: random bytes, as long as the real one is at birth.
fn write_filler(real: &Path, filler: &Path) -> Result<(), VaultError> {
    let doing = "the vault's files could not be written";
    let len = fs::metadata(real).map_err(VaultError::io(doing))?.len();
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    slots::fill(&mut bytes)?;
    let mut file = private_file().truncate(true).open(filler).map_err(VaultError::io(doing))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(VaultError::io(doing))
}

/// Writes beside, syncs, renames, syncs the directory: the file is whole or absent.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let doing = "the key slots could not be written";
    let beside = path.with_extension("new");
    let mut file = private_file().truncate(true).open(&beside).map_err(VaultError::io(doing))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(VaultError::io(doing))?;
    fs::rename(&beside, path).map_err(VaultError::io(doing))?;
    #[cfg(unix)]
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(VaultError::io(doing))?;
    }
    Ok(())
}
