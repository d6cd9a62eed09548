//! The passphrase: changing it, and the one that is given up when somebody forces it out of its owner.
//!
//! The duress passphrase opens the other pair of stores, the decoy: a vault of its own, with a device of its own and
//! whatever its owner wrote into it beforehand. Its slot says that opening it destroys the pair beside it. The
//! decoy's identity is kept in the real vault, so that its owner can go in and out without that.

use std::fs;

use fieldbook_depot::{DepotKey, SqlDepot};
use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::durable;
use crate::error::VaultError;
use crate::keyfile::{Kek, Keys};
use crate::layout::Layout;
use crate::passphrase::Passphrase;
use crate::rekey::{self, Place, step};
use crate::rules::{self, Rules};
use crate::slots::{self, Held, Opened};
use crate::twin::{self, Beside};
use crate::vault::{Vault, create_depot, create_vault_store};
use crate::{names, store, wipe};

/// The identity in the decoy's slot, in the real vault.
const DECOY: &str = "decoy";

/// In the real vault, once the own passphrase went with another second factor than when the duress passphrase was set: with
/// which that was, by [`factor_of`]. [`SAME_FACTOR`] else, and one byte 1 from earlier versions, which did not note it.
const OTHER_FACTOR: &str = "decoy factor";
const SAME_FACTOR: &[u8] = &[0];
const FACTOR: &str = "fieldbook 2026 second factor of a decoy";

/// In a decoy of earlier versions: what the passphrase destroyed is gone, and, if this is [`CUT`], its files are cut. Now
/// the other pair's key file says that (`twin`).
const DESTROYED: &str = "beside";
const CUT: &[u8] = &[2];

/// What opening a vault had to do with its decoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duress {
    /// Nothing; or long ago.
    None,
    /// The keys beside it were destroyed by this opening.
    Destroyed,
    /// They were by an earlier one, but the files beside it may have the length that they had.
    Uncut,
    /// This is the decoy, opened from the vault beside it.
    FromBeside,
}

impl Duress {
    /// Whether the files beside it are to be cut when it closes.
    pub const fn is_to_cut(self) -> bool {
        matches!(self, Self::Destroyed | Self::Uncut)
    }
}

/// What a slot that opened does if it destroys what is beside it: that, once. Whoever opens it again finds an ordinary
/// vault. `db` is its store, if that opens.
pub(crate) fn on_opening<'a>(
    layout: &Layout,
    slot: usize,
    kek: &'a Kek,
    db: Option<&Connection>,
) -> (Duress, Beside<'a>) {
    let by_earlier_versions = db.and_then(|db| store::meta(db, DESTROYED).ok().flatten());
    if !twin::is_destroyed(layout, slot, kek) && by_earlier_versions.is_none() {
        return (Duress::Destroyed, Beside::Goes(kek));
    }
    let is_cut = by_earlier_versions.as_deref() == Some(CUT) || twin::is_cut(layout, slot);
    (if is_cut { Duress::None } else { Duress::Uncut }, Beside::Stays)
}

/// Closes a decoy's stores as they should have been, if they were not.
pub(crate) fn tidy_decoy(db: &Connection, layout: &Layout, slot: usize) {
    let other = 1 - slot;
    let logs = [layout.vault(other), layout.depot(other)].map(|store| durable::write_ahead_log(&store));
    if !logs.iter().any(|log| log.exists()) {
        return;
    }
    let tidy = || -> Result<(), VaultError> {
        let Some(text) = store::meta(db, DECOY)?.map(Zeroizing::new) else { return Ok(()) };
        let kek = Kek::parse(&text)?;
        let (decoy, keys) = Place { layout, slot: other, kek: &kek }.open()?;
        rekey::close(decoy)?;
        Ok(SqlDepot::open(&layout.depot(other), &DepotKey::new(*keys.depot))?.close()?)
    };
    // What does not open is told to whoever opens the decoy.
    let _ = tidy();
}

impl Vault {
    /// Whether this passphrase opens this vault.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`]; the disk's.
    pub fn check_passphrase(&self, own: &Passphrase) -> Result<(), VaultError> {
        self.slots_opened_by(own).map(drop)
    }

