//! What other coordinators say of the team: certificates, removals, epochs.

use std::rc::Rc;

use fieldbook_proto::certificate::{Author, Certificate, CertificateError, Recipient, Removal, Role};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{Announcement, DeskEpoch, Grant};
use fieldbook_seal::{Header, ReadingIdentity};
use rusqlite::Connection;

use super::epochs::{self, DeskEpochRow, TransportRow, save_desk_epoch, save_transport};
use super::log::{self, Act};
use super::members::{all, find, save_device};
use super::telling::{desk_item, member_item, note_heard, note_told, removal_item, transport_item};
use super::{Team, own, save_desk_key};
use crate::absorb::{Taken, Taker, bad_by};
use crate::error::VaultError;

/// Waits for room, which there is when somebody is removed.
const NO_ROOM: &str = "the team has as many coordinators or removals as it may have";
/// Waits for the certificate of a coordinator who is not known yet.
const UNKNOWN_ISSUER: &str = "it was signed by a coordinator whom this device does not know yet";
/// Waits for the word that somebody is no coordinator any more; without it the certificate counts for nothing.
const STILL_COORDINATOR: &str =
    "it certifies a coordinator as something else, and nobody has ended its standing";
/// An epoch that would use up the numbers.
const TOO_FAR: &str = "the epoch that it brings is too far above those that are known";

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
    address(taker, id, header);
    note_heard(taker.db, member_item(&announcement.certificate), header)?;
    admit(taker, Some(id), header, author, &announcement)
}

