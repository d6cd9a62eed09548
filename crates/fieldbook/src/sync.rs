//! One sync, seen from the client: the agent hands over what is finished, a network process carries,
//! the agent takes in what came.

use std::io::{BufRead as _, BufReader};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use fieldbook_daemon::PIPE;
use fieldbook_vault::{AbsorbSummary, Partners, PeerView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::{Held, Network, Request};
use crate::agent::wire;
use crate::commands::by;
use crate::error::{Failure, Kind};
use crate::interrupt;
use crate::met;
use crate::network::handover;
use crate::network::job::{Attempt, Job, Moved, Said, Task, Traffic};
use crate::pipe::Pipe;
use crate::progress::{Progress, Step};
use crate::sanitise::line;
use crate::ui::{Ui, count, size, time};

/// What a sync did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Synced {
    /// Where the other device was reached.
    pub address: String,
    /// The way there: `quic`, `tcp`, `socks` or `stdio`.
    pub path: String,
    /// The ways that were tried before and led nowhere.
    pub tried: Vec<Missed>,
    /// Its id; empty if this device keeps none of it.
    pub device: String,
    /// Its role; empty then, too.
    pub role: String,
    /// Its name, as this device calls it.
    pub name: String,
    /// What went over the line.
    pub traffic: Traffic,
    /// What was taken in.
    pub absorbed: AbsorbSummary,
    /// Finished reports of this device by who holds them.
    pub held: Vec<Held>,
}

/// With whom to sync.
pub enum Partner {
    /// The first of these that answers.
    Address {
        /// This one, or else the addresses that this device remembers.
        with: Option<String>,
        /// A proxy, as `socks5://ADDRESS:PORT`.
        proxy: Option<String>,
        /// Nothing but the proxy may be used.
        only_proxy: bool,
        /// At most so many bytes a second.
        limit: Option<NonZeroU64>,
    },
    /// Whoever is at the other end of a pipe.
    Pipe {
        /// Its ends.
        pipe: Pipe,
        /// This is the side that answers.
        serve: bool,
        /// At most so many bytes a second.
        limit: Option<NonZeroU64>,
    },
}

/// A way that led nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Where to.
    pub address: String,
    /// By which way, and why not.
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// Syncs with a partner.
///
/// # Errors
/// [`Kind::Unreachable`] when nobody answers; whatever went wrong on the way.
pub fn sync(agent: &mut Agent, partner: Partner, ui: &Ui) -> Result<Synced, Failure> {
    agent.call::<u64>(&Request::Flush)?;
    let partners: Partners = agent.call(&Request::Partners)?;
    if !partners.in_team {
        return Err(fieldbook_vault::VaultError::NoTeam.into());
    }
    let mut dialled = None;
    let (task, pipe) = match partner {
        Partner::Pipe { pipe, serve, limit } => (Task::Pipe { serve, limit }, Some(pipe)),
        Partner::Address { with, proxy, only_proxy, limit } => {
            if let Some(address) = with.as_deref().filter(|address| was_removed(&partners.peers, address)) {
                ui.note(format_args!(
                    "Warning: the device that this one met at {} was removed from your team. Whoever has it learns that this device calls, and from where; it gets no report.",
                    line(address)
                ));
            }
            dialled = Some(with.clone());
            let addresses = with
                .map_or_else(|| remembered(&partners.peers, &partners.invited_to), |address| vec![address]);
            if addresses.is_empty() {
                return Err(met::nobody(&partners));
            }
            (Task::Sync { addresses, proxy, only_proxy, limit }, None)
        }
    };
    let network: Network = agent.call(&Request::Network)?;
    let Carried { address, device, role, path, tried, traffic } =
        carry(network, task, pipe, ui).map_err(|failure| match &dialled {
            Some(with) => met::what_now(failure, &partners.peers, with.as_deref()),
            None => failure,
        })?;
    // What came is kept; a vault that has no room takes it in when there is some.
    let absorbed: AbsorbSummary = agent
        .call(&Request::Absorb)
        .map_err(|failure| if traffic.disk_full { disk_full() } else { failure })?;
    let mut held = Vec::new();
    agent.stream::<Held, ()>(&Request::Held, |group| {
        held.push(group);
        Ok(())
    })?;
    let partners: Partners = agent.call(&Request::Partners)?;
    let peer = partners.peers.iter().find(|peer| peer.device == device);
    let known = peer.map(|peer| peer.name.clone());
    let name = known.filter(|name| !name.is_empty()).unwrap_or_else(|| device.chars().take(8).collect());
    Ok(Synced { address, path, tried, device, role, name, traffic, absorbed, held })
}

