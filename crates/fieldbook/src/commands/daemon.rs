//! `fieldbook daemon`

use clap::{Args, Subcommand};
use fieldbook_daemon::control::{Ask, DaemonStatus};
use serde_json::json;

use super::json;
use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::{Network, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::network::job::{Job, Task};
use crate::sanitise::line;
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
    /// Listen by UDP only
    #[arg(long, requires = "listen")]
    no_tcp: bool,
    /// Listen by TCP only
    #[arg(long, requires = "listen", conflicts_with = "no_tcp")]
    no_udp: bool,
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

#[derive(Debug, Subcommand)]
enum DaemonCommand {
    /// Say whether it runs, where, and what it has done
    Status,
    /// End it
    Stop,
}

pub fn run(args: DaemonArgs, global: &Global) -> Result<(), Failure> {
    #[cfg(feature = "bucket")]
    let bucket = args.bucket.map(|path| network::bucket::read(&path, args.new_bucket)).transpose()?;
    match (args.command, args.listen) {
        (Some(DaemonCommand::Status), _) => status(global),
        (Some(DaemonCommand::Stop), _) => stop(global),
        (None, Some(address)) => {
            let listening = Listening {
                address,
                udp: !args.no_udp,
                tcp: !args.no_tcp,
                #[cfg(feature = "bucket")]
                bucket,
            };
            listen(listening, global)
        }
        (None, None) => Err(Failure::usage("usage", "give --listen HOST:PORT, or `status`, or `stop`")),
    }
}

/// Where and for what it listens.
struct Listening {
    address: String,
    udp: bool,
    tcp: bool,
    #[cfg(feature = "bucket")]
    bucket: Option<network::bucket::Bucket>,
}

/// Becomes the daemon: this process keeps its id and its terminal, and has never held a content key.
fn listen(listening: Listening, global: &Global) -> Result<(), Failure> {
    let place = Place::of(&existing(global)?)?;
    let network: Network = {
        let mut agent = Agent::open(global)?;
        agent.call::<u64>(&Request::Flush)?;
        agent.call(&Request::Network)?
    };
    place.make()?;
    let task = Task::Listen {
        address: listening.address,
        udp: listening.udp,
        tcp: listening.tcp,
        control: place.daemon(),
        #[cfg(feature = "bucket")]
        bucket: listening.bucket,
    };
    let job = Job { network, task };
    Err(network::replace_this_process("daemon-run", &job, global.ui.json()))
}

fn status(global: &Global) -> Result<(), Failure> {
    let status = asked(Ask::Status, global)?;
    let mut object = json(&status)?;
    // The version of the control socket, not of this output.
    object.as_object_mut().map(|fields| fields.remove("v"));
    global.ui.emit(object)?;
    let addresses: Vec<String> = status.listening.iter().map(|address| line(address)).collect();
    let by = match &status.carriers[..] {
        [only] if only == "tcp" => "TCP only",
        [only] if only == "quic" => "UDP only",
        _ => "UDP and TCP",
    };
    global.ui.say(format_args!(
        "Listening on {} ({by}) since {} (process {}).\n{}, {} failed; {} now.\nEntries received {}, sent {}.",
        addresses.join(", "),
        time(status.since_ms),
        status.pid,
        count(status.sessions_done, "sync", "syncs"),
        status.sessions_failed,
        status.sessions_now,
        status.received,
        status.sent
    ))
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
