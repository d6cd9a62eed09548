//! What may stand between this device and the others, check by check, in words.

use std::collections::BTreeSet;

use fieldbook_daemon::relay::RelayStatus;
use fieldbook_vault::{Standing, Status};
use serde::Serialize;

use crate::agent::protocol::Network;
use crate::confine::Confined;
use crate::error::Failure;
use crate::memory;
use crate::met;
use crate::network::examine::{Said, Word};
use crate::network::job::{Job, Task};
use crate::network::working::Working;
use crate::sanitise::line;
use crate::suspend;
use crate::ui::{count, time};

/// A membership that ends sooner than this many seconds from now is worth a word: two weeks.
const SOON_S: u64 = 14 * 24 * 3600;
/// Clocks that differ by less, in milliseconds, are called right: a day.
const CLOCK_SLACK_MS: i64 = 24 * 3600 * 1000;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and something should be known.
    Notice,
    /// It stands in the way.
    Bad,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, in a word for programs: `team`, `membership`, `clock`, `waiting`, `room`, `removed`,
    /// `memory`, `sleep`, `confinement`, `daemon`, `lan`, `way`, `address`.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(rename = "do")]
    pub advice: Option<String>,
}

impl Check {
    fn new(check: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { check, verdict, found: found.into(), advice: None }
    }

    fn advise(mut self, advice: &str) -> Self {
        self.advice = Some(advice.to_owned());
        self
    }
}

/// What this device says of itself.
pub fn of_this_device(status: &Status, standing: Option<&Standing>) -> Vec<Check> {
    let Some(standing) = standing else {
        let check = Check::new("team", Verdict::Bad, "this device is in no team");
        return vec![
            check.advise("join one with `fieldbook join`, or found one with `fieldbook team create`"),
        ];
    };
    let mut checks = Vec::new();
    checks.push(match status.device.copy.as_deref() {
        None => Check::new("team", Verdict::Good, "this device is in a team"),
        Some(_) => {
            Check::new("team", Verdict::Bad, "this vault is a copy: nothing new is signed or sent from it")
                .advise("`fieldbook moved` if no other copy is used, else `fieldbook join` as a new device")
        }
    });
    checks.push(membership(standing));
    checks.push(clock(standing));
    checks
}

fn membership(standing: &Standing) -> Check {
    let now_s = u64::try_from(standing.now_ms / 1000).unwrap_or(0);
    let until = seconds(standing.not_after_s);
    if let Some(why) = &standing.refused {
        let found = format!("this device's membership does not stand: {why}");
        return Check::new("membership", Verdict::Bad, found)
            .advise("ask a coordinator; what you wrote is safe here, and a bundle still carries it");
    }
    if now_s > standing.not_after_s {
        let found = format!("by this device's clock its membership ran out on {until}");
        return Check::new("membership", Verdict::Bad, found).advise(
            "if the clock is right: sync with a coordinator's device, which takes what you wrote and hands out your renewal; a relay still takes what you wrote",
        );
    }
    if standing.not_after_s - now_s < SOON_S {
        let found = format!("this device's membership ends on {until}");
        return Check::new("membership", Verdict::Notice, found)
            .advise("sync before then: it is renewed by itself");
    }
    Check::new("membership", Verdict::Good, format!("this device's membership runs until {until}"))
}

