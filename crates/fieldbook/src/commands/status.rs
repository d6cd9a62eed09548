//! `fieldbook status`

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use fieldbook_vault::Status;
use serde_json::Value;

use super::{connections, json, render};
use crate::agent::client::{AGENT_GONE, Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::met;
use crate::sanitise::line;
use crate::ui::{count, size, time};

/// How this device stands: what exists only here, who is connected, who was reached and when, what is wrong.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Stay, and say it again whenever it changes, until the vault is locked; needs `fieldbook unlock` before
    #[arg(long)]
    watch: bool,
}

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(2);

pub fn run(args: StatusArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = if args.watch { watched(global)? } else { Agent::open(global)? };
    let request = if args.watch { Request::Glance } else { Request::Status };
    let mut before = None;
    loop {
        let status: Status = match agent.call(&request) {
            Err(failure) if args.watch && failure.code == AGENT_GONE => return Err(locked()),
            status => status?,
        };
        let daemon = connections::ask(global);
        let mut now = json(&status)?;
        // While only the connections move, nothing else is said again.
        let same = before.as_ref().is_some_and(|before: &Value| {
            let mut before = before.clone();
            before.as_object_mut().map(|fields| fields.remove("daemon"));
            before == now
        });
        now["daemon"] = daemon.object(&status.peers);
        if before.as_ref() != Some(&now) {
            if args.watch && !global.ui.json() {
                global.ui.say(format_args!(
                    "{}— {} —",
                    if before.is_some() { "\n" } else { "" },
                    time(now_ms())
                ))?;
            }
            global.ui.emit(now.clone())?;
            let connections = daemon.text(&status.peers);
            let words = if same { connections } else { text(&status, &daemon, &connections) };
            global.ui.say(words.trim_end())?;
            before = Some(now);
        }
        if !args.watch || global.ui.reader_gone() {
            return Ok(());
        }
        thread::sleep(WATCH);
    }
}

/// The agent that `unlock` left running. One of its own would keep the vault from all other commands for as long as
/// somebody watches; to open the vault anew for each look, the passphrase would have to be kept for as long.
fn watched(global: &Global) -> Result<Agent, Failure> {
    Agent::running(&Place::of(&existing(global)?)?)?.ok_or_else(|| {
        Failure::new(Kind::CannotAsk, "not-unlocked", "to watch, the vault has to be unlocked first")
            .hint("`fieldbook unlock`, then this command; other commands work beside it. `fieldbook lock` ends both")
    })
}