    /// Changes the passphrase. The key slot is all that is written; and, if it goes with another second factor than before,
    /// with which one the duress passphrase was set.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`] if `own` is not this vault's; [`VaultError::SamePassphrase`] if `new` could be
    /// taken for what opens the other slot; the disk's. Then the old one holds.
    pub fn change_passphrase(&mut self, own: &Passphrase, new: &Passphrase) -> Result<(), VaultError> {
        let (file, _, destroys) = self.slots_opened_by(own)?;
        for like in [new, &new.other_case()] {
            if slots::open_slots(&file, like).is_ok_and(|opened| opened.slot != self.slot()) {
                return Err(VaultError::SamePassphrase);
            }
        }
        let file = slots::rewrite_slot(&file, self.slot(), self.kek(), destroys, new)?;
        let noted = self.note_factor(own, new)?;
        let replaced = durable::replace(self.layout(), &self.layout().slots(), &file);
        if let (Err(_), Some(before)) = (&replaced, noted) {
            // Whatever it was, it is so still.
            let _ = store::set_meta(&self.db, OTHER_FACTOR, &before);
        }
        replaced
    }

    /// Notes, before it is so, that the passphrase goes with another second factor than the duress passphrase, or with the same
    /// again. What was noted before, if that was changed.
    fn note_factor(&self, own: &Passphrase, new: &Passphrase) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(decoy) = self.decoy()?.filter(|_| own.factor() != new.factor()) else { return Ok(None) };
        let before = store::meta(&self.db, OTHER_FACTOR)?.unwrap_or_else(|| SAME_FACTOR.to_vec());
        let now = if before == SAME_FACTOR {
            factor_of(own, &decoy).to_vec()
        } else if before == factor_of(new, &decoy) {
            SAME_FACTOR.to_vec()
        } else {
            return Ok(None);
        };
        store::set_meta(&self.db, OTHER_FACTOR, &now)?;
        Ok(Some(before))
    }

    /// Sets the duress passphrase, and makes the decoy, a device called `name`, if there is none. Whether it was made.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`] if `own` is not this vault's; [`VaultError::SamePassphrase`] if one could be
    /// taken for the other; [`VaultError::InDecoy`]; [`VaultError::BadName`]; the disk's. Then what was set before holds.
    pub fn set_duress(
        &mut self,
        own: &Passphrase,
        duress: &Passphrase,
        name: &str,
    ) -> Result<bool, VaultError> {
        self.is_no_visitor()?;
        let name = names::check_name(name)?;
        if own.resembles(duress) {
            return Err(VaultError::SamePassphrase);
        }
        let (file, own, _) = self.slots_opened_by(own)?;
        let other = 1 - self.slot();
        let kept = self.decoy()?.filter(|kek| kek.read(self.layout(), other).is_ok());
        let made = kept.is_none();
        let decoy = match kept {
            Some(decoy) => decoy,
            None => self.make_decoy(&name)?,
        };
        step()?;
        let file = slots::rewrite_slot(&file, other, &decoy, true, duress)?;
        // Also the own one, always: if it was a decoy's it destroyed, and now it must not.
        let file = slots::rewrite_slot(&file, self.slot(), self.kek(), false, &own)?;
        durable::replace(self.layout(), &self.layout().slots(), &file)?;
        store::set_meta(&self.db, OTHER_FACTOR, SAME_FACTOR)?;
        step()?;
        twin::even(self.layout(), self.slot(), false, false)?;
        Ok(made)
    }

    /// Makes the duress passphrase void, and the decoy unreadable. Whether there was one.
    ///
    /// # Errors
    /// [`VaultError::InDecoy`]; the disk's: then it may hold still.
    pub fn remove_duress(&mut self) -> Result<bool, VaultError> {
        self.is_no_visitor()?;
        let set = self.decoy()?.is_some();
        // If this is a decoy that has destroyed, it goes on knowing that.
        let nobody = Kek::generate();
        let has_destroyed = twin::is_destroyed(self.layout(), self.slot(), self.kek());
        let beside = Beside::Goes(if has_destroyed { self.kek() } else { &nobody });
        twin::freshen(self.layout(), self.slot(), beside)
            .map_err(VaultError::io("the duress passphrase could not be taken back"))?;
        step()?;
        forget(&self.db)?;
        twin::even(self.layout(), self.slot(), true, false)?;
        Ok(set)
    }

    /// What a decoy that was opened from beside must not do: the vault beside it is the real one.
    fn is_no_visitor(&self) -> Result<(), VaultError> {
        if self.duress == Duress::FromBeside { Err(VaultError::InDecoy) } else { Ok(()) }
    }

    /// Whether this is a decoy that was opened from the vault beside it.
    pub fn is_open_from_beside(&self) -> bool {
        self.duress == Duress::FromBeside
    }

    /// Whether a duress passphrase is set. In a decoy there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn has_duress(&self) -> Result<bool, VaultError> {
        Ok(self.decoy()?.is_some())
    }

    /// Whether the vault's own passphrase goes with another second factor since the duress passphrase was set: who
    /// gives the present one to every command gives the wrong one under duress.
    ///
    /// # Errors
    /// The disk's.
    pub fn duress_has_other_factor(&self) -> Result<bool, VaultError> {
        Ok(self.has_duress()?
            && store::meta(&self.db, OTHER_FACTOR)?.is_some_and(|other| other != SAME_FACTOR))
    }

    /// Closes this vault and opens the decoy in its place. Nothing is destroyed.
    ///
    /// # Errors
    /// [`VaultError::NoDecoy`]; those of [`Vault::open`].
    pub fn into_decoy(self) -> Result<Self, VaultError> {
        let decoy = self.decoy()?.ok_or(VaultError::NoDecoy)?;
        let (layout, slot) = (self.layout().clone(), self.slot());
        let lock = self.close_stores()?;
        let stores = Place { layout: &layout, slot: 1 - slot, kek: &decoy }.open()?;
        Ok(Self::open_pair(layout, lock, (1 - slot, decoy), stores, Duress::FromBeside, None)?.0)
    }

    /// Whether the passphrase that opened this vault destroyed what lay beside it, just now.
    pub fn has_destroyed(&self) -> bool {
        self.duress == Duress::Destroyed
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
        self.change_rules(|rules| rules.wipe_unasked = unasked)
    }

    /// Changes them in their file and in what the vault keeps of them. The file may be gone meanwhile.
    fn change_rules(&self, change: impl FnOnce(&mut Rules)) -> Result<Rules, VaultError> {
        Rules::bring_back(&self.db, self.layout());
        let mut rules = self.rules();
        change(&mut rules);
        rules.write(self.layout())?;
        Rules::keep(&self.db, self.layout());
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
        self.change_rules(|rules| (rules.dead_man_days, rules.deadline_s) = (days, deadline_s))?;
        Rules::unlocked(self.layout());
        Ok(self.rules())
    }

    /// The vault is in use: the days after which its keys are destroyed begin anew.
    pub fn count_days_anew(&self) {
        Rules::bring_back(&self.db, self.layout());
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

    /// The slot file, if this passphrase opens this vault's slot in it; what was meant by it; and whether the slot says
    /// that it destroys.
    fn slots_opened_by(&self, own: &Passphrase) -> Result<(Vec<u8>, Passphrase, bool), VaultError> {
        let file = slots::read(self.layout())?;
        match slots::open_slots(&file, own)? {
            Opened { slot, held: Held::Identity { destroys, .. }, meant } if slot == self.slot() => {
                Ok((file, meant, destroys))
            }
            _ => Err(VaultError::WrongPassphrase),
        }
    }

    /// Makes the other pair a vault. No slot opens it yet. It is written into the files that are there: when a file was made
    /// must not tell when a decoy was.
    fn make_decoy(&self, name: &str) -> Result<Kek, VaultError> {
        let (other, doing) = (1 - self.slot(), "the decoy could not be made");
        let (decoy, keys) = (Kek::generate(), Keys::generate()?);
        let next = self.layout().next();
        let into_place = |store: &std::path::Path| -> Result<(), VaultError> {
            let moved = fs::read(&next).and_then(|bytes| durable::refill(store, &bytes));
            moved.and_then(|()| durable::remove_store(&next)).map_err(VaultError::io(doing))
        };
        durable::remove_store(&next).map_err(VaultError::io(doing))?;
        let device = create_vault_store(&next, self.layout(), &keys, name)?;
        into_place(&self.layout().vault(other))?;
        create_depot(&next, &keys, &device)?;
        into_place(&self.layout().depot(other))?;
        step()?;
        durable::overwrite_at(&self.layout().keys(other), 0, &decoy.wrap(&keys)?)
            .map_err(VaultError::io(doing))?;
        store::set_meta(&self.db, DECOY, decoy.to_text().as_bytes())?;
        Ok(decoy)
    }
}

/// What tells a second factor from others, in the vault with this decoy and nowhere else.
fn factor_of(passphrase: &Passphrase, decoy: &Kek) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(FACTOR);
    hasher.update(decoy.to_text().as_bytes()).update(passphrase.factor().as_bytes());
    hasher.finalize().into()
}

/// A vault that is copied has no decoy beside it.
pub(crate) fn forget(db: &Connection) -> Result<(), VaultError> {
    db.execute("DELETE FROM meta WHERE name IN (?1, ?2)", [DECOY, OTHER_FACTOR])?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
