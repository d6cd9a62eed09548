//! `fieldbook relay`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fieldbook_daemon::control::{Ask as AskDaemon, DaemonStatus};
use fieldbook_daemon::relay::{Collected, RelaySettings, RelayStatus};
use fieldbook_vault::{DeviceInfo, Layout};
use serde_json::{Value, json};

use super::join::{self, JoinArgs};
use super::{init, json};
use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::network::relay::{Ask, Change, Said};
use crate::relay::depot::{ask, must_be_relay};
use crate::relay::run;
use crate::relay::unit::Unit;
use crate::sanitise::line;
use crate::span::Span;
use crate::ui::{count, size, time};

#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Make a relay's vault and join a team with a coordinator's code
    Init(InitArgs),
    /// Be the relay, in the foreground, until told to end
    Run(RunArgs),
    /// What it holds, how much room is left, who synced (numbers, never names)
    Status,
    /// Change how much it holds, and for how long
    Set(PolicyArgs),
    /// Drop now what need not be kept any more; a running relay does it by itself
    Gc(GcArgs),
    /// Print a service for systemd
    Install(InstallArgs),
}

/// Make a vault for a relay, join a team with the code of `team invite --role relay`, and set what it holds.
///
/// A relay gets no key that opens a report. Its operator need not be a member of the team, and sees numbers only.
/// The passphrase protects the keys with which the relay proves that it belongs to the team.
#[derive(Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// What the coordinators will see as the relay's name
    #[arg(long, default_value = "Relay")]
    name: String,
    /// log2 of the cost of one guess, 15 to 19 [default: about one second on this machine]
    #[arg(long, value_name = "N", value_parser = init::work_factor())]
    work_factor: Option<u8>,
    /// Take a passphrase that could be guessed
    #[arg(long)]
    weak_passphrase: bool,
    /// Keep what it holds in the S3-compatible bucket that FILE names, which several machines may serve
    #[cfg(feature = "bucket")]
    #[arg(long, value_name = "FILE")]
    bucket: Option<PathBuf>,
    /// Begin a new depot in the bucket, where none may be
    #[cfg(feature = "bucket")]
    #[arg(long, requires = "bucket")]
    new_bucket: bool,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// What a relay holds, and for how long.
///
/// Terms count the time during which the relay ran: a clock that is wrong, or a machine that was off, makes
/// nothing look old.
#[derive(Debug, Default, Args)]
pub struct PolicyArgs {
    /// Where it listens, by UDP and TCP at the same port [default: 0.0.0.0:4040]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Bytes that it holds at most, such as 500M or 20G [default: half of what the disk has free]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    total: Option<u64>,
    /// Bytes that it holds at most of what one device brought [default: a quarter of the total]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    per_device: Option<u64>,
    /// Drop what is older than this and every coordinator holds; when the relay is full, also what one lacks
    /// [default: 365d]
    #[arg(long, value_name = "TIME")]
    keep: Option<Span>,
    /// Drop what a monitor brought, and every coordinator who syncs here holds, when it is older [default: 30d]
    #[arg(long, value_name = "TIME")]
    keep_received: Option<Span>,
    /// Never drop what is younger than this [default: 7d]
    #[arg(long, value_name = "TIME")]
    floor: Option<Span>,
}

/// Be the relay, in the foreground, until SIGTERM or Ctrl-C.
///
/// The passphrase comes from where every command takes it, else from the credential `passphrase` of the system's
/// service manager.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Listen here this time
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Answer plain QUIC and TLS as well, for networks that pass only what they know: anybody can then see what listens here, and
    /// learn the relay's lasting key
    #[arg(long)]
    unveiled: bool,
    /// Listen by UDP only
    #[arg(long)]
    no_tcp: bool,
    /// The bucket is named by this file this time
    #[cfg(feature = "bucket")]
    #[arg(long, value_name = "FILE")]
    bucket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only say what would be dropped
    #[arg(long)]
    dry_run: bool,
}