fn locked() -> Failure {
    Failure::new(Kind::CannotAsk, "not-unlocked", "the vault was locked: there is nothing more to see")
        .hint("`fieldbook unlock`, then `fieldbook status --watch` again")
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn text(status: &Status, daemon: &connections::Daemon, connections: &str) -> String {
    let device = &status.device;
    let mut out = format!("Device  {} ({})\n", line(&device.name), render::short(&device.id));
    out.push_str(&match &device.team {
        Some(team) => {
            format!("Team    {}, as {}\n", line(&team.name), line(device.role.as_deref().unwrap_or("member")))
        }
        None => "Team    none yet\n".to_owned(),
    });
    out.push_str(match device.copy.as_deref() {
        Some("moved") => {
            "This vault was copied or moved: nothing new is finished or sent before `fieldbook moved` or `fieldbook join`\n"
        }
        Some("superseded") => "Another copy of this vault goes on: nothing new is finished or sent from here\n",
        Some(_) => "This vault was restored: it is a new device now. Ask a coordinator for an invitation\n",
        None => "",
    });
    let only_here = format!("finished, only here: {}", daemon.only_here());
    for (number, words) in [
        (status.drafts, "in drafts, which never leave this device"),
        (status.only_here, &*only_here),
        (status.on_relay, "finished and on a relay, not opened yet as far as is known"),
        (
            status.carried.saturating_sub(status.on_relay),
            "finished and on the way, not opened yet as far as is known",
        ),
        (status.received, "received by a coordinator"),
        (status.sealed, "sealed: this device can read them no more"),
        (status.theirs, "written by others"),
    ] {
        if number > 0 {
            out.push_str(&format!("{:>5}   {words}\n", number));
        }
    }
    if status.drafts + status.only_here + status.carried + status.received + status.sealed + status.theirs
        == 0
    {
        out.push_str("No reports yet.\n");
    }
    if status.removed_held > 0 {
        let of_them = count(status.removed_held as u64, "of these reports was", "of these reports were");
        out.push_str(&format!(
            "{of_them} on its way, and whoever held it was removed from the team: sync with another relay or a \
             coordinator, or `fieldbook bundle write` on a stick\n"
        ));
    }
    if let Some(number) = status.seal_after {
        out.push_str(&format!(
            "Reports are sealed by themselves after {}\n",
            count(number.into(), "coordinator has confirmed them", "coordinators have confirmed them")
        ));
    }
    if status.unfinished > 0 {
        out.push_str(&format!(
            "{} not seal, because a text is open in a window, or was written and is not saved: `fieldbook seal --received` names \
             them\n",
            count(status.unfinished as u64, "report does", "reports do")
        ));
    }
    if status.unsaved > 0 {
        out.push_str(&format!(
            "Written and not saved: a text of {} (`fieldbook list` marks them)\n",
            count(status.unsaved as u64, "report", "reports")
        ));
    }
    if status.attention > 0 {
        out.push_str(&format!(
            "{} attention: `fieldbook show` says why\n",
            count(status.attention as u64, "report needs", "reports need")
        ));
    }
    if status.questions > 0 {
        out.push_str(&format!(
            "Questions for you: {} (`fieldbook list` marks the reports)\n",
            status.questions
        ));
    }
    if status.clashes > 0 {
        out.push_str(&format!(
            "{} to decide: `fieldbook conflicts`\n",
            count(status.clashes as u64, "clash", "clashes")
        ));
    }
    out.push_str(&format!(
        "Carries {} ({})\n",
        count(status.depot_entries, "sealed entry", "sealed entries"),
        size(status.depot_bytes)
    ));
    out.push_str(connections);
    for peer in &status.peers {
        let at = peer.address.as_deref().map(|address| format!(" at {}", line(address))).unwrap_or_default();
        let name = if peer.name.is_empty() { render::short(&peer.device) } else { line(&peer.name) };
        let by = match peer.path.as_deref() {
            Some("stdio") => " (over a pipe)",
            Some(path) => render::by(path),
            None => "",
        };
        out.push_str(&format!("Synced with {name}{at}{by}, last {}", time(peer.last_sync_ms)));
        match met::declined(&peer.declined) {
            _ if peer.removed => out.push_str("; it was removed from the team since"),
            Some(declined) => out.push_str(&format!("; it {declined}")),
            None => {}
        }
        out.push('\n');
    }
    if status.superseded {
        out.push_str(
            "\nTHIS VAULT IS AN OLDER COPY. Do not write with it; join the team again as a new device.\n",
        );
    }
    let problems = status.problems.len() + status.problems_more;
    if problems > 0 {
        out.push_str(&format!("\nNeeds attention: {}\n", count(problems as u64, "problem", "problems")));
        if status.problems_more > 0 {
            out.push_str(&format!("(the latest {}; `fieldbook verify` shows all)\n", status.problems.len()));
        }
        for problem in &status.problems {
            out.push_str(&render::problem(problem));
        }
    }
    if !status.missing.is_empty() {
        let places = status.missing.len() as u64;
        out.push_str(&format!("\nNot here: {}\n", count(places, "thing", "things")));
        for missing in &status.missing {
            out.push_str(&render::problem(missing));
        }
    }
    if !status.waiting_for.is_empty() {
        out.push('\n');
        for waiting in &status.waiting_for {
            out.push_str(&render::waiting(waiting));
        }
    }
    out
}
