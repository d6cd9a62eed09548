//! A report as a CRDT: whoever writes, in whatever order changes arrive, all end with the same report,
//! and where two wrote the same field apart, both values stay until a person chooses.

mod anew;
mod changes;
mod clash;
mod history;
mod layout;
mod read;
mod text;
mod write;

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::CommitOptions;
use automerge::{Automerge, ChangeHash, LoadOptions, VerificationMode};

pub use clash::{Clash, ClashValue, Keep};
pub use history::{HistoryEdit, HistoryItem};
pub use text::{Piece, TextChange, merge_texts, text_change};

use crate::attachment::AttachmentManifest;
use crate::edit::Edit;
use crate::input::{InputError, ReportInput};
use crate::limits::DOCUMENT_MAX;
use crate::template;
use crate::view::ReportView;

/// Who made a change: the first 16 bytes of the device's id.
pub type ActorId = [u8; 16];

/// Why a document could not be made, read or changed. It is as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportError {
    /// The bytes are no automerge document or changes, or automerge failed on them.
    Damaged {
        /// What automerge says.
        detail: String,
    },
    /// A document of some other program.
    NotAReport,
    /// Written by a later version of Fieldbook.
    NewerVersion {
        /// The version of its layout.
        version: i64,
    },
    /// A change that the sender did not make.
    ForeignActor {
        /// Whose it is, in hexadecimal.
        actor: String,
    },
    /// A change builds on one that has not arrived.
    MissingChanges,
    /// More bytes than [`DOCUMENT_MAX`], as sent or inflated.
    TooLarge,
    /// What was given is wrong.
    Input(InputError),
    /// No clash at this field.
    NoSuchClash {
        /// What was asked for.
        field: String,
        /// The fields that clash.
        clashing: Vec<String>,
    },
    /// None, or several, of the clashing values begin like this.
    NoSuchValue {
        /// What was asked for.
        wanted: String,
        /// The values.
        values: Vec<String>,
    },
    /// Both values cannot be kept in this field.
    CannotKeepBoth {
        /// The field.
        field: String,
        /// Why.
        reason: &'static str,
    },
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { detail } => write!(f, "the report's document is damaged: {detail}"),
            Self::NotAReport => f.write_str("this document is not a Fieldbook report"),
            Self::NewerVersion { version } => {
                write!(
                    f,
                    "the report was written by a later Fieldbook (layout {version}); update Fieldbook to read it"
                )
            }
            Self::ForeignActor { actor } => write!(f, "a change by {actor} was sent by somebody else"),
            Self::MissingChanges => f.write_str("a change builds on one that has not arrived"),
            Self::TooLarge => write!(f, "the report's changes are larger than {DOCUMENT_MAX} bytes"),
            Self::Input(error) => error.fmt(f),
            Self::NoSuchClash { field, clashing } if clashing.is_empty() => {
                write!(f, "{field} does not clash; nothing in this report does")
            }
            Self::NoSuchClash { field, clashing } => {
                write!(f, "{field} does not clash; these do: {}", clashing.join(", "))
            }
            Self::NoSuchValue { wanted, values } => {
                write!(f, "{wanted:?} is not exactly one of the clashing values: {}", values.join(" | "))
            }
            Self::CannotKeepBoth { field, reason } => {
                write!(f, "{field}: both cannot be kept, {reason}; keep one")
            }
        }
    }
}

impl std::error::Error for ReportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Input(error) = self { Some(error) } else { None }
    }
}

impl From<InputError> for ReportError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<automerge::AutomergeError> for ReportError {
    fn from(error: automerge::AutomergeError) -> Self {
        Self::Damaged { detail: error.to_string() }
    }
}

/// A report that can be read, edited and merged.
#[derive(Clone)]
pub struct ReportDocument {
    doc: Automerge,
    actor: ActorId,
}

/// The content of a report stays out of logs.
impl fmt::Debug for ReportDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportDocument").field("heads", &self.doc.get_heads()).finish_non_exhaustive()
    }
}

