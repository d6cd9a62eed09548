//! `fieldbook sync`

use std::num::NonZeroU64;

use clap::Args;
use fieldbook_vault::{AbsorbSummary, Partners, ReasonsView};

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{Held, Request};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::met;
use crate::network;
use crate::network::job::{Declined, Traffic};
use crate::pipe;
use crate::sanitise::line;
use crate::sync::{self, Partner, Synced};
use crate::ui::{Ui, count, size, time};

/// Exchange sealed reports with another device now.
///
/// Without --with it tries the devices that were reached before, the latest first. Each is tried by UDP and by
/// TCP, then through the proxy of --via. --stdio speaks with whatever program is at its standard input and
/// output, and writes nothing else there.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("pipe").args(["stdio", "through"]))]
pub struct SyncArgs {
    /// Where the other device listens
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "pipe")]
    with: Option<String>,
    /// A SOCKS5 proxy to try when the straight ways lead nowhere
    #[arg(long, value_name = "socks5://ADDRESS:PORT", conflicts_with = "pipe")]
    via: Option<String>,
    /// Use this SOCKS5 proxy and nothing else: no other connection, no UDP, no name looked up
    #[arg(long, value_name = "socks5://ADDRESS:PORT", conflicts_with_all = ["via", "pipe"])]
    only_via: Option<String>,
    /// At most so many bytes a second, in both directions together: a number of bytes, or of K, M or G
    #[arg(long, value_name = "SIZE", value_parser = super::carry::bytes)]
    limit: Option<u64>,
    /// Sync over standard input and output, for example through ssh
    #[arg(long)]
    stdio: bool,
    /// With --stdio: be the side that answers, and print nothing
    #[arg(long, requires = "stdio")]
    serve: bool,
    /// Sync with the device at the other end of a command (run by sh), such as
    /// 'ssh desk fieldbook sync --stdio --serve'
    #[arg(long, value_name = "CMD")]
    through: Option<String>,
}

pub fn run(args: SyncArgs, global: &Global) -> Result<(), Failure> {
    if let Some(address) = &args.with {
        network::check_dialled(address, "--with")?;
    }
    let limit = args.limit.and_then(NonZeroU64::new);
    let proxy = args.via.as_ref().or(args.only_via.as_ref());
    if let Some(proxy) = proxy {
        let flag = if args.only_via.is_some() { "--only-via" } else { "--via" };
        check_proxy(proxy, flag)?;
    }
    if args.serve {
        // What this device knows is not for the terminal of whoever connected.
        let pipe = pipe::take_standard(global)?;
        let partner = Partner::Pipe { pipe, serve: true, limit };
        let synced = sync::sync(&mut Agent::open(global)?, partner, &Ui::silent());
        return synced.map(drop).map_err(|failure| match failure.kind {
            Kind::Unreachable => Failure::new(
                Kind::Unreachable,
                &failure.code,
                "the sync with whoever connected did not come about",
            ),
            _ => failure,
        });
    }
    let (partner, command) = if args.stdio {
        (Partner::Pipe { pipe: pipe::take_standard(global)?, serve: false, limit }, None)
    } else if let Some(command) = &args.through {
        let (pipe, command) = pipe::run_command(command)?;
        (Partner::Pipe { pipe, serve: false, limit }, Some(command))
    } else {
        let only_proxy = args.only_via.is_some();
        (Partner::Address { with: args.with.clone(), proxy: proxy.cloned(), only_proxy, limit }, None)
    };
    let mut agent = Agent::open(global)?;
    let synced = sync::sync(&mut agent, partner, &global.ui);
    let ended = command.and_then(pipe::Running::end);
    let synced = synced.map_err(|failure| match ended {
        Some(code) if failed_by_itself(code) && failure.code == "unreachable" => command_failed(code),
        _ => failure,
    })?;
    // What it did not take: how much of it this device wrote itself.
    let partners: Partners = agent.call(&Request::Partners)?;
    let peer = partners.peers.iter().find(|peer| !peer.device.is_empty() && peer.device == synced.device);
    let own = peer.map(|peer| peer.declined.own);
    let mut object = json(&synced)?;
    object["event"] = "synced".into();
    object["declined_by_peer_own"] = json(&own)?;
    global.ui.emit(object)?;
    global.ui.say(text(&synced).trim_end())?;
    own_disk(&synced.traffic)?;
    verdict(&synced, own)
}