/// Addresses at which devices were reached that were not removed from the team since, the latest first; then those
/// that the invitation brought.
pub fn remembered(peers: &[PeerView], invited_to: &[String]) -> Vec<String> {
    let mut standing: Vec<_> = peers.iter().filter(|peer| peer.address.is_some() && !peer.removed).collect();
    standing.sort_by_key(|peer| std::cmp::Reverse(peer.last_sync_ms));
    let mut addresses: Vec<String> = standing.into_iter().filter_map(|peer| peer.address.clone()).collect();
    addresses.extend(invited_to.iter().filter(|address| !was_removed(peers, address)).cloned());
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    addresses
}

/// Whether a device was met at this address that was removed from the team since, and no other.
pub fn was_removed(peers: &[PeerView], address: &str) -> bool {
    let mut there = peers.iter().filter(|peer| peer.address.as_deref() == Some(address)).peekable();
    there.peek().is_some() && there.all(|peer| peer.removed)
}

/// What a courier brought about.
struct Carried {
    address: String,
    device: String,
    role: String,
    path: String,
    tried: Vec<Missed>,
    traffic: Traffic,
}

/// Runs a courier.
fn carry(network: Network, task: Task, pipe: Option<Pipe>, ui: &Ui) -> Result<Carried, Failure> {
    let doing = "the process for the network cannot be started";
    let program = std::env::current_exe().map_err(Failure::io(doing))?;
    // A socket rather than a pipe: descriptors can follow the job.
    let (mut to, orders) = UnixStream::pair().map_err(Failure::io(doing))?;
    let mut child = Command::new(program)
        .args(["internal", "courier"])
        .stdin(Stdio::from(OwnedFd::from(orders)))
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(Failure::io(doing))?;
    let _guard = interrupt::Child::watch(&child);
    // Its input stays open while it works: it ends when this command does.
    wire::write(&mut to, &Job { network, task }).map_err(Failure::io(doing))?;
    if let Some(Pipe { input, output }) = pipe {
        handover::give(&to, input, output).map_err(Failure::io(doing))?;
    }
    let from = child.stdout.take().ok_or_else(|| Failure::failed("internal", doing))?;
    let mut partner = None;
    let mut traffic = None;
    let mut broke = None;
    let mut ran_out = false;
    let mut tried: Vec<Missed> = Vec::new();
    let mut failures: Vec<Lost> = Vec::new();
    let mut progress: Option<Progress<'_>> = None;
    for said in BufReader::new(from).lines() {
        let said = said.map_err(Failure::io("the process for the network is gone"))?;
        let said = serde_json::from_str(&said);
        if !matches!(said, Ok(Said::Progress { .. })) {
            progress.iter().for_each(Progress::clear);
        }
        match said {
            Ok(Said::Trying { address }) => ui.note(format_args!("Trying {} …", line(&address))),
            Ok(Said::Connected { address, device, role, path, tried: before }) => {
                tried.extend(missed(&address, before));
                // When nobody answers, the failure that ends the command says it.
                if partner.is_none() {
                    failures.iter().for_each(|lost| ui.note(lost_line(lost)));
                }
                let plain = if address.starts_with("quic://") {
                    ", without the veil: whoever watches sees QUIC or TLS"
                } else {
                    ""
                };
                ui.note(format_args!("Connected to {}{}{plain}.", line(&address), by(&path)));
                ui.emit(json!({"event": "connected", "address": address, "path": path}))?;
                progress = Some(Progress::begin(ui));
                partner = Some((address, device, role, path));
            }
            Ok(Said::Failed { address, why, answered, tried: before }) => {
                tried.extend(missed(&address, before));
                failures.push((address, why, answered));
            }
            Ok(Said::Broke(failure)) => broke = Some(failure),
            Ok(Said::Synced(counted)) => {
                ui.emit(json!({"event": "done", "traffic": counted}))?;
                traffic = Some(counted);
            }
            Ok(Said::RanOut { not_after }) => {
                ran_out = true;
                ui.note(format_args!(
                    "Your membership ran out on {}, the other device says. What you wrote is delivered all the same.",
                    seconds(not_after)
                ));
            }
            Ok(Said::PeerRanOut { not_after }) => ui.note(format_args!(
                "The other device's membership ran out on {}: it delivers, and gets only its renewal.",
                seconds(not_after)
            )),
            Ok(Said::Progress { sent, received }) => {
                if let (Some(progress), true) = (&mut progress, sent.of_entries + received.of_entries > 0) {
                    progress.at(step(sent, received))?;
                }
            }
            Ok(Said::Repairing) => ui.note("The two sides differ: looking for what is missing."),
            Err(error) => {
                return Err(Failure::failed("internal", format!("the courier is not understood: {error}")));
            }
        }
    }
    drop(progress);
    if let (true, Some(traffic)) = (ran_out, &traffic) {
        ui.note(match traffic.received {
            0 => {
                "Your renewal was not there yet. Sync again later; a coordinator's device makes it by itself."
            }
            _ => "What is addressed to this device was fetched, its renewal too if it was there.",
        });
    }
    drop(to);
    let status = child.wait().map_err(Failure::io("the process for the network is gone"))?;
    if let Some(failure) = broke {
        return Err(failure);
    }
    match (partner, traffic) {
        (Some((address, device, role, path)), Some(traffic)) if status.success() => {
            tried.dedup();
            Ok(Carried { address, device, role, path, tried, traffic })
        }
        (Some(_), _) => {
            let lost = failures.into_iter().rfind(|(_, _, answered)| *answered);
            Err(cut_off(lost.map(|(_, why, _)| why).as_deref()))
        }
        (None, _) => Err(unreachable(&failures)),
    }
}

