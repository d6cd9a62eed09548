//! What runs beside the network: processes that hold a depot key or nothing, and never a content key.

#[cfg(feature = "bucket")]
pub mod bucket;
pub mod bundle;
pub mod courier;
pub mod daemon;
pub mod examine;
pub mod handover;
mod hush;
#[cfg(feature = "bucket")]
mod in_step;
pub mod job;
pub mod pair;
pub mod reachable;
pub mod relay;
pub mod working;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::control::{self, Ask, DaemonStatus};
use fieldbook_vault::Layout;

use crate::agent::place::Place;
use crate::agent::wire;
use crate::error::Failure;
use job::Job;

/// How long a daemon may take to end its sessions.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks this vault's daemon; `None` when none runs.
///
/// # Errors
/// Its socket is not safe, or it does not answer as it should.
pub fn ask(place: &Place, ask: Ask) -> Result<Option<DaemonStatus>, Failure> {
    if !place.daemon_exists()? {
        return Ok(None);
    }
    control::ask(&place.daemon(), ask).map_err(Failure::io("the daemon does not answer"))
}

/// Where another device can reach this device's daemon, if one runs.
pub fn daemon_addresses(vault: &Path) -> Vec<String> {
    let status = Place::of(vault).and_then(|place| ask(&place, Ask::Status));
    let listening = status.ok().flatten().map(|status| status.listening).unwrap_or_default();
    reachable_at(&listening)
}

/// At which addresses of this machine others reach what listens there.
pub fn reached_at(listening: &[String]) -> Vec<String> {
    reachable::for_another_device(reachable_at(listening))
}

fn reachable_at(listening: &[String]) -> Vec<String> {
    listening.iter().filter_map(|bound| bound.parse().ok()).flat_map(reachable::addresses).collect()
}

/// Whether `text` looks like the address of a device that is dialled: `HOST:PORT`, `quic://HOST:PORT` or
/// `veil://HOST:PORT`.
///
/// # Errors
/// As [`check_address`].
pub fn check_dialled(text: &str, flag: &str) -> Result<(), Failure> {
    let bare = ["quic://", "veil://"].iter().find_map(|look| text.strip_prefix(look));
    check_address(bare.unwrap_or(text), flag)
}

/// Whether `text` looks like `HOST:PORT`; whether anybody answers there is another matter.
///
/// # Errors
/// It does not; the hint names `flag`.
pub fn check_address(text: &str, flag: &str) -> Result<(), Failure> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let closed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (closed || !host.contains(':')) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if good {
        return Ok(());
    }
    Err(Failure::usage("bad-address", format!("\"{}\" is not an address", crate::sanitise::line(text))).hint(
        format!("an address is a host and a port: {flag} 192.0.2.7:4040 or {flag} desk.example.org:4040"),
    ))
}

/// The addresses that `HOST:PORT` stands for. The resolver's own words for a name that it does not know
/// ("Name or service not known") help nobody.
///
/// # Errors
/// It is no `HOST:PORT`, or the name is not known.
pub fn resolve(text: &str) -> io::Result<Vec<SocketAddr>> {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    match text.to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(error),
        Err(_) => Err(io::Error::other(format!(
            "no device of the name \"{host}\" can be found: it is mistyped, or there is no network"
        ))),
    }
}

/// Tells a running daemon that there is something new to carry. If it does not hear, it finds out by itself.
pub fn nudge(vault: &Path) {
    let _ = Place::of(vault).and_then(|place| ask(&place, Ask::Nudge));
}

/// Waits until the daemon has ended.
///
/// # Errors
/// It does not.
pub fn wait_until_gone(vault: &Path) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    let lock = Layout::new(vault).network_lock();
    while daemon::runs(&lock) {
        if Instant::now() > until {
            return Err(Failure::failed("daemon-stays", "the daemon was told to end and has not yet"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Replaces this process by a network process, which reads `job` from its standard input. Returns
/// only if that fails.
pub fn replace_this_process(command: &str, job: &Job, json: bool) -> Failure {
    let doing = "the process for the network cannot be started";
    let prepared = std::env::current_exe().and_then(|program| {
        let (input, mut to) = std::io::pipe()?;
        // Far smaller than the pipe's buffer: it is written before anybody reads.
        wire::write(&mut to, job)?;
        Ok((program, input))
    });
    match prepared {
        Err(error) => Failure::io(doing)(error),
        Ok((program, input)) => {
            let mut next = Command::new(program);
            next.args(json.then_some("--json")).args(["internal", command]).stdin(input);
            Failure::io(doing)(next.exec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:4040", "desk.example.org:1", "[::1]:4040", "localhost:65535"] {
            assert!(check_address(good, "--with").is_ok(), "{good}");
            for look in ["quic", "veil"] {
                assert!(check_dialled(&format!("{look}://{good}"), "--with").is_ok(), "{look}: {good}");
            }
        }
        for bad in [
            "",
            "nowhere",
            ":4040",
            "host:",
            "host:0",
            "host:99999",
            "host:http",
            "::1:4040",
            "quic://host:1",
        ] {
            let failure = check_address(bad, "--with").expect_err(bad);
            assert_eq!((failure.kind.exit(), failure.code.as_str()), (2, "bad-address"), "{bad}");
        }
    }
}
