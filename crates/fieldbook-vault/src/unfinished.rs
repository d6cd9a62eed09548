//! Texts that somebody is writing and has not saved: kept every few seconds, so that nothing is lost, and beside the report,
//! so that nothing of it travels or stays in the report's history before it is saved.
//!
//! They lie in the encrypted store like everything, one for each text of a report, and are gone with their report: the store
//! itself sees to that, whatever removes it. A backup takes them along like drafts.

use fieldbook_proto::ReportId;
use fieldbook_proto::certificate::Role;
use fieldbook_report::limits::{FIELD_MAX, NARRATIVE_MAX, NOTE_MAX};
use fieldbook_report::template::FieldKind;
use fieldbook_report::{Edit, FieldValue, ReportView, find, merge_texts};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::reports::{ReportRow, load_document};
use crate::vault::{Vault, now_ms};
use crate::views::ReportSummary;

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
    let sql = "SELECT 1 FROM unfinished WHERE report = ?1 AND (field = 'narrative' OR field LIKE 'fields.%')";
    Ok(db.prepare_cached(sql)?.exists([report.as_bytes()])?)
}

impl Vault {
    /// A text of a report as it is saved, and what was written in it and not saved.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], [`VaultError::NoSuchText`]; what would keep it from being saved, so that nothing
    /// is written in vain: [`VaultError::NotYourReport`], [`VaultError::NoTeam`], [`VaultError::DeskClosed`]; the store's.
    pub fn open_text(&self, id: ReportId, field: &str) -> Result<OpenedText, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let view = load_document(&self.db, &self.me, row.number)?.view();
        let long = LongText::named(field, &view.template)?;
        if row.author != self.me && self.team.as_ref().is_none_or(|team| team.role() != Role::Coordinator) {
            return Err(VaultError::NotYourReport);
        }
        if row.finished {
            self.team()?.desk_reads()?;
        }
        Ok(OpenedText {
            summary: self.summary(id)?,
            text: long.of(&view),
            limit: long.limit(),
            unfinished: kept(&self.db, &id, field)?,
        })
    }

    /// Keeps what is being written in a text whose saved state was `base`.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], [`VaultError::NoSuchText`], [`VaultError::TooLarge`]; the store's.
    pub fn keep_text(&mut self, id: ReportId, field: &str, base: &str, text: &str) -> Result<(), VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let limit = LongText::named(field, &row.template)?.limit();
        // What was opened may be longer than what may be saved: others' programs keep no limits of ours.
        if text.len() > limit.max(base.len()) {
            return Err(VaultError::TooLarge { what: "this text", limit });
        }
        if text == base {
            // As if nothing had been written.
            return self.drop_text(id, field);
        }
        self.db
            .prepare_cached(
                "INSERT INTO unfinished (report, field, time_ms, base, text) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (report, field) DO UPDATE SET time_ms = ?3, base = ?4, text = ?5",
            )?
            .execute(params![id.as_bytes(), field, now_ms(), base, text])?;
        Ok(())
    }

    /// Saves what was written in a text whose saved state was `base`: what others changed since is kept, too. A finished
    /// report leaves as with [`Vault::edit`].
    ///
    /// # Errors
    /// As [`Vault::edit`], and [`VaultError::NoSuchText`]. Nothing is changed then, and what was kept stays kept.
    pub fn save_text(
        &mut self,
        id: ReportId,
        field: &str,
        base: &str,
        text: &str,
    ) -> Result<SavedText, VaultError> {
        let (mut saved, mut merged) = (text.to_owned(), false);
        let summary = self.change(id, |document| {
            let view = document.view();
            let long = LongText::named(field, &view.template)?;
            let theirs = long.of(&view);
            merged = theirs != base && theirs != text;
            if merged {
                saved = merge_texts(base, &theirs, text)?;
            }
            let edits: Vec<Edit> = long.edit(&saved).into_iter().collect();
            Ok(document.edit(&edits, now_ms())?)
        })?;
        self.drop_text(id, field)?;
        Ok(SavedText { summary, text: saved, merged })
    }

    /// Throws away what is kept of a text.
    ///
    /// # Errors
    /// The store's.
    pub fn drop_text(&mut self, id: ReportId, field: &str) -> Result<(), VaultError> {
        self.db
            .prepare_cached("DELETE FROM unfinished WHERE report = ?1 AND field = ?2")?
            .execute(params![id.as_bytes(), field])?;
        Ok(())
    }
}

