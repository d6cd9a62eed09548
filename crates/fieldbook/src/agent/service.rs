//! The agent's answers: each request as calls on the vault.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, ReportId};
use fieldbook_report::Keep;
use fieldbook_vault::{
    AddendumText, ForgetWhat, Layout, ListFilter, NoteText, Once, SealConsent, ShareSelection, Vault,
    VaultError, Written,
};
use serde::Serialize;
use serde_json::Value;

use super::pairing::{Pairings, Wanted};
use super::protocol::{DuressState, EntryBytes, Finished, Held, Network, Request, Safeguards};
use super::server::{Connection, Service, SocketFile};
use super::wire::Hex;
use super::writing::Writers;
use super::{publication, recovery, typed};
use crate::error::Failure;

/// Bytes of an attachment in one frame.
const CHUNK: usize = 1 << 20;
/// Ids in one frame.
const IDS: usize = 4_096;
/// How long after a change of the vault's key that failed it is not tried again.
const REKEY_AGAIN: Duration = Duration::from_secs(60);

/// A vault that stays open is in use while it is asked something: the days are counted from there.
const COUNT_AGAIN: Duration = Duration::from_secs(3600);

type Items<'a> = &'a mut dyn FnMut(Value) -> Result<(), Failure>;

/// An open vault and what goes on around it. Its socket is gone before the vault is closed.
pub struct Desk {
    socket: Option<SocketFile>,
    pairings: Pairings,
    writers: Writers,
    vault: Vault,
    layout: Layout,
    rekey_failed: Option<Instant>,
    /// When the days until the keys are destroyed began anew.
    counted: Instant,
}

impl Desk {
    /// Serves this vault, which lies in `dir`.
    pub fn new(vault: Vault, dir: &Path, socket: Option<SocketFile>) -> Self {
        Self {
            socket,
            pairings: Pairings::default(),
            writers: Writers::default(),
            vault,
            layout: Layout::new(dir),
            rekey_failed: None,
            counted: Instant::now(),
        }
    }

    /// The report that an id begins with.
    fn report(&self, prefix: &str) -> Result<ReportId, Failure> {
        Ok(self.vault.find(prefix)?)
    }

