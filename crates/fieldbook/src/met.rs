//! Words on devices that this one has met: those that were removed from the team, and what others did not take.

use fieldbook_vault::{DeclinedView, Partners, PeerView};

use crate::error::{Failure, Kind};
use crate::sanitise::line;
use crate::sync::{remembered, was_removed};
use crate::ui::count;

/// What to do when whoever was known is known no more.
pub const ANOTHER: &str = "ask a coordinator where another relay or a coordinator's daemon listens, and give --with HOST:PORT; or \
                           take it there by stick: `fieldbook bundle write`";

/// The devices at whose addresses nobody is dialled any more, as people are told of them.
pub fn removed(peers: &[PeerView]) -> Vec<String> {
    let gone =
        |peer: &&PeerView| peer.removed && peer.address.as_deref().is_some_and(|at| was_removed(peers, at));
    let mut gone: Vec<&PeerView> = peers.iter().filter(gone).collect();
    gone.sort_by_key(|peer| std::cmp::Reverse(peer.last_sync_ms));
    gone.into_iter()
        .map(|peer| {
            let at = peer.address.as_deref().map(|at| format!(" at {}", line(at))).unwrap_or_default();
            format!("{}{at}", line(&peer.name))
        })
        .collect()
}

/// That nobody is known whom this device could dial, and why, if it was otherwise once.
pub fn nobody_left(partners: &Partners) -> Option<String> {
    if !remembered(&partners.peers, &partners.invited_to).is_empty() {
        return None;
    }
    let gone = removed(&partners.peers);
    match &gone[..] {
        [] => None,
        [one] => Some(format!("{one} was removed from your team, and this device has met no other")),
        more => {
            Some(format!("{} were removed from your team, and this device has met no other", more.join(", ")))
        }
    }
}

/// Why a sync cannot begin.
pub fn nobody(partners: &Partners) -> Failure {
    match nobody_left(partners) {
        Some(why) => {
            Failure::new(Kind::Unreachable, "removed", format!("{why}; your work is safe here")).hint(ANOTHER)
        }
        None => Failure::usage("no-address", "this device does not know yet whom to sync with")
            .hint("give --with HOST:PORT, as the other device's `fieldbook daemon --listen` printed it"),
    }
}

/// What to do after a sync that reached nobody: whom it left out besides, and how to find out more.
pub fn what_now(failure: Failure, peers: &[PeerView], with: Option<&str>) -> Failure {
    if failure.code != "unreachable" {
        return failure;
    }
    let gone = removed(peers);
    let mut failure = failure;
    if with.is_none() && !gone.is_empty() {
        let were = if gone.len() == 1 { "was" } else { "were" };
        failure
            .message
            .push_str(&format!(". Not tried: {}, which {were} removed from your team", gone.join(", ")));
    }
    let doctor = with
        .map_or_else(|| "fieldbook doctor".to_owned(), |at| format!("fieldbook doctor --with {}", line(at)));
    let elsewhere = if with.is_none() { "; --with HOST:PORT names another device" } else { "" };
    failure.hint(format!(
        "`{doctor}` says what stands in the way. Or try again later{elsewhere}; or take it there by stick: \
         `fieldbook bundle write`"
    ))
}

/// So many entries, and whose they are, where that is known.
pub fn entries(all: u64, own: Option<u64>) -> String {
    let number = count(all, "entry", "entries");
    match own {
        Some(0) => format!("{number} that this device carries for others"),
        Some(own) if own < all => format!(
            "{} of this device's own and {} that it carries for others",
            count(own, "entry", "entries"),
            all - own
        ),
        _ => number,
    }
}

/// What a device did not take at the last sync, in words that follow its name; nothing if it took everything.
pub fn declined(view: &DeclinedView) -> Option<String> {
    let (all, own) = (&view.all, &view.own);
    let reasons = [
        (all.full, own.full, "is full"),
        (all.share, own.share, "takes no more from this device for now"),
        (all.size, own.size, "does not carry entries of this size"),
        (all.other, own.other, "does not take everything"),
    ];
    let words: Vec<String> = reasons
        .into_iter()
        .filter(|(all, ..)| *all > 0)
        .map(|(all, own, why)| {
            // Of what is carried for others only this device's next sync knows the number.
            let what = match own {
                0 => "what this device carries for others stays here".to_owned(),
                _ => {
                    let others =
                        if own < all { " of this device's own, and what it carries for others," } else { "" };
                    let stay = if own == 1 && own >= all { "stays" } else { "stay" };
                    format!("{}{others} {stay} here", count(own, "entry", "entries"))
                }
            };
            format!("{why}: {what}")
        })
        .collect();
    (!words.is_empty()).then(|| words.join("; it "))
}

#[cfg(test)]
mod tests {
    use fieldbook_vault::ReasonsView;

    use super::*;

    fn peer(name: &str, address: &str, removed: bool) -> PeerView {
        PeerView {
            name: name.into(),
            device: name.into(),
            role: "relay".into(),
            address: Some(address.into()),
            path: None,
            last_sync_ms: 0,
            removed,
            declined: DeclinedView::default(),
        }
    }

    #[test]
    fn that_the_only_known_device_was_removed_is_the_reason_that_is_named() {
        let of = |peers: &[PeerView]| {
            nobody(&Partners { in_team: true, peers: peers.to_vec(), invited_to: Vec::new() })
        };
        assert_eq!(of(&[]).code, "no-address");
        let failure = of(&[peer("the relay", "a:1", true)]);
        assert_eq!((failure.kind.exit(), failure.code.as_str()), (14, "removed"));
        assert!(failure.message.starts_with("the relay at a:1 was removed from your team, and"), "{failure}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("by stick")));
        // At its address another one was met since: that one is no reason.
        assert!(removed(&[peer("old", "a:1", true), peer("new", "a:1", false)]).is_empty());
        let failure = Failure::new(Kind::Unreachable, "unreachable", "nobody; your work is safe here");
        let failure = what_now(failure, &[peer("the relay", "a:1", true), peer("desk", "b:1", false)], None);
        assert!(failure.message.ends_with(". Not tried: the relay at a:1, which was removed from your team"));
    }

    #[test]
    fn what_stays_is_counted_by_whose_it_is() {
        let own = ReasonsView { full: 1, ..ReasonsView::default() };
        let all = ReasonsView { full: 3, size: 1, ..ReasonsView::default() };
        let words = declined(&DeclinedView { all, own }).unwrap();
        assert_eq!(
            words,
            "is full: 1 entry of this device's own, and what it carries for others, stay here; it does not carry \
             entries of this size: what this device carries for others stays here"
        );
        assert_eq!(declined(&DeclinedView { all: own, own }).unwrap(), "is full: 1 entry stays here");
        assert_eq!(entries(3, Some(1)), "1 entry of this device's own and 2 that it carries for others");
        assert_eq!([entries(3, Some(3)), entries(3, None)], ["3 entries", "3 entries"]);
        assert_eq!(declined(&DeclinedView::default()), None);
    }
}
