//! What other coordinators say of the team: certificates, removals, epochs.

use std::rc::Rc;

use fieldbook_proto::certificate::{Author, CertificateError, Recipient, Removal, Role};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{Announcement, DeskEpoch, Grant};
use fieldbook_seal::{Header, ReadingIdentity};
use rusqlite::{Connection, params};

use super::epochs::{DeskEpochRow, TransportRow, save_desk_epoch, save_transport};
use super::log::{self, Act};
use super::members::{find, save_device};
use super::{Team, save_desk_key};
use crate::absorb::{Taken, Taker, bad_by};
use crate::error::VaultError;

/// Waits for room, which there is when somebody is removed.
const NO_ROOM: &str = "the team has as many coordinators or removals as it may have";
/// Waits for the certificate of a coordinator who is not known yet.
const UNKNOWN_ISSUER: &str = "it was signed by a coordinator whom this device does not know yet";

/// A device that a coordinator admitted, or its renewed certificate; for a monitor, a new coordinator or
/// its own renewal.
pub(crate) fn take_certificate(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    author: &Author,
    body: &[u8],
) -> Result<Taken, VaultError> {
    let announcement = match Announcement::decode(body) {
        Ok(announcement) => announcement,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    for reader in &header.audience.readers {
        taker.after.addressed.push((*reader, id));
    }
    admit(taker, Some(id), header, author, &announcement)
}

fn admit(
    taker: &mut Taker<'_>,
    id: Option<EntryId>,
    header: &Header,
    author: &Author,
    announcement: &Announcement,
) -> Result<Taken, VaultError> {
    let certificate = &announcement.certificate;
    let (device, body) = (certificate.device_id(), certificate.body());
    if let Err(error) = fieldbook_seal::check_recipient(&body.keys.recipient) {
        return bad_by(header.device, error.to_string());
    }
    if device == taker.me {
        return own_certificate(taker, announcement);
    }
    if body.role == Role::Coordinator {
        match Rc::make_mut(taker.authority).add_coordinator(certificate.clone()) {
            Ok(_) => {}
            Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
            Err(CertificateError::TooMany) => return Ok(Taken::Waiting(NO_ROOM)),
            Err(error) => return bad_by(header.device, error.to_string()),
        }
    } else {
        // Whom another desk admits is that desk's business, and nobody admits to a desk not his own.
        if !taker.authority.reads_for(&author.id, body.desk) {
            return bad_by(header.device, "it admits a device to a desk that is not its own".to_owned());
        }
        if !taker.authority.is_coordinator(&taker.me) || body.desk != taker.team.desk {
            return Ok(Taken::Done);
        }
        if let Err(error) = taker.authority.judge_author(certificate, 1) {
            return match error {
                CertificateError::UnknownIssuer => Ok(Taken::Waiting(UNKNOWN_ISSUER)),
                // Renewed by one coordinator while another removed it: the removal stands.
                CertificateError::AfterRemoval | CertificateError::IssuerRemoved => Ok(Taken::Done),
                error => bad_by(header.device, error.to_string()),
            };
        }
    }
    let new = find(taker.db, &device)?.is_none();
    let via = match id {
        Some(_) if body.issuer == header.device => header.sequence,
        // It travels in others' grants too: those tell of its issuer's chain only that it was there by now.
        _ if taker.authority.removal(&body.issuer).is_some() => u64::MAX,
        _ => last_seen(taker.db, &body.issuer)?,
    };
    save_device(taker.db, certificate, &announcement.label, via)?;
    taker.after.team_changed = true;
    if new && let Some(id) = id {
        let act = Act { kind: "admitted", subject: Some(device.as_bytes()), detail: body.role.word() };
        log::note(taker.db, header.time_ms, &header.device, &act, Some(&id))?;
    }
    Ok(Taken::Done)
}

/// The highest number of a device's chain that is known here.
fn last_seen(db: &Connection, device: &DeviceId) -> Result<u64, VaultError> {
    let last: i64 = db
        .prepare_cached("SELECT coalesce(max(sequence), 0) FROM entry WHERE device = ?1")?
        .query_row([device.as_bytes()], |row| row.get(0))?;
    Ok(u64::try_from(last).unwrap_or(0))
}

/// A renewal of this device's certificate, or its new role.
fn own_certificate(taker: &mut Taker<'_>, announcement: &Announcement) -> Result<Taken, VaultError> {
    let certificate = &announcement.certificate;
    if certificate.body().role == Role::Coordinator {
        match Rc::make_mut(taker.authority).add_coordinator(certificate.clone()) {
            Ok(_) | Err(CertificateError::TooMany) => {}
            Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
            Err(_) => return Ok(Taken::Done),
        }
    }
    let later = certificate.body().serial > Team::stored_certificate(taker.db)?.body().serial;
    if later && taker.authority.judge(certificate, 0).is_ok() {
        Team::set_certificate(taker.db, certificate)?;
        taker.after.team_changed = true;
    }
    Ok(Taken::Done)
}

/// The removal of a device.
pub(crate) fn take_removal(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    body: &[u8],
) -> Result<Taken, VaultError> {
    let removal = match Removal::decode(body) {
        Ok(removal) => removal,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    if removal.issuer != header.device || removal.sequence != header.sequence {
        return bad_by(header.device, "it is not where the removal that it carries says".to_owned());
    }
    let (device, act) = (removal.device, removal.act);
    match add_removal(taker, removal) {
        Ok(true) => {
            let act = Act { kind: act.word(), subject: Some(device.as_bytes()), detail: "" };
            log::note(taker.db, header.time_ms, &header.device, &act, Some(&id))?;
            Ok(Taken::Done)
        }
        Ok(false) => Ok(Taken::Done),
        Err(CertificateError::UnknownIssuer) => Ok(Taken::Waiting(UNKNOWN_ISSUER)),
        Err(CertificateError::TooMany) => Ok(Taken::Waiting(NO_ROOM)),
        Err(error) => bad_by(header.device, error.to_string()),
    }
}

fn add_removal(taker: &mut Taker<'_>, removal: Removal) -> Result<bool, CertificateError> {
    let changed = Rc::make_mut(taker.authority).add_removal(removal)?;
    taker.after.team_changed |= changed;
    Ok(changed)
}

/// New epochs, and what a coordinator tells its desk's monitors of removals and coordinators.
pub(crate) fn take_grant(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    author: &Author,
    body: &[u8],
) -> Result<Taken, VaultError> {
    let grant = match Grant::decode(body) {
        Ok(grant) => grant,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    for announcement in &grant.coordinators {
        match admit(taker, None, header, author, announcement)? {
            Taken::Done => {}
            other => return Ok(other),
        }
    }
    for removal in &grant.removals {
        match add_removal(taker, removal.clone()) {
            Ok(_) => {}
            Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
            Err(CertificateError::TooMany) => return Ok(Taken::Waiting(NO_ROOM)),
            Err(error) => return bad_by(header.device, error.to_string()),
        }
    }
    if let Some(transport) = &grant.transport {
        let row = TransportRow {
            epoch: transport.epoch,
            secret: transport.secret.clone(),
            issuer: header.device,
            without: transport.without.clone(),
        };
        taker.after.team_changed |= save_transport(taker.db, &row)?;
    }
    if let Some(desk) = &grant.desk
        && let Err(reason) = take_desk_epoch(taker, id, header, desk)?
    {
        return bad_by(header.device, reason);
    }
    if let Some(recovery) = &grant.recovery {
        take_recovery(taker, author, recovery)?;
    }
    Ok(Taken::Done)
}

fn take_desk_epoch(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    desk: &DeskEpoch,
) -> Result<Result<(), String>, VaultError> {
    if !taker.authority.reads_for(&header.device, desk.desk) {
        return Ok(Err("it speaks for a desk that is not its own".to_owned()));
    }
    if let Err(error) = fieldbook_seal::check_recipient(&desk.recipient) {
        return Ok(Err(error.to_string()));
    }
    let row = DeskEpochRow {
        desk: desk.desk,
        epoch: desk.epoch,
        recipient: desk.recipient.clone(),
        name: desk.name.clone(),
        issuer: header.device,
        readers: desk.readers.clone(),
    };
    if save_desk_epoch(taker.db, &row)? {
        taker.after.team_changed = true;
        let act = Act { kind: "rotated", subject: Some(desk.desk.as_bytes()), detail: "the desk's key" };
        log::note(taker.db, header.time_ms, &header.device, &act, Some(&id))?;
    }
    if desk.desk == taker.team.desk
        && let Some(text) = &desk.identity
    {
        let identity = ReadingIdentity::parse(text).ok().filter(|key| key.recipient() == desk.recipient);
        let Some(identity) = identity else {
            return Ok(Err("the desk key that it grants does not fit".to_owned()));
        };
        if save_desk_key(taker.db, desk.epoch, &identity)? {
            taker.after.team_changed = true;
            taker.after.new_key = true;
        }
    }
    Ok(Ok(()))
}

/// Only a coordinator of this device's own desk, which reads what this device writes anyway, says to
/// whom else it is sealed.
fn take_recovery(taker: &mut Taker<'_>, author: &Author, recovery: &Recipient) -> Result<(), VaultError> {
    if taker.authority.reads_for(&author.id, taker.team.desk)
        && fieldbook_seal::check_recipient(recovery).is_ok()
        && taker.team.recovery.as_ref() != Some(recovery)
    {
        Team::set_recovery(taker.db, recovery)?;
        taker.after.team_changed = true;
    }
    Ok(())
}

/// What a coordinator of this device's desk has told to whom.
pub(crate) fn take_told(
    taker: &mut Taker<'_>,
    author: &Author,
    what: &[[u8; 32]],
    devices: &[DeviceId],
) -> Result<Taken, VaultError> {
    if taker.authority.reads_for(&author.id, taker.team.desk) {
        note_told(taker.db, what, devices)?;
    }
    Ok(Taken::Done)
}

/// Remembers who was told what.
pub(super) fn note_told(
    db: &rusqlite::Connection,
    what: &[[u8; 32]],
    devices: &[DeviceId],
) -> Result<(), VaultError> {
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO told (device, what) VALUES (?1, ?2)")?;
    for device in devices {
        for item in what {
            insert.execute(params![device.as_bytes(), item.as_slice()])?;
        }
    }
    Ok(())
}
