//! What is asked for once more, because the first answer did not come, is done once.
//!
//! Whoever has the vault open may be killed between what it saved and its word on it. Whoever asked cannot tell, and asks again
//! with the same random bytes: what was done with them before is answered and not done.

use fieldbook_proto::encode_hex;
use rusqlite::Connection;

use crate::error::VaultError;
use crate::store;

/// Random bytes that are drawn for one request, however often it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once([u8; Self::LEN]);

/// Of so many requests it is remembered that they were done. Only the last ones are ever asked for again.
const REMEMBERED: usize = 32;
const DONE: &str = "done_once";

impl Once {
    /// How many bytes.
    pub const LEN: usize = 16;

    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// What a draft that is begun so is found by.
    pub(crate) fn draft(&self) -> [u8; 32] {
        blake3::derive_key("fieldbook 2026 report begun once", &self.0)
    }

    /// The id of a note that is added so: 8 hexadecimal digits.
    pub(crate) fn note(&self) -> String {
        let key = blake3::derive_key("fieldbook 2026 note added once", &self.0);
        encode_hex(&key[..4])
    }

    /// Whether what was asked for with it was done.
    pub(crate) fn is_done(&self, db: &Connection) -> Result<bool, VaultError> {
        let done = store::meta(db, DONE)?.unwrap_or_default();
        Ok(done.chunks_exact(Self::LEN).any(|one| one == self.0))
    }

    /// It is done: to be remembered in the transaction that does it.
    pub(crate) fn done(&self, db: &Connection) -> Result<(), VaultError> {
        let mut done = self.0.to_vec();
        done.extend(store::meta(db, DONE)?.unwrap_or_default());
        done.truncate(REMEMBERED * Self::LEN);
        store::set_meta(db, DONE, &done)
    }
}