/// Print a unit for systemd that lets the relay touch nothing but its own directory and the network.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Print it; nothing is installed by this program
    #[arg(long, required = true)]
    print_unit: bool,
    /// The system user that the relay runs as, and the name of its directory in /var/lib
    #[arg(long, value_name = "NAME", default_value = "fieldbook-relay")]
    user: String,
    /// The program [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The file with the passphrase, which only root can read
    #[arg(long, value_name = "FILE", default_value = "/etc/fieldbook-relay/passphrase")]
    credential: PathBuf,
    /// The file that names the bucket of a relay in a bucket, such as /etc/fieldbook-relay/bucket.json
    #[cfg(feature = "bucket")]
    #[arg(long, value_name = "FILE")]
    bucket: Option<PathBuf>,
}

pub fn run(command: RelayCommand, global: &Global) -> Result<(), Failure> {
    match command {
        RelayCommand::Init(args) => init(args, global),
        RelayCommand::Run(args) => {
            let how = run::How {
                listen: args.listen,
                unveiled: args.unveiled,
                no_tcp: args.no_tcp,
                #[cfg(feature = "bucket")]
                bucket: args.bucket.map(|file| network::bucket::read(&file, false)).transpose()?,
            };
            run::run(how, global)
        }
        RelayCommand::Status => status(global),
        RelayCommand::Set(args) => set(args, global),
        RelayCommand::Gc(args) => gc(&args, global),
        RelayCommand::Install(args) => install(args, global),
    }
}

fn init(args: InitArgs, global: &Global) -> Result<(), Failure> {
    let change = args.policy.change()?;
    #[cfg(feature = "bucket")]
    let question = match &args.bucket {
        Some(file) => {
            let file = absolute(file)?;
            // What is wrong with it is said before the code is used up.
            network::bucket::read(&file, args.new_bucket)?;
            Ask::SetInBucket { change, file, new: args.new_bucket }
        }
        None => Ask::Set(change),
    };
    #[cfg(not(feature = "bucket"))]
    let question = Ask::Set(change);
    if !Layout::new(&global.vault).slots().exists() {
        judge(&question, global)?;
        init::make(args.name, args.work_factor, args.weak_passphrase, global)?;
    }
    let device: DeviceInfo = Agent::open(global)?.call(&Request::Device)?;
    if device.team.is_none() {
        // A policy that cannot be is said before the code is used up.
        judge(&question, global)?;
        let paired = join::join(&args.join, global)?;
        global.ui.emit(json!({"event": "joined", "device": paired.device, "role": paired.role}))?;
        if paired.role != "relay" {
            return Err(Failure::failed(
                "no-relay",
                format!("the code was an invitation for a {}, not for a relay", line(&paired.role)),
            )
            .hint("have this device removed from the team, delete its vault, and ask for a code of `team invite --role relay`"));
        }
    }
    let policy = with_policy(question, global)?;
    global.ui.emit(with_event("relay", &policy)?)?;
    global.ui.say(format_args!("This is a relay now.\n{}", policy_text(&policy)))?;
    global.ui.note("Next: `fieldbook relay run`, or `fieldbook relay install --print-unit` for a service.");
    Ok(())
}

/// Whether a new relay could have the policy that is asked for.
fn judge(question: &Ask, global: &Global) -> Result<(), Failure> {
    match question {
        Ask::Set(change) => change.judge(false, &global.vault),
        #[cfg(feature = "bucket")]
        Ask::SetInBucket { change, .. } => change.judge(true, &global.vault),
        _ => Ok(()),
    }
}

fn set(args: PolicyArgs, global: &Global) -> Result<(), Failure> {
    let change = args.change()?;
    if change.is_empty() {
        return Err(Failure::usage("usage", "say what is to change, for example --total 20G"));
    }
    let moves = change.listen.is_some();
    let policy = with_policy(Ask::Set(change), global)?;
    global.ui.emit(with_event("policy", &policy)?)?;
    global.ui.say(policy_text(&policy))?;
    if moves {
        global.ui.note("A relay that runs listens there when it is started again.");
    }
    Ok(())
}

/// It is remembered, and a service is started from elsewhere.
#[cfg(feature = "bucket")]
fn absolute(file: &std::path::Path) -> Result<PathBuf, Failure> {
    std::path::absolute(file).map_err(Failure::input(&line(&file.display().to_string())))
}

