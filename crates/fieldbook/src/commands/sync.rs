//! `fieldbook sync`

use clap::Args;
use fieldbook_vault::AbsorbSummary;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Held;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::sanitise::line;
use crate::sync::{self, Synced};
use crate::ui::{count, size, time};

/// Exchange sealed reports with another device now.
///
/// Without --with it tries the devices that were reached before, the latest first.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Where the other device listens
    #[arg(long, value_name = "HOST:PORT")]
    with: Option<String>,
}

pub fn run(args: SyncArgs, global: &Global) -> Result<(), Failure> {
    if let Some(address) = &args.with {
        network::check_address(address, "--with")?;
    }
    let mut agent = Agent::open(global)?;
    let synced = sync::sync(&mut agent, args.with, &global.ui)?;
    let mut object = json(&synced)?;
    object["event"] = "synced".into();
    global.ui.emit(object)?;
    global.ui.say(text(&synced).trim_end())
}

fn text(synced: &Synced) -> String {
    let Synced { name, address, traffic, absorbed, held, .. } = synced;
    let entries = |number: u64, bytes: u64| match number {
        0 => "nothing".to_owned(),
        _ => format!("{} ({})", count(number, "entry", "entries"), size(bytes)),
    };
    let mut out = format!(
        "Synced with {} at {}: sent {}, received {}.\n",
        line(name),
        line(address),
        entries(traffic.sent, traffic.sent_bytes),
        entries(traffic.received, traffic.received_bytes)
    );
    if traffic.refused_by_peer > 0 {
        let entries = count(traffic.refused_by_peer, "entry was", "entries were");
        out.push_str(&format!("{entries} not taken by the other side.\n"));
    }
    out + &taken_in(absorbed, held)
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
        let who = problem.who.as_deref().unwrap_or("unknown");
        out.push_str(&format!(
            "Not accepted: entry {} by {}: {}\n",
            render::short(&problem.entry),
            line(who),
            line(&problem.reason)
        ));
    }
    out
}

/// Where a group of reports is, in words.
fn held_words(group: &Held) -> String {
    match group.word.as_str() {
        "only here" => "only here".to_owned(),
        "carried" => "carried by others, not opened yet as far as is known".to_owned(),
        "received" => {
            let names: Vec<String> = group.holders.iter().map(|name| line(name)).collect();
            format!("received by {}, the last at {}", names.join(", "), time(group.latest_ms))
        }
        other => line(other),
    }
}
