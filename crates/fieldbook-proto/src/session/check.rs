//! The check at the end: do both sides know the same entries?
//!
//! A side says `Done` when it has sent everything and stored everything that the other side sent. A
//! `Done` is void as soon as its sender receives another entry, and stale while its count of received
//! entries is below what the reader has sent; so both sides judge the same pair, and reach the same verdict.
//! After its `Done` a side sends nothing new unless it is void: what arrives later belongs to the next
//! session.

use super::fingerprint::Fingerprint;
use super::limits::ROUNDS_MAX;

/// What a `Done` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) received: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) busy: bool,
}

/// What follows from two claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Both know the same.
    InStep,
    /// They differ: now it is found out in what, once.
    Repair,
    /// They differ after that too.
    StillDifferent,
    /// One side's set changes too fast, or one is not told everything.
    NotCompared,
}

/// What to do with a snapshot of this side's depot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// More arrived: send it first.
    SendMore,
    /// Send this.
    Say(Claim),
}

/// The state of the check.
#[derive(Debug, Default)]
pub(super) struct Check {
    ours: Option<Claim>,
    theirs: Option<Claim>,
    rounds: u32,
    repaired: bool,
    /// One side is not told everything: there is nothing to compare, and no fingerprint is shown.
    pointless: bool,
}

impl Check {
    /// One side is not told everything, so the sides will differ, and honestly.
    pub(super) const fn give_up(&mut self) {
        self.pointless = true;
    }

    /// Both sides stay together: both speak anew when something has moved. What was looked for and not found is
    /// not looked for again in this session.
    pub(super) fn rest(&mut self, still_different: bool) {
        *self = Self { repaired: still_different, ..Self::default() };
    }

    /// This side has said `Done`, and it still stands.
    pub(super) const fn has_spoken(&self) -> bool {
        self.ours.is_some()
    }

    /// An entry came: both claims are void.
    pub(super) const fn entry_came(&mut self) {
        self.ours = None;
        self.theirs = None;
    }

    /// The peer goes on: its claim is void.
    pub(super) const fn peer_goes_on(&mut self) {
        self.theirs = None;
    }

    /// A snapshot of this side at a moment when all was sent up to `covered` and all received was stored.
    pub(super) fn snapshot(
        &mut self,
        fingerprint: Fingerprint,
        head: u64,
        covered: u64,
        received: u64,
    ) -> Next {
        let more = head > covered;
        if more && self.rounds < ROUNDS_MAX {
            self.rounds += 1;
            return Next::SendMore;
        }
        let fingerprint = if self.pointless { Fingerprint::default() } else { fingerprint };
        let claim = Claim { received, fingerprint, busy: more || self.pointless };
        self.ours = Some(claim);
        Next::Say(claim)
    }

    /// The peer said `Done`.
    pub(super) const fn heard(&mut self, claim: Claim) {
        self.theirs = Some(claim);
    }

    /// The verdict, once both claims stand. `sent` is how many entries this side has sent.
    pub(super) fn verdict(&mut self, sent: u64) -> Option<Verdict> {
        let (ours, theirs) = (self.ours?, self.theirs?);
        if theirs.received != sent {
            return None;
        }
        if ours.busy || theirs.busy {
            return Some(Verdict::NotCompared);
        }
        if ours.fingerprint == theirs.fingerprint {
            return Some(Verdict::InStep);
        }
        if self.repaired {
            return Some(Verdict::StillDifferent);
        }
        *self = Self { repaired: true, ..Self::default() };
        Some(Verdict::Repair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;

    fn claim(received: u64, ids: &[u8]) -> Claim {
        let fingerprint = ids.iter().map(|n| EntryId::from_bytes([*n; 32])).collect();
        Claim { received, fingerprint, busy: false }
    }

    #[test]
    fn a_stale_claim_decides_nothing_and_differences_are_repaired_once() {
        let mut check = Check::default();
        let ours = claim(0, &[1]);
        assert_eq!(check.snapshot(ours.fingerprint, 5, 5, 0), Next::Say(ours));
        check.heard(claim(2, &[1]));
        assert_eq!(check.verdict(3), None, "the peer has not seen our third entry when it spoke");
        check.heard(claim(3, &[2]));
        assert_eq!(check.verdict(3), Some(Verdict::Repair));
        assert_eq!(check.verdict(3), None, "both speak anew after a repair");
        assert_eq!(check.snapshot(ours.fingerprint, 5, 5, 0), Next::Say(ours));
        check.heard(claim(3, &[2]));
        assert_eq!(check.verdict(3), Some(Verdict::StillDifferent));
    }

    #[test]
    fn a_depot_that_never_rests_is_not_waited_for_forever() {
        let mut check = Check::default();
        let mut head = 0;
        let said = loop {
            head += 1;
            if let Next::Say(claim) = check.snapshot(Fingerprint::default(), head, head - 1, 0) {
                break claim;
            }
        };
        assert!(said.busy && head < 100);
        check.heard(Claim { busy: false, ..said });
        assert_eq!(check.verdict(0), Some(Verdict::NotCompared));
    }
}
