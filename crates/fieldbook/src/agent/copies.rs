//! A vault that is a copy, on its way into a team: it becomes a new device first.

use fieldbook_vault::{CopyState, Vault};

use crate::error::Failure;

/// Whether the vault must not go on as the device that it says it is.
pub fn is_copy(vault: &Vault) -> Result<bool, Failure> {
    Ok(matches!(vault.copy_state()?, Some(CopyState::Moved | CopyState::Superseded)))
}

/// Makes a copy a new device. Any other vault stays what it is.
pub fn settle(vault: &mut Vault) -> Result<(), Failure> {
    if is_copy(vault)? {
        vault.become_new_device()?;
    }
    Ok(())
}
