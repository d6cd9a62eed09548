//! What left the vault as plain files: where it went, so that it can be found again and removed.
//!
//! A record is made before the first byte is written and completed afterwards, so that a crash in between leaves a record
//! without files rather than files without a record.

use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::store;
use crate::vault::{Vault, now_ms};

const EXPORTS: &str = "exports";
/// Most places that are remembered; further exports are refused until some are removed or dropped from the list.
pub const EXPORTS_MAX: usize = 1000;

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRecord {
    /// The file or directory, absolute.
    pub path: String,
    /// `publication`, `internal`, `attachment`, `identity` or `sheets`.
    pub kind: String,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What was written; empty if it was not completed.
    pub files: Vec<ExportedFile>,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Absolute.
    pub path: String,
    /// In bytes.
    pub len: u64,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub blake3: String,
}

impl Vault {
    /// What left the vault as plain files and was not removed since, oldest first.
    ///
    /// # Errors
    /// The vault's store failed.
    pub fn exports(&self) -> Result<Vec<ExportRecord>, VaultError> {
        let stored = store::meta(&self.db, EXPORTS)?;
        match stored {
            None => Ok(Vec::new()),
            Some(stored) => serde_json::from_slice(&stored)
                .map_err(|_| VaultError::damaged("the list of exports does not read back")),
        }
    }

    /// Notes an export: with no files before it is written, with its files afterwards. What was noted before of the same
    /// path stays, because its files may still be there. Whether nothing was.
    ///
    /// # Errors
    /// [`VaultError::TooManyExports`]; the vault's store failed.
    pub fn note_export(&self, path: &str, kind: &str, files: Vec<ExportedFile>) -> Result<bool, VaultError> {
        let mut exports = self.exports()?;
        let new = exports.iter().all(|known| known.path != path);
        if new && exports.len() >= EXPORTS_MAX {
            return Err(VaultError::TooManyExports);
        }
        let mut record =
            exports.iter().position(|known| known.path == path).map(|at| exports.remove(at)).unwrap_or_else(
                || ExportRecord { path: path.to_owned(), kind: String::new(), time_ms: 0, files: Vec::new() },
            );
        kind.clone_into(&mut record.kind);
        record.time_ms = now_ms();
        record.files.retain(|known| files.iter().all(|new| new.path != known.path));
        record.files.extend(files);
        exports.push(record);
        self.store_exports(&exports)?;
        Ok(new)
    }

    /// Drops exports from the list. How many were there.
    ///
    /// # Errors
    /// The vault's store failed.
    pub fn drop_exports(&self, paths: &[String]) -> Result<usize, VaultError> {
        let mut exports = self.exports()?;
        let before = exports.len();
        exports.retain(|known| !paths.contains(&known.path));
        self.store_exports(&exports)?;
        Ok(before - exports.len())
    }

    fn store_exports(&self, exports: &[ExportRecord]) -> Result<(), VaultError> {
        let bytes = serde_json::to_vec(exports)
            .map_err(|_| VaultError::damaged("the list of exports cannot be written"))?;
        store::set_meta(&self.db, EXPORTS, &bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::{CreateOptions, Passphrase, WORK_FACTOR_MIN};

    fn file(path: &str, len: u64) -> ExportedFile {
        ExportedFile { path: path.into(), len, blake3: "00".repeat(32) }
    }

    #[test]
    fn exports_are_noted_before_and_after_and_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault");
        let passphrase = Passphrase::new("a b c".into());
        let options = CreateOptions { name: "M".into(), work_factor: Some(WORK_FACTOR_MIN) };
        Vault::create(&path, &passphrase, &options).unwrap();
        let vault = Vault::open(&path, &passphrase).unwrap();
        assert!(vault.exports().unwrap().is_empty());
        assert!(vault.note_export("/out", "publication", Vec::new()).unwrap());
        assert!(vault.exports().unwrap()[0].files.is_empty(), "it is known before it is there");
        vault.note_export("/out", "publication", vec![file("/out/a", 1), file("/out/b", 2)]).unwrap();
        assert!(!vault.note_export("/out", "internal", Vec::new()).unwrap());
        vault.note_export("/out", "internal", vec![file("/out/b", 3)]).unwrap();
        let exports = vault.exports().unwrap();
        assert_eq!((exports.len(), exports[0].kind.as_str()), (1, "internal"));
        assert_eq!(
            exports[0].files,
            [file("/out/a", 1), file("/out/b", 3)],
            "what was there before is not lost"
        );
        vault.close().unwrap();
        let vault = Vault::open(&path, &passphrase).unwrap();
        assert_eq!(vault.drop_exports(&["/out".into(), "/other".into()]).unwrap(), 1);
        assert!(vault.exports().unwrap().is_empty());
        for n in 0..EXPORTS_MAX {
            vault.note_export(&format!("/{n}"), "attachment", Vec::new()).unwrap();
        }
        assert!(matches!(vault.note_export("/x", "attachment", Vec::new()), Err(VaultError::TooManyExports)));
    }
}