/// A command that a signal ended was ended by the pipe, which closed when nobody of the team answered. ssh says 255.
fn failed_by_itself(code: i32) -> bool {
    (1..128).contains(&code) || code == 255
}

/// The command of --through failed before a device of the team answered.
fn command_failed(code: i32) -> Failure {
    let what = format!(
        "the command ended with {code}, and no device of your team answered through it; your work is safe here"
    );
    Failure::new(Kind::Unreachable, "command-failed", what).hint(
        "what it said about it stands above; try it by itself. At its other end `fieldbook sync --stdio --serve` has to run, \
         with its notebook open",
    )
}

pub(super) fn check_proxy(text: &str, flag: &str) -> Result<(), Failure> {
    text.parse::<fieldbook_daemon::Proxy>().map(drop).map_err(|error| {
        Failure::usage("bad-proxy", format!("\"{}\" is not a proxy: {error}", line(text)))
            .hint(format!("Tor listens at {flag} socks5://127.0.0.1:9050, Tor Browser's at port 9150"))
    })
}

fn text(synced: &Synced) -> String {
    let Synced { name, address, path, traffic, absorbed, held, .. } = synced;
    let entries = |number: u64, bytes: u64| match number {
        0 => "nothing".to_owned(),
        _ => format!("{} ({})", count(number, "entry", "entries"), size(bytes)),
    };
    let mut out = format!(
        "Synced with {}{}: sent {}, received {}.\n",
        line(name),
        match path.as_str() {
            "stdio" => " over the pipe".to_owned(),
            path => format!(" at {}{}", line(address), render::by(path)),
        },
        entries(traffic.sent, traffic.sent_bytes),
        entries(traffic.received, traffic.received_bytes)
    );
    if traffic.refused_by_peer > 0 {
        let entries = count(traffic.refused_by_peer, "entry was", "entries were");
        out.push_str(&format!("{entries} not taken by the other side.\n"));
    }
    if traffic.gone_at_peer > 0 {
        out.push_str(&not_given(traffic.gone_at_peer));
    }
    out.push_str(&not_in_step(traffic));
    let mut left = traffic.declined;
    if traffic.disk_full {
        left.full = 0;
    }
    out.push_str(&left_there(&left));
    out + &taken_in(absorbed, held)
}

/// What the other side knows of and could not give. Nothing that is here is touched by it.
fn not_given(entries: u64) -> String {
    let (entries, they, them) = match entries {
        1 => ("1 entry is".to_owned(), "it", "it"),
        number => (format!("{} are", count(number, "entry", "entries")), "they", "them"),
    };
    format!(
        "{entries} no longer there at the other side, or cannot be read there now: {they} may come when you sync again, or from \
         whoever else has {them}.\n"
    )
}

/// What of a sync was not as it should be, beside what one of the two does not take now.
fn not_in_step(traffic: &Traffic) -> String {
    let mut out = String::new();
    if traffic.refused > 0 {
        let entries = count(traffic.refused, "entry", "entries");
        out.push_str(&format!(
            "{entries} came damaged and {} not taken.\n",
            if traffic.refused == 1 { "was" } else { "were" }
        ));
    }
    if traffic.disk_full {
        let entries = count(traffic.declined.full, "entry stays", "entries stay");
        out.push_str(&format!("This device's disk is full: {entries} at the other side. Make room, then sync again; nothing is lost at the sender.\n"));
    }
    if traffic.differs {
        out.push_str("The two still differ: sync again.\n");
    }
    out
}

/// A sync that could not take in everything because of this device's own disk was done in part.
fn own_disk(traffic: &Traffic) -> Result<(), Failure> {
    match traffic.disk_full {
        false => Ok(()),
        true => Err(sync::disk_full()),
    }
}

