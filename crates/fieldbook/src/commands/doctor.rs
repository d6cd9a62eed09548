//! `fieldbook doctor`

use clap::Args;
use fieldbook_daemon::control::{Ask, LanStatus};
use fieldbook_daemon::relay::RelayStatus;
use fieldbook_vault::{Partners, Standing, Status};
use serde_json::json;

use super::daemon::{clock_words, lan_words};
use super::json;
use super::sync::check_proxy;
use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::{Network, Request};
use crate::confine::Confined;
use crate::doctor::{self, Check, Verdict};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::met;
use crate::network;
use crate::sanitise::line;
use crate::sync::{remembered, was_removed};
use crate::ui::{Ui, count};

/// Say what blocks a sync: the clock, a blocked network, another team, a membership that ran out.
///
/// Looks at this device, then tries each way to each address as far as the other side's first message. Nothing
/// is sent or taken in. Exit 14 when no way leads to a device of the team, else 1 when something stands in the way.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where the other device listens; without it, where devices were reached before
    #[arg(long, value_name = "HOST:PORT")]
    with: Option<String>,
    /// Try this SOCKS5 proxy as well
    #[arg(long, value_name = "socks5://ADDRESS:PORT")]
    via: Option<String>,
    /// Try this SOCKS5 proxy and nothing else: no other connection, no UDP, no name looked up
    #[arg(long, value_name = "socks5://ADDRESS:PORT", conflicts_with = "via")]
    only_via: Option<String>,
}

pub fn run(args: DoctorArgs, global: &Global) -> Result<(), Failure> {
    if let Some(address) = &args.with {
        network::check_dialled(address, "--with")?;
    }
    let only_proxy = args.only_via.is_some();
    let proxy = args.via.or(args.only_via);
    if let Some(proxy) = &proxy {
        check_proxy(proxy, if only_proxy { "--only-via" } else { "--via" })?;
    }
    let ui = &global.ui;
    let mut agent = Agent::open(global)?;
    let status: Status = agent.call(&Request::Status)?;
    let standing: Option<Standing> = agent.call(&Request::Standing)?;
    let mut tally = Tally { ui, bad: 0 };
    for check in doctor::of_this_device(&status, standing.as_ref()) {
        tally.tell(&check)?;
    }
    tally.tell(&doctor::waiting(&status))?;
    for check in doctor::removed(&status).into_iter().chain(doctor::room(&status)) {
        tally.tell(&check)?;
    }
    tally.tell(&doctor::memory())?;
    tally.tell(&doctor::sleep())?;
    if let Some(pid) = agent.pid() {
        tally.tell(&doctor::confinement(
            "the vault's process",
            Confined::of_process(pid, agent.confinement()),
        ))?;
    }
    let (checks, relay) = daemon(global)?;
    for check in &checks {
        tally.tell(check)?;
    }
    if let Some(full) = relay.as_ref().and_then(doctor::relay_room) {
        tally.tell(&full)?;
    }
    if standing.is_none() {
        return tally.end(Ok(()));
    }
    if let Some(address) = args.with.as_deref().filter(|address| was_removed(&status.peers, address)) {
        tally.tell(&Check {
            check: "address",
            verdict: Verdict::Notice,
            found: format!(
                "{}: the device that this one met there was removed from your team; whoever has it learns that this device calls",
                line(address)
            ),
            advice: Some("ask a coordinator for another address".to_owned()),
        })?;
    }
    let addresses =
        args.with.map_or_else(|| remembered(&status.peers, &status.invited_to), |address| vec![address]);
    if addresses.is_empty() {
        let partners = Partners { in_team: true, peers: status.peers, invited_to: status.invited_to };
        if let Some(found) = met::nobody_left(&partners) {
            let advice = Some(met::ANOTHER.to_owned());
            tally.tell(&Check { check: "address", verdict: Verdict::Bad, found, advice })?;
            return tally.end(Err(met::nobody(&partners)));
        }
        tally.tell(&Check {
            check: "address",
            verdict: Verdict::Notice,
            found: "this device does not know yet whom to sync with".to_owned(),
            advice: Some(
                "give --with HOST:PORT, as `fieldbook daemon status` says on the other device".to_owned(),
            ),
        })?;
        return tally.end(Ok(()));
    }
    let network: Network = agent.call(&Request::Network)?;
    drop(agent);
    let mut said = Vec::new();
    doctor::look(network, addresses.clone(), proxy, only_proxy, |one| {
        ui.emit(with_event(&one, "tried")?)?;
        said.push(one);
        Ok(())
    })?;
    let mut reached = false;
    for address in &addresses {
        let of_it: Vec<_> = said.iter().filter(|one| one.address == *address).cloned().collect();
        let checks = doctor::of_address(address, &of_it);
        reached |= checks.last().is_some_and(|check| check.verdict != Verdict::Bad);
        for check in &checks {
            // The ways were told to programs as they were tried. A way that fails beside one that works is no fault.
            let harmless =
                check.check == "way" && !matches!(checks.last(), Some(last) if last.verdict == Verdict::Bad);
            tally.tell_as(check, harmless)?;
        }
    }
    tally.end(if reached {
        Ok(())
    } else {
        Err(Failure::new(
            Kind::Unreachable,
            "unreachable",
            "no way leads to a device of your team; your work is safe here",
        )
        .hint("each address is marked BAD above, with what to do about it; what waits can go by stick: `fieldbook bundle write`"))
    })
}

