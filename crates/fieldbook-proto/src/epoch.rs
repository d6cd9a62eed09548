//! Which epoch is current, of those that a device knows: of a desk's reading identity and of the
//! transport secret. See `protocol/epochs.md`.
//!
//! What a device knows is a set that only grows. What is current follows from the set and from who
//! stands, so that devices that learned of two rotations in different order agree.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::DeviceId;
use crate::session::limits::EPOCHS_MAX;

/// An epoch further than this above the highest one that is known is refused: the numbers must not be
/// used up by one message.
pub const JUMP_MAX: u32 = 1_024;

/// Whether an epoch may follow, where `highest` is the highest one known; 0 if none is.
pub const fn may_follow(highest: u32, epoch: u32) -> bool {
    epoch <= highest.saturating_add(JUMP_MAX)
}

/// One epoch of a desk, as far as its order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeskClaim<'a> {
    /// Whether its issuer speaks for the desk now.
    pub speaks: bool,
    /// Its number.
    pub epoch: u32,
    /// Its recipient.
    pub recipient: &'a str,
}

/// The place of the current epoch: the highest by a coordinator who speaks for the desk; of two at once
/// the one with the smaller recipient. While none is by one who speaks for it, the same over all.
pub fn current<'a>(claims: impl IntoIterator<Item = DeskClaim<'a>>) -> Option<usize> {
    let order = |claim: &DeskClaim<'a>| (claim.speaks, claim.epoch, Reverse(claim.recipient));
    claims.into_iter().enumerate().max_by_key(|(_, claim)| order(claim)).map(|(place, _)| place)
}

/// One epoch of the transport secret, as far as its order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretClaim<'a> {
    /// Whether its issuer is a coordinator who stands.
    pub stands: bool,
    /// Its number.
    pub epoch: u32,
    /// Who made it known.
    pub issuer: DeviceId,
    /// The secret.
    pub secret: &'a [u8; 32],
}

/// The places of the secrets that a device accepts, the one to use first; at most [`EPOCHS_MAX`].
///
/// By coordinators who stand before the others, higher epochs before lower ones, of two at once the one
/// with the smaller BLAKE3. Where there are too many, each issuer's first ones stay, then each one's
/// second ones, and so on: whoever makes many pushes out their own.
pub fn in_order(claims: &[SecretClaim<'_>]) -> Vec<usize> {
    let key = |place: &usize| {
        let claim = &claims[*place];
        (!claim.stands, Reverse(claim.epoch), *blake3::hash(claim.secret).as_bytes())
    };
    let mut places: Vec<usize> = (0..claims.len()).collect();
    places.sort_by_cached_key(key);
    if places.len() > EPOCHS_MAX {
        let mut turns: BTreeMap<DeviceId, usize> = BTreeMap::new();
        let mut by_turn: Vec<(usize, usize, usize)> = places
            .iter()
            .enumerate()
            .map(|(at, place)| {
                let turn = turns.entry(claims[*place].issuer).or_default();
                *turn += 1;
                (*turn, at, *place)
            })
            .collect();
        by_turn.sort_unstable();
        by_turn.truncate(EPOCHS_MAX);
        by_turn.sort_unstable_by_key(|(_, at, _)| *at);
        places = by_turn.into_iter().map(|(_, _, place)| place).collect();
    }
    places
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_secrets_pushes_out_its_own() {
        let (flooder, honest) = (DeviceId::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
        let secrets: Vec<[u8; 32]> = (0..=200_u8).map(|n| [n; 32]).collect();
        let mut claims: Vec<SecretClaim<'_>> = secrets[..200]
            .iter()
            .map(|secret| SecretClaim { stands: true, epoch: 1_000, issuer: flooder, secret })
            .collect();
        claims.push(SecretClaim { stands: true, epoch: 3, issuer: honest, secret: &secrets[200] });
        let shown = in_order(&claims);
        assert_eq!(shown.len(), EPOCHS_MAX);
        assert_eq!(*shown.last().unwrap(), 200, "in its place in the order, which is the last");
    }

    #[test]
    fn one_issuer_alone_may_fill_all_places() {
        let issuer = DeviceId::from_bytes([1; 32]);
        let secrets: Vec<[u8; 32]> = (0..100_u8).map(|n| [n; 32]).collect();
        let claims: Vec<SecretClaim<'_>> = secrets
            .iter()
            .zip(1..)
            .map(|(secret, epoch)| SecretClaim { stands: true, epoch, issuer, secret })
            .collect();
        let newest: Vec<usize> = (36..100).rev().collect();
        assert_eq!(in_order(&claims), newest);
    }
}