fn with_policy(question: Ask, global: &Global) -> Result<RelaySettings, Failure> {
    match ask(&mut of_a_relay(global)?, question)? {
        Said::Policy(policy) => Ok(policy),
        _ => Err(not_answered()),
    }
}

/// The agent of this vault, which must be a relay's.
fn of_a_relay(global: &Global) -> Result<Agent, Failure> {
    let mut agent = Agent::open(global)?;
    must_be_relay(&agent.call(&Request::Device)?)?;
    Ok(agent)
}

fn status(global: &Global) -> Result<(), Failure> {
    // A running relay answers without a passphrase.
    let running = network::ask(&Place::of(&existing(global)?)?, AskDaemon::Status)?;
    let known = running.as_ref().and_then(|daemon| daemon.relay.clone());
    let relay = match known {
        Some(relay) => relay,
        None => match ask(&mut of_a_relay(global)?, Ask::Status)? {
            Said::Status(relay) => *relay,
            _ => return Err(not_answered()),
        },
    };
    let mut object = with_event("relay", &relay)?;
    object["running"] = match &running {
        Some(daemon) => json!({
            "pid": daemon.pid, "listening": daemon.listening, "since_ms": daemon.since_ms,
            "sessions_now": daemon.sessions_now, "sessions_done": daemon.sessions_done,
            "sessions_failed": daemon.sessions_failed, "received": daemon.received, "sent": daemon.sent,
        }),
        None => Value::Null,
    };
    global.ui.emit(object)?;
    global.ui.say(text(&relay, running.as_ref()).trim_end())
}

fn text(relay: &RelayStatus, running: Option<&DaemonStatus>) -> String {
    let mut out = match running {
        Some(daemon) => format!(
            "Runs since {} on {}: {}, {} failed, {} now\n",
            time(daemon.since_ms),
            line(&daemon.listening.join(", ")),
            count(daemon.sessions_done, "sync", "syncs"),
            daemon.sessions_failed,
            daemon.sessions_now
        ),
        None => "Does not run\n".to_owned(),
    };
    out.push_str(&format!(
        "Holds   {} ({}); dropped so far: {}\n",
        count(relay.entries, "entry", "entries"),
        size(relay.bytes),
        relay.gone
    ));
    out.push_str(&format!(
        "Room    {} of {}{}{}\n",
        size(relay.room),
        size(relay.policy.total_bytes),
        match relay.disk_free {
            Some(free) => format!(" ({} free on the disk)", size(free)),
            None => " in the bucket".to_owned(),
        },
        match (relay.full, relay.full_for_attachments) {
            (true, _) => ". IT IS FULL: devices keep what they bring",
            (_, true) => ". No room for attachments any more: the rest is for reports",
            _ => "",
        }
    ));
    out.push_str(&format!(
        "Of one device at most {}; of the one that brought most it holds {} (something of {})\n",
        size(relay.policy.device_bytes),
        size(relay.most_of_one_device),
        count(relay.devices, "device", "devices")
    ));
    let synced = &relay.synced;
    out.push_str(&format!(
        "Synced  with {}, {}, {}{}\n",
        count(synced.coordinators, "coordinator", "coordinators"),
        count(synced.monitors, "monitor", "monitors"),
        count(synced.relays, "other relay", "other relays"),
        synced.last_ms.map(|at| format!("; last {}", time(at))).unwrap_or_default()
    ));
    out.push_str(&format!(
        "Since every coordinator had all: {}\n",
        count(relay.not_collected, "entry", "entries")
    ));
    if let Some(oldest) = relay.oldest_s {
        out.push_str(&format!("Oldest  {} of running time at most\n", span(oldest)));
    }
    if let Some(last) = &relay.last_dropped {
        let what = count(last.dropped.entries, "entry", "entries");
        out.push_str(&format!("Dropped {what} ({}) at {}\n", size(last.dropped.bytes), time(last.time_ms)));
    }
    if relay.damaged > 0 {
        out.push_str(&format!("Damaged {}\n", count(relay.damaged, "entry", "entries")));
    }
    if let Some(lost) = &relay.lost {
        out.push_str(&format!(
            "Lost    {} by the bucket; found at {} (devices are told that they are gone here)\n",
            count(lost.entries, "entry", "entries"),
            time(lost.time_ms)
        ));
    }
    out + &terms(&relay.policy)
}