/// Whoever is named as a reader may fetch the entry here, even when its certificate has run out.
fn address(taker: &mut Taker<'_>, id: EntryId, header: &Header) {
    for reader in &header.audience.readers {
        taker.after.addressed.push((*reader, id));
    }
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
        return own_certificate(taker, header, certificate);
    }
    if body.role == Role::Coordinator {
        match Rc::make_mut(taker.authority).add_coordinator(certificate.clone()) {
            Ok(_) => {}
            Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
            Err(CertificateError::TooMany) => return Ok(Taken::Waiting(NO_ROOM)),
            Err(error) => return bad_by(header.device, error.to_string()),
        }
        // Certifying a coordinator anew takes it to no other desk.
        let primary = taker.authority.ever_coordinator(&device);
        if primary.is_some_and(|primary| primary.body().desk != body.desk) {
            return bad_by(header.device, "it certifies a coordinator for another desk".to_owned());
        }
    } else {
        // Nothing but a removal makes a monitor of a coordinator.
        if taker.authority.is_coordinator(&device) {
            return Ok(Taken::Waiting(STILL_COORDINATOR));
        }
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
    save_device(taker.db, taker.authority, certificate, &announcement.label, via)?;
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
fn own_certificate(
    taker: &mut Taker<'_>,
    header: &Header,
    certificate: &Certificate,
) -> Result<Taken, VaultError> {
    let body = certificate.body();
    if body.desk != taker.team.desk {
        return bad_by(header.device, "it certifies this device for another desk".to_owned());
    }
    if body.role == Role::Coordinator {
        match Rc::make_mut(taker.authority).add_coordinator(certificate.clone()) {
            Ok(_) | Err(CertificateError::TooMany) => {}
            Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
            Err(error) => return bad_by(header.device, error.to_string()),
        }
    } else if taker.authority.is_coordinator(&taker.me) {
        return Ok(Taken::Waiting(STILL_COORDINATOR));
    }
    // Others tell each other of it, and this device among them.
    if *certificate == Team::stored_certificate(taker.db)?
        || taker.authority.ever_coordinator(&taker.me) == Some(certificate)
    {
        return Ok(Taken::Done);
    }
    match taker.authority.judge(certificate, 0) {
        Ok(_) => {}
        // A device that slept through somebody's admission: a grant tells of it.
        Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
        Err(CertificateError::IssuerRemoved | CertificateError::Revoked) => return Ok(Taken::Done),
        Err(error) => return bad_by(header.device, error.to_string()),
    }
    if !taker.authority.reads_for(&body.issuer, body.desk) {
        let stands = taker.authority.is_coordinator(&body.issuer);
        return match stands {
            true => bad_by(header.device, "it certifies a device of a desk that is not its own".to_owned()),
            false => Ok(Taken::Done),
        };
    }
    own::keep(taker.db, certificate)?;
    taker.after.team_changed |= own::show_best(taker.db, taker.authority)?;
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
    note_heard(taker.db, removal_item(&removal), header)?;
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
    address(taker, id, header);
    learn_coordinators(taker, &grant);
    for announcement in &grant.coordinators {
        note_heard(taker.db, member_item(&announcement.certificate), header)?;
        match admit(taker, None, header, author, announcement)? {
            Taken::Done => {}
            other => return Ok(other),
        }
    }
    for removal in &grant.removals {
        note_heard(taker.db, removal_item(removal), header)?;
        match add_removal(taker, removal.clone()) {
            Ok(_) => {}
            Err(CertificateError::UnknownIssuer) => return Ok(Taken::Waiting(UNKNOWN_ISSUER)),
            Err(CertificateError::TooMany) => return Ok(Taken::Waiting(NO_ROOM)),
            Err(error) => return bad_by(header.device, error.to_string()),
        }
    }
    if let Some(transport) = &grant.transport {
        if !epochs::transport_may_follow(taker.db, transport.epoch)? {
            return bad_by(header.device, TOO_FAR.to_owned());
        }
        note_heard(taker.db, transport_item(&transport.secret), header)?;
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
    match &grant.recovery {
        Some(recovery) => take_recovery(taker, author, recovery),
        None => Ok(Taken::Done),
    }
}

/// In whatever order they stand: of two coordinators in one grant one may have certified the other.
fn learn_coordinators(taker: &mut Taker<'_>, grant: &Grant) {
    let mut left: Vec<&Certificate> = grant.coordinators.iter().map(|one| &one.certificate).collect();
    left.retain(|certificate| certificate.body().role == Role::Coordinator);
    loop {
        let before = left.len();
        left.retain(|certificate| {
            let unknown = Err(CertificateError::UnknownIssuer);
            Rc::make_mut(taker.authority).add_coordinator(Certificate::clone(certificate)) == unknown
        });
        if left.len() == before || left.is_empty() {
            return;
        }
    }
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
    if !epochs::desk_may_follow(taker.db, desk.desk, desk.epoch)? {
        return Ok(Err(TOO_FAR.to_owned()));
    }
    note_heard(taker.db, desk_item(&desk.recipient), header)?;
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
        if epochs::identities_of(taker.db, &header.device)? >= epochs::IDENTITIES_OF_ISSUER {
            return Ok(Err("its author has given this desk more keys than one may".to_owned()));
        }
        if save_desk_key(taker.db, desk.epoch, &identity, &header.device)? {
            taker.after.team_changed = true;
            taker.after.new_key = true;
        }
    }
    Ok(Ok(()))
}

/// Only a coordinator of this device's own desk, which reads what this device writes anyway, says to
/// whom else it is sealed, and only for sheets that are a coordinator of the desk: they fall with whoever
/// made them.
fn take_recovery(taker: &mut Taker<'_>, author: &Author, recovery: &Recipient) -> Result<Taken, VaultError> {
    if !taker.authority.reads_for(&author.id, taker.team.desk)
        || taker.team.recovery.as_ref() == Some(recovery)
    {
        return Ok(Taken::Done);
    }
    let known = all(taker.db)?;
    let paper = known.iter().find(|known| known.certificate.body().keys.recipient == *recovery);
    let Some(paper) = paper else {
        return Ok(Taken::Waiting("it names recovery sheets that this device does not know yet"));
    };
    if taker.authority.reads_for(&paper.id(), taker.team.desk) {
        Team::set_recovery(taker.db, recovery)?;
        taker.after.team_changed = true;
    }
    Ok(Taken::Done)
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