impl ReportDocument {
    /// Makes a report. Its whole structure stands in this first change, so that two devices never
    /// create the same object apart.
    ///
    /// `person_ids` gives an id of 8 hexadecimal digits (random bytes of the caller) per person;
    /// `now_ms` is Unix time in milliseconds, kept to the second.
    ///
    /// # Errors
    /// [`ReportError::Input`] when the input is beyond a limit or not what its template asks for.
    pub fn create(
        actor: ActorId,
        input: &ReportInput,
        person_ids: &mut dyn FnMut() -> String,
        now_ms: i64,
    ) -> Result<Self, ReportError> {
        let template = input.check()?;
        let people = input.people.iter().map(|person| person.clone().with_id(person_ids()));
        let people = write::distinct(people.collect())?;
        let doc = guarded(|| {
            let mut doc = Automerge::new().with_actor(automerge::ActorId::from(actor));
            let mut tx = doc.transaction();
            write::create(&mut tx, input, template, &people)?;
            tx.commit_with(at(now_ms));
            Ok(doc)
        })?;
        Ok(Self { doc, actor })
    }

    /// Reads what [`Self::save`] wrote, or a whole sequence of changes.
    ///
    /// # Errors
    /// Too large, damaged, not a report, or of a later version.
    pub fn load(actor: ActorId, bytes: &[u8]) -> Result<Self, ReportError> {
        let doc = guarded(|| {
            let chunks = changes::split(bytes)?;
            let doc = match chunks.first() {
                None => return Err(ReportError::NotAReport),
                Some(first) if first.is_document() => {
                    // Changes that wait for others stand behind a saved document.
                    let mut doc = changes::document(first)?;
                    doc.apply_changes(changes::decode(&chunks[1..])?)?;
                    doc
                }
                Some(_) => {
                    let mut doc = Automerge::new();
                    doc.apply_changes(changes::decode(&chunks)?)?;
                    doc
                }
            };
            probe(&doc)?;
            Ok(doc.with_actor(automerge::ActorId::from(actor)))
        })?;
        Ok(Self { doc, actor })
    }

    /// Reads what [`Self::save`] wrote on this device, from a store that authenticates its bytes: the
    /// checks that others' bytes go through at [`Self::load`] are not made a second time.
    ///
    /// # Errors
    /// Damaged.
    pub fn reopen(actor: ActorId, bytes: &[u8]) -> Result<Self, ReportError> {
        let doc = guarded(|| {
            let options = LoadOptions::new().verification_mode(VerificationMode::DontCheck);
            Ok(Automerge::load_with_options(bytes, options)?.with_actor(automerge::ActorId::from(actor)))
        })?;
        Ok(Self { doc, actor })
    }

    /// Begins a document from the changes that another device sent, all of them by `author`, if one is
    /// given.
    ///
    /// # Errors
    /// Those of [`Self::apply`]; [`ReportError::MissingChanges`] when the beginning is not among them.
    pub fn receive(
        actor: ActorId,
        chunks: &[u8],
        author: impl Into<Option<ActorId>>,
    ) -> Result<Self, ReportError> {
        let author = author.into();
        let doc = guarded(|| {
            use automerge::ReadDoc as _;
            let incoming = changes::decode(&changes::split(chunks)?)?;
            if let Some(author) = author {
                refuse_foreign(&incoming, author)?;
            }
            let mut doc = Automerge::new();
            doc.apply_changes(incoming)?;
            if !doc.get_missing_deps(&[]).is_empty() {
                return Err(ReportError::MissingChanges);
            }
            probe(&doc)?;
            Ok(doc.with_actor(automerge::ActorId::from(actor)))
        })?;
        Ok(Self { doc, actor })
    }

