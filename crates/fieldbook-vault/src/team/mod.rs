//! The team as this vault knows it.
//!
//! A coordinator keeps the members' certificates and labels; a monitor keeps its own certificate,
//! the coordinators' and its desk's recipient, and never learns of another monitor.
//!
//! Where to look: `founding` makes and joins a team, `acts` is what a coordinator's person does to it and
//! `house` how, `telling` whom it tells what, `keeping` who stays when a coordinator is removed; `arrivals` is
//! what other coordinators say, `own` which of this device's certificates it shows; `epochs` chooses the
//! current ones, `members` keeps certificates and labels, `log` who did what.

mod acts;
mod arrivals;
mod epochs;
mod founding;
mod house;
mod keeping;
pub(crate) mod log;
mod members;
mod own;
mod replacing;
mod restore;
mod sheets;
mod telling;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod turned;

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::{Authority, Certificate, Recipient, Role};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::limits::{CERTIFICATE_MAX, RECIPIENT_MAX};
use fieldbook_proto::{DeskId, DeviceId};
use fieldbook_seal::{Audience, ReadingIdentity};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::store;
use crate::vault::{NAME_MAX, Vault};
use crate::views::TeamInfo;

pub(crate) use arrivals::{take_certificate, take_grant, take_removal, take_told};
pub(crate) use epochs::{DeskEpochRow, TransportRow, import_transport_epochs};
pub(crate) use members::{Known, all as all_devices, at_desk, find as find_device, heard, save_author};
pub use replacing::Resemblance;
pub(crate) use replacing::successor;

/// The encoding of the first version began with the high byte of a length.
const VERSION: u8 = 2;

/// A reading identity of this device's desk.
pub(crate) struct DeskKey {
    pub epoch: u32,
    pub identity: ReadingIdentity,
}

/// The team of this device.
pub(crate) struct Team {
    pub name: String,
    pub certificate: Certificate,
    pub authority: Authority,
    pub desk: DeskId,
    /// An extra recipient on every entry, if the team has one.
    pub recovery: Option<Recipient>,
    /// The desk's reading identities that this device was granted, newest first; coordinators only.
    pub desk_keys: Vec<DeskKey>,
    /// What is public of the epochs of every desk that this device knows.
    pub desk_epochs: Vec<DeskEpochRow>,
    /// The transport secrets.
    pub transport: Vec<TransportRow>,
}

