//! Questions, notes and answers on reports: the words of the way back. They travel as any other change.

use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, ReportId, encode_hex};
use fieldbook_report::{ActorId, Edit, Note, ReportDocument, open_questions};
use rusqlite::Connection;

use crate::error::VaultError;
use crate::names::{Names, actor_of};
use crate::once::Once;
use crate::reports::{ReportRow, load_document};
use crate::slots;
use crate::store;
use crate::vault::{Vault, now_ms};
use crate::views::{NoteView, Noted, OpenQuestions};

/// How many open questions wait for this device's user: others' in a report of one's own, and the
/// author's in a report that one only reads. What one coordinator asks is not another's to answer.
pub(crate) fn waiting_for(
    db: &Connection,
    number: i64,
    me: ActorId,
    notes: &[Note],
) -> Result<usize, VaultError> {
    if notes.is_empty() {
        return Ok(0);
    }
    let author: Vec<u8> = db
        .prepare_cached("SELECT author FROM report WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    let author = DeviceId::from_bytes(store::array(&author, "a device id")?);
    Ok(waiting(notes, &actor_of(&author), &me).count())
}

fn waiting<'a>(notes: &'a [Note], author: &ActorId, me: &ActorId) -> impl Iterator<Item = &'a Note> {
    let (mine, author) = (encode_hex(me), (author != me).then(|| encode_hex(author)));
    open_questions(notes)
        .filter(move |note| note.actor != mine && author.as_ref().is_none_or(|author| note.actor == *author))
}

/// What waits for an answer first, then each question with its answers below it.
pub(crate) fn view(notes: &[Note], me: &DeviceId, names: &Names) -> Vec<NoteView> {
    let mine = encode_hex(&actor_of(me));
    let open: Vec<&str> = open_questions(notes).map(|note| note.id.as_str()).collect();
    let place = |id: &str| notes.iter().position(|note| note.id == id);
    // An answer to an answer stands below the question too; a circle ends where it began.
    let root = |at: usize| {
        let (mut at, mut steps) = (at, 0);
        while let Some(before) = notes[at].reply_to.as_deref().and_then(place).filter(|_| steps < notes.len())
        {
            (at, steps) = (before, steps + 1);
        }
        at
    };
    let is_open = |note: &Note| note.reply_to.is_none() && open.contains(&note.id.as_str());
    let mut order: Vec<usize> = (0..notes.len()).collect();
    order.sort_by_key(|at| (!is_open(&notes[*at]), root(*at), *at));
    order
        .into_iter()
        .map(|at| {
            let note = &notes[at];
            NoteView {
                id: note.id.clone(),
                who: names.actor(&note.actor),
                mine: note.actor == mine,
                time_ms: note.time_ms,
                text: note.text.clone(),
                reply_to: note.reply_to.clone(),
                open: is_open(note),
            }
        })
        .collect()
}

/// A question, a note or an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoteText<'a> {
    /// Its words.
    pub text: &'a str,
    /// Whoever says it a second time has said it once.
    pub once: Option<Once>,
    /// The name under which it was kept while it was written: it is kept no more when it is said.
    pub kept: Option<&'a str>,
}

