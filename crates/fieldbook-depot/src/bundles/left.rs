//! What stays on the stick because this device does not carry it. Nobody writes it down: whoever reads the
//! stick again is asked again.

use fieldbook_proto::EntryId;

use crate::DepotError;

/// Why an entry is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// This device carries no entry of its size.
    Size,
    /// This device holds as much as it may.
    Total,
    /// It holds as much as it may of what came by bundles.
    Share,
    /// The disk has no room that may be used for it.
    Disk,
}

/// Entries and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// How many.
    pub entries: u64,
    /// How large.
    pub bytes: u64,
}

/// What was left, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftBy {
    /// [`Why::Size`].
    pub size: Left,
    /// [`Why::Total`].
    pub total: Left,
    /// [`Why::Share`].
    pub share: Left,
    /// [`Why::Disk`].
    pub disk: Left,
}

impl LeftBy {
    /// One more.
    pub const fn add(&mut self, why: Why, bytes: u64) {
        let one = Left { entries: 1, bytes };
        match why {
            Why::Size => self.size.add(one),
            Why::Total => self.total.add(one),
            Why::Share => self.share.add(one),
            Why::Disk => self.disk.add(one),
        }
    }

    /// Those of another file.
    pub const fn merge(&mut self, other: Self) {
        self.size.add(other.size);
        self.total.add(other.total);
        self.share.add(other.share);
        self.disk.add(other.disk);
    }

    /// All of them.
    pub const fn all(&self) -> Left {
        let mut all = self.size;
        all.add(self.total);
        all.add(self.share);
        all.add(self.disk);
        all
    }
}

impl Left {
    const fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Says which of these entries, with their sizes, are not to come in: in the order given, each judged with those
/// before it taken. It is asked for entries that the depot does not know.
pub type Judge<'a> = dyn FnMut(&[(EntryId, u32)]) -> Result<Vec<(EntryId, Why)>, DepotError> + 'a;

/// Everything comes in.
///
/// # Errors
/// None.
pub fn take_all(_: &[(EntryId, u32)]) -> Result<Vec<(EntryId, Why)>, DepotError> {
    Ok(Vec::new())
}
