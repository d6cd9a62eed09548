//! Addenda: small reports that name the one they add to, which may be sealed.

use fieldbook_proto::ReportId;
use fieldbook_report::ReportInput;
use rusqlite::Connection;

use crate::error::VaultError;
use crate::once::Once;
use crate::store;
use crate::vault::Vault;
use crate::views::ReportSummary;

/// What an addendum says.
#[derive(Debug, Clone, Default)]
pub struct AddendumText {
    /// What is added; must not be empty when it is finished.
    pub narrative: String,
    /// Its title.
    pub title: Option<String>,
    /// Its language (BCP 47).
    pub language: Option<String>,
    /// Whoever asks a second time gets the draft of the first time.
    pub once: Option<Once>,
}

impl Vault {
    /// Begins a draft that adds to a report of this vault, also to one that it has sealed.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`]; a text beyond the limits of reports; the store's.
    pub fn addendum(&mut self, to: ReportId, text: AddendumText) -> Result<ReportSummary, VaultError> {
        if crate::reports::ReportRow::find(&self.db, &to)?.is_none()
            && crate::sealing::sealed_at(&self.db, &to)?.is_none()
        {
            return Err(VaultError::NoSuchReport(to.short()));
        }
        let input = ReportInput {
            template: "addendum".to_owned(),
            title: text.title.unwrap_or_default(),
            language: text.language.unwrap_or_else(|| "und".to_owned()),
            narrative: text.narrative,
            addendum_to: Some(to.to_string()),
            ..ReportInput::default()
        };
        match text.once {
            Some(once) => self.create_report_once(&input, &once),
            None => self.create_report(&input),
        }
    }
}

/// The finished addenda and drafts here that add to a report, oldest first.
pub(crate) fn addenda_of(db: &Connection, report: &ReportId) -> Result<Vec<String>, VaultError> {
    let ids: Vec<Vec<u8>> = db
        .prepare_cached("SELECT id FROM report WHERE addendum_to = ?1 ORDER BY created_ms, number")?
        .query_map([report.as_bytes()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ids.iter().map(|id| Ok(ReportId::from_bytes(store::array(id, "a report id")?).to_string())).collect()
}