    /// The whole document with its history, for the vault.
    pub fn save(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    /// As [`Self::save`], nothing deflated: for looking at what stands in the bytes.
    pub(crate) fn save_plain(&self) -> Vec<u8> {
        self.doc
            .save_with_options(automerge::SaveOptions { deflate: false, ..automerge::SaveOptions::default() })
    }

    /// As [`Self::save`], for a document that others shall load: refused where they would refuse it.
    ///
    /// # Errors
    /// [`ReportError::TooLarge`].
    pub fn save_for_others(&mut self) -> Result<Vec<u8>, ReportError> {
        let bytes = self.doc.save();
        changes::split(&bytes)?.iter().filter(|c| c.is_document()).try_for_each(changes::check_inflated)?;
        Ok(bytes)
    }

    /// The hashes of the latest changes: what this document has seen.
    pub fn heads(&self) -> Vec<[u8; 32]> {
        self.doc.get_heads().into_iter().map(|hash| hash.0).collect()
    }

    /// The changes after these heads, each as a chunk that any automerge library loads. Heads that
    /// this document does not know are ignored; no heads give every change.
    pub fn changes_since(&mut self, heads: &[[u8; 32]]) -> Vec<Vec<u8>> {
        let known: Vec<ChangeHash> = heads
            .iter()
            .map(|hash| ChangeHash(*hash))
            .filter(|hash| self.doc.get_change_meta_by_hash(hash).is_some())
            .collect();
        self.doc.get_changes(&known).into_iter().map(|mut change| change.bytes().into_owned()).collect()
    }

    /// Takes changes (chunks one after another) and gives the number of those that were new and
    /// whose predecessors are here. A change whose predecessor is missing is kept and counts once
    /// that has come: see [`Self::waits_for`].
    ///
    /// With `allowed_actor` every new change must have been made by that actor.
    ///
    /// # Errors
    /// Too large, damaged, by a foreign actor, or (rarely) one on which automerge fails. The
    /// document is then as it was.
    pub fn apply(&mut self, chunks: &[u8], allowed_actor: Option<ActorId>) -> Result<usize, ReportError> {
        let (doc, count) = guarded(|| {
            let mut incoming = changes::decode(&changes::split(chunks)?)?;
            incoming.retain(|change| self.doc.get_change_meta_by_hash(&change.hash()).is_none());
            if let Some(allowed) = allowed_actor {
                refuse_foreign(&incoming, allowed)
                    .map_err(|foreign| self.rival(&incoming).unwrap_or(foreign))?;
            }
            let heads = self.doc.get_heads();
            // Worked on a copy: whatever happens inside automerge, this document stays whole.
            let mut doc = self.doc.clone();
            doc.apply_changes(incoming)?;
            probe(&doc)?;
            let count = doc.get_changes_meta(&heads).len();
            Ok((doc, count))
        })?;
        self.doc = doc;
        Ok(count)
    }

    /// Of an actor's changes each has one number. Another with the number of one that is here was made by
    /// somebody else, or by a copy of the device.
    fn rival(&self, incoming: &[automerge::Change]) -> Option<ReportError> {
        let changes = self.doc.get_changes_meta(&[]);
        let here: HashSet<(&[u8], u64)> =
            changes.iter().map(|known| (known.actor.to_bytes(), known.seq)).collect();
        let rival =
            incoming.iter().find(|change| here.contains(&(change.actor_id().to_bytes(), change.seq())))?;
        let detail = format!("a change by {} stands where another of it is known", rival.actor_id());
        Some(ReportError::Damaged { detail })
    }

    /// How many changes of this document an actor made.
    pub fn changes_by(&self, actor: &ActorId) -> usize {
        let changes = self.doc.get_changes_meta(&[]);
        changes.iter().filter(|change| change.actor.to_bytes() == actor).count()
    }

    /// Hashes of changes that are missing before all that was applied can be seen. Usually empty.
    pub fn waits_for(&self) -> Vec<[u8; 32]> {
        use automerge::ReadDoc as _;
        self.doc.get_missing_deps(&[]).into_iter().map(|hash| hash.0).collect()
    }

    /// Makes all these edits in one change, or none. Gives `false` when they change nothing.
    ///
    /// # Errors
    /// [`ReportError::Input`] when an edit is wrong, with what to write instead.
    pub fn edit(&mut self, edits: &[Edit], now_ms: i64) -> Result<bool, ReportError> {
        Edit::check_all(edits, template::find(&read::template_tag(&self.doc)))?;
        write::check_present(&self.doc, edits)?;
        self.change(now_ms, |tx| edits.iter().try_for_each(|edit| write::edit(tx, edit)))
    }

    /// Settles a clash: one of its values, or both where the field can hold both.
    ///
    /// `field` is the name that [`Self::clashes`] gives, or an unambiguous end of it (`date` for
    /// `fields.date`).
    ///
    /// # Errors
    /// No such clash, no such value, or both cannot be kept.
    pub fn resolve(&mut self, field: &str, keep: &Keep, now_ms: i64) -> Result<(), ReportError> {
        let (place, value) = clash::settle(&self.doc, field, keep)?;
        self.change(now_ms, |tx| write::put(tx, &place.object, &place.key, &value)).map(drop)
    }

    fn change(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut automerge::transaction::Transaction<'_>) -> Result<(), ReportError>,
    ) -> Result<bool, ReportError> {
        let changed = guarded(|| {
            use automerge::transaction::Transactable as _;
            let mut doc = self.doc.clone();
            let mut tx = doc.transaction();
            act(&mut tx)?;
            if tx.pending_ops() == 0 {
                return Ok(None);
            }
            tx.commit_with(at(now_ms));
            Ok(Some(doc))
        })?;
        Ok(match changed {
            Some(doc) => {
                self.doc = doc;
                true
            }
            None => false,
        })
    }

    /// The report as it stands.
    pub fn view(&self) -> ReportView {
        read::view(&self.doc)
    }

    /// An attachment with its secret, for the vault.
    pub fn attachment(&self, id: &str) -> Option<AttachmentManifest> {
        self.attachments().into_iter().find(|manifest| manifest.id == id)
    }

    /// Every attachment with its secret, in the order they were added.
    pub fn attachments(&self) -> Vec<AttachmentManifest> {
        read::attachments(&self.doc)
    }

    /// Required parts that are still empty: names of fields, or `narrative`.
    pub fn missing(&self) -> Vec<String> {
        self.view().missing()
    }

    /// Every place where people wrote apart and nobody has chosen yet.
    pub fn clashes(&self) -> Vec<Clash> {
        clash::find(&self.doc).into_iter().map(|found| found.clash).collect()
    }

    /// Every change since the report began, in an order in which causes come before effects.
    pub fn history(&self) -> Vec<HistoryItem> {
        history::history(&self.doc)
    }

    /// The actor whose changes this document makes.
    pub fn actor(&self) -> ActorId {
        self.actor
    }
}

fn refuse_foreign(changes: &[automerge::Change], allowed: ActorId) -> Result<(), ReportError> {
    match changes.iter().find(|change| change.actor_id().to_bytes() != allowed) {
        Some(change) => Err(ReportError::ForeignActor { actor: change.actor_id().to_string() }),
        None => Ok(()),
    }
}

fn at(now_ms: i64) -> CommitOptions {
    CommitOptions::default().with_time(now_ms.div_euclid(1000))
}

/// Runs what may panic inside automerge (it has, on legal merges: its issue 1390) and turns a panic
/// into an error. `act` works on copies, so that nothing half-done is seen afterwards.
fn guarded<T>(act: impl FnOnce() -> Result<T, ReportError>) -> Result<T, ReportError> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err(ReportError::Damaged { detail: "automerge could not process it".into() }))
}

/// Reads all of a document once, so that one which cannot be read is refused at the door.
fn probe(doc: &Automerge) -> Result<(), ReportError> {
    read::check_version(doc)?;
    let _ = read::view(doc);
    let _ = clash::find(doc);
    Ok(())
}
