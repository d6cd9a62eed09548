//! Texts that somebody is writing and has not saved: kept every few seconds, so that nothing is lost, and beside the report,
//! so that nothing of it travels or stays in the report's history before it is saved.
//!
//! They lie in the encrypted store like everything, one for each text of a report, and are gone with their report: the store
//! itself sees to that, whatever removes it. A backup takes them along like drafts.

use std::collections::BTreeSet;

use fieldbook_proto::ReportId;
use fieldbook_proto::certificate::Role;
use fieldbook_report::ReportDocument;
use fieldbook_report::limits::{FIELD_MAX, NARRATIVE_MAX, NOTE_MAX};
use fieldbook_report::template::FieldKind;
use fieldbook_report::{Edit, FieldValue, ReportView, find, merge_texts};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::error::VaultError;
use crate::reports::{ReportRow, load_document};
use crate::vault::{Vault, now_ms};
use crate::views::ReportSummary;
use crate::{rekey, sealing, store};

/// Most texts whose saving was tried in vain.
const TRIED_MAX: usize = 32;

/// A text of a report, to be written in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenedText {
    /// The report.
    pub summary: ReportSummary,
    /// What is saved; empty for a question or an answer.
    pub text: String,
    /// Longest text that it can take, in bytes.
    pub limit: usize,
    /// What was written and not saved.
    pub unfinished: Option<KeptText>,
}

/// What was written and not saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptText {
    /// When it was kept, in milliseconds since 1970.
    pub time_ms: i64,
    /// What was saved when its writing began.
    pub base: String,
    /// What was written.
    pub text: String,
    /// As in [`Written`].
    #[serde(default)]
    pub tried: Vec<String>,
    /// The report was made to keep this text, and nothing else is in it.
    #[serde(default)]
    pub made: bool,
}

impl Drop for KeptText {
    fn drop(&mut self) {
        self.base.zeroize();
        self.text.zeroize();
    }
}

/// What is being written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// What was saved when its writing began, or was saved last as far as its writer heard.
    pub base: &'a str,
    /// What was to be saved since then, and no answer came: [`text_mark`] of each. If that is what is saved, it is the
    /// base, or all of it would stand there twice.
    pub tried: &'a [String],
    /// What is written now.
    pub text: &'a str,
}

impl Written<'_> {
    /// What this began from, of which `saved` is what stands in the report now.
    fn base<'a>(&'a self, saved: &'a str) -> &'a str {
        if !self.tried.is_empty() && self.tried.contains(&text_mark(saved)) { saved } else { self.base }
    }
}

/// Tells a text from every other: its BLAKE3 hash, in hexadecimal.
pub fn text_mark(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// What came of saving.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedText {
    /// The report.
    pub summary: ReportSummary,
    /// What is saved now.
    pub text: String,
    /// Somebody else had changed it meanwhile: both changes are in it.
    pub merged: bool,
}

/// A text that is written at length.
enum LongText<'a> {
    Narrative,
    Field(&'a str),
    Note,
}

impl<'a> LongText<'a> {
    fn named(field: &'a str, template: &str) -> Result<Self, VaultError> {
        let fields = find(template).map(|template| template.fields.as_slice()).unwrap_or_default();
        let mut long =
            fields.iter().filter(|field| field.kind == FieldKind::LongText).map(|field| &field.name);
        match field.split_once('.').unwrap_or((field, "")) {
            ("narrative", "") => Ok(Self::Narrative),
            ("ask" | "answer", "") => Ok(Self::Note),
            ("answer", note) if note.len() <= 64 => Ok(Self::Note),
            ("fields", name) if long.clone().any(|known| known == name) => Ok(Self::Field(name)),
            (_, name) => Err(VaultError::NoSuchText {
                field: if name.is_empty() { field } else { name }.to_owned(),
                known: std::iter::once("narrative".to_owned()).chain(long.by_ref().cloned()).collect(),
            }),
        }
    }

    /// Somebody has to decide first which of several texts it is.
    fn refuse_clash(&self, document: &ReportDocument) -> Result<(), VaultError> {
        let Self::Field(name) = self else { return Ok(()) };
        let field = format!("fields.{name}");
        match document.clashes().into_iter().find(|clash| clash.field == field) {
            Some(_) => Err(VaultError::TextClashes { field: (*name).to_owned() }),
            None => Ok(()),
        }
    }

    const fn limit(&self) -> usize {
        match self {
            Self::Narrative => NARRATIVE_MAX,
            Self::Field(_) => FIELD_MAX,
            Self::Note => NOTE_MAX,
        }
    }

    fn of(&self, view: &ReportView) -> String {
        match self {
            Self::Narrative => view.narrative.clone(),
            Self::Field(name) => match view.field(name) {
                Some(FieldValue::Text(text)) => text.clone(),
                _ => String::new(),
            },
            Self::Note => String::new(),
        }
    }

