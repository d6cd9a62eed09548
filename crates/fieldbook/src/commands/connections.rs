//! How the connections of this device's daemon stand: what `status` says of them.

use fieldbook_daemon::control::{Ask, CallStatus, ConnectionStatus, DaemonStatus};
use fieldbook_vault::PeerView;
use serde_json::{Value, json};

use super::daemon::lan_words;
use super::render;
use crate::agent::client::existing;
use crate::agent::place::Place;
use crate::error::Failure;
use crate::global::Global;
use crate::met;
use crate::network;
use crate::sanitise::line;
use crate::ui::{count, size, time};

/// Connections with devices that are not named, of which a line each is said.
const UNNAMED_SHOWN: usize = 3;

/// This vault's daemon, as it answered.
pub enum Daemon {
    /// None runs.
    None,
    /// One does.
    Runs(Box<DaemonStatus>),
    /// One is there, and this is why it does not answer.
    Mute(Failure),
}

/// Asks it. That it does not answer is no failure of a command that tells of other things besides.
pub fn ask(global: &Global) -> Daemon {
    let asked = existing(global).and_then(|vault| network::ask(&Place::of(&vault)?, Ask::Status));
    match asked {
        Ok(None) => Daemon::None,
        Ok(Some(status)) => Daemon::Runs(Box::new(status)),
        Err(failure) => Daemon::Mute(failure),
    }
}

impl Daemon {
    /// For programs; `null` if none runs.
    pub fn object(&self, peers: &[PeerView]) -> Value {
        let status = match self {
            Self::None => return Value::Null,
            Self::Mute(failure) => return json!({"error": failure.message}),
            Self::Runs(status) => status,
        };
        let connections: Vec<Value> = status
            .connections
            .iter()
            .map(|connection| {
                let mut object = json!(connection);
                object["name"] = json!(named(connection, peers));
                object["state"] = state_word(connection).into();
                object["declined"] = json!(known(connection, peers).map(|peer| peer.declined));
                object
            })
            .collect();
        json!({
            "pid": status.pid,
            "since_ms": status.since_ms,
            "listening": status.listening,
            "connections": connections,
            "connections_more": status.connections_more,
            "waiting": waiting(status).collect::<Vec<_>>(),
            "lan": status.lan,
        })
    }

    /// What becomes of reports that are only here.
    pub fn only_here(&self) -> &'static str {
        const BY_HAND: &str = "sync when you can";
        let Self::Runs(status) = self else { return BY_HAND };
        if status.connections.iter().any(|connection| connection.sending > 0) {
            "the daemon is sending"
        } else if status.calls.iter().any(|call| !call.removed) || !status.connections.is_empty() {
            "the daemon sends them when somebody takes them"
        } else {
            BY_HAND
        }
    }

    /// For people.
    pub fn text(&self, peers: &[PeerView]) -> String {
        let status = match self {
            Self::None => {
                return "Daemon  does not run: only `fieldbook sync` exchanges anything\n".to_owned();
            }
            Self::Mute(failure) => return format!("Daemon  {}\n", line(&failure.message)),
            Self::Runs(status) => status,
        };
        let mut out = format!("Daemon  runs since {}\n", time(status.since_ms));
        let unnamed = |one: &&ConnectionStatus| one.address.is_none() && one.device.is_none();
        for connection in status.connections.iter().filter(|one| !unnamed(one)) {
            out.push_str(&words(connection, peers));
        }
        let others: Vec<_> = status.connections.iter().filter(unnamed).collect();
        for connection in others.iter().take(UNNAMED_SHOWN) {
            out.push_str(&words(connection, peers));
        }
        let more = others.len().saturating_sub(UNNAMED_SHOWN) as u64 + status.connections_more;
        if more > 0 {
            out.push_str(&format!(
                "        with {}\n",
                count(more, "more device of the team", "more devices of the team")
            ));
        }
        for call in waiting(status) {
            out.push_str(&format!("        {}\n", call_words(call)));
        }
        if status.connections.is_empty() && waiting(status).next().is_none() {
            out.push_str("        nobody is connected\n");
        }
        if let Some(lan) = &status.lan {
            out.push_str(&format!("        {}\n", lan_words(lan)));
        }
        out
    }
}

