//! What a device carries for others: the policy, and how an entry is judged by it.
//!
//! An entry is opaque to whoever carries it. So it is judged by its size, by how much is here already, by
//! who brings it and by the room on the disk, and by nothing else: a small attachment passes for a report, and a report that makes an entry of
//! more than 64 KiB for an attachment. What this device wrote itself comes from its vault and is never
//! judged. To a device whose membership has run out a coordinator may send entries of any size, its renewal above
//! all, as long as there is room.
//!
//! Who brings a bundle nobody knows. All bundles together count as one device, which is no coordinator; but small
//! entries of theirs may fill a part of what is kept for coordinators, so that a device that is full hears of
//! a removal by stick, too.
//!
//! The disk never becomes full of what others wrote: its last room is for what this device writes itself, and for
//! what it must note to serve and to drop. Where the disk is smaller than the policy, it is full sooner.

use fieldbook_depot::bundles::{Judge, Why};
use fieldbook_depot::{Depot, DepotError, Source};
use fieldbook_proto::EntryId;
use fieldbook_proto::session::Decline;
use fieldbook_proto::session::limits::SMALL_ENTRY_MAX;

use crate::error::DaemonError;

/// The setting in which it lies. There is none while everything is carried.
const SETTING: &str = "carry";
const VERSION: u8 = 1;
const REPORTS_ONLY: u8 = 1;
const LEN: usize = 22;
/// The last tenth of the room is for small entries: a report, or a certificate, gets through when attachments have
/// filled the rest.
const RESERVE: u64 = 10;
/// Bytes of the disk that nothing of others fills. Small entries may use half of them, small ones of a
/// coordinator a half more.
pub const DISK_RESERVE: u64 = 64 << 20;

/// What a device carries. The default is everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carry {
    /// Bytes in all; what this device wrote counts, too, but is never turned away.
    pub total: Option<u64>,
    /// Bytes that each other device may bring.
    pub per_device: Option<u64>,
    /// The largest entry, in bytes.
    pub largest: Option<u32>,
    /// No entries of more than [`SMALL_ENTRY_MAX`]: attachments, as far as their size tells.
    pub reports_only: bool,
}

/// How much is here already, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// In all.
    pub held: u64,
    /// Of it what the device brought that brings more; none if nobody counts that.
    pub of_device: Option<u64>,
    /// Bytes that are free on the disk; none where nobody can tell.
    pub disk: Option<u64>,
}

impl Load {
    /// So much of a depot is taken. `from`: whose share counts, if anybody's.
    ///
    /// # Errors
    /// The depot's, the disk's.
    pub fn of(depot: &dyn Depot, from: Option<Source>) -> Result<Self, DepotError> {
        let of_device = from.map(|from| depot.held_by(from)).transpose()?;
        Ok(Self {
            held: depot.stats()?.held_bytes,
            of_device: of_device.map(|held| held.bytes),
            disk: depot.room_on_disk()?,
        })
    }

    /// The same with so many bytes more.
    #[must_use]
    pub fn with(self, bytes: u64) -> Self {
        Self {
            held: self.held.saturating_add(bytes),
            of_device: self.of_device.map(|held| held.saturating_add(bytes)),
            disk: self.disk.map(|free| free.saturating_sub(bytes)),
        }
    }
}

/// Who brings an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bringer {
    /// A coordinator who proved to be one.
    Coordinator,
    /// Another device.
    Device,
    /// A bundle.
    Bundle,
}

impl Carry {
    /// Whether nothing is ever declined.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// The same for an entry of this size that a coordinator brings: no share, and if it is small, room beyond the
    /// total. A device that is full must still hear of removals and new epochs, and whoever it serves of renewals.
    #[must_use]
    pub fn from_a_coordinator(self, size: u32) -> Self {
        Self { per_device: None, ..self.beyond(size, RESERVE) }
    }

    /// The same for an entry of this size that lies in a bundle: half of that room, if it is small. The other half
    /// no bundle takes from the coordinators.
    #[must_use]
    pub fn from_a_bundle(self, size: u32) -> Self {
        self.beyond(size, 2 * RESERVE)
    }

    fn beyond(self, size: u32, part: u64) -> Self {
        let beyond = |total: u64| if size > SMALL_ENTRY_MAX { 0 } else { total / part };
        Self { total: self.total.map(|total| total.saturating_add(beyond(total))), ..self }
    }

    /// Judges entries one after the other, each with those before it taken: those that are not, and why.
    pub fn judge_all(
        self,
        entries: impl IntoIterator<Item = (EntryId, u32)>,
        mut load: Load,
        bringer: Bringer,
    ) -> Vec<(EntryId, Why)> {
        let mut left = Vec::new();
        for (id, size) in entries {
            let carry = match bringer {
                Bringer::Coordinator => self.from_a_coordinator(size),
                Bringer::Device => self,
                Bringer::Bundle => self.from_a_bundle(size),
            };
            match carry.judge(size, load).and_then(|()| fits_on_disk(size, load, bringer)) {
                Ok(()) => load = load.with(size.into()),
                Err(why) => left.push((id, why)),
            }
        }
        left
    }

