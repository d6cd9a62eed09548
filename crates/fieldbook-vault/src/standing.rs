//! What may keep this device from being served by others: its membership, and its clock.

use rusqlite::OptionalExtension as _;
use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::vault::{Vault, now_ms};

/// How this device's membership stands, by what it has heard and by its own clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    /// First second of the membership, in seconds since 1970.
    pub admitted_s: u64,
    /// Last second of it.
    pub not_after_s: u64,
    /// The device has heard that it was removed, or cannot tell any more who signed its membership.
    pub refused: Option<String>,
    /// This device's clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// The latest time that another device's entry or receipt claims, and that device.
    pub latest: Option<(i64, String)>,
}

impl Vault {
    /// How this device's membership stands; none without a team.
    ///
    /// # Errors
    /// The store's.
    pub fn standing(&self) -> Result<Option<Standing>, VaultError> {
        let Some(team) = &self.team else { return Ok(None) };
        let body = team.certificate.body();
        let latest: Option<(i64, Vec<u8>)> = self
            .db
            .prepare_cached(
                "SELECT time_ms, device FROM (SELECT time_ms, device FROM entry UNION ALL SELECT time_ms, device FROM receipt)
                 WHERE device <> ?1 ORDER BY time_ms DESC LIMIT 1",
            )?
            .query_row([team.certificate.device_id().as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let names = self.names()?;
        let latest = latest
            .map(|(time_ms, device)| {
                let device =
                    crate::store::array(&device, "a device id").map(fieldbook_proto::DeviceId::from_bytes)?;
                Ok::<_, VaultError>((time_ms, names.device(&device)))
            })
            .transpose()?;
        Ok(Some(Standing {
            admitted_s: body.admitted,
            not_after_s: body.not_after,
            refused: team.authority.judge(&team.certificate, 0).err().map(|error| error.to_string()),
            now_ms: now_ms(),
            latest,
        }))
    }
}