/// What stays at the other side, because this device does not carry it.
fn left_there(ours: &Declined) -> String {
    let why = [
        (ours.full + ours.share, "This device has no room for more that it carries for others"),
        (ours.size, "This device does not carry entries this large"),
        (ours.other, "This device does not carry everything"),
    ];
    let why = why.into_iter().filter(|(number, _)| *number > 0);
    why.map(|(number, why)| {
        let entries = count(number, "entry stays", "entries stay");
        format!("{why}: {entries} at the other side (`fieldbook carry` changes it).\n")
    })
    .collect()
}

/// Whether the other side took everything. What it has no room for now stays here, and is no loss.
fn verdict(synced: &Synced, own: Option<ReasonsView>) -> Result<(), Failure> {
    let (number, bytes) = (&synced.traffic.declined_by_peer, &synced.traffic.declined_by_peer_bytes);
    let who = match synced.device.as_str() {
        "" => "the other device".to_owned(),
        _ => line(&synced.name),
    };
    let is_relay = synced.role == "relay";
    let elsewhere = "sync with a coordinator, or take them to one by stick (`fieldbook bundle write`)";
    let full = if is_relay {
        format!("sync again later; or {elsewhere}. Whoever runs the relay can give it more room")
    } else {
        format!("sync again later; or {elsewhere}. Its owner can give it more room (`fieldbook carry` there)")
    };
    let share = if is_relay {
        format!("sync again when a coordinator has fetched what it holds; or {elsewhere}")
    } else {
        format!("sync again later; or {elsewhere}")
    };
    let reasons = [
        (
            number.full,
            bytes.full,
            own.map(|own| own.full),
            "declined-full",
            format!("{who} is full"),
            " until it has room".to_owned(),
            full,
        ),
        (
            number.share,
            bytes.share,
            own.map(|own| own.share),
            "declined-share",
            format!("{who} holds as much of this device as it may"),
            " until it has room for more".to_owned(),
            share,
        ),
        (
            number.size,
            bytes.size,
            own.map(|own| own.size),
            "declined-size",
            format!("{who} does not carry entries this large"),
            String::new(),
            elsewhere.to_owned(),
        ),
        (
            number.other,
            bytes.other,
            own.map(|own| own.other),
            "declined",
            format!("{who} does not take everything"),
            String::new(),
            format!("{elsewhere}. A newer version of the program may know why"),
        ),
    ];
    let mut given = reasons.into_iter().filter(|(number, ..)| *number > 0).peekable();
    let Some((_, _, _, code, _, _, hint)) = given.peek() else { return Ok(()) };
    let (code, hint) = (*code, hint.clone());
    let why: Vec<String> = given
        .map(|(number, bytes, own, _, why, until, _)| {
            let stay = if number == 1 { "stays" } else { "stay" };
            format!("{why}: {} ({}) {stay} here{until}", met::entries(number, own), size(bytes))
        })
        .collect();
    Err(Failure::new(Kind::Partial, code, format!("{}; nothing is lost", why.join("; "))).hint(hint))
}

/// What came, and where this device's reports are now: the same words after a sync and after a stick.
pub(super) fn taken_in(absorbed: &AbsorbSummary, held: &[Held]) -> String {
    let mut out = String::new();
    for (number, words) in [(absorbed.reports_new, "new here"), (absorbed.reports_changed, "changed here")] {
        if number > 0 {
            out.push_str(&format!("{} {words}.\n", count(number as u64, "report", "reports")));
        }
    }
    for group in held {
        out.push_str(&format!("{}: {}.\n", count(group.reports, "report", "reports"), held_words(group)));
    }
    if absorbed.clashes > 0 {
        let clashes = count(absorbed.clashes as u64, "clash", "clashes");
        out.push_str(&format!("{clashes} to decide: `fieldbook conflicts`.\n"));
    }
    for problem in &absorbed.problems {
        out.push_str(&render::problem(problem));
    }
    out
}

