//! `fieldbook daemon`

use std::num::NonZeroU64;

use clap::{Args, Subcommand};
use fieldbook_daemon::control::{Ask, DaemonStatus, LanStatus};
use fieldbook_vault::Partners;
use serde_json::json;

use super::connections::call_words;
use super::json;
use super::sync::check_proxy;
use crate::agent::client::{Agent, existing, warn_of_swap};
use crate::agent::place::Place;
use crate::agent::protocol::{Network, Request};
use crate::confine::Confined;
use crate::error::Failure;
use crate::global::Global;
use crate::met;
use crate::network;
use crate::network::job::{Job, Task};
use crate::sanitise::line;
use crate::sync::remembered;
use crate::ui::{count, time};

/// Exchange sealed reports with others in the background.
///
/// The daemon holds the key of the sealed entries' store and no key that opens an entry: it works
/// while the vault is locked. It runs in the foreground; `daemon stop` or Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct DaemonArgs {
    /// Where to listen, by UDP and TCP at the same port; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Dial this device and stay with it; `known` stands for all that were reached before. `quic://HOST:PORT` dials plain
    /// QUIC and TLS instead of veiled, `veil://HOST:PORT` nothing but veiled UDP. Can be given several times
    #[arg(long, value_name = "HOST:PORT")]
    with: Vec<String>,
    /// A SOCKS5 proxy to dial through when the straight ways lead nowhere
    #[arg(long, value_name = "socks5://ADDRESS:PORT", requires = "with")]
    via: Option<String>,
    /// Dial through this SOCKS5 proxy and not otherwise: no other connection, no UDP, no name looked up
    #[arg(long, value_name = "socks5://ADDRESS:PORT", requires = "with", conflicts_with = "via")]
    only_via: Option<String>,
    /// At most so many bytes a second in all, in both directions together: a number of bytes, or of K, M or G
    #[arg(long, value_name = "SIZE", value_parser = super::carry::bytes)]
    limit: Option<u64>,
    /// Listen by UDP only
    #[arg(long, requires = "listen")]
    no_tcp: bool,
    /// Listen by TCP only
    #[arg(long, requires = "listen", conflicts_with = "no_tcp")]
    no_udp: bool,
    /// Answer plain QUIC and TLS as well, for networks that pass only what they know: anybody can then see what listens here, and
    /// by TCP or UDP learn this device's lasting key
    #[arg(long, requires = "listen")]
    unveiled: bool,
    /// Find devices of the team in the networks that this machine is in, and be found by them. Without --listen: at any free
    /// port, by UDP only. Whoever is in such a network and knows Fieldbook can see that it runs on this machine
    #[arg(long, conflicts_with_all = ["no_udp", "only_via", "unveiled"])]
    lan: bool,
    /// Serve the depot in the S3-compatible bucket that FILE names, and keep the vault in step with it
    #[cfg(feature = "bucket")]
    #[arg(long, value_name = "FILE", requires = "listen")]
    bucket: Option<std::path::PathBuf>,
    /// Begin a new depot in the bucket, where none may be
    #[cfg(feature = "bucket")]
    #[arg(long, requires = "bucket")]
    new_bucket: bool,
    #[command(subcommand)]
    command: Option<DaemonCommand>,
}

/// All of this machine's addresses, at any free port.
const ANYWHERE: &str = "0.0.0.0:0";
/// Stands for all devices that were reached before.
const KNOWN: &str = "known";

#[derive(Debug, Subcommand)]
enum DaemonCommand {
    /// Say whether it runs, where, and what it has done
    Status,
    /// End it
    Stop,
}

pub fn run(args: DaemonArgs, global: &Global) -> Result<(), Failure> {
    match args.command {
        Some(DaemonCommand::Status) => status(global),
        Some(DaemonCommand::Stop) => stop(global),
        None if args.listen.is_none() && args.with.is_empty() && !args.lan => Err(Failure::usage(
            "usage",
            "give --listen HOST:PORT, --with HOST:PORT, --lan, or several of them, or `status`, or `stop`",
        )),
        None => become_daemon(args, global),
    }
}

/// Becomes the daemon: this process keeps its id and its terminal, and has never held a content key.
fn become_daemon(args: DaemonArgs, global: &Global) -> Result<(), Failure> {
    #[cfg(feature = "bucket")]
    let bucket = args.bucket.map(|path| network::bucket::read(&path, args.new_bucket)).transpose()?;
    let (known, with): (Vec<String>, Vec<String>) = args.with.into_iter().partition(|with| with == KNOWN);
    with.iter().try_for_each(|address| network::check_dialled(address, "--with"))?;
    let only_proxy = args.only_via.is_some();
    let flag = if only_proxy { "--only-via" } else { "--via" };
    let proxy = args.via.or(args.only_via);
    proxy.as_deref().map_or(Ok(()), |proxy| check_proxy(proxy, flag))?;
    let place = Place::of(&existing(global)?)?;
    warn_of_swap(&global.ui);
    let network: Network = {
        let mut agent = Agent::open(global)?;
        agent.call::<u64>(&Request::Flush)?;
        if !known.is_empty() {
            whom_it_leaves_out(&agent.call(&Request::Partners)?, with.is_empty(), global);
        }
        agent.call(&Request::Network)?
    };
    place.make()?;
    // Whoever only wants to be found listens where nothing answers strangers.
    let only_found = args.lan && args.listen.is_none();
    let task = Task::Listen {
        address: args.listen.or_else(|| only_found.then(|| ANYWHERE.to_owned())),
        with,
        known: !known.is_empty(),
        proxy,
        only_proxy,
        limit: args.limit.and_then(NonZeroU64::new),
        udp: !args.no_udp,
        tcp: !args.no_tcp && !only_found,
        unveiled: args.unveiled,
        lan: args.lan,
        only_found,
        control: place.daemon(),
        #[cfg(feature = "bucket")]
        bucket,
    };
    let job = Job { network, task };
    Err(network::replace_this_process("daemon-run", &job, global.ui.json()))
}