    /// The same without a limit for one entry.
    #[must_use]
    pub fn of_any_size(self) -> Self {
        Self { largest: None, reports_only: false, ..self }
    }

    /// The largest entry that is carried at all, in bytes.
    pub fn largest_entry(&self) -> u32 {
        let reports = if self.reports_only { SMALL_ENTRY_MAX } else { u32::MAX };
        reports.min(self.largest.unwrap_or(u32::MAX))
    }

    /// Whether an entry of this size is taken with so much here already.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, size: u32, load: Load) -> Result<(), Why> {
        if size > self.largest_entry() {
            return Err(Why::Size);
        }
        let room = |of: u64| if size > SMALL_ENTRY_MAX { of - of / RESERVE } else { of };
        let beyond = |held: u64, of: u64| held.saturating_add(u64::from(size)) > room(of);
        if self.total.is_some_and(|total| beyond(load.held, total)) {
            return Err(Why::Total);
        }
        match (self.per_device, load.of_device) {
            (Some(most), Some(held)) if beyond(held, most) => Err(Why::Share),
            _ => Ok(()),
        }
    }

    /// As a depot keeps it: version, flags, and three numbers of which 0 stands for none.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, if self.reports_only { REPORTS_ONLY } else { 0 }];
        out.extend_from_slice(&self.total.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.per_device.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.largest.unwrap_or(0).to_be_bytes());
        out
    }

    /// Reads it back; nothing if it is of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let [VERSION, flags @ (0 | REPORTS_ONLY), numbers @ ..] = bytes else { return None };
        let (total, numbers) = numbers.split_first_chunk()?;
        let (per_device, numbers) = numbers.split_first_chunk()?;
        let number = |bytes: &[u8; 8]| Some(u64::from_be_bytes(*bytes)).filter(|number| *number > 0);
        let largest = u32::from_be_bytes(numbers.try_into().ok()?);
        Some(Self {
            total: number(total),
            per_device: number(per_device),
            largest: Some(largest).filter(|largest| *largest > 0),
            reports_only: *flags == REPORTS_ONLY,
        })
    }

    /// What this depot carries.
    ///
    /// # Errors
    /// [`DaemonError::Damaged`] when it does not read back; the depot's.
    pub fn of(depot: &dyn Depot) -> Result<Self, DaemonError> {
        match depot.setting(SETTING)? {
            None => Ok(Self::default()),
            Some(bytes) => Self::decode(&bytes).ok_or(DaemonError::Damaged("list of what to carry")),
        }
    }

    /// From now on, this is what the depot carries. What is here already stays.
    ///
    /// # Errors
    /// The depot's.
    pub fn set(&self, depot: &dyn Depot) -> Result<(), DaemonError> {
        let bytes = (!self.is_everything()).then(|| self.encode());
        Ok(depot.set_setting(SETTING, bytes.as_deref())?)
    }
}

/// Whether the disk has room for an entry of this size, as far as others may fill it.
fn fits_on_disk(size: u32, load: Load, bringer: Bringer) -> Result<(), Why> {
    let kept = match bringer {
        _ if size > SMALL_ENTRY_MAX => DISK_RESERVE,
        Bringer::Coordinator => DISK_RESERVE / 4,
        Bringer::Device | Bringer::Bundle => DISK_RESERVE / 2,
    };
    let free = load.disk.is_none_or(|free| free >= kept.saturating_add(size.into()));
    if free { Ok(()) } else { Err(Why::Disk) }
}

/// Room that the disk has for what others wrote.
pub(crate) fn disk_for_others(depot: &dyn Depot) -> Result<Option<u64>, DepotError> {
    Ok(depot.room_on_disk()?.map(|free| free.saturating_sub(DISK_RESERVE)))
}

/// What is said to whoever offers it. That it is the disk is nobody's business.
pub(crate) const fn decline(why: Why) -> Decline {
    match why {
        Why::Size => Decline::Size,
        Why::Share => Decline::Share,
        Why::Total | Why::Disk => Decline::Full,
    }
}

