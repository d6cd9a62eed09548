//! The team's log: who admitted, removed, shared, granted, sealed or forgot, and when.

use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::{Connection, params};

use crate::error::VaultError;
use crate::store;
use crate::vault::Vault;
use crate::views::ActView;

/// A line to be.
pub(crate) struct Act<'a> {
    /// One word.
    pub kind: &'a str,
    /// The id of the device, report or desk it was done to.
    pub subject: Option<&'a [u8]>,
    /// In words; never what a report says, nor a name.
    pub detail: &'a str,
}

/// Adds a line; one for each kind and subject of an entry.
pub(crate) fn note(
    db: &Connection,
    time_ms: i64,
    device: &DeviceId,
    act: &Act<'_>,
    entry: Option<&EntryId>,
) -> Result<(), VaultError> {
    let entry = entry.map(|id| id.as_bytes().as_slice());
    db.prepare_cached(
        "INSERT INTO act (time_ms, device, kind, subject, detail, entry)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS
             (SELECT 1 FROM act WHERE entry = ?6 AND kind = ?3 AND subject IS ?4)",
    )?
    .execute(params![time_ms, device.as_bytes(), act.kind, act.subject, act.detail, entry])?;
    Ok(())
}

impl Vault {
    /// The team's log as far as this device knows it, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn log(&self) -> Result<Vec<ActView>, VaultError> {
        let names = self.names()?;
        let mut statement = self.db.prepare_cached(
            "SELECT time_ms, device, kind, subject, detail FROM act ORDER BY time_ms, number",
        )?;
        let mut rows = statement.query([])?;
        let mut log = Vec::new();
        while let Some(row) = rows.next()? {
            let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a device id")?);
            let subject: Option<Vec<u8>> = row.get(3)?;
            let mut detail: String = row.get(4)?;
            // A subject that is a device has a label here.
            if let Some(bytes) = &subject
                && let Ok(id) = store::array(bytes, "a device id")
            {
                let name = names.device(&DeviceId::from_bytes(id));
                detail = if detail.is_empty() { name } else { format!("{name}: {detail}") };
            }
            log.push(ActView {
                time_ms: row.get(0)?,
                who: names.device(&device),
                device: device.to_string(),
                kind: row.get(2)?,
                subject: subject.map(|bytes| fieldbook_proto::encode_hex(&bytes)),
                detail,
            });
        }
        Ok(log)
    }
}