/// This device's own disk has no room for what the other side has for it.
pub fn disk_full() -> Failure {
    Failure::new(Kind::Partial, "disk-full", "this device's disk is full: not everything was taken in")
        .hint("make room, then sync again; nothing is lost at the sender")
}

/// Somebody of the team had answered, and then it broke.
fn cut_off(why: Option<&str>) -> Failure {
    // What only says again that it broke is no reason.
    let why = line(why.unwrap_or_default()).replace("the connection broke: ", "");
    let why = match why.as_str() {
        "" | "connection lost" | "broken pipe" | "connection reset" => String::new(),
        why => format!(" ({why})"),
    };
    let what = format!("the connection was lost before the sync was done{why}; your work is safe here");
    Failure::new(Kind::Unreachable, "connection-lost", what)
        .hint("what arrived is kept on both sides: sync again, and it goes on from there")
}

/// What has moved, in words: what is acknowledged by the other side, and what is durable here.
fn step(sent: Moved, received: Moved) -> Step {
    let mut words = Vec::new();
    let over = |moved: Moved| moved.entries == moved.of_entries;
    for (did, moved, other) in [("sent", sent, received), ("received", received, sent)] {
        // What is done already is not of interest while something else is not.
        if moved.of_entries == 0 || (over(moved) && !over(other)) {
            continue;
        }
        let least = if moved.exact { "" } else { "at least " };
        let entries = format!("{} of {least}{}", moved.entries, count(moved.of_entries, "entry", "entries"));
        // The first letter of the line is a large one.
        words.push(if words.is_empty() {
            format!("{}{} {entries}", did[..1].to_uppercase(), &did[1..])
        } else {
            format!("{did} {entries}")
        });
        if moved.of_bytes > 0 {
            words.push(format!("{} of {}", size(moved.bytes), size(moved.of_bytes)));
        }
    }
    Step {
        words,
        bytes: sent.bytes + received.bytes,
        of: sent.of_bytes + received.of_bytes,
        exact: sent.exact && received.exact,
        object: json!({"sent": sent, "received": received}),
    }
}

fn seconds(time_s: u64) -> String {
    time(i64::try_from(time_s.saturating_mul(1000)).unwrap_or(i64::MAX))
}

fn missed(address: &str, attempts: Vec<Attempt>) -> impl Iterator<Item = Missed> {
    attempts.into_iter().map(|attempt| Missed { address: address.to_owned(), attempt })
}

/// An address, why it led nowhere, and whether somebody answered there.
type Lost = (String, String, bool);

fn lost_line((address, why, _): &Lost) -> String {
    format!("{}: {}", line(address), line(why))
}