/// Says whom `--with known` does not stand for any more, and that it stands for nobody.
fn whom_it_leaves_out(partners: &Partners, alone: bool, global: &Global) {
    let gone = met::removed(&partners.peers);
    if let Some(why) = met::nobody_left(partners) {
        let what = if alone { "nobody is dialled" } else { "`known` stands for nobody" };
        global.ui.warn("removed", format_args!("{what}: {why}. What to do: {}", met::ANOTHER));
    } else if !gone.is_empty() {
        let were = if gone.len() == 1 { "was" } else { "were" };
        let gone = gone.join(", ");
        global.ui.warn("removed", format_args!("not dialled: {gone}, which {were} removed from your team"));
    } else if remembered(&partners.peers, &partners.invited_to).is_empty() {
        let to_do = "sync with one first: `fieldbook sync --with HOST:PORT`";
        global.ui.warn("nobody-known", format_args!("this device has met no other yet: {to_do}"));
    }
}

fn status(global: &Global) -> Result<(), Failure> {
    let status = asked(Ask::Status, global)?;
    let mut object = json(&status)?;
    // The version of the control socket, not of this output.
    object.as_object_mut().map(|fields| fields.remove("v"));
    let confined = Confined::of_process(status.pid, status.confinement);
    object["confinement"] = confined.word().into();
    object["landlock"] = confined.files().into();
    object["lan"] = json(&status.lan)?;
    let reached_at = network::reached_at(&status.listening);
    object["reached_at"] = json(&reached_at)?;
    global.ui.emit(object)?;
    let addresses: Vec<String> = status.listening.iter().map(|address| line(address)).collect();
    let by = match &status.carriers[..] {
        [only] if only == "tcp" => "TCP only",
        [only] if only == "quic" => "UDP only",
        _ => "UDP and TCP",
    };
    let veil = status.veil.unwrap_or_default();
    let plain = network::daemon::plain_words(veil.unveiled, by);
    let listening = match &addresses[..] {
        [] => "Not listening; running".to_owned(),
        addresses => format!("Listening on {} ({by}{plain})", addresses.join(", ")),
    };
    for call in &status.calls {
        global.ui.say(call_words(call))?;
    }
    global.ui.say(format_args!(
        "{listening} since {} (process {}).\n{}, {} failed; {} now.\nEntries received {}, sent {}.",
        time(status.since_ms),
        status.pid,
        count(status.sessions_done, "sync", "syncs"),
        status.sessions_failed,
        status.sessions_now,
        status.received,
        status.sent
    ))?;
    if reached_at != status.listening {
        global.ui.say(format_args!("Others reach it at {}.", reached_at.join(", ")))?;
    }
    if veil.wrong_clocks > 0 {
        global.ui.say(clock_words(veil.ahead_s))?;
    }
    match &status.lan {
        Some(lan) => global.ui.say(lan_words(lan))?,
        None => global.ui.say("LAN discovery is off.")?,
    }
    match confined.wholly() {
        true => Ok(()),
        false => {
            global.ui.say("This system confines it in part or not at all; `fieldbook doctor` says more.")
        }
    }
}

/// Somebody of the team gets no answer by UDP because of a clock.
pub fn clock_words(ahead_s: i64) -> String {
    let days = ahead_s.unsigned_abs() / 86_400;
    let side = if ahead_s < 0 { "behind" } else { "ahead of" };
    format!(
        "A device of the team got no answer by UDP: its clock is {} {side} this one's. One of the two is wrong, or somebody repeats what was recorded at another time.",
        count(days, "day", "days")
    )
}

/// How LAN discovery stands. Of whom it found it says nothing: the connections do, as far as they may.
pub fn lan_words(lan: &LanStatus) -> String {
    let mut words = match (lan.networks, lan.heard_ms) {
        (_, Some(heard)) => format!("LAN discovery is on: your team was heard last at {}.", time(heard)),
        (0, None) if lan.sent == 0 => {
            "LAN discovery is on: this machine is in no network yet where it listens.".to_owned()
        }
        _ => "LAN discovery is on: nobody of your team was heard yet.".to_owned(),
    };
    if let Some(earlier) = lan.earlier_ms {
        words.push_str(&format!(
            " At {} one was heard that has only earlier keys of your team (or it was a recording): it was removed, or does not know yet that somebody was; it is not called. If you know that it is one of yours, let it sync with a daemon of yours that has --listen, or carry a bundle by stick.",
            time(earlier)
        ));
    }
    words
}

fn stop(global: &Global) -> Result<(), Failure> {
    let status = asked(Ask::Stop, global)?;
    network::wait_until_gone(&existing(global)?)?;
    global.ui.emit(json!({"event": "stopped", "pid": status.pid}))?;
    global.ui.say("The daemon has ended.")
}

fn asked(ask: Ask, global: &Global) -> Result<DaemonStatus, Failure> {
    let place = Place::of(&existing(global)?)?;
    network::ask(&place, ask)?.ok_or_else(|| {
        Failure::failed("no-daemon", "no daemon runs for this vault")
            .hint("start one with `fieldbook daemon --listen HOST:PORT`")
    })
}
