//! One entry: opened, its author judged, and handed to what its kind means.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use fieldbook_proto::certificate::{Author, Authority, Certificate, CertificateError, DeviceKeys, Role};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{Announcement, Grant, Notice};
use fieldbook_seal::{Header, Kind, OpenError, ReadingIdentity, SealedEntry, UnverifiedEntry};
use rusqlite::{Connection, OptionalExtension};

use super::chain::{is_copy, judge_place, misfit};
use super::{audience, own, receipts};
use crate::error::VaultError;
use crate::merge::Merger;
use crate::outgoing;
use crate::problems::{Class, Fault};
use crate::team::{self, Team, find_device};
use crate::views::AbsorbSummary;
use crate::{forgetting, sealing, shares};

/// What became of one entry.
pub(crate) enum Taken {
    /// Opened, verified and applied.
    Done,
    /// Known before, or nothing follows from it here.
    Nothing,
    /// Addressed to others.
    NotForUs,
    /// Cannot be judged before something else arrives.
    Waiting(&'static str),
    /// Damaged, forged or not allowed.
    Bad(Fault),
}

/// What the header of an entry says of itself.
pub(crate) struct Claim {
    pub device: DeviceId,
    pub sequence: u64,
    pub previous: Option<EntryId>,
    /// Whether the device's signature proves it.
    pub proven: bool,
}

/// Why an entry waits that its author wrote after its removal, as far as anybody can tell.
pub(crate) const AFTER_REMOVAL: &str = "it was written after its author was removed from the team";

/// What is done to the depot once the vault's transaction stands.
#[derive(Default)]
pub(crate) struct Aftermath {
    /// The team's tables changed.
    pub team_changed: bool,
    /// This device got a key: what it could not open before is to be tried again.
    pub new_key: bool,
    /// Entries that a device may fetch even when its certificate has run out.
    pub addressed: Vec<(DeviceId, EntryId)>,
    /// Entries whose bytes are to go.
    pub forget: Vec<EntryId>,
    /// What shows that this vault is an older copy.
    pub older_copy: Vec<(EntryId, Fault)>,
}

/// Takes one entry, inside its own savepoint.
pub(crate) struct Taker<'a> {
    pub db: &'a Connection,
    pub me: DeviceId,
    pub keys: &'a DeviceKeys,
    pub team: &'a Team,
    /// What this batch has learned of who stands; kept when the batch is.
    pub authority: &'a mut Rc<Authority>,
    pub identities: &'a [&'a ReadingIdentity],
    pub summary: &'a mut AbsorbSummary,
    pub merger: &'a mut dyn Merger,
    pub costs: &'a mut HashMap<DeviceId, Duration>,
    pub after: &'a mut Aftermath,
    /// While sheets are read, entries open that were meant for others.
    pub lent: bool,
    /// What the entry at hand says of itself.
    pub claim: Option<Claim>,
}