/// What of a bundle does not come in.
///
/// # Errors
/// The depot's, the disk's; [`DaemonError::Damaged`] when the policy does not read back.
pub fn judge_bundle(depot: &dyn Depot) -> Result<Box<Judge<'_>>, DaemonError> {
    let carry = Carry::of(depot)?;
    Ok(Box::new(move |entries| {
        let load = Load::of(depot, Some(Source::Bundle))?;
        Ok(carry.judge_all(entries.iter().copied(), load, Bringer::Bundle))
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    fn held(held: u64) -> Load {
        Load { held, ..Load::default() }
    }

    #[test]
    fn everything_is_carried_unless_somebody_says_otherwise() {
        assert_eq!(Carry::default().judge(u32::MAX, held(u64::MAX)), Ok(()));
        let reports = Carry { reports_only: true, ..Carry::default() };
        assert_eq!(reports.judge(SMALL_ENTRY_MAX, held(u64::MAX)), Ok(()));
        assert_eq!(reports.judge(SMALL_ENTRY_MAX + 1, held(0)), Err(Why::Size));
        let largest = Carry { largest: Some(2_048), ..reports };
        assert_eq!(largest.judge(2_049, held(0)), Err(Why::Size));
    }

    #[test]
    fn attachments_never_fill_the_last_tenth() {
        let carry = Carry { total: Some(100 * u64::from(MIB)), ..Carry::default() };
        assert_eq!(carry.judge(MIB, held(89 * u64::from(MIB))), Ok(()));
        assert_eq!(carry.judge(MIB, held(89 * u64::from(MIB) + 1)), Err(Why::Total));
        assert_eq!(carry.judge(2_048, held(99 * u64::from(MIB))), Ok(()));
        assert_eq!(carry.judge(2_048, held(100 * u64::from(MIB))), Err(Why::Total));
        let share = Carry { per_device: Some(10_000), ..Carry::default() };
        let load = |of_device| Load { held: u64::MAX, of_device, disk: None };
        assert_eq!(share.judge(2_000, load(Some(8_000))), Ok(()));
        assert_eq!(share.judge(2_001, load(Some(8_000))), Err(Why::Share));
        assert_eq!(share.judge(2_001, load(None)), Ok(()), "nobody counts");
    }

    #[test]
    fn a_coordinator_gets_through_to_a_device_that_is_full() {
        let carry = Carry { total: Some(1_000_000), per_device: Some(1), ..Carry::default() };
        let load = Load { held: 1_000_000, of_device: Some(500_000), disk: None };
        assert_eq!(carry.judge(2_000, load), Err(Why::Total));
        assert_eq!(carry.from_a_coordinator(2_000).judge(2_000, load), Ok(()));
        assert_eq!(carry.from_a_coordinator(MIB).judge(MIB, Load::default()), Err(Why::Total));
        let load = Load { held: 1_099_000, ..load };
        assert_eq!(
            carry.from_a_coordinator(2_000).judge(2_000, load),
            Err(Why::Total),
            "and not without end"
        );
        // What lies beyond the total is for small entries alone, as is its last tenth.
        let carry = Carry { total: Some(10 * u64::from(MIB)), ..carry };
        for (held, expected) in [(8, Ok(())), (9, Err(Why::Total))] {
            let load = Load { held: held * u64::from(MIB), ..Load::default() };
            assert_eq!(carry.from_a_coordinator(MIB).judge(MIB, load), expected);
        }
    }

    #[test]
    fn a_bundle_is_a_device_that_hears_of_a_removal_and_leaves_room_for_coordinators() {
        let carry = Carry { total: Some(1_000_000), per_device: Some(400_000), ..Carry::default() };
        let judge = |held, of_device| {
            let load = Load { held, of_device: Some(of_device), disk: None };
            carry.from_a_bundle(2_000).judge(2_000, load)
        };
        assert_eq!(judge(1_000_000, 0), Ok(()));
        assert_eq!(judge(1_048_001, 0), Err(Why::Total), "the other half is the coordinators'");
        assert_eq!(judge(0, 399_000), Err(Why::Share));
        let load = Load { held: 1_048_001, ..Load::default() };
        assert_eq!(carry.from_a_coordinator(2_000).judge(2_000, load), Ok(()));
        assert_eq!(carry.from_a_bundle(MIB).total, carry.total);
    }

    #[test]
    fn the_last_room_of_the_disk_is_not_for_what_others_wrote() {
        let id = |n: u8| EntryId::from_bytes([n; 32]);
        let judge = |size: u32, free: u64, bringer| {
            let load = Load { disk: Some(free), ..Load::default() };
            Carry::default().judge_all([(id(1), size), (id(2), size)], load, bringer)
        };
        let mib = u64::from(MIB);
        for bringer in [Bringer::Coordinator, Bringer::Device, Bringer::Bundle] {
            assert_eq!(judge(MIB, DISK_RESERVE + 2 * mib, bringer), []);
            assert_eq!(judge(MIB, DISK_RESERVE + 2 * mib - 1, bringer), [(id(2), Why::Disk)]);
        }
        for (bringer, kept) in
            [(Bringer::Coordinator, 16 * mib), (Bringer::Device, 32 * mib), (Bringer::Bundle, 32 * mib)]
        {
            assert_eq!(judge(2_000, kept + 4_000, bringer), []);
            assert_eq!(judge(2_000, kept + 3_999, bringer), [(id(2), Why::Disk)]);
        }
    }

    #[test]
    fn a_policy_reads_back_and_nothing_else_does() {
        for carry in [
            Carry::default(),
            Carry { total: Some(1), per_device: Some(2), largest: Some(3), reports_only: true },
            Carry { largest: Some(u32::MAX), ..Carry::default() },
        ] {
            let bytes = carry.encode();
            assert_eq!(Carry::decode(&bytes), Some(carry));
            assert_eq!(Carry::decode(&bytes[1..]), None);
            assert_eq!(Carry::decode(&[&bytes[..], &[0]].concat()), None);
            assert_eq!(Carry::decode(&[&[2], &bytes[1..]].concat()), None, "another version");
        }
    }
}
