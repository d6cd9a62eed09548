//! Whether an entry was meant for whoever opened it.
//!
//! The header that its author signed names the desk, its epoch and the readers beside it. Whoever could read
//! an entry can encrypt it anew to others; what it says must then not be taken as said to them.

use fieldbook_seal::{Header, Kind};

use super::take::Taker;

/// Whether a verified entry is addressed to this device or its desk, as far as its kind allows to tell.
///
/// Grants and requests to forget are also for devices whom they leave unnamed on purpose, so that no
/// device learns who else there is; and a coordinator who works on a shared report names its own desk, also
/// when it writes to the desk of the report's author. Of these nothing can be told.
pub(super) fn is_met(taker: &Taker<'_>, header: &Header) -> bool {
    let by_coordinator = taker.authority.ever_coordinator(&header.device).is_some();
    let unnamed = matches!(header.kind, Kind::Grant | Kind::Forget)
        || (header.kind == Kind::Report && by_coordinator)
        || taker.lent;
    if unnamed || header.audience.readers.contains(&taker.me) {
        return true;
    }
    let keys = &taker.team.desk_keys;
    // Who holds no key of the desk opened it as itself, and its desk may say things to its devices.
    header.audience.desk.is_some_and(|(desk, epoch)| {
        desk == taker.team.desk && (keys.is_empty() || keys.iter().any(|key| key.epoch == epoch))
    })
}