impl Taker<'_> {
    pub fn take(&mut self, id: EntryId, bytes: Vec<u8>) -> Result<Taken, VaultError> {
        if is_known(self.db, &id)? {
            return Ok(Taken::Nothing);
        }
        let altered = |reason: String| Ok(Taken::Bad(Fault::of(Class::Altered, reason)));
        let sealed = match SealedEntry::parse(bytes) {
            Ok(sealed) => sealed,
            Err(error) => return altered(error.to_string()),
        };
        let unverified = match fieldbook_seal::decrypt(&sealed, self.identities) {
            Ok(unverified) => unverified,
            Err(OpenError::NotForUs) => return Ok(Taken::NotForUs),
            Err(error) => return altered(error.to_string()),
        };
        let header = unverified.header();
        let (device, sequence, previous) = (header.device, header.sequence, header.previous);
        self.claim = Some(Claim { device, sequence, previous, proven: false });
        let taken = match self.take_opened(id, unverified) {
            // What a document or a certificate does not allow is the fault of what was sent.
            Err(error) if error.is_about_one_thing() => bad_by(device, error.to_string()),
            taken => taken,
        }?;
        let Taken::Bad(mut fault) = taken else { return Ok(taken) };
        let proven = self.claim.as_ref().is_some_and(|claim| claim.proven);
        (fault.device, fault.sequence, fault.proven) = (Some(device), sequence, proven);
        Ok(Taken::Bad(fault))
    }

    fn take_opened(&mut self, id: EntryId, unverified: UnverifiedEntry) -> Result<Taken, VaultError> {
        let device = unverified.header().device;
        // SQLite's integers end there, and no honest device comes near.
        if unverified.header().sequence > i64::MAX as u64 {
            return bad_by(device, "its number in the chain is impossible".to_owned());
        }
        if device == self.me {
            return own::came_back(self, id, unverified);
        }
        let certificate = match find_device(self.db, &device)? {
            Some(known) => known.certificate,
            None => return self.introduce(unverified),
        };
        let author = match self.authority.judge_author(&certificate, unverified.header().sequence) {
            Ok(author) => author,
            // Of two coordinators who remove each other the elder stands, so the word of one who was removed
            // is heard; whether it counts is judged over all of them.
            Err(CertificateError::AfterRemoval)
                if unverified.header().kind == Kind::Revocation
                    && self.authority.ever_coordinator(&device).is_some() =>
            {
                let desk = certificate.body().desk;
                Author { id: device, role: Role::Coordinator, desk, rank: None }
            }
            Err(CertificateError::AfterRemoval) => match self.reinstated(&unverified, &certificate) {
                Some(author) => author,
                // What is not taken now is tried again when somebody else stands.
                None => return Ok(Taken::Waiting(AFTER_REMOVAL)),
            },
            Err(CertificateError::UnknownIssuer) => {
                return Ok(Taken::Waiting(
                    "its author's certificate is by a coordinator whom this device does not know yet",
                ));
            }
            Err(CertificateError::IssuerRemoved) => {
                return Ok(Taken::Waiting(
                    "its author's certificate is by a coordinator who was removed; a new one must arrive",
                ));
            }
            Err(error) => return bad_by(device, error.to_string()),
        };
        self.take_by(id, unverified, &certificate, &author)
    }

    /// A coordinator who was removed as far as this device knew, and by whose own grant it was not: the
    /// removals in it are signed each for itself, and may be all that a monitor hears of the elder's word.
    fn reinstated(&mut self, unverified: &UnverifiedEntry, certificate: &Certificate) -> Option<Author> {
        let header = unverified.header();
        if header.kind != Kind::Grant || self.authority.ever_coordinator(&header.device).is_none() {
            return None;
        }
        let grant = Grant::decode(unverified.claimed_body()).ok()?;
        for removal in grant.removals {
            let changed = Rc::make_mut(self.authority).add_removal(removal).unwrap_or(false);
            self.after.team_changed |= changed;
        }
        self.authority.judge_author(certificate, header.sequence).ok()
    }

    /// An entry by a device that is not known may introduce it: it carries the certificate by which its
    /// author is a coordinator's, and those of coordinators between. A device that was admitted with the
    /// recovery sheets has nobody else to announce it.
    fn introduce(&mut self, unverified: UnverifiedEntry) -> Result<Taken, VaultError> {
        let waiting = Ok(Taken::Waiting("its author's certificate has not arrived"));
        let (id, device) = (unverified.id(), unverified.header().device);
        let mut carried: Vec<Certificate> = match unverified.header().kind {
            Kind::Certificate => Announcement::decode(unverified.claimed_body())
                .map(|announcement| vec![announcement.certificate])
                .unwrap_or_default(),
            Kind::Grant => Grant::decode(unverified.claimed_body())
                .map(|grant| grant.coordinators.into_iter().map(|one| one.certificate).collect())
                .unwrap_or_default(),
            _ => return waiting,
        };
        let own = carried.iter().find(|certificate| certificate.device_id() == device).cloned();
        let Some(certificate) = own else { return waiting };
        // In whatever order they stand: one that was refused may follow from the next.
        let mut authority = Authority::clone(self.authority);
        loop {
            let before = carried.len();
            carried.retain(|certificate| authority.add_coordinator(certificate.clone()).is_err());
            if carried.len() == before {
                break;
            }
        }
        if !authority.is_coordinator(&device) {
            return waiting;
        }
        let author = match authority.judge_author(&certificate, unverified.header().sequence) {
            Ok(author) => author,
            Err(error) => return bad_by(device, error.to_string()),
        };
        // Undone with the entry unless its signature is seen to be the author's.
        *self.authority = Rc::new(authority);
        self.take_by(id, unverified, &certificate, &author)
    }

    fn take_by(
        &mut self,
        id: EntryId,
        unverified: UnverifiedEntry,
        certificate: &Certificate,
        author: &Author,
    ) -> Result<Taken, VaultError> {
        let device = author.id;
        let opened = match unverified.verify(&certificate.body().keys) {
            Ok(opened) => opened,
            Err(OpenError::Damaged { why }) => return forged(why.to_string()),
            Err(error) => return forged(error.to_string()),
        };
        if let Some(claim) = &mut self.claim {
            claim.proven = true;
        }
        let (mut header, digest) = (opened.header().clone(), opened.digest());
        if let Some(report) = header.report
            && forgetting::is_forgotten(self.db, &report)?
        {
            // Its place in the chain is kept; whose entry it was, is not.
            header.report = None;
            self.record(&id, &header, digest)?;
            forgetting::drop_arrival(self, &id)?;
            return Ok(Taken::Nothing);
        }
        // The same signed entry once more says nothing new. It is signed for all the same: which of the two
        // its author knows is not known here.
        if is_copy(self.db, &header, digest)? {
            self.record(&id, &header, digest)?;
            if self.authority.is_coordinator(&self.me) && header.kind == Kind::Report {
                receipts::note_receipt_due(self.db, &self.me, &id, &header)?;
            }
            return Ok(Taken::Nothing);
        }
        if !audience::is_met(self, &header) {
            let reason = "it is not addressed to this device, nor to its desk";
            return Ok(Taken::Bad(Fault::of(Class::Misdirected, reason)));
        }
        // Up to the end that its removal names, what a device wrote counts. It chooses its numbers itself, so
        // what comes late must fit between what is known, and at the end stands the entry that the removal names.
        if let Some(removal) = self.authority.removal(&device)
            && let Some(fault) = misfit(self.db, &id, &header, digest, removal)?
        {
            return Ok(Taken::Bad(fault));
        }
        let (body, coordinator) = (opened.body(), author.role == Role::Coordinator);
        let taken = match header.kind {
            Kind::Report => self.take_changes(&header, author.role, body)?,
            Kind::Forget => forgetting::take(self, id, &header, author, body)?,
            Kind::Notice => match Notice::decode(body) {
                Err(error) => return bad_by(device, error.to_string()),
                Ok(Notice::Sealed { report }) => sealing::take_notice(self, id, &header, report)?,
                Ok(_) if !coordinator => return only_coordinators(device),
                Ok(Notice::Shared { reports, with }) => {
                    shares::take_notice(self, id, &header, author, &reports, &with)?
                }
                Ok(Notice::Told { what, devices }) => team::take_told(self, author, &what, &devices)?,
            },
            _ if !coordinator => return only_coordinators(device),
            Kind::Return => self.take_return(&header, certificate, body)?,
            Kind::Receipt => receipts::take(self, &id, &header, body)?,
            Kind::Share => shares::take(self, id, &header, body)?,
            Kind::Certificate => team::take_certificate(self, id, &header, author, body)?,
            Kind::Revocation => team::take_removal(self, id, &header, body)?,
            Kind::Grant => team::take_grant(self, id, &header, author, body)?,
            // Parts are opened with the key of their attachment, never with these.
            Kind::AttachmentPart => Taken::Nothing,
        };
        if matches!(taken, Taken::Done | Taken::Nothing) {
            self.record(&id, &header, digest)?;
            team::heard(self.db, &device, crate::vault::now_ms())?;
            if self.authority.is_coordinator(&self.me) && header.kind == Kind::Report {
                shares::note_missed(self, &header)?;
                receipts::note_receipt_due(self.db, &self.me, &id, &header)?;
            }
        }
        Ok(taken)
    }

    /// Puts an entry in its place in its author's chain.
    pub(super) fn record(&self, id: &EntryId, header: &Header, digest: [u8; 32]) -> Result<(), VaultError> {
        outgoing::record(self.db, id, header, digest)?;
        judge_place(self.db, &header.device, header.sequence)
    }
}

pub(super) fn forged(reason: String) -> Result<Taken, VaultError> {
    Ok(Taken::Bad(Fault::of(Class::Forged, reason)))
}

/// Not what this device may do. [`Taker::take`] adds its place, and whether the device is proven.
pub(crate) fn bad_by(device: DeviceId, reason: String) -> Result<Taken, VaultError> {
    Ok(Taken::Bad(Fault { device: Some(device), ..Fault::of(Class::Refused, reason) }))
}

fn only_coordinators(device: DeviceId) -> Result<Taken, VaultError> {
    bad_by(device, "only a coordinator may send this".to_owned())
}

fn is_known(db: &Connection, id: &EntryId) -> Result<bool, VaultError> {
    Ok(db
        .prepare_cached("SELECT 1 FROM entry WHERE id = ?1")?
        .query_row([id.as_bytes()], |_| Ok(()))
        .optional()?
        .is_some())
}
