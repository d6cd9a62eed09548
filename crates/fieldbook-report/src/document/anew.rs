//! A report that never left its device, by another hand: the same words in a fresh document.
//!
//! A change belongs to the device that made it, and no other device may send it. So when a notebook
//! becomes a new device, its drafts are written anew. The past of a draft, which nobody else has seen, is
//! not taken along.

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ObjType};

use super::layout::{FIELDS, NARRATIVE, part};
use super::{ActorId, ReportDocument, ReportError, at, guarded, read, write};
use crate::attachment::AttachmentManifest;
use crate::edit::Edit;
use crate::input::ReportInput;
use crate::template::{self, FieldKind};
use crate::value::FieldValue;

/// About how many bytes go into one change, so that each fits one sealed entry. A draft that grew edit by
/// edit may be larger than what could be given at once.
const CHANGE_BYTES: usize = 256 * 1024;

/// A piece of a report.
enum Piece {
    Field(String, FieldValue),
    /// Put in whole: comparing it with the empty one letter by letter takes minutes for a long one.
    Narrative(String),
    Edit(Edit),
}

impl Piece {
    fn size(&self) -> usize {
        let json = match self {
            Self::Field(name, value) => serde_json::to_vec(&(name, value.to_json())),
            Self::Narrative(text) => return text.len(),
            Self::Edit(edit) => serde_json::to_vec(edit),
        };
        json.map_or(CHANGE_BYTES, |bytes| bytes.len())
    }
}

impl ReportDocument {
    /// What this report shows, as a document of `actor` alone. People and notes keep their ids, notes become
    /// the new actor's. `attachments` take the place of the report's, and `addendum_to` that of the report
    /// that it names. Nothing is checked against limits: what was written is kept.
    ///
    /// # Errors
    /// automerge fails.
    pub fn anew(
        &self,
        actor: ActorId,
        addendum_to: Option<String>,
        attachments: Vec<AttachmentManifest>,
        now_ms: i64,
    ) -> Result<Self, ReportError> {
        let view = self.view();
        let tag = read::template_tag(&self.doc);
        let fields = template::find(&tag).map(|template| template.fields.as_slice()).unwrap_or_default();
        let places = fields.iter().filter(|field| field.kind == FieldKind::Place);
        let places: Vec<&str> = places.map(|field| field.name.as_str()).collect();
        let input = ReportInput {
            title: view.title,
            language: view.language,
            extra: view.extra,
            addendum_to,
            ..ReportInput::default()
        };
        let doc = guarded(|| {
            let mut doc = Automerge::new().with_actor(automerge::ActorId::from(actor));
            let mut tx = doc.transaction();
            write::begin(&mut tx, &input, &tag, &places, &[])?;
            tx.commit_with(at(now_ms));
            Ok(doc)
        })?;
        let mut pieces: Vec<Piece> =
            view.fields.into_iter().map(|(name, value)| Piece::Field(name, value)).collect();
        pieces.extend(view.sources.into_iter().map(|source| Piece::Edit(Edit::AddSource(source))));
        pieces.push(Piece::Narrative(view.narrative));
        for mut person in view.people {
            let (id, details) = (person.id.clone(), std::mem::take(&mut person.extra));
            pieces.push(Piece::Edit(Edit::AddPerson(person)));
            pieces.extend(details.into_iter().map(|(key, value)| {
                Piece::Edit(Edit::SetPerson { id: id.clone(), key, value: Some(value) })
            }));
        }
        pieces.extend(attachments.into_iter().map(|manifest| Piece::Edit(Edit::AddAttachment(manifest))));
        pieces.extend(view.notes.into_iter().map(|note| {
            let (id, text, time_ms, reply_to) = (note.id, note.text, note.time_ms, note.reply_to);
            Piece::Edit(Edit::AddNote { id, text, time_ms, reply_to })
        }));
        let mut anew = Self { doc, actor };
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let mut size = 0;
            let fits = rest.iter().take_while(|piece| {
                size += piece.size();
                size <= CHANGE_BYTES
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            anew.change(now_ms, |tx| {
                now.iter().try_for_each(|piece| match piece {
                    Piece::Edit(edit) => write::edit(tx, edit),
                    Piece::Narrative(text) => {
                        let narrative = part(tx, NARRATIVE, ObjType::Text)?;
                        Ok(tx.splice_text(&narrative, 0, 0, text)?)
                    }
                    Piece::Field(name, value) => {
                        let fields = part(tx, FIELDS, ObjType::Map)?;
                        write::set(tx, &fields, name, value)
                    }
                })
            })?;
            rest = later;
        }
        Ok(anew)
    }
}