fn kept(db: &Connection, id: &ReportId, field: &str) -> Result<Option<KeptText>, VaultError> {
    let read =
        |row: &rusqlite::Row<'_>| Ok(KeptText { time_ms: row.get(0)?, base: row.get(1)?, text: row.get(2)? });
    Ok(db
        .prepare_cached("SELECT time_ms, base, text FROM unfinished WHERE report = ?1 AND field = ?2")?
        .query_row(params![id.as_bytes(), field], read)
        .optional()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::path::Path;

    use fieldbook_report::ReportInput;

    use super::*;
    use crate::{CreateOptions, ForgetWhat, Passphrase, WORK_FACTOR_MIN};

    fn passphrase() -> Passphrase {
        Passphrase::new("zebra canoe lantern".into())
    }

    fn vault(dir: &Path) -> (Vault, ReportId) {
        let options = CreateOptions { name: "M".into(), work_factor: Some(WORK_FACTOR_MIN) };
        Vault::create(dir, &passphrase(), &options).unwrap();
        let mut vault = Vault::open(dir, &passphrase()).unwrap();
        let input = ReportInput {
            template: "detention".into(),
            language: "und".into(),
            narrative: "One.\nTwo.\n".into(),
            ..ReportInput::default()
        };
        let id = vault.create_report(&input).unwrap().id;
        let id = vault.find(&id).unwrap();
        (vault, id)
    }

    fn rows(vault: &Vault) -> i64 {
        vault.db.query_row("SELECT count(*) FROM unfinished", [], |row| row.get(0)).unwrap()
    }

    fn narrative(vault: &Vault, id: ReportId) -> String {
        vault.show(id).unwrap().content.narrative
    }

    #[test]
    fn what_is_kept_is_not_in_the_report_and_is_offered_until_it_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault");
        let (mut vault, id) = vault(&path);
        let opened = vault.open_text(id, "narrative").unwrap();
        assert_eq!((opened.text.as_str(), opened.unfinished), ("One.\nTwo.\n", None));
        vault.keep_text(id, "narrative", &opened.text, "One.\nTwo.\nThr").unwrap();
        vault.keep_text(id, "narrative", &opened.text, &opened.text).unwrap();
        assert_eq!(rows(&vault), 0, "all of it was taken back");
        vault.keep_text(id, "narrative", &opened.text, "One.\nTwo.\nThree.\n").unwrap();
        assert_eq!(narrative(&vault, id), "One.\nTwo.\n");
        assert_eq!(vault.history(id).unwrap().len(), 1, "nothing of it is in the history");
        assert!(matches!(vault.finish(id, false), Err(VaultError::Unfinished { .. })));
        vault.close().unwrap();
        let mut vault = Vault::open(&path, &passphrase()).unwrap();
        let kept = vault.open_text(id, "narrative").unwrap().unfinished.unwrap();
        assert_eq!((kept.base.as_str(), kept.text.as_str()), ("One.\nTwo.\n", "One.\nTwo.\nThree.\n"));
        // Somebody changes it meanwhile.
        vault.edit(id, &[Edit::Narrative("Zero.\nOne.\nTwo.\n".into())]).unwrap();
        let saved = vault.save_text(id, "narrative", &kept.base, &kept.text).unwrap();
        assert!(saved.merged);
        assert_eq!(saved.text, "Zero.\nOne.\nTwo.\nThree.\n");
        assert_eq!((narrative(&vault, id), rows(&vault)), (saved.text, 0));
    }

    #[test]
    fn a_long_field_is_written_and_emptied_and_no_other_field_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, id) = vault(&dir.path().join("vault"));
        let field = "fields.internal_note";
        assert_eq!(vault.open_text(id, field).unwrap().text, "");
        assert!(!vault.save_text(id, field, "", "A note\n").unwrap().merged);
        assert_eq!(vault.open_text(id, field).unwrap().text, "A note\n");
        vault.save_text(id, field, "A note\n", "").unwrap();
        assert_eq!(vault.open_text(id, field).unwrap().text, "");
        for wrong in ["fields.date", "date", "fields.nothing", "", "title"] {
            assert!(matches!(vault.open_text(id, wrong), Err(VaultError::NoSuchText { .. })), "{wrong}");
        }
        let long = "x".repeat(FIELD_MAX + 1);
        assert!(matches!(vault.keep_text(id, field, "", &long), Err(VaultError::TooLarge { .. })));
    }

    #[test]
    fn it_goes_with_its_report_and_comes_along_in_a_backup_and_a_new_key() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, id) = vault(&dir.path().join("vault"));
        vault.keep_text(id, "narrative", "One.\nTwo.\n", "Canary").unwrap();
        vault.keep_text(id, "ask", "", "Canary").unwrap();
        let backup = dir.path().join("backup");
        vault.write_backup(&backup).unwrap();
        vault.close().unwrap();
        // The backup becomes another device, and its draft another report.
        let mut restored = Vault::open(&backup, &passphrase()).unwrap();
        let again = restored.list(&crate::ListFilter::default()).unwrap()[0].id.clone();
        assert_ne!(again, id.to_string());
        let again = restored.find(&again).unwrap();
        assert_eq!(restored.open_text(again, "narrative").unwrap().unfinished.unwrap().text, "Canary");
        restored.forget(&ForgetWhat::Report(again)).unwrap();
        assert_eq!(rows(&restored), 0, "the copy of the store has the rule, too");
        restored.rekey_if_due().unwrap();
        let input = ReportInput { template: "detention".into(), ..ReportInput::default() };
        let Ok(next) = restored.create_report(&ReportInput { language: "und".into(), ..input }) else {
            return;
        };
        let next = restored.find(&next.id).unwrap();
        restored.keep_text(next, "narrative", "", "Canary").unwrap();
        restored.forget(&ForgetWhat::Report(next)).unwrap();
        assert_eq!(rows(&restored), 0);
    }

    #[test]
    fn a_vault_of_the_second_version_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault");
        let (vault, id) = vault(&path);
        vault
            .db
            .execute_batch(
                "DROP TRIGGER unfinished_gone; DROP TRIGGER unfinished_follows; DROP TABLE unfinished;
                 PRAGMA user_version = 2;",
            )
            .unwrap();
        vault.close().unwrap();
        let mut vault = Vault::open(&path, &passphrase()).unwrap();
        assert_eq!(narrative(&vault, id), "One.\nTwo.\n");
        vault.keep_text(id, "narrative", "", "Three").unwrap();
        vault.forget(&ForgetWhat::Report(id)).unwrap();
        assert_eq!(rows(&vault), 0);
    }
}
