//! The passphrase: changing it, and the one that is given up when somebody forces it out of its owner.
//!
//! The duress passphrase opens the other pair of stores, the decoy: a vault of its own, with a device of its own and
//! whatever its owner wrote into it beforehand. Its slot says that opening it destroys the pair beside it. The
//! decoy's identity is kept in the real vault, so that its owner can go in and out without that.

use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::durable;
use crate::error::VaultError;
use crate::keyfile::{Kek, Keys};
use crate::passphrase::Passphrase;
use crate::rekey::step;
use crate::rules::{self, Rules};
use crate::slots::{self, Held};
use crate::vault::{Vault, create_stores};
use crate::{names, store, twin, wipe};

/// The identity in the decoy's slot, in the real vault.
const DECOY: &str = "decoy";

impl Vault {
    /// Changes the passphrase. The key slot is all that is written.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`] if `own` is not this vault's; [`VaultError::SamePassphrase`] if `new` opens the
    /// other slot; the disk's. Then the old one holds.
    pub fn change_passphrase(&mut self, own: &Passphrase, new: &Passphrase) -> Result<(), VaultError> {
        let file = self.slots_opened_by(own)?;
        if slots::open_slots(&file, new).is_ok_and(|(slot, _)| slot != self.slot()) {
            return Err(VaultError::SamePassphrase);
        }
        let file = slots::rewrite_slot(&file, self.slot(), self.kek(), self.destroys, new)?;
        durable::replace(self.layout(), &self.layout().slots(), &file)
    }

    /// Sets the duress passphrase, and makes the decoy, a device called `name`, if there is none. Whether it was made.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`] if `own` is not this vault's; [`VaultError::SamePassphrase`] if one could be
    /// taken for the other; [`VaultError::BadName`]; the disk's. Then what was set before holds.
    pub fn set_duress(
        &mut self,
        own: &Passphrase,
        duress: &Passphrase,
        name: &str,
    ) -> Result<bool, VaultError> {
        let name = names::check_name(name)?;
        if own.resembles(duress) {
            return Err(VaultError::SamePassphrase);
        }
        let mut file = self.slots_opened_by(own)?;
        let other = 1 - self.slot();
        let kept = self.decoy()?.filter(|kek| kek.read(self.layout(), other).is_ok());
        let made = kept.is_none();
        let decoy = match kept {
            Some(decoy) => decoy,
            None => self.make_decoy(&name)?,
        };
        step()?;
        file = slots::rewrite_slot(&file, other, &decoy, true, duress)?;
        if self.destroys {
            // What was a decoy has one now: opening it destroys nothing any more.
            file = slots::rewrite_slot(&file, self.slot(), self.kek(), false, own)?;
        }
        durable::replace(self.layout(), &self.layout().slots(), &file)?;
        self.destroys = false;
        step()?;
        self.settle()?;
        Ok(made)
    }