/// Whom it dials and has no connection with.
fn waiting(status: &DaemonStatus) -> impl Iterator<Item = &CallStatus> {
    status.calls.iter().filter(|call| call.connected_ms.is_none())
}

/// What is known of the device at the other end, if it may be known which it is.
fn known<'a>(connection: &ConnectionStatus, peers: &'a [PeerView]) -> Option<&'a PeerView> {
    let device = connection.device.as_deref()?;
    peers.iter().find(|peer| peer.device == device)
}

/// What this device calls the one at the other end, if it may.
fn named(connection: &ConnectionStatus, peers: &[PeerView]) -> Option<String> {
    let device = connection.device.as_deref()?;
    let name = known(connection, peers).map(|peer| peer.name.clone()).filter(|name| !name.is_empty());
    Some(name.unwrap_or_else(|| render::short(device)))
}

fn words(connection: &ConnectionStatus, peers: &[PeerView]) -> String {
    let who = named(connection, peers).map_or_else(|| "a device of the team".to_owned(), |name| line(&name));
    let at = connection.address.as_deref().map(|address| format!(" at {}", line(address)));
    format!(
        "        with {who}{}{} since {}: {}\n",
        at.unwrap_or_default(),
        render::by(&connection.path),
        time(connection.since_ms),
        state(connection, known(connection, peers))
    )
}

/// What is going on, for programs.
fn state_word(connection: &ConnectionStatus) -> &'static str {
    match (connection.sending > 0, connection.receiving > 0, connection.rests) {
        (true, true, _) => "both",
        (true, false, _) => "sending",
        (false, true, _) => "receiving",
        (false, false, true) => "rests",
        (false, false, false) => "comparing",
    }
}

fn state(connection: &ConnectionStatus, peer: Option<&PeerView>) -> String {
    let entries = |does: &str, number: u64, bytes: u64| {
        format!("{does} {} ({})", count(number, "entry", "entries"), size(bytes))
    };
    let sending = entries("sending", connection.sending, connection.sending_bytes);
    let receiving = entries("receiving", connection.receiving, connection.receiving_bytes);
    match state_word(connection) {
        "both" => format!("{sending}, {receiving}"),
        "sending" => sending,
        "receiving" => receiving,
        // Nothing moves, and not because both have everything.
        "rests" => match peer.and_then(|peer| met::declined(&peer.declined)) {
            Some(declined) => format!("at rest; it {declined}"),
            None => "in step, at rest".to_owned(),
        },
        _ => "comparing what both have".to_owned(),
    }
}

/// How it stands with somebody whom the daemon dials.
pub fn call_words(call: &CallStatus) -> String {
    let address = line(&call.address);
    if call.removed {
        return format!(
            "{address}: not dialled: the device there was removed from your team. If another device of the team is there now: fieldbook sync --with {address}"
        );
    }
    let error = call.last_error.as_deref().map(|why| format!(": {}", line(why))).unwrap_or_default();
    match (call.connected_ms, call.next_try_ms) {
        (Some(since), _) => {
            let by = call.path.as_deref().map(render::by).unwrap_or_default();
            let before = call.last_error.as_deref().zip(call.last_error_ms);
            let before = before.map(|(why, at)| format!(" Not connected at {}: {}.", time(at), line(why)));
            format!("{address}: connected{by} since {}.{}", time(since), before.unwrap_or_default())
        }
        (None, Some(next)) => format!("{address}: not connected{error}. Next try at {}.", time(next)),
        (None, None) => format!("{address}: dialling now{error}."),
    }
}

#[cfg(test)]
mod tests {
    use fieldbook_vault::{DeclinedView, ReasonsView};

    use super::*;

    fn daemon(connections: Vec<ConnectionStatus>, calls: Vec<CallStatus>) -> Daemon {
        let status = json!({
            "v": 1, "pid": 7, "listening": [], "since_ms": 0, "sessions_now": 1, "sessions_done": 0,
            "sessions_failed": 0, "received": 0, "sent": 0, "connections": connections, "calls": calls,
        });
        Daemon::Runs(Box::new(serde_json::from_value(status).unwrap()))
    }

