//! What a device carries for others: the policy, and how an entry is judged by it.
//!
//! An entry is opaque to whoever carries it. So it is judged by its size, by how much is here already and by
//! who brings it, and by nothing else: a small attachment passes for a report, and a report that makes an entry of
//! more than 64 KiB for an attachment. What this device wrote itself comes from its vault and is never
//! judged. To a device whose membership has run out a coordinator may send entries of any size, its renewal above
//! all, as long as there is room.

use fieldbook_depot::Depot;
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
        let beyond = |total: u64| if size > SMALL_ENTRY_MAX { 0 } else { total / RESERVE };
        let total = self.total.map(|total| total.saturating_add(beyond(total)));
        Self { total, per_device: None, ..self }
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
    pub fn judge(&self, size: u32, load: Load) -> Result<(), Decline> {
        if size > self.largest_entry() {
            return Err(Decline::Size);
        }
        let room = |of: u64| if size > SMALL_ENTRY_MAX { of - of / RESERVE } else { of };
        let beyond = |held: u64, of: u64| held.saturating_add(u64::from(size)) > room(of);
        if self.total.is_some_and(|total| beyond(load.held, total)) {
            return Err(Decline::Full);
        }
        match (self.per_device, load.of_device) {
            (Some(most), Some(held)) if beyond(held, most) => Err(Decline::Share),
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    fn held(held: u64) -> Load {
        Load { held, of_device: None }
    }

    #[test]
    fn everything_is_carried_unless_somebody_says_otherwise() {
        assert_eq!(Carry::default().judge(u32::MAX, held(u64::MAX)), Ok(()));
        let reports = Carry { reports_only: true, ..Carry::default() };
        assert_eq!(reports.judge(SMALL_ENTRY_MAX, held(u64::MAX)), Ok(()));
        assert_eq!(reports.judge(SMALL_ENTRY_MAX + 1, held(0)), Err(Decline::Size));
        let largest = Carry { largest: Some(2_048), ..reports };
        assert_eq!(largest.judge(2_049, held(0)), Err(Decline::Size));
    }

    #[test]
    fn attachments_never_fill_the_last_tenth() {
        let carry = Carry { total: Some(100 * u64::from(MIB)), ..Carry::default() };
        assert_eq!(carry.judge(MIB, held(89 * u64::from(MIB))), Ok(()));
        assert_eq!(carry.judge(MIB, held(89 * u64::from(MIB) + 1)), Err(Decline::Full));
        assert_eq!(carry.judge(2_048, held(99 * u64::from(MIB))), Ok(()));
        assert_eq!(carry.judge(2_048, held(100 * u64::from(MIB))), Err(Decline::Full));
        let share = Carry { per_device: Some(10_000), ..Carry::default() };
        let load = |of_device| Load { held: u64::MAX, of_device };
        assert_eq!(share.judge(2_000, load(Some(8_000))), Ok(()));
        assert_eq!(share.judge(2_001, load(Some(8_000))), Err(Decline::Share));
        assert_eq!(share.judge(2_001, load(None)), Ok(()), "nobody counts");
    }

    #[test]
    fn a_coordinator_gets_through_to_a_device_that_is_full() {
        let carry = Carry { total: Some(1_000_000), per_device: Some(1), ..Carry::default() };
        let load = Load { held: 1_000_000, of_device: Some(500_000) };
        assert_eq!(carry.judge(2_000, load), Err(Decline::Full));
        assert_eq!(carry.from_a_coordinator(2_000).judge(2_000, load), Ok(()));
        assert_eq!(carry.from_a_coordinator(MIB).judge(MIB, Load::default()), Err(Decline::Full));
        let load = Load { held: 1_099_000, ..load };
        assert_eq!(
            carry.from_a_coordinator(2_000).judge(2_000, load),
            Err(Decline::Full),
            "and not without end"
        );
        // What lies beyond the total is for small entries alone, as is its last tenth.
        let carry = Carry { total: Some(10 * u64::from(MIB)), ..carry };
        for (held, expected) in [(8, Ok(())), (9, Err(Decline::Full))] {
            let load = Load { held: held * u64::from(MIB), of_device: None };
            assert_eq!(carry.from_a_coordinator(MIB).judge(MIB, load), expected);
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