impl Team {
    /// A team without any epoch yet.
    pub fn new(
        name: String,
        certificate: Certificate,
        authority: Authority,
        desk: DeskId,
        recovery: Option<Recipient>,
    ) -> Self {
        let (desk_keys, desk_epochs, transport) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, certificate, authority, desk, recovery, desk_keys, desk_epochs, transport }
    }

    /// The role of this device now: a coordinator that was demoted has another than its certificate says
    /// until the new one arrives.
    pub fn role(&self) -> Role {
        let role = self.certificate.body().role;
        let demoted = self.authority.removal(&self.certificate.device_id()).is_some();
        if role == Role::Coordinator && demoted { Role::Monitor } else { role }
    }

    pub fn info(&self) -> TeamInfo {
        TeamInfo {
            id: self.authority.team().to_string(),
            name: self.name.clone(),
            desk: self.desk.to_string(),
            epoch: self.desk_epoch(self.desk).map_or(0, |row| row.epoch),
        }
    }

    /// The audience of an entry for the desk, and to whom every entry of this device is sealed: the desk
    /// in its current epoch, so that its coordinators can check every chain, and the recovery sheets.
    pub fn desk_audience(&self) -> (Audience, Vec<Recipient>) {
        self.audience_in(self.open_epoch())
    }

    /// The same in another epoch of the desk.
    pub(super) fn audience_in(&self, epoch: Option<&DeskEpochRow>) -> (Audience, Vec<Recipient>) {
        let desk = epoch.map(|row| (row.desk, row.epoch));
        let recipients = epoch.map(|row| &row.recipient).into_iter().chain(self.sheets()).cloned().collect();
        (Audience { desk, readers: Vec::new(), attachment: None }, recipients)
    }

    /// Whether anybody reads what this device sends to its desk.
    ///
    /// # Errors
    /// [`VaultError::DeskClosed`]: all who did were removed.
    pub fn desk_reads(&self) -> Result<(), VaultError> {
        let read = self.open_epoch().is_some() || self.sheets().is_some();
        if read { Ok(()) } else { Err(VaultError::DeskClosed) }
    }

    /// The recipient of the desk's recovery sheets, while the coordinator that they are stands. Sheets that
    /// fell with whoever made them open nothing later.
    pub fn sheets(&self) -> Option<&Recipient> {
        self.paper_device().and(self.recovery.as_ref())
    }

    /// The coordinator of this device's desk that is no person but recovery sheets.
    pub fn paper_device(&self) -> Option<DeviceId> {
        let recovery = self.recovery.as_ref()?;
        let mut standing = self.authority.coordinators().iter();
        let paper = |id: &DeviceId, certificate: &Certificate| {
            certificate.body().keys.recipient == *recovery && self.authority.reads_for(id, self.desk)
        };
        standing.find(|(id, certificate)| paper(id, certificate)).map(|(id, _)| *id)
    }

    /// The coordinators who read for a desk, the most senior first, without the sheets.
    pub fn people_who_read(&self, desk: DeskId) -> Vec<DeviceId> {
        let paper = self.paper_device();
        let mut readers = self.authority.readers_of(desk);
        readers.retain(|id| Some(*id) != paper);
        readers
    }

    /// The audience and recipients of an entry for one device, which the desk's coordinators can read too.
    pub fn audience_of(&self, device: DeviceId, recipient: &Recipient) -> (Audience, Vec<Recipient>) {
        let (mut audience, mut recipients) = self.desk_audience();
        audience.readers.push(device);
        recipients.push(recipient.clone());
        (audience, recipients)
    }

    /// The team of this vault, if it has one.
    pub fn load(db: &Connection) -> Result<Option<Self>, VaultError> {
        let Some(Stored { name, certificate, desk, recovery }) = Stored::load(db)? else { return Ok(None) };
        let authority = Authority::decode(&store::required_meta(db, "authority")?)?;
        Ok(Some(Self {
            name,
            certificate,
            authority,
            desk,
            recovery,
            desk_keys: load_desk_keys(db)?,
            desk_epochs: epochs::load_desk_epochs(db)?,
            transport: epochs::load_transport(db)?,
        }))
    }

    /// This device's certificate as it is stored.
    pub fn stored_certificate(db: &Connection) -> Result<Certificate, VaultError> {
        Ok(Stored::load(db)?.ok_or(VaultError::NoTeam)?.certificate)
    }

    /// Replaces the certificate that this device shows.
    pub fn set_certificate(db: &Connection, certificate: &Certificate) -> Result<(), VaultError> {
        let stored = Stored::load(db)?.ok_or(VaultError::NoTeam)?;
        let bytes = encode(&stored.name, certificate, stored.desk, stored.recovery.as_ref());
        store::set_meta(db, "team", &bytes)
    }

    /// Replaces the recovery recipient.
    pub fn set_recovery(db: &Connection, recovery: &Recipient) -> Result<(), VaultError> {
        let stored = Stored::load(db)?.ok_or(VaultError::NoTeam)?;
        let bytes = encode(&stored.name, &stored.certificate, stored.desk, Some(recovery));
        store::set_meta(db, "team", &bytes)
    }

    /// Writes everything but the epochs, which have tables of their own.
    pub fn save(&self, db: &Connection) -> Result<(), VaultError> {
        let bytes = encode(&self.name, &self.certificate, self.desk, self.recovery.as_ref());
        store::set_meta(db, "team", &bytes)?;
        store::set_meta(db, "authority", &self.authority.encode())
    }
}

/// What stands under "team".
struct Stored {
    name: String,
    certificate: Certificate,
    desk: DeskId,
    recovery: Option<Recipient>,
}

impl Stored {
    fn load(db: &Connection) -> Result<Option<Self>, VaultError> {
        let Some(bytes) = store::meta(db, "team")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        if reader.u8("team version")? != VERSION {
            return Err(VaultError::damaged("the team does not read back"));
        }
        let stored = Self {
            name: reader.text("team name", NAME_MAX)?.to_owned(),
            certificate: Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?,
            desk: DeskId::from_bytes(reader.array("desk")?),
            recovery: optional_recipient(&mut reader)?,
        };
        reader.end()?;
        Ok(Some(stored))
    }
}

fn encode(name: &str, certificate: &Certificate, desk: DeskId, recovery: Option<&Recipient>) -> Vec<u8> {
    Writer::new()
        .u8(VERSION)
        .bytes(name.as_bytes())
        .bytes(&certificate.encode())
        .raw(desk.as_bytes())
        .bytes(recovery.map_or("", Recipient::as_str).as_bytes())
        .finish()
}