    fn relay(name: &str, declined: DeclinedView) -> PeerView {
        PeerView {
            name: name.into(),
            device: "aa".into(),
            role: "relay".into(),
            address: None,
            path: None,
            last_sync_ms: 0,
            removed: false,
            declined,
        }
    }

    #[test]
    fn each_connection_that_matters_is_a_line_and_who_is_not_named_is_a_device_of_the_team() {
        let peer = relay("Relay", DeclinedView::default());
        let sending = ConnectionStatus {
            device: Some("aa".into()),
            role: Some("relay".into()),
            address: Some("relay:1".into()),
            path: "socks".into(),
            sending: 2,
            sending_bytes: 2048,
            ..ConnectionStatus::default()
        };
        let other = ConnectionStatus { path: "quic".into(), rests: true, ..ConnectionStatus::default() };
        let call = CallStatus {
            address: "desk:1".into(),
            next_try_ms: Some(60_000),
            last_error: Some("nobody listens there".into()),
            ..CallStatus::default()
        };
        let connected =
            CallStatus { address: "relay:1".into(), connected_ms: Some(0), ..CallStatus::default() };
        let daemon = daemon([&[sending][..], &vec![other; 5]].concat(), vec![call, connected]);
        let text = daemon.text(std::slice::from_ref(&peer));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "Daemon  runs since 1970-01-01 00:00 UTC",
                "with Relay at relay:1 (TCP, through the proxy) since 1970-01-01 00:00 UTC: sending 2 entries (2 KiB)",
                "with a device of the team (UDP) since 1970-01-01 00:00 UTC: in step, at rest",
                "with a device of the team (UDP) since 1970-01-01 00:00 UTC: in step, at rest",
                "with a device of the team (UDP) since 1970-01-01 00:00 UTC: in step, at rest",
                "with 2 more devices of the team",
                "desk:1: not connected: nobody listens there. Next try at 1970-01-01 00:01 UTC.",
            ]
        );
        let object = daemon.object(&[peer]);
        assert_eq!(
            (&object["connections"][0]["name"], &object["connections"][0]["state"]),
            (&"Relay".into(), &"sending".into())
        );
        assert_eq!(
            (&object["connections"][1]["name"], &object["connections"][1]["state"]),
            (&Value::Null, &"rests".into())
        );
        assert_eq!(object["waiting"].as_array().map(Vec::len), Some(1), "{object}");
    }

    #[test]
    fn beside_a_full_relay_nobody_is_in_step() {
        let full = ReasonsView { full: 2, ..ReasonsView::default() };
        let peer = relay("the relay", DeclinedView { all: full, own: full });
        let connection = ConnectionStatus {
            device: Some("aa".into()),
            path: "tcp".into(),
            rests: true,
            ..ConnectionStatus::default()
        };
        let text = daemon(vec![connection], Vec::new()).text(&[peer]);
        assert!(
            text.contains(": at rest; it is full: 2 entries stay here") && !text.contains("in step"),
            "{text}"
        );
    }

    #[test]
    fn what_waits_is_said_by_what_the_daemon_does() {
        assert_eq!(Daemon::None.only_here(), "sync when you can");
        assert_eq!(daemon(Vec::new(), Vec::new()).only_here(), "sync when you can");
        let sending = ConnectionStatus { sending: 1, ..ConnectionStatus::default() };
        assert_eq!(daemon(vec![sending], Vec::new()).only_here(), "the daemon is sending");
        let call = CallStatus { next_try_ms: Some(1), ..CallStatus::default() };
        assert!(daemon(Vec::new(), vec![call]).only_here().starts_with("the daemon sends them when"));
    }

    #[test]
    fn that_none_runs_or_answers_or_is_connected_is_said() {
        assert!(Daemon::None.text(&[]).contains("does not run"));
        assert_eq!(Daemon::None.object(&[]), Value::Null);
        assert!(daemon(Vec::new(), Vec::new()).text(&[]).contains("nobody is connected"));
        let mute = Daemon::Mute(Failure::failed("io", "the daemon does not answer"));
        assert!(mute.text(&[]).contains("does not answer") && mute.object(&[])["error"].is_string());
    }
}
