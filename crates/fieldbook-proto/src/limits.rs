//! The limits of the formats. They are part of the protocol: a value beyond one is refused everywhere.

/// Largest body of an entry before sealing: 1 MiB.
pub const ENTRY_BODY_MAX: usize = 1 << 20;

/// Largest sealed entry: body, padding (Padmé adds at most about 12 %), age header and tags.
pub const ENTRY_SEALED_MAX: usize = ENTRY_BODY_MAX + (ENTRY_BODY_MAX >> 3) + 64 * 1024;

/// Smallest sealed entry that can exist: an age header and one padded KiB.
pub const ENTRY_SEALED_MIN: usize = 1024;

/// Most recipients of one entry.
pub const ENTRY_RECIPIENTS_MAX: usize = 64;

/// Largest encoded certificate, in bytes.
pub const CERTIFICATE_MAX: usize = 4 * 1024;

/// Longest age recipient, in bytes: leaves room for the post-quantum ones (about 2,000).
pub const RECIPIENT_MAX: usize = 2_560;

/// Most coordinators of a team who stand at the same time.
pub const COORDINATORS_MAX: usize = 64;

/// Most certificates of coordinators in an authority, of those who fell too: a coordinator may have one from
/// each other.
pub const AUTHORITY_CERTIFICATES_MAX: usize = 1_024;

/// Most removals of one coordinator that are kept before anybody has said which of them stand, and most that
/// a removal names.
pub const REMOVALS_OF_ONE_MAX: usize = 1_024;

/// Largest encoded removal, in bytes: a fixed part, the coordinators who stay, the removals that stand.
pub const REMOVAL_MAX: usize = 320 + (COORDINATORS_MAX + REMOVALS_OF_ONE_MAX) * 32;

/// Most removals that a team keeps.
pub const REMOVALS_MAX: usize = 4_096;

/// Most devices that a coordinator vouches for.
pub const VOUCHED_MAX: usize = 16_384;
