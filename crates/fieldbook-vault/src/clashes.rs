//! Fields that were changed on two devices at once: shown until a person decides.

use fieldbook_proto::ReportId;
use fieldbook_report::{Keep, ReportDocument};

use crate::error::VaultError;
use crate::names::Names;
use crate::reports::load_document;
use crate::store;
use crate::vault::{Vault, now_ms};
use crate::views::{ClashValueView, ClashView, ReportClashes, ReportSummary};

/// A document's clashes with the names that this device knows.
pub(crate) fn view(document: &mut ReportDocument, names: &Names) -> Vec<ClashView> {
    document
        .clashes()
        .into_iter()
        .map(|clash| ClashView {
            field: clash.field,
            values: clash
                .values
                .into_iter()
                .map(|value| ClashValueView {
                    who: names.actor(&value.actor),
                    time_ms: value.time_ms,
                    shown: value.winner,
                    value: value.value,
                })
                .collect(),
        })
        .collect()
}

impl Vault {
    /// All reports with clashes, and their clashes.
    ///
    /// # Errors
    /// The store's.
    pub fn conflicts(&self) -> Result<Vec<ReportClashes>, VaultError> {
        let names = self.names()?;
        let mut statement = self
            .db
            .prepare_cached("SELECT number, id, title FROM report WHERE clashes > 0 ORDER BY number")?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let mut document = load_document(&self.db, &self.me, row.get(0)?)?;
            let id = ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a report id")?);
            all.push(ReportClashes {
                id: id.to_string(),
                title: row.get(2)?,
                clashes: view(&mut document, &names),
            });
        }
        Ok(all)
    }

    /// Decides a clash. The other values stay in the history.
    ///
    /// # Errors
    /// The field has no clash, or none of its values is the one named.
    pub fn resolve(&mut self, id: ReportId, field: &str, keep: &Keep) -> Result<ReportSummary, VaultError> {
        self.change(id, |document| {
            document.resolve(field, keep, now_ms())?;
            Ok(true)
        })
    }
}