fn clock(standing: &Standing) -> Check {
    let now = standing.now_ms;
    let says = format!("this device's clock says {}", time(now));
    let admitted_ms = i64::try_from(standing.admitted_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    if now + CLOCK_SLACK_MS < admitted_ms {
        let found =
            format!("{says}, which is before it joined its team ({}): the clock is wrong", time(admitted_ms));
        return Check::new("clock", Verdict::Bad, found).advise("set the date and time of this computer");
    }
    match &standing.latest {
        Some((latest, who)) if now + CLOCK_SLACK_MS < *latest => {
            let found = format!(
                "{says}, and {} wrote on {}: one of the two clocks is wrong",
                line(who),
                time(*latest)
            );
            Check::new("clock", Verdict::Notice, found)
                .advise("compare the date and time of this computer with a watch")
        }
        _ => Check::new("clock", Verdict::Good, says),
    }
}

/// Whether what is in memory may come to lie on the disk.
pub fn memory() -> Check {
    if memory::is_exposed() {
        return Check::new("memory", Verdict::Notice, memory::EXPOSED.0).advise(memory::EXPOSED.1);
    }
    Check::new(
        "memory",
        Verdict::Good,
        "nothing in the program's memory comes to lie on the disk in the clear",
    )
}

/// Whether an open vault is closed before the computer sleeps. Nothing of it stands in the way of a sync.
pub fn sleep() -> Check {
    if suspend::is_told() {
        let found = "before this computer sleeps it says so, and an unlocked vault is locked first";
        return Check::new("sleep", Verdict::Good, found);
    }
    let found = "this computer does not say when it goes to sleep: a vault that is unlocked then stays in its memory, and locks when it \
                 wakes up";
    Check::new("sleep", Verdict::Notice, found).advise("`fieldbook lock` before you close the lid")
}

/// What the system holds one of this device's processes to. Nothing of it stands in the way of a sync.
pub fn confinement(process: &str, confined: Confined) -> Check {
    let (verdict, found) = match (confined.calls(), confined.files()) {
        (true, files @ 1..) => (
            Verdict::Good,
            format!(
                "{process} is confined by the system: in its calls, and in its files by Landlock {files}"
            ),
        ),
        (true, 0) => (
            Verdict::Notice,
            format!(
                "{process} is confined in its calls alone: it is not fenced off from files (no Landlock)"
            ),
        ),
        (false, files @ 1..) => (
            Verdict::Notice,
            format!(
                "{process} is fenced off from files by Landlock {files}, and not from all the calls that it does not need"
            ),
        ),
        (false, 0) => (Verdict::Notice, format!("{process} is not confined: this system did not do it")),
    };
    let check = Check::new("confinement", verdict, found);
    if verdict == Verdict::Good {
        return check;
    }
    check.advise(
        "a newer kernel, or one with seccomp and Landlock switched on, limits what a break-in can reach",
    )
}

/// What the ways to one address say together.
pub fn of_address(address: &str, said: &[Said]) -> Vec<Check> {
    let mut checks: Vec<Check> = said.iter().map(way).collect();
    let met: BTreeSet<&str> = said
        .iter()
        .filter(|said| said.outcome == Word::Met)
        .filter_map(|said| said.path.as_deref())
        .collect();
    let at = line(address);
    if met.is_empty() {
        checks.push(nobody(&at, said));
        return checks;
    }
    let straight_udp = said.iter().any(|said| said.path.as_deref() == Some("quic"));
    let open = met.contains("tcp") || met.contains("socks");
    if straight_udp && !met.contains("quic") && open {
        let found = format!(
            "{at}: UDP does not come through, in this network or at the other end, or the two clocks are more than a week apart; TCP does"
        );
        checks.push(Check::new("address", Verdict::Notice, found).advise(
            "a sync finds its way by itself; compare the date and time of this computer, shown above, with a watch",
        ));
    } else {
        checks.push(Check::new("address", Verdict::Good, format!("{at}: a sync will work")));
    }
    checks
}

fn way(said: &Said) -> Check {
    let by = match said.path.as_deref() {
        Some("quic") => "by UDP",
        Some("tcp") => "by TCP",
        Some("socks") => "through the proxy",
        _ => "straight",
    };
    let why = said.why.as_deref().map(line).unwrap_or_default();
    let (verdict, what) = match said.outcome {
        Word::Met if said.expired => (
            Verdict::Notice,
            format!(
                "a {} of your team answered, whose membership has run out by this device's clock",
                said.role.as_deref().map(line).unwrap_or_default()
            ),
        ),
        Word::Met => (
            Verdict::Good,
            format!("a {} of your team answered", said.role.as_deref().map(line).unwrap_or_default()),
        ),
        Word::NoName | Word::NoConnection | Word::NotCertified | Word::Broken => (Verdict::Bad, why),
        Word::TurnedAway => (Verdict::Bad, "somebody listens there, and closed without a word".to_owned()),
        Word::Silent => (Verdict::Bad, "somebody listens there, and said nothing for ten seconds".to_owned()),
        Word::OtherTeam => {
            (Verdict::Bad, "a device of another team answered, or one with keys of another time".to_owned())
        }
        Word::OtherVersion => (Verdict::Bad, "its program speaks another version".to_owned()),
        Word::Removed => (Verdict::Bad, "a device answered that was removed from your team".to_owned()),
    };
    Check::new("way", verdict, format!("{} {by}: {what}", line(&said.address)))
}

/// Nobody of the team answered at an address: what that means, from the farthest that a way led.
fn nobody(at: &str, said: &[Said]) -> Check {
    let has = |word: Word| said.iter().any(|said| said.outcome == word);
    let bad = |found: String, advice: &str| Check::new("address", Verdict::Bad, found).advise(advice);
    if has(Word::TurnedAway) {
        return bad(
            format!("{at}: whoever listens there does not take this device in"),
            "either the address is another team's, or this device was removed, or its team has changed keys since the last sync: ask a coordinator, or get a bundle by stick",
        );
    }
    if has(Word::OtherTeam) {
        return bad(
            format!("{at}: it is not of your team, or knows keys of another time only"),
            "check the address; if it is right, one of the two has not synced for very long: carry a bundle by stick",
        );
    }
    if has(Word::OtherVersion) {
        return bad(format!("{at}: the two programs do not understand each other"), "update the older one");
    }
    if has(Word::Removed) || has(Word::NotCertified) {
        return bad(
            format!("{at}: the device there is no member of your team any more"),
            "ask a coordinator for another address",
        );
    }
    if has(Word::NoName) {
        return bad(
            format!("{at}: the name leads nowhere"),
            "check the spelling and this computer's network; an address in numbers needs no name",
        );
    }
    if has(Word::Silent) || has(Word::Broken) {
        return bad(
            format!("{at}: what listens there does not speak as Fieldbook does"),
            "check the address and the port; something between may be in the way: try --via socks5://127.0.0.1:9050 with Tor running",
        );
    }
    bad(
        format!("{at}: no way leads there"),
        "the other device may be off or its daemon not running (`fieldbook daemon status` there); it answers nobody but devices of its own team whose keys it knows, so it may be another team's, or one of the two has not synced for very long; if it listens by UDP only, a clock that is wrong by more than a week keeps this device out: compare the date and time above with a watch; this network may block it: try another network, --via socks5://127.0.0.1:9050 with Tor running, or a bundle by stick",
    )
}

/// Lets a network process look where the ways to each address lead.
///
/// # Errors
/// The process cannot be started, or is not understood.
pub fn look(
    network: Network,
    addresses: Vec<String>,
    proxy: Option<String>,
    only_proxy: bool,
    mut each: impl FnMut(Said) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let words = ("the process for the network cannot be started", "the process for the network is gone");
    let task = Task::Examine { addresses, proxy, only_proxy };
    let mut working = Working::start("courier", &Job { network, task }, words)?;
    while let Some(said) = working.line()? {
        let said = serde_json::from_str(&said).map_err(|error| {
            Failure::failed("internal", format!("the courier is not understood: {error}"))
        })?;
        each(said)?;
    }
    if working.end()?.success() {
        Ok(())
    } else {
        Err(Failure::failed("process-gone", "the process for the network failed"))
    }
}

/// Those who had no room at the last sync with them.
pub fn room(status: &Status) -> Vec<Check> {
    let standing = status.peers.iter().filter(|peer| !peer.removed);
    standing
        .filter_map(|peer| {
            let declined = met::declined(&peer.declined)?;
            let at = peer.address.as_deref().map(|at| format!(" at {}", line(at))).unwrap_or_default();
            let found = format!("{}{at}, at {}: it {declined}", line(&peer.name), time(peer.last_sync_ms));
            let room = match peer.role.as_str() {
                "relay" => "whoever runs it can give it more room (`fieldbook relay set` there)",
                _ => "its owner can give it more room (`fieldbook carry` there)",
            };
            let advice = format!(
                "sync with another relay or a coordinator, or take it there by stick (`fieldbook bundle write`); {room}"
            );
            Some(Check::new("room", Verdict::Notice, found).advise(&advice))
        })
        .collect()
}

/// This device is a relay and has no room.
pub fn relay_room(relay: &RelayStatus) -> Option<Check> {
    let found = match (relay.full, relay.full_for_attachments) {
        (true, _) => "this relay is full: devices keep what they bring",
        (false, true) => "this relay has no room for attachments any more: the rest is for reports",
        (false, false) => return None,
    };
    let advice = "have coordinators sync with it, then `fieldbook relay gc`; or give it more room: `fieldbook relay set --total SIZE`";
    Some(Check::new("room", Verdict::Bad, found).advise(advice))
}

/// Reports that were on their way with a device that was removed since.
pub fn removed(status: &Status) -> Option<Check> {
    let gone = met::removed(&status.peers);
    if gone.is_empty() || status.removed_held == 0 {
        return None;
    }
    let found = format!(
        "{} was removed from your team: {} held there {} only here now",
        gone.join(", "),
        count(status.removed_held as u64, "report", "reports"),
        if status.removed_held == 1 { "is" } else { "are" }
    );
    let advice =
        "sync with another relay or a coordinator, or take them there by stick: `fieldbook bundle write`";
    Some(Check::new("removed", Verdict::Notice, found).advise(advice))
}

/// What waits here to be carried.
pub fn waiting(status: &Status) -> Check {
    match status.only_here {
        0 => Check::new("waiting", Verdict::Good, "no finished report exists only here"),
        reports => Check::new(
            "waiting",
            Verdict::Notice,
            format!(
                "{} only here",
                count(reports as u64, "finished report exists", "finished reports exist")
            ),
        )
        .advise("sync when you can, or `fieldbook bundle write` on a stick"),
    }
}

fn seconds(time_s: u64) -> String {
    time(i64::try_from(time_s.saturating_mul(1000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        Standing {
            admitted_s: 1_000_000,
            not_after_s: 9_000_000,
            refused: None,
            now_ms: 2_000_000_000,
            latest: None,
        }
    }

    #[test]
    fn a_clock_is_judged_by_what_the_device_knows() {
        assert_eq!(clock(&standing()).verdict, Verdict::Good);
        let before = Standing { now_ms: 1_000, ..standing() };
        assert_eq!(clock(&before).verdict, Verdict::Bad);
        let later = |by| Standing { latest: Some((2_000_000_000 + by, "X".into())), ..standing() };
        assert_eq!(clock(&later(CLOCK_SLACK_MS)).verdict, Verdict::Good);
        assert_eq!(clock(&later(CLOCK_SLACK_MS + 1)).verdict, Verdict::Notice);
    }

    #[test]
    fn a_membership_that_ends_is_said_before_and_after() {
        assert_eq!(membership(&standing()).verdict, Verdict::Good);
        assert_eq!(membership(&Standing { now_ms: 8_900_000_000, ..standing() }).verdict, Verdict::Notice);
        assert_eq!(membership(&Standing { now_ms: 9_000_001_000, ..standing() }).verdict, Verdict::Bad);
        let refused = Standing { refused: Some("the device was removed from the team".into()), ..standing() };
        assert!(membership(&refused).found.contains("removed"));
    }

    fn said(path: &str, outcome: Word) -> Said {
        let path = Some(path.to_owned());
        let role = (outcome == Word::Met).then(|| "relay".to_owned());
        Said { address: "a:1".into(), path, outcome, why: None, role, expired: false }
    }

    #[test]
    fn ways_are_weighed_together() {
        let last = |said: &[Said]| of_address("a:1", said).pop().unwrap();
        let good = last(&[said("quic", Word::Met), said("tcp", Word::Met)]);
        assert_eq!(good.verdict, Verdict::Good);
        let blocked = last(&[said("quic", Word::NoConnection), said("tcp", Word::Met)]);
        assert!(blocked.verdict == Verdict::Notice && blocked.found.contains("UDP"), "{blocked:?}");
        // A daemon that listens by UDP only is none to worry about.
        assert_eq!(last(&[said("quic", Word::Met), said("tcp", Word::NoConnection)]).verdict, Verdict::Good);
        for (word, part) in [
            (Word::TurnedAway, "does not take this device in"),
            (Word::OtherTeam, "not of your team"),
            (Word::OtherVersion, "do not understand"),
            (Word::Removed, "no member"),
            (Word::NoName, "leads nowhere"),
            (Word::Silent, "does not speak"),
            (Word::NoConnection, "no way leads there"),
        ] {
            let check = last(&[said("quic", Word::NoConnection), said("tcp", word)]);
            assert!(check.verdict == Verdict::Bad && check.found.contains(part), "{word:?}: {check:?}");
            assert!(check.advice.is_some());
        }
    }
}