impl Vault {
    /// What waits for an answer in a report.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], [`VaultError::Sealed`]; the store's.
    pub fn open_questions(&self, id: ReportId) -> Result<OpenQuestions, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let notes = load_document(&self.db, &self.me, row.number)?.view().notes;
        let mut notes = view(&notes, &self.me, &self.names()?);
        notes.retain(|note| note.open);
        Ok(OpenQuestions { report: id.to_string(), notes })
    }

    /// Asks or notes something on a report: the author's device and the desk get it at the next sync.
    ///
    /// # Errors
    /// [`VaultError::NotYourReport`] on a monitor's device; no words, too many words or notes; the
    /// store's.
    pub fn ask(&mut self, id: ReportId, text: &NoteText<'_>) -> Result<Noted, VaultError> {
        match self.noted(id, text)? {
            Some(known) if known.text == text.text => self.as_noted(id, known),
            _ => self.note(id, text, None),
        }
    }

    /// Answers a question: the one whose id begins with `to`, or the only one that waits.
    ///
    /// # Errors
    /// Those of [`Vault::ask`]; [`VaultError::NoSuchNote`], [`VaultError::NoQuestion`],
    /// [`VaultError::WhichQuestion`], [`VaultError::Ambiguous`].
    pub fn answer(
        &mut self,
        id: ReportId,
        to: Option<&str>,
        text: &NoteText<'_>,
    ) -> Result<Noted, VaultError> {
        // A question that was answered before waits no more.
        match self.noted(id, text)? {
            Some(known) if known.text == text.text => return self.as_noted(id, known),
            Some(known) => return self.note(id, text, known.reply_to),
            None => {}
        }
        let row = ReportRow::get(&self.db, &id)?;
        let notes = load_document(&self.db, &self.me, row.number)?.view().notes;
        let question = match to {
            Some(typed) => named(&notes, typed)?,
            None => {
                // What waits for somebody else is answered by naming it.
                let open: Vec<&Note> = waiting(&notes, &actor_of(&row.author), &actor_of(&self.me)).collect();
                match open.as_slice() {
                    [] => return Err(VaultError::NoQuestion),
                    [one] => one.id.clone(),
                    many => {
                        let ids = many.iter().map(|note| note.id.clone()).collect();
                        return Err(VaultError::WhichQuestion { ids });
                    }
                }
            }
        };
        self.note(id, text, Some(question))
    }

    fn as_noted(&self, id: ReportId, known: Note) -> Result<Noted, VaultError> {
        Ok(Noted { report: self.summary(id)?, note: known.id, reply_to: known.reply_to })
    }

    /// What was noted the first time, if this is the second; it may be in other words.
    fn noted(&self, id: ReportId, text: &NoteText<'_>) -> Result<Option<Note>, VaultError> {
        let Some(once) = text.once else { return Ok(None) };
        if !once.is_done(&self.db)? {
            return Ok(None);
        }
        let row = ReportRow::get(&self.db, &id)?;
        let note = once.note();
        let notes = load_document(&self.db, &self.me, row.number)?.view().notes;
        Ok(notes.into_iter().find(|known| known.id == note))
    }

    fn note(
        &mut self,
        id: ReportId,
        text: &NoteText<'_>,
        reply_to: Option<String>,
    ) -> Result<Noted, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        // Others' devices would refuse it: a monitor writes in its own reports only.
        let coordinator = self.team.as_ref().is_some_and(|team| team.role() == Role::Coordinator);
        if row.author != self.me && !coordinator {
            return Err(VaultError::NotYourReport);
        }
        // Other words than the first time are another note.
        let once = match text.once {
            Some(once) if !once.is_done(&self.db)? => once,
            _ => {
                let mut random = [0; Once::LEN];
                slots::fill(&mut random)?;
                Once::from_bytes(random)
            }
        };
        let note = once.note();
        let edit = Edit::AddNote {
            id: note.clone(),
            text: text.text.to_owned(),
            time_ms: now_ms(),
            reply_to: reply_to.clone(),
        };
        let act = |document: &mut ReportDocument| Ok(document.edit(&[edit], now_ms())?);
        let report = self.change_and(id, act, |tx| {
            text.kept.map_or(Ok(()), |field| crate::unfinished::remove(tx, &id, field))?;
            once.done(tx)
        })?;
        Ok(Noted { report, note, reply_to })
    }
}

/// The one note whose id begins with what was typed.
fn named(notes: &[Note], typed: &str) -> Result<String, VaultError> {
    let wanted = typed.trim().to_ascii_lowercase();
    let missing = || VaultError::NoSuchNote(typed.chars().take(40).collect());
    if wanted.is_empty() {
        return Err(missing());
    }
    let found: Vec<&Note> = notes.iter().filter(|note| note.id.starts_with(&wanted)).collect();
    match found.as_slice() {
        [] => Err(missing()),
        [one] => Ok(one.id.clone()),
        many => Err(VaultError::Ambiguous { prefix: wanted, matches: many.len() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const AUTHOR: ActorId = [1; 16];
    const FIRST: ActorId = [2; 16];
    const SECOND: ActorId = [3; 16];

    fn note(id: &str, actor: ActorId, reply_to: Option<&str>) -> Note {
        Note {
            id: id.into(),
            actor: encode_hex(&actor),
            time_ms: 0,
            text: "words".into(),
            reply_to: reply_to.map(String::from),
        }
    }

    #[test]
    fn a_question_waits_for_those_who_can_answer_it() {
        let notes = [
            note("a", FIRST, None),
            note("b", SECOND, None),
            note("c", AUTHOR, None),
            note("d", AUTHOR, Some("b")),
        ];
        let for_whom = |me: ActorId| waiting(&notes, &AUTHOR, &me).map(|n| n.id.clone()).collect::<Vec<_>>();
        assert_eq!(for_whom(AUTHOR), ["a"]);
        assert_eq!(for_whom(FIRST), ["c"]);
        assert_eq!(for_whom(SECOND), ["c"]);
    }

    #[test]
    fn a_note_is_named_by_what_only_it_begins_with() {
        let notes = [note("0000000a", FIRST, None), note("00000b00", FIRST, None)];
        assert_eq!(named(&notes, "00000B").unwrap(), "00000b00");
        assert!(matches!(named(&notes, "0000"), Err(VaultError::Ambiguous { matches: 2, .. })));
        assert!(matches!(named(&notes, "ff"), Err(VaultError::NoSuchNote(_))));
        assert!(matches!(named(&notes, ""), Err(VaultError::NoSuchNote(_))));
    }
}