/// Whether a daemon runs and how it is confined; and how it stands, if it is a relay's.
fn daemon(global: &Global) -> Result<(Vec<Check>, Option<RelayStatus>), Failure> {
    let place = Place::of(&existing(global)?)?;
    let status = network::ask(&place, Ask::Status)?;
    let clock = status.as_ref().and_then(|status| status.veil).filter(|veil| veil.wrong_clocks > 0);
    let confined = status.as_ref().map(|status| Confined::of_process(status.pid, status.confinement));
    let found = match &status {
        Some(status) if status.listening.is_empty() => "the daemon runs".to_owned(),
        Some(status) => format!("the daemon runs and listens on {}", status.listening.join(", ")),
        None => "no daemon runs here: this device syncs when `fieldbook sync` is called".to_owned(),
    };
    let check = match clock {
        Some(veil) => Check {
            check: "daemon",
            verdict: Verdict::Notice,
            found: format!("{found}. {}", clock_words(veil.ahead_s)),
            advice: Some(
                "compare the date and time of this computer with a watch, and tell the others to".to_owned(),
            ),
        },
        None => Check { check: "daemon", verdict: Verdict::Good, found, advice: None },
    };
    let mut checks = vec![check];
    checks.extend(status.as_ref().map(|status| lan(status.lan.as_ref())));
    checks.extend(confined.map(|confined| doctor::confinement("the daemon", confined)));
    Ok((checks, status.and_then(|status| status.relay)))
}

/// Whether devices of the team in this network can find each other.
fn lan(lan: Option<&LanStatus>) -> Check {
    let off = "LAN discovery is off: nobody in this network is told of this device".to_owned();
    let odd = lan.is_some_and(|lan| lan.networks == 0 || lan.earlier_ms > lan.heard_ms);
    Check {
        check: "lan",
        verdict: if odd { Verdict::Notice } else { Verdict::Good },
        found: lan.map_or(off, lan_words),
        advice: None,
    }
}

fn with_event(value: &impl serde::Serialize, event: &str) -> Result<serde_json::Value, Failure> {
    let mut object = json(value)?;
    object["event"] = event.into();
    Ok(object)
}

struct Tally<'a> {
    ui: &'a Ui,
    bad: u64,
}

impl Tally<'_> {
    fn tell(&mut self, check: &Check) -> Result<(), Failure> {
        self.tell_as(check, false)
    }

    fn tell_as(&mut self, check: &Check, harmless: bool) -> Result<(), Failure> {
        let bad = check.verdict == Verdict::Bad && !harmless;
        self.bad += u64::from(bad && check.check != "way");
        self.ui.emit(with_event(check, "check")?)?;
        let mark = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Notice => "note",
            Verdict::Bad if harmless => "-   ",
            Verdict::Bad => "BAD ",
        };
        self.ui.say(format_args!("{mark}  {}", check.found))?;
        match &check.advice {
            Some(advice) => self.ui.say(format_args!("      → {advice}")),
            None => Ok(()),
        }
    }

    fn end(self, reached: Result<(), Failure>) -> Result<(), Failure> {
        self.ui.emit(json!({"event": "done", "bad": self.bad}))?;
        if self.bad == 0 {
            self.ui.say("Nothing stands in the way.")?;
            return reached;
        }
        let stand = count(self.bad, "thing stands", "things stand");
        self.ui.say(format_args!("{stand} in the way."))?;
        reached?;
        Err(Failure::failed("in-the-way", format!("{stand} in the way of a sync; your work is safe here"))
            .hint("each is marked BAD above, with what to do about it"))
    }
}
