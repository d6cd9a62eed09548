//! Entries that are in order and that the other side does not take now.
//!
//! A *refused* entry is a bad one. A *declined* one stays with its sender, which offers it again in the next
//! session, and does not count it as held by the other side.

/// Why an entry is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decline {
    /// There is no room for it.
    Full,
    /// There is room, and not for more from this device.
    Share,
    /// Entries of its size are not carried.
    Size,
    /// It is known there, and no longer held: it is not taken again. Where both sides set the bit for it, it is told apart
    /// from what was declined ([`super::Event::DroppedByPeer`]).
    Dropped,
    /// For a reason that a later version knows. Never the number of one of the above.
    Other(u8),
}

impl Decline {
    /// As it stands on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Share => 2,
            Self::Size => 3,
            Self::Dropped => 4,
            Self::Other(code) => code,
        }
    }

    /// From the wire; 0 stands for nothing.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => None,
            1 => Some(Self::Full),
            2 => Some(Self::Share),
            3 => Some(Self::Size),
            4 => Some(Self::Dropped),
            code => Some(Self::Other(code)),
        }
    }
}

/// How many entries, or bytes of entries, were declined in a session, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Declined {
    /// [`Decline::Full`].
    pub full: u64,
    /// [`Decline::Share`].
    pub share: u64,
    /// [`Decline::Size`].
    pub size: u64,
    /// [`Decline::Other`], and [`Decline::Dropped`] where that was not agreed upon.
    pub other: u64,
}

impl Declined {
    /// One more.
    pub const fn add(&mut self, why: Decline) {
        self.add_many(why, 1);
    }

    /// So many more.
    pub const fn add_many(&mut self, why: Decline, number: u64) {
        let of = match why {
            Decline::Full => &mut self.full,
            Decline::Share => &mut self.share,
            Decline::Size => &mut self.size,
            Decline::Dropped | Decline::Other(_) => &mut self.other,
        };
        *of = of.saturating_add(number);
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.full + self.share + self.size + self.other
    }
}