    fn edit(&self, text: &str) -> Option<Edit> {
        match self {
            Self::Narrative => Some(Edit::Narrative(text.to_owned())),
            Self::Field(name) => {
                let value = (!text.is_empty()).then(|| FieldValue::Text(text.to_owned()));
                Some(Edit::Field { name: (*name).to_owned(), value })
            }
            Self::Note => None,
        }
    }
}

/// Whether something of this report was written and not saved. A question or an answer is no part of it.
pub(crate) fn is_left(db: &Connection, report: &ReportId) -> Result<bool, VaultError> {
    let sql = "SELECT 1 FROM unfinished WHERE (field = 'narrative' OR field LIKE 'fields.%') AND report = ?1";
    Ok(db.prepare_cached(sql)?.exists([report.as_bytes()])?)
}

/// Whether something about this report was written and not saved, be it a question.
pub(crate) fn is_any_left(db: &Connection, report: &ReportId) -> Result<bool, VaultError> {
    Ok(db.prepare_cached("SELECT 1 FROM unfinished WHERE report = ?1")?.exists([report.as_bytes()])?)
}

/// All reports about which something was written and not saved.
pub(crate) fn all_left(db: &Connection) -> Result<BTreeSet<Vec<u8>>, VaultError> {
    let mut statement = db.prepare_cached("SELECT DISTINCT report FROM unfinished")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

impl Vault {
    /// A text of a report as it is saved, and what was written in it and not saved.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], [`VaultError::NoSuchText`]; what would keep it from being saved, so that nothing
    /// is written in vain: [`VaultError::NotYourReport`], [`VaultError::NoTeam`], [`VaultError::DeskClosed`],
    /// [`VaultError::TextClashes`]; one of these in [`VaultError::CannotGoOn`] if something was written; the store's.
    pub fn open_text(&self, id: ReportId, field: &str) -> Result<OpenedText, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let document = load_document(&self.db, &self.me, row.number)?;
        let view = document.view();
        let long = LongText::named(field, &view.template)?;
        let mut unfinished = kept(&self.db, &id, field)?;
        if let Some(kept) = &mut unfinished {
            // Whoever throws the text away another time does not mean what else was given when the draft was made.
            kept.made &= view.fields.is_empty()
                && view.people.is_empty()
                && view.sources.is_empty()
                && view.title.is_empty();
        }
        if let Err(why) = self.may_save(&row) {
            return Err(match unfinished {
                Some(_) => VaultError::CannotGoOn { report: id.short(), why: Box::new(why) },
                None => why,
            });
        }
        long.refuse_clash(&document)?;
        Ok(OpenedText { summary: self.summary(id)?, text: long.of(&view), limit: long.limit(), unfinished })
    }

    fn may_save(&self, row: &ReportRow) -> Result<(), VaultError> {
        if row.author != self.me && self.team.as_ref().is_none_or(|team| team.role() != Role::Coordinator) {
            return Err(VaultError::NotYourReport);
        }
        if row.finished { self.team()?.desk_reads() } else { Ok(()) }
    }

    /// Keeps what is being written. `made`: the report was made for nothing else.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], [`VaultError::NoSuchText`], [`VaultError::TooLarge`]; the store's.
    pub fn keep_text(
        &mut self,
        id: ReportId,
        field: &str,
        written: Written<'_>,
        made: bool,
    ) -> Result<(), VaultError> {
        let Written { base, tried, text } = written;
        let row = ReportRow::get(&self.db, &id)?;
        let long = LongText::named(field, &row.template)?;
        let limit = long.limit();
        // What was opened may be longer than what may be saved: others' programs keep no limits of ours.
        if text.len() > limit.max(base.len()) {
            return Err(VaultError::TooLarge { what: "this text", limit });
        }
        if tried.len() > TRIED_MAX || tried.iter().any(|mark| mark.len() != 2 * blake3::OUT_LEN) {
            return Err(VaultError::TooLarge { what: "what was tried before", limit: TRIED_MAX });
        }
        if text == base || matches!(long, LongText::Note) && text.trim().is_empty() {
            // As if nothing had been written.
            return remove(&self.db, &id, field);
        }
        self.db
            .prepare_cached(
                "INSERT INTO unfinished (report, field, time_ms, base, text, tried, made)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (report, field)
                 DO UPDATE SET time_ms = ?3, base = ?4, text = ?5, tried = ?6, made = ?7",
            )?
            .execute(params![id.as_bytes(), field, now_ms(), base, text, tried.join(" "), made])?;
        Ok(())
    }

    /// Saves what was written: what others changed since is kept, too. A finished report leaves as with [`Vault::edit`].
    /// What was kept is removed in the same step.
    ///
    /// # Errors
    /// As [`Vault::edit`], [`VaultError::NoSuchText`], [`VaultError::TextClashes`], [`VaultError::MergedTooLarge`].
    /// Nothing is changed then, and what was kept stays kept.
    pub fn save_text(
        &mut self,
        id: ReportId,
        field: &str,
        written: Written<'_>,
    ) -> Result<SavedText, VaultError> {
        let text = written.text;
        let (mut saved, mut merged) = (text.to_owned(), false);
        let act = |document: &mut ReportDocument| {
            let view = document.view();
            let long = LongText::named(field, &view.template)?;
            long.refuse_clash(document)?;
            let theirs = long.of(&view);
            let base = written.base(&theirs);
            merged = theirs != base && theirs != text;
            if merged {
                saved = merge_texts(base, &theirs, text)?;
                if saved.len() > long.limit() {
                    return Err(VaultError::MergedTooLarge { limit: long.limit() });
                }
            }
            let edits: Vec<Edit> = long.edit(&saved).into_iter().collect();
            Ok(document.edit(&edits, now_ms())?)
        };
        let summary = self.change_and(id, act, |tx| remove(tx, &id, field))?;
        Ok(SavedText { summary, text: saved, merged })
    }

    /// Throws away what is kept of a text; whoever may not write in the report may do this. `draft`: the report was made to
    /// keep it, and goes, too, if it still is as it was made.
    ///
    /// # Errors
    /// The store's.
    pub fn drop_text(&mut self, id: ReportId, field: &str, draft: bool) -> Result<(), VaultError> {
        let tx = self.db.transaction()?;
        remove(&tx, &id, field)?;
        if let Some(row) = ReportRow::find(&tx, &id)?
            && draft
            && !row.finished
            && row.author == self.me
            && !is_any_left(&tx, &id)?
        {
            let document = load_document(&tx, &self.me, row.number)?;
            if document.history().len() == 1 && document.attachments().is_empty() {
                sealing::forget_report(&tx, &row, &id)?;
                rekey::ask(&tx)?;
            }
        }
        Ok(tx.commit()?)
    }

    /// Throws away all that is kept of a report's texts, as [`Vault::drop_text`]. How many there were.
    ///
    /// # Errors
    /// The store's.
    pub fn drop_texts(&mut self, id: ReportId) -> Result<usize, VaultError> {
        Ok(self.db.prepare_cached("DELETE FROM unfinished WHERE report = ?1")?.execute([id.as_bytes()])?)
    }

    /// Somebody has texts of these reports open to write in, or is about to: none of them is sealed meanwhile, or what is written
    /// would have no place.
    pub fn set_being_written(&mut self, reports: Vec<ReportId>) {
        self.being_written = reports;
    }

    /// What was written of a report and not saved, each with its name; also where it cannot be gone on with.
    ///
    /// # Errors
    /// The store's.
    pub fn kept_texts(&self, id: ReportId) -> Result<Vec<(String, KeptText)>, VaultError> {
        let mut statement =
            self.db.prepare_cached("SELECT field FROM unfinished WHERE report = ?1 ORDER BY field")?;
        let fields: Vec<String> =
            statement.query_map([id.as_bytes()], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let named = |field: String| Ok(kept(&self.db, &id, &field)?.map(|kept| (field, kept)));
        fields.into_iter().filter_map(|field| named(field).transpose()).collect()
    }

    /// The finished reports of this device that are not sealed, whoever has confirmed them, because a text of theirs was
    /// written and not saved, or is being written.
    ///
    /// # Errors
    /// The store's.
    pub fn kept_from_sealing(&self) -> Result<Vec<ReportId>, VaultError> {
        if self.team.as_ref().is_some_and(|team| team.role() == Role::Coordinator) {
            return Ok(Vec::new());
        }
        let mut statement = self.db.prepare_cached(
            "SELECT id FROM report WHERE finished = 1 AND id IN (SELECT report FROM unfinished)
                 AND (author = ?1 OR author IN (SELECT id FROM former_device)) ORDER BY number",
        )?;
        let ids: Vec<Vec<u8>> =
            statement.query_map([self.me.as_bytes()], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut left = Vec::new();
        for id in ids {
            left.push(ReportId::from_bytes(store::array(&id, "a report id")?));
        }
        for id in &self.being_written {
            let is_sealable = |row: ReportRow| row.finished && row.author == self.me;
            if !left.contains(id) && ReportRow::find(&self.db, id)?.is_some_and(is_sealable) {
                left.push(*id);
            }
        }
        Ok(left)
    }
}

pub(crate) fn remove(db: &Connection, id: &ReportId, field: &str) -> Result<(), VaultError> {
    db.prepare_cached("DELETE FROM unfinished WHERE report = ?1 AND field = ?2")?
        .execute(params![id.as_bytes(), field])?;
    Ok(())
}

fn kept(db: &Connection, id: &ReportId, field: &str) -> Result<Option<KeptText>, VaultError> {
    let read = |row: &rusqlite::Row<'_>| {
        let tried: String = row.get(3)?;
        let tried = tried.split_whitespace().map(str::to_owned).collect();
        Ok(KeptText { time_ms: row.get(0)?, base: row.get(1)?, text: row.get(2)?, tried, made: row.get(4)? })
    };
    Ok(db
        .prepare_cached(
            "SELECT time_ms, base, text, tried, made FROM unfinished WHERE report = ?1 AND field = ?2",
        )?
        .query_row(params![id.as_bytes(), field], read)
        .optional()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