    fn serve(&mut self, connection: Connection, request: Request, item: Items<'_>) -> Result<Value, Failure> {
        if looks_at_reports(&request) {
            // A receipt must not seal what is about to be written in.
            let mut written = self.writers.reports();
            if let Request::OpenText { report, .. } = &request {
                written.extend(self.report(report));
            }
            self.vault.set_being_written(written);
            // What the daemon brought is taken in before it is looked at.
            let absorbed = self.vault.absorb();
            // A text is saved whatever is wrong with that.
            if !matches!(request, Request::SaveText { .. }) {
                absorbed?;
            }
        }
        if makes_content(&request) && self.vault.device().role.as_deref() == Some(Role::Relay.word()) {
            return Err(no_content());
        }
        match request {
            // Both are answered before they come here.
            Request::Hello { .. } | Request::Lock => Ok(Value::Null),
            Request::CheckPassphrase { own } => {
                json(&self.vault.check_passphrase(&typed::passphrase(&own)?)?)
            }
            Request::ChangePassphrase { own, new } => {
                json(&self.vault.change_passphrase(&typed::passphrase(&own)?, &typed::passphrase(&new)?)?)
            }
            Request::SetDuress { own, duress, name } => {
                let name = name.unwrap_or_else(|| self.vault.device().name);
                json(&self.vault.set_duress(
                    &typed::passphrase(&own)?,
                    &typed::passphrase(&duress)?,
                    &name,
                )?)
            }
            Request::RemoveDuress => json(&self.vault.remove_duress()?),
            Request::IsDecoy => json(&self.vault.is_open_from_beside()),
            Request::HasDuress => json(&DuressState {
                set: self.vault.has_duress()?,
                other_key_file: self.vault.duress_has_other_factor()?,
            }),
            Request::Safeguards { wipe_unasked, dead_man_days } => {
                wipe_unasked.map(|unasked| self.vault.set_wipe_unasked(unasked)).transpose()?;
                dead_man_days.map(|days| self.vault.set_dead_man(days)).transpose()?;
                let rules = self.vault.rules();
                let ms = i64::try_from(rules.deadline_s).unwrap_or(i64::MAX).saturating_mul(1000);
                json(&Safeguards {
                    wipe_unasked: rules.wipe_unasked,
                    dead_man_days: rules.dead_man_days,
                    dead_man_ms: (rules.dead_man_days > 0).then_some(ms),
                })
            }
            Request::NoteExport { path, kind, files } => json(&self.vault.note_export(&path, &kind, files)?),
            Request::Exports => json(&self.vault.exports()?),
            Request::DropExports { paths } => json(&self.vault.drop_exports(&paths)?),
            Request::Device => json(&self.vault.device()),
            Request::CreateTeam { name } => {
                if self.vault.team_info().is_none() {
                    super::copies::settle(&mut self.vault)?;
                }
                json(&self.vault.create_team(&name)?)
            }
            Request::Backup { dir } => json(&self.vault.write_backup(&dir)?),
            Request::Moved => json(&self.vault.accept_place()?),
            Request::People => json(&self.vault.people()?),
            Request::RemovalPreview { device, lost, keep } => {
                let (device, keep) = self.removal(&device, &keep)?;
                json(&self.vault.removal_preview(device, lost, keep)?)
            }
            Request::Remove { device, lost, keep } => {
                let (device, keep) = self.removal(&device, &keep)?;
                json(&if lost {
                    self.vault.remove_lost(device, keep)?
                } else {
                    self.vault.remove_device(device, false)?
                })
            }
            Request::SetRole { device, role } => {
                let role = if role == "coordinator" { Role::Coordinator } else { Role::Monitor };
                json(&self.vault.set_role(self.vault.find_device(&device)?, role)?)
            }
            Request::Desks => each(self.vault.desks()?, item),
            Request::NameDesk { name } => {
                self.vault.name_desk(&name)?;
                json(&self.vault.desks()?.into_iter().find(|desk| desk.mine))
            }
            Request::TeamLog => each(self.vault.log()?, item),
            Request::Share { reports, filter, with } => {
                let reports = reports.iter().map(|id| self.report(id)).collect::<Result<_, _>>()?;
                let with = self.vault.find_device(&with)?;
                json(&self.vault.share(&ShareSelection { reports, filter }, with)?)
            }
            Request::FindPeople { report, person } => {
                let report = report.map(|report| self.report(&report)).transpose()?;
                each(self.vault.find_people(report, &person)?, item)
            }
            Request::Forget { report, person, keep_attachments } => {
                let report = self.report(&report)?;
                if person.is_some() {
                    self.writers.nobody_else(connection, report)?;
                }
                let what = match person {
                    Some(person) => ForgetWhat::Person { report, person, keep_attachments },
                    None => ForgetWhat::Report(report),
                };
                json(&self.vault.forget(&what)?)
            }
            Request::ForgetRequests => each(self.vault.forget_requests()?, item),
            Request::ConfirmForget { report } => {
                let report = self.report(&report)?;
                json(&self.vault.confirm_forget(report)?)
            }
            Request::New(new) => {
                let input = typed::new_report(&new)?;
                json(&match once(new.once.as_ref())? {
                    Some(once) => self.vault.create_report_once(&input, &once)?,
                    None => self.vault.create_report(&input)?,
                })
            }
            Request::Import { source } => json(&self.vault.import_report(&source)?),
            Request::Edit { report, changes, once: asked } => {
                let id = self.report(&report)?;
                let template = typed::find(&self.vault.template_of(id)?)?;
                let edits = typed::edits(template, &changes)?;
                json(&match once(asked.as_ref())? {
                    Some(once) => self.vault.edit_once(id, &edits, &once)?,
                    None => self.vault.edit(id, &edits)?,
                })
            }
            Request::OpenText { report, field } => {
                let id = self.report(&report)?;
                let opened = self.vault.open_text(id, &field)?;
                self.writes(connection, id, &field)?;
                json(&opened)
            }
            Request::KeepText { report, field, base, tried, text, made } => {
                let id = self.report(&report)?;
                self.writes(connection, id, &field)?;
                let written = Written { base: &base, tried: &tried, text: &text };
                json(&self.vault.keep_text(id, &field, written, made)?)
            }
            Request::SaveText { report, field, base, tried, text } => {
                let id = self.report(&report)?;
                self.writes(connection, id, &field)?;
                json(&self.vault.save_text(
                    id,
                    &field,
                    Written { base: &base, tried: &tried, text: &text },
                )?)
            }
            Request::DropText { report, field, draft } => {
                let id = self.report(&report)?;
                self.writes(connection, id, &field)?;
                let draft = draft && self.writers.nobody_else(connection, id).is_ok();
                json(&self.vault.drop_text(id, &field, draft)?)
            }
            Request::DropTexts { report } => {
                let id = self.report(&report)?;
                self.writers.nobody_else(connection, id)?;
                json(&self.vault.drop_texts(id)?)
            }
            Request::Attach { report, path, media_type } => {
                let id = self.report(&report)?;
                let media_type = media_type.as_deref().unwrap_or("application/octet-stream");
                json(&self.vault.attach(id, &path, None, media_type)?)
            }
            Request::Attachment { report, attachment } => self.attachment(&report, &attachment, item),
            Request::Finish { report, incomplete } => {
                let id = self.report(&report)?;
                json(&self.vault.finish(id, incomplete)?)
            }
            Request::Seal { report, anyway } => {
                let id = self.report(&report)?;
                let consent = if anyway { SealConsent::Anyway } else { SealConsent::WithReceipts };
                json(&self.vault.seal_report(id, consent)?)
            }
            Request::SealReceived => {
                each(self.vault.seal_received()?, item)?;
                let left = self.vault.kept_from_sealing()?;
                json(&left.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            Request::SealAfter { coordinators } => json(&self.vault.set_seal_after(coordinators)?),
            Request::Addendum { report, narrative, title, language, once: asked } => {
                let id = self.report(&report)?;
                let once = once(asked.as_ref())?;
                let text = AddendumText { narrative, title, language, once };
                json(&self.vault.addendum(id, text)?)
            }
            Request::FinishAll { incomplete } => self.finish_all(incomplete, item),
            Request::List { filter } => each(self.vault.list(&filter)?, item),
            Request::Show { report } => json(&self.vault.show(self.report(&report)?)?),
            Request::Questions { report } => json(&self.vault.open_questions(self.report(&report)?)?),
            Request::KeptTexts { report } => json(&self.vault.kept_texts(self.report(&report)?)?),
            Request::History { report } => each(self.vault.history(self.report(&report)?)?, item),
            Request::Conflicts => each(self.vault.conflicts()?, item),
            Request::Resolve { report, field, keep } => {
                let id = self.report(&report)?;
                let field = self.clash_named(id, &field)?;
                let keep = if keep == "both" { Keep::Both } else { Keep::Value(keep) };
                json(&self.vault.resolve(id, &field, &keep)?)
            }
            Request::Ask { report, text, once: asked, kept } => {
                let once = once(asked.as_ref())?;
                let text = NoteText { text: &text, once, kept: kept.as_deref() };
                json(&self.vault.ask(self.report(&report)?, &text)?)
            }
            Request::Answer { report, to, text, once: asked, kept } => {
                let once = once(asked.as_ref())?;
                let text = NoteText { text: &text, once, kept: kept.as_deref() };
                json(&self.vault.answer(self.report(&report)?, to.as_deref(), &text)?)
            }
            Request::Export(export) => json(&publication::publish(&self.vault, &export, item)?),
            Request::Status | Request::Glance => json(&self.vault.status()?),
            Request::Partners => json(&self.vault.partners()?),
            Request::Standing => json(&self.vault.standing()?),
            Request::Verify => json(&self.vault.verify(&mut |finding| item(json(&finding)?))?),
            Request::Held => each(self.held()?, item),
            Request::Entries { report } => each(self.vault.entries(self.report(&report)?)?, item),
            Request::Entry { entry } => {
                let (id, bytes) = self.vault.entry_bytes(&entry)?;
                json(&EntryBytes { id, bytes: Hex::new(bytes) })
            }
            Request::ExportEntries { dir } => json(&self.vault.export_entries(&dir)?),
            Request::CreateRecovery { threshold, shares, replace } => {
                recovery::create(&mut self.vault, threshold, shares, replace)
            }
            Request::CheckRecovery { shares } => recovery::check(&self.vault, &shares),
            Request::RestoreRecovery { shares, from } => {
                recovery::restore(&mut self.vault, &shares, from.as_deref())
            }
            Request::DeskIdentity => json(&Hex::new(self.vault.desk_identity_text()?.as_bytes().to_vec())),
            Request::Flush => json(&self.vault.flush()?),
            Request::Absorb => json(&self.vault.absorb()?),
            // Whoever finds a daemon there would ask whose it is.
            Request::Network if self.vault.is_open_from_beside() => Err(VaultError::InDecoy.into()),
            Request::Network => json(&Network {
                depot: self.vault.depot_path(),
                key: Hex::new(self.vault.depot_key().as_bytes().to_vec()),
                lock: self.layout.network_lock(),
            }),
            Request::KnownToHold { device } => {
                let held = self.vault.known_to_hold(&self.vault.find_device(&device)?)?;
                let ids: Vec<String> = held.iter().map(ToString::to_string).collect();
                each(ids.chunks(IDS).map(<[String]>::to_vec).collect::<Vec<_>>(), item)
            }
            Request::FindDevice { device } => json(&self.vault.find_device(&device)?.to_string()),
            Request::Invite { role, addresses, expires_s, long, new_desk, replaces } => {
                let wanted = Wanted { role, addresses, expires_s, long, new_desk, replaces };
                json(&self.pairings.invite(connection, &self.vault, wanted)?)
            }
            Request::PairingConnected => json(&self.pairings.connected(connection)?),
            Request::Join { code, new_device } => {
                json(&self.pairings.join(connection, &self.vault, &code, new_device)?)
            }
            Request::PairingReceived { message } => {
                json(&self.pairings.received(connection, &mut self.vault, &message.0)?)
            }
            Request::PairingApproved { addresses } => {
                json(&self.pairings.approved(connection, &mut self.vault, addresses)?)
            }
            Request::PairingRejected => json(&self.pairings.rejected(connection)?),
        }
    }

    /// Gives the vault a new key if something was forgotten. A full disk takes nothing back: it stays due,
    /// `status` says so, and it is tried again after a while.
    fn rekey(&mut self) {
        if self.rekey_failed.is_none_or(|failed| failed.elapsed() >= REKEY_AGAIN) {
            self.rekey_failed = self.vault.rekey_if_due().is_err().then(Instant::now);
        }
    }

    /// This connection writes in a text from now on.
    fn writes(&mut self, connection: Connection, report: ReportId, field: &str) -> Result<(), Failure> {
        self.writers.begin(connection, report, field)?;
        self.vault.set_being_written(self.writers.reports());
        Ok(())
    }

    fn finish_all(&mut self, incomplete: bool, item: Items<'_>) -> Result<Value, Failure> {
        let drafts = ListFilter { state: Some("draft".to_owned()), ..ListFilter::default() };
        for draft in self.vault.list(&drafts)? {
            let id = self.report(&draft.id)?;
            let refused = match self.vault.finish(id, incomplete) {
                Ok(_) => None,
                // What is wrong with one report does not concern the next.
                Err(
                    error @ (VaultError::Incomplete { .. }
                    | VaultError::Report(_)
                    | VaultError::Input(_)
                    | VaultError::Unfinished { .. }
                    | VaultError::TooLarge { .. }),
                ) => Some(error.into()),
                Err(error) => return Err(error.into()),
            };
            item(json(&Finished { id: draft.id, title: draft.title, refused })?)?;
        }
        Ok(Value::Null)
    }

    /// The devices that a removal names.
    fn removal(&self, device: &str, keep: &[String]) -> Result<(DeviceId, Vec<DeviceId>), Failure> {
        let keep = keep.iter().map(|typed| self.vault.find_device(typed)).collect::<Result<_, _>>()?;
        Ok((self.vault.find_device(device)?, keep))
    }

    /// In the order in which each group is first met.
    fn held(&self) -> Result<Vec<Held>, Failure> {
        let mut groups: Vec<Held> = Vec::new();
        let finished = ListFilter { state: Some("finished".to_owned()), ..ListFilter::default() };
        for report in self.vault.list(&finished)?.into_iter().filter(|report| report.mine) {
            let on_relay = (report.delivery.word == "carried").then_some(&report.delivery.relays);
            let relay_since_ms = on_relay.and_then(|relays| relays.iter().map(|relay| relay.time_ms).min());
            let word = report.delivery.word;
            let latest_ms = report.delivery.holders.iter().map(|holder| holder.time_ms).max().unwrap_or(0);
            let holders: Vec<String> =
                report.delivery.holders.into_iter().map(|holder| holder.name).collect();
            let alike = |group: &&mut Held| {
                let relay = group.relay_since_ms.is_some() == relay_since_ms.is_some();
                group.word == word && group.holders == holders && relay
            };
            match groups.iter_mut().find(alike) {
                Some(group) => {
                    group.reports += 1;
                    group.relay_since_ms = group.relay_since_ms.max(relay_since_ms);
                    group.latest_ms = group.latest_ms.max(latest_ms);
                }
                None => groups.push(Held { word, holders, latest_ms, relay_since_ms, reports: 1 }),
            }
        }
        Ok(groups)
    }

    fn attachment(&mut self, report: &str, wanted: &str, item: Items<'_>) -> Result<Value, Failure> {
        let id = self.report(report)?;
        let mut out = Chunks { item, failure: None };
        let saved = self.vault.save_attachment(id, wanted, &mut out);
        if let Some(failure) = out.failure {
            return Err(failure);
        }
        // A view: the manifest holds the key of its parts.
        json(&fieldbook_report::AttachmentView::from(&saved?))
    }

    /// `authority` is `fields.authority`, if that is what clashes.
    fn clash_named(&self, id: ReportId, field: &str) -> Result<String, Failure> {
        let clashes = self.vault.show(id)?.clashes;
        let names = |wanted: &str| clashes.iter().any(|clash| clash.field == wanted);
        let long = format!("fields.{field}");
        Ok(if !names(field) && names(&long) { long } else { field.to_owned() })
    }
}

/// Whether a request writes something that a person has to say. A relay has nobody who says it, and nobody reads
/// what it writes.
const fn makes_content(request: &Request) -> bool {
    matches!(
        request,
        Request::New(_)
            | Request::Import { .. }
            | Request::Edit { .. }
            | Request::KeepText { .. }
            | Request::SaveText { .. }
            | Request::Attach { .. }
            | Request::Finish { .. }
            | Request::FinishAll { .. }
            | Request::Addendum { .. }
            | Request::Resolve { .. }
            | Request::Ask { .. }
            | Request::Answer { .. }
            | Request::Share { .. }
            | Request::Seal { .. }
            | Request::SealReceived
            | Request::SealAfter { .. }
            | Request::Export(_)
    )
}

/// The random bytes of a request that may be made again.
fn once(asked: Option<&Hex>) -> Result<Option<Once>, Failure> {
    let taken = |bytes: &Hex| <[u8; Once::LEN]>::try_from(bytes.0.as_slice()).map(Once::from_bytes);
    asked.map(taken).transpose().map_err(|_| {
        Failure::usage("once", format!("what a request is known by again has {} bytes", Once::LEN))
    })
}

fn no_content() -> Failure {
    let what = "this device is a relay: it carries others' sealed reports, and has none of its own; nothing was saved";
    Failure::failed("relay", what)
        .hint("write in a vault of your own: `fieldbook --vault DIR init --name NAME`, then `fieldbook join CODE` there")
}

/// Whether an answer depends on what other devices sent.
const fn looks_at_reports(request: &Request) -> bool {
    matches!(
        request,
        Request::People
            | Request::RemovalPreview { .. }
            | Request::Remove { .. }
            | Request::SetRole { .. }
            | Request::Desks
            | Request::NameDesk { .. }
            | Request::TeamLog
            | Request::Share { .. }
            | Request::FindPeople { .. }
            | Request::Forget { .. }
            | Request::ForgetRequests
            | Request::ConfirmForget { .. }
            | Request::Edit { .. }
            | Request::OpenText { .. }
            | Request::SaveText { .. }
            | Request::Attachment { .. }
            | Request::Seal { .. }
            | Request::SealReceived
            | Request::List { .. }
            | Request::Show { .. }
            | Request::Questions { .. }
            | Request::History { .. }
            | Request::Conflicts
            | Request::Resolve { .. }
            | Request::Ask { .. }
            | Request::Answer { .. }
            | Request::Export(_)
            | Request::Status
            | Request::Glance
            | Request::Verify
            | Request::Held
            | Request::Entries { .. }
    )
}

impl Service for Desk {
    fn answer(
        &mut self,
        connection: Connection,
        request: Request,
        item: Items<'_>,
    ) -> Result<Value, Failure> {
        if self.counted.elapsed() >= COUNT_AGAIN {
            self.vault.count_days_anew();
            self.counted = Instant::now();
        }
        // A person waits for this one, with a text on the screen, and what went was never in a report.
        let can_wait = matches!(request, Request::DropText { .. });
        let answer = self.serve(connection, request, item);
        // An agent that stays open may be killed as it stands: what it was asked to forget, or forgot by
        // itself on the way, is gone for good before it says so. One for a single command does it at its end.
        if self.socket.is_some() && !can_wait {
            self.rekey();
        }
        answer
    }

    fn gone(&mut self, connection: Connection) {
        self.pairings.gone(connection);
        self.writers.gone(connection);
        self.vault.set_being_written(self.writers.reports());
    }

    /// Takes in what the daemon brought, so that receipts go out while nobody asks anything.
    fn tick(&mut self) {
        self.vault.set_being_written(self.writers.reports());
        // What is wrong is told when somebody asks: the next request meets it again.
        let _ = self.vault.absorb().and_then(|_| self.vault.flush());
        self.rekey();
    }

    fn close(self) -> Result<(), Failure> {
        // Nobody finds the agent any more while its vault is closing.
        drop(self.socket);
        Ok(self.vault.close()?)
    }
}

/// Cuts a stream of bytes into items.
struct Chunks<'a, 'b> {
    item: &'a mut (dyn FnMut(Value) -> Result<(), Failure> + 'b),
    failure: Option<Failure>,
}

impl Write for Chunks<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        match json(&Hex::new(bytes.to_vec())).and_then(&mut self.item) {
            Ok(()) => Ok(bytes.len()),
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn each<T: Serialize>(items: Vec<T>, item: Items<'_>) -> Result<Value, Failure> {
    for one in items {
        item(json(&one)?)?;
    }
    Ok(Value::Null)
}

pub(super) fn json(of: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(|error| Failure::failed("internal", error.to_string()))
}