fn policy_text(policy: &RelaySettings) -> String {
    format!(
        "It listens on {}.\nIt holds at most {}, and of one device at most {}.\n{}",
        line(&policy.listen),
        size(policy.total_bytes),
        size(policy.device_bytes),
        terms(policy)
    )
}

fn terms(policy: &RelaySettings) -> String {
    format!(
        "Keeps everything for {}; what monitors brought and all coordinators have, for {}; drops nothing younger than {}",
        span(policy.keep_s),
        span(policy.keep_received_s),
        span(policy.floor_s)
    )
}

/// Seconds as people say them.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => count(seconds, "second", "seconds"),
        120..7_200 => count(seconds / 60, "minute", "minutes"),
        7_200..172_800 => count(seconds / 3_600, "hour", "hours"),
        _ => count(seconds / 86_400, "day", "days"),
    }
}

fn gc(args: &GcArgs, global: &Global) -> Result<(), Failure> {
    let collected = match ask(&mut of_a_relay(global)?, Ask::Collect { dry_run: args.dry_run })? {
        Said::Collected(collected) => collected,
        _ => return Err(not_answered()),
    };
    let mut object = with_event("collected", &collected)?;
    object["dry_run"] = args.dry_run.into();
    global.ui.emit(object)?;
    global.ui.say(collected_text(&collected, args.dry_run))
}

fn collected_text(collected: &Collected, dry_run: bool) -> String {
    let all = collected.all();
    if all.entries == 0 {
        return "Nothing is due.".to_owned();
    }
    let verb = if dry_run { "Would drop" } else { "Dropped" };
    format!(
        "{verb} {} ({}): {} by age, {} that every coordinator holds.",
        count(all.entries, "entry", "entries"),
        size(all.bytes),
        collected.aged.entries,
        collected.received.entries
    )
}

fn install(args: InstallArgs, global: &Global) -> Result<(), Failure> {
    let program = match args.program {
        Some(program) => program,
        None => std::env::current_exe().map_err(Failure::io("this program cannot find itself"))?,
    };
    #[cfg(feature = "bucket")]
    let bucket = args.bucket.map(|file| network::bucket::beside(&absolute(&file)?)).transpose()?;
    #[cfg(not(feature = "bucket"))]
    let bucket = None;
    let unit = Unit { program, user: args.user, passphrase: args.credential, bucket };
    let text = unit.text()?;
    global.ui.emit(json!({"event": "unit", "unit": text}))?;
    global.ui.say(text.trim_end())
}

fn with_event(event: &str, of: &impl serde::Serialize) -> Result<Value, Failure> {
    let mut object = json(of)?;
    object["event"] = event.into();
    Ok(object)
}

fn not_answered() -> Failure {
    Failure::failed("internal", "the process for the depot answered something else")
}

impl PolicyArgs {
    fn change(&self) -> Result<Change, Failure> {
        if let Some(listen) = &self.listen {
            network::check_address(listen, "--listen")?;
        }
        let seconds = |span: Option<Span>| span.map(Span::seconds);
        Ok(Change {
            listen: self.listen.clone(),
            total_bytes: self.total,
            device_bytes: self.per_device,
            keep_s: seconds(self.keep),
            keep_received_s: seconds(self.keep_received),
            floor_s: seconds(self.floor),
        })
    }
}

/// A number of bytes, or of K, M, G or T.
fn bytes(text: &str) -> Result<u64, String> {
    let unit = |letter: char| match letter.to_ascii_uppercase() {
        'K' => Some(1 << 10),
        'M' => Some(1 << 20),
        'G' => Some(1 << 30),
        'T' => Some(1 << 40),
        _ => None,
    };
    let (digits, unit) = match text.chars().last().and_then(unit) {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 1_u64),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| "it is not a size: write 500M or 20G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_and_said_as_people_do() {
        assert_eq!([bytes("500M"), bytes("2g"), bytes("3000")], [Ok(500 << 20), Ok(2 << 30), Ok(3_000)]);
        for bad in ["", "M", "1.5G", "-1", "99999999T", "9e3"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!([span(1), span(3_600), span(365 * 86_400)], ["1 second", "60 minutes", "365 days"]);
    }
}