fn unreachable(failures: &[Lost]) -> Failure {
    if let [(pipe, why, _)] = failures
        && pipe == PIPE
    {
        let message = format!("the other end of the pipe is no device of your team: {}", line(why));
        return Failure::new(Kind::Unreachable, "unreachable", message + "; your work is safe here")
            .hint("at the other end, `fieldbook sync --stdio --serve` has to run, with its notebook open");
    }
    let tried: Vec<String> = failures.iter().map(lost_line).collect();
    let message =
        format!("nobody of your team could be reached ({}); your work is safe here", tried.join("; "));
    Failure::new(Kind::Unreachable, "unreachable", message)
        .hint("try again when the other device's daemon runs, or give its address with --with HOST:PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_courier_is_understood_line_by_line() {
        let traffic = Traffic { sent: 2, sent_bytes: 4096, ..Traffic::default() };
        for said in [
            Said::Trying { address: "a:1".into() },
            Said::Connected {
                address: "a:1".into(),
                device: "00".into(),
                role: "relay".into(),
                path: "tcp".into(),
                tried: vec![Attempt { path: Some("quic".into()), why: "no answer".into() }],
            },
            Said::Failed {
                address: "a:1".into(),
                why: "no answer".into(),
                answered: false,
                tried: vec![Attempt { path: None, why: "no answer".into() }],
            },
            Said::Progress {
                sent: Moved { entries: 1, of_entries: 2, ..Moved::default() },
                received: Moved::default(),
            },
            Said::RanOut { not_after: 7 },
            Said::PeerRanOut { not_after: 7 },
            Said::Synced(traffic),
        ] {
            let line = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Said>(&line).unwrap(), said);
        }
    }

    #[test]
    fn a_connection_that_broke_says_once_that_it_did() {
        let said = |why| cut_off(why).message;
        let plain = "the connection was lost before the sync was done; your work is safe here";
        assert_eq!(said(None), plain);
        assert_eq!(said(Some("the connection broke: connection lost")), plain);
        let silent = said(Some("the other side went silent"));
        assert!(silent.contains("(the other side went silent); your work"), "{silent}");
    }

    #[test]
    fn both_directions_are_said_and_what_may_grow_is_a_least() {
        let sent = Moved { entries: 1, bytes: 1 << 20, of_entries: 4, of_bytes: 4 << 20, exact: true };
        let received = Moved { entries: 0, bytes: 0, of_entries: 1, of_bytes: 900, exact: false };
        let both = step(sent, received);
        assert_eq!(
            both.words.join(", "),
            "Sent 1 of 4 entries, 1.0 MiB of 4.0 MiB, received 0 of at least 1 entry, 0 B of 900 B"
        );
        assert_eq!((both.bytes, both.of, both.exact), (1 << 20, (4 << 20) + 900, false));
        let all = Moved { entries: 4, bytes: 9, of_entries: 4, of_bytes: 9, exact: true };
        assert_eq!(step(all, received).words[0], "Received 0 of at least 1 entry");
        assert_eq!(step(all, all).words.len(), 4);
        assert_eq!(step(Moved::default(), received).words[0], "Received 0 of at least 1 entry");
        assert!(step(sent, Moved { exact: true, ..Moved::default() }).exact);
    }

    #[test]
    fn whoever_was_removed_is_not_dialled_by_itself() {
        let peer = |address: &str, removed, last_sync_ms| PeerView {
            name: String::new(),
            device: String::new(),
            role: String::new(),
            address: Some(address.to_owned()),
            path: None,
            last_sync_ms,
            removed,
            declined: Default::default(),
        };
        let peers =
            [peer("a:1", true, 3), peer("b:1", false, 1), peer("c:1", true, 4), peer("c:1", false, 2)];
        let invited = ["a:1".to_owned(), "d:1".to_owned()];
        assert_eq!(remembered(&peers, &invited), ["c:1", "b:1", "d:1"]);
        assert!(was_removed(&peers, "a:1") && !was_removed(&peers, "c:1") && !was_removed(&peers, "d:1"));
    }

    #[test]
    fn nobody_reached_is_no_loss() {
        let failure = unreachable(&[("a:1".into(), "no answer".into(), false)]);
        assert_eq!(failure.kind.exit(), 14);
        assert!(failure.message.contains("safe here"));
    }
}
