//! Chance for what no secret hangs on.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Any number.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// From 0 to 1.
pub(crate) fn share() -> f64 {
    let random = u32::try_from(number() >> 32).unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}