fn optional_recipient(reader: &mut Reader<'_>) -> Result<Option<Recipient>, VaultError> {
    match reader.text("recovery recipient", RECIPIENT_MAX)? {
        "" => Ok(None),
        text => Ok(Some(Recipient::parse(text)?)),
    }
}

/// Brings what the first version kept of a team to where the second keeps it.
pub(crate) fn migrate(db: &Connection) -> Result<(), VaultError> {
    let Some(bytes) = store::meta(db, "team")? else { return Ok(()) };
    let mut reader = Reader::new(&bytes);
    let name = reader.text("team name", NAME_MAX)?.to_owned();
    let certificate = Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?;
    let desk = DeskId::from_bytes(reader.array("desk")?);
    let epoch = reader.u32("epoch")?;
    let recipient = Recipient::parse(reader.text("desk recipient", RECIPIENT_MAX)?)?;
    let recovery = optional_recipient(&mut reader)?;
    reader.end()?;
    store::set_meta(db, "team", &encode(&name, &certificate, desk, recovery.as_ref()))?;
    let authority = Authority::decode(&store::required_meta(db, "authority")?)?;
    let readers = authority.coordinators().keys().copied().collect();
    // The founder spoke for the one desk there was.
    let row =
        DeskEpochRow { desk, epoch, recipient, name: String::new(), issuer: authority.founder(), readers };
    epochs::save_desk_epoch(db, &row)?;
    let mut statement = db.prepare("SELECT epoch, secret FROM desk_key")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let identity = read_identity(&Zeroizing::new(row.get::<_, Vec<u8>>(1)?))?;
        save_desk_key(db, row.get(0)?, &identity, &authority.founder())?;
    }
    Ok(())
}

fn read_identity(secret: &[u8]) -> Result<ReadingIdentity, VaultError> {
    let text = std::str::from_utf8(secret).map_err(|_| VaultError::damaged("a desk key is not text"))?;
    ReadingIdentity::parse(text).map_err(|_| VaultError::damaged("a desk key does not read back"))
}

fn load_desk_keys(db: &Connection) -> Result<Vec<DeskKey>, VaultError> {
    let mut statement =
        db.prepare("SELECT epoch, secret FROM desk_identity ORDER BY epoch DESC, recipient")?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let identity = read_identity(&Zeroizing::new(row.get::<_, Vec<u8>>(1)?))?;
        keys.push(DeskKey { epoch: row.get(0)?, identity });
    }
    Ok(keys)
}

/// Keeps a reading identity of the desk, and who gave it. Whether it is new.
pub(crate) fn save_desk_key(
    db: &Connection,
    epoch: u32,
    identity: &ReadingIdentity,
    issuer: &DeviceId,
) -> Result<bool, VaultError> {
    let new = db.execute(
        "INSERT OR IGNORE INTO desk_identity (epoch, recipient, secret, issuer) VALUES (?1, ?2, ?3, ?4)",
        params![epoch, identity.recipient().as_str(), identity.to_text().as_bytes(), issuer.as_bytes()],
    )?;
    Ok(new > 0)
}

impl Vault {
    /// Reads the team anew after its tables changed, and tells the depot.
    pub(crate) fn reload_team(&mut self) -> Result<(), VaultError> {
        self.team = Team::load(&self.db)?;
        // Who was removed may be who certified this device last.
        if let Some(team) = &self.team
            && own::show_best(&self.db, &team.authority)?
        {
            self.team = Team::load(&self.db)?;
        }
        self.house_due = true;
        self.tell_depot()
    }

    /// Tells the network process whom to believe and what to show, if it was not told: a crash may have
    /// come between.
    pub(crate) fn tell_depot(&self) -> Result<(), VaultError> {
        let Some(team) = &self.team else { return Ok(()) };
        let transport = epochs::encode_transport(&team.transport_in_order());
        // Of the relays of its desk, which a coordinator knows: they may not have heard of the newest epoch.
        let mut relays = self.members()?;
        relays.retain(|known| known.certificate.body().role == Role::Relay);
        let mut list = Writer::new();
        list.u32(u32::try_from(relays.len()).unwrap_or(0));
        for known in relays {
            list.bytes(&known.certificate.encode());
        }
        for (name, value) in [
            ("relays", list.finish()),
            ("authority", team.authority.encode()),
            ("certificate", team.certificate.encode()),
            ("transport-secrets", transport.to_vec()),
        ] {
            let value = Zeroizing::new(value);
            if self.depot.setting(name)?.as_deref() != Some(value.as_slice()) {
                self.depot.set_setting(name, Some(&value))?;
            }
        }
        Ok(())
    }
}