    /// Makes the duress passphrase void, and the decoy unreadable. Whether there was one.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_duress(&mut self) -> Result<bool, VaultError> {
        let set = self.decoy()?.is_some();
        let file = slots::read(self.layout())?;
        twin::write_over(self.layout(), self.slot(), &file, true)?;
        step()?;
        forget(&self.db)?;
        twin::even(self.layout(), self.slot(), true, false)?;
        Ok(set)
    }

    /// Whether a duress passphrase is set. In a decoy there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn has_duress(&self) -> Result<bool, VaultError> {
        Ok(self.decoy()?.is_some())
    }

    /// Closes this vault and opens the decoy in its place. Nothing is destroyed.
    ///
    /// # Errors
    /// [`VaultError::NoDecoy`]; those of [`Vault::open`].
    pub fn into_decoy(self) -> Result<Self, VaultError> {
        let decoy = self.decoy()?.ok_or(VaultError::NoDecoy)?;
        let (layout, slot) = (self.layout().clone(), self.slot());
        let lock = self.close_stores()?;
        Ok(Self::open_pair(layout, lock, (1 - slot, decoy), false, None)?.0)
    }

    /// Whether the passphrase that opened this vault destroyed what lay beside it.
    pub const fn has_destroyed(&self) -> bool {
        self.destroys
    }

    /// Makes the files of the pair that is not open look as filler does. No other process may have them open.
    ///
    /// # Errors
    /// The disk's.
    pub fn settle(&self) -> Result<(), VaultError> {
        twin::even(self.layout(), self.slot(), self.destroys, false)
    }

    /// What applies while this vault is locked.
    pub fn rules(&self) -> Rules {
        Rules::of(self.layout())
    }

    /// Whether `wipe` asks for no passphrase, and a signal wipes too.
    ///
    /// # Errors
    /// The disk's.
    pub fn set_wipe_unasked(&self, unasked: bool) -> Result<Rules, VaultError> {
        let rules = Rules { wipe_unasked: unasked, ..self.rules() };
        rules.write(self.layout())?;
        Ok(rules)
    }

    /// After how many days without an unlocking the keys are destroyed; never if 0.
    ///
    /// # Errors
    /// [`VaultError::TooFewDays`]; the disk's.
    pub fn set_dead_man(&self, days: u16) -> Result<Rules, VaultError> {
        if (1..rules::DEAD_MAN_MIN_DAYS).contains(&days) {
            return Err(VaultError::TooFewDays);
        }
        let deadline_s = if days == 0 { 0 } else { rules::deadline(days) };
        let rules = Rules { dead_man_days: days, deadline_s, ..self.rules() };
        rules.write(self.layout())?;
        Ok(rules)
    }

    /// The vault is in use: the days after which its keys are destroyed begin anew.
    pub fn count_days_anew(&self) {
        Rules::unlocked(self.layout());
    }

    /// Checks that a passphrase opens this vault, as somebody must know who wants it destroyed.
    ///
    /// # Errors
    /// [`VaultError::NoVault`], [`VaultError::WrongPassphrase`]; the disk's.
    pub fn wipe(dir: &std::path::Path, passphrase: &Passphrase) -> Result<(), VaultError> {
        let layout = crate::layout::Layout::new(dir);
        slots::open_slots(&slots::read(&layout)?, passphrase)?;
        wipe::destroy_keys(&layout)
    }

    fn decoy(&self) -> Result<Option<Kek>, VaultError> {
        let text = store::meta(&self.db, DECOY)?.map(Zeroizing::new);
        text.map(|text| Kek::parse(&text)).transpose()
    }

    /// The slot file, if this passphrase opens this vault's slot in it.
    fn slots_opened_by(&self, own: &Passphrase) -> Result<Vec<u8>, VaultError> {
        let file = slots::read(self.layout())?;
        match slots::open_slots(&file, own)? {
            (slot, Held::Identity { .. }) if slot == self.slot() => Ok(file),
            _ => Err(VaultError::WrongPassphrase),
        }
    }

    /// Makes the other pair a vault. No slot opens it yet.
    fn make_decoy(&self, name: &str) -> Result<Kek, VaultError> {
        let other = 1 - self.slot();
        for path in [self.layout().vault(other), self.layout().depot(other)] {
            durable::remove_store(&path).map_err(VaultError::io("the decoy could not be made"))?;
        }
        let (decoy, keys) = (Kek::generate(), Keys::generate()?);
        create_stores(self.layout(), other, &keys, name)?;
        step()?;
        decoy.write(self.layout(), other, &keys)?;
        store::set_meta(&self.db, DECOY, decoy.to_text().as_bytes())?;
        Ok(decoy)
    }
}

/// A vault that is copied has no decoy beside it.
pub(crate) fn forget(db: &Connection) -> Result<(), VaultError> {
    db.execute("DELETE FROM meta WHERE name = ?1", [DECOY])?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