/// Where a group of reports is, in words.
fn held_words(group: &Held) -> String {
    match group.word.as_str() {
        "only here" => "only here".to_owned(),
        "carried" => match group.relay_since_ms {
            Some(since) => {
                format!("on the relay, the last since {}, not opened yet as far as is known", time(since))
            }
            None => "carried by others, not opened yet as far as is known".to_owned(),
        },
        "received" => {
            let names: Vec<String> = group.holders.iter().map(|name| line(name)).collect();
            format!("received by {}, the last at {}", names.join(", "), time(group.latest_ms))
        }
        other => line(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(role: &str, number: Declined, bytes: Declined) -> Synced {
        let traffic =
            Traffic { declined_by_peer: number, declined_by_peer_bytes: bytes, ..Traffic::default() };
        Synced {
            address: "a:1".into(),
            path: "quic".into(),
            tried: Vec::new(),
            device: "00".into(),
            role: role.into(),
            name: "Desk".into(),
            traffic,
            absorbed: AbsorbSummary::default(),
            held: Vec::new(),
        }
    }

    #[test]
    fn a_sync_that_did_not_do_everything_says_so() {
        assert_eq!(not_in_step(&Traffic { in_step: true, ..Traffic::default() }), "");
        assert_eq!(
            not_in_step(&Traffic { differs: true, ..Traffic::default() }),
            "The two still differ: sync again.\n"
        );
        for (refused, words) in [
            (1, "1 entry came damaged and was not taken."),
            (2, "2 entries came damaged and were not taken."),
        ] {
            assert_eq!(not_in_step(&Traffic { refused, ..Traffic::default() }).trim_end(), words);
        }
    }

    #[test]
    fn what_the_other_side_could_not_give_is_said() {
        let mut synced = synced("relay", Declined::default(), Declined::default());
        assert!(!text(&synced).contains("no longer there"));
        for (number, words) in [
            (
                1,
                "1 entry is no longer there at the other side, or cannot be read there now: it may come when you sync again",
            ),
            (
                2,
                "2 entries are no longer there at the other side, or cannot be read there now: they may come",
            ),
        ] {
            synced.traffic.gone_at_peer = number;
            assert!(text(&synced).contains(words), "{}", text(&synced));
        }
        assert_eq!(json(&synced).unwrap()["traffic"]["gone_at_peer"], 2);
    }

    #[test]
    fn what_was_declined_is_said_with_the_reason_and_what_to_do() {
        let none = Declined::default();
        assert!(verdict(&synced("relay", none, none), None).is_ok());
        let full = (Declined { full: 3, ..none }, Declined { full: 4 << 20, ..none });
        let failure = verdict(&synced("relay", full.0, full.1), None).unwrap_err();
        assert_eq!((failure.kind.exit(), &*failure.code), (3, "declined-full"));
        assert_eq!(
            failure.message,
            "Desk is full: 3 entries (4.0 MiB) stay here until it has room; nothing is lost"
        );
        let own = ReasonsView { full: 1, ..ReasonsView::default() };
        let failure = verdict(&synced("relay", full.0, full.1), Some(own)).unwrap_err();
        let said = "1 entry of this device's own and 2 that it carries for others (4.0 MiB) stay here";
        assert!(failure.message.contains(said), "{failure}");
        assert!(failure.hint.unwrap().contains("Whoever runs the relay"));
        let share = Declined { share: 1, ..none };
        let failure = verdict(&synced("relay", share, share), None).unwrap_err();
        assert_eq!(failure.code, "declined-share");
        assert!(failure.hint.unwrap().contains("when a coordinator has fetched"));
        let two = Declined { size: 1, other: 2, ..none };
        let failure = verdict(&synced("monitor", two, two), None).unwrap_err();
        assert_eq!(failure.code, "declined-size");
        assert!(failure.message.starts_with("Desk does not carry entries this large: 1 entry"), "{failure}");
        assert!(failure.message.contains("; Desk does not take everything: 2 entries"), "{failure}");
        let failure = verdict(&synced("monitor", Declined { other: 1, ..none }, none), None).unwrap_err();
        assert!(failure.code == "declined" && failure.hint.unwrap().contains("newer version"));
        let said = left_there(&Declined { size: 2, ..none });
        assert!(said.contains("2 entries stay at the other side (`fieldbook carry` changes it)"), "{said}");
    }
}
