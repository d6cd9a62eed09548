//! Recovery sheets on their way between a command and the vault.

use std::path::Path;

use fieldbook_seal::recovery::Share;
use fieldbook_vault::{Vault, VaultError};
use serde_json::Value;

use super::protocol::RecoverySheets;
use super::service::json;
use super::wire::Hex;
use crate::error::Failure;

pub fn create(vault: &mut Vault, threshold: usize, shares: usize, replace: bool) -> Result<Value, Failure> {
    let replaced = vault.has_recovery();
    if replaced && !replace {
        return Err(VaultError::HasRecovery.into());
    }
    let sheets = vault.create_recovery(threshold, shares)?;
    let sheets = sheets.iter().map(|share| Hex::new(share.words().as_bytes().to_vec())).collect();
    json(&RecoverySheets { sheets, replaced })
}

pub fn check(vault: &Vault, shares: &[Hex]) -> Result<Value, Failure> {
    json(&vault.check_recovery(&parse(shares)?)?)
}

pub fn restore(vault: &mut Vault, shares: &[Hex], from: Option<&Path>) -> Result<Value, Failure> {
    let shares = parse(shares)?;
    // Sheets that do not fit together must not leave half of it done.
    fieldbook_seal::recovery::combine(&shares).map_err(VaultError::from)?;
    super::copies::settle(vault)?;
    let imported = from.map(|dir| vault.import_entries(dir)).transpose()?;
    let mut restored = vault.restore_recovery(&shares)?;
    restored.imported = imported;
    json(&restored)
}

fn parse(shares: &[Hex]) -> Result<Vec<Share>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage("sheet-wrong", error.to_string());
    shares
        .iter()
        .map(|words| {
            let words = std::str::from_utf8(&words.0).map_err(|error| wrong(&error))?;
            Share::parse(words).map_err(|error| wrong(&error))
        })
        .collect()
}
