//! `fieldbook verify`

use clap::Args;
use fieldbook_vault::{ChainView, Finding, Verified};

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::sanitise::line;
use crate::ui::count;

/// Look at everything that this device carries and knows, and say what is wrong or missing.
///
/// Exits with 0 if all is sound, with 16 if something was tampered with or two copies of one device are at
/// work, with 3 if something is only missing or waits.
#[derive(Debug, Args)]
pub struct VerifyArgs {}

pub fn run(_: VerifyArgs, global: &Global) -> Result<(), Failure> {
    let verified: Verified = Agent::open(global)?.stream(&Request::Verify, |finding: Finding| {
        let (event, value, text) = match &finding {
            Finding::Chain(of) => ("chain", json(of)?, chain(of)),
            Finding::Problem(problem) => ("problem", json(problem)?, render::problem(problem)),
            Finding::Waiting(waiting) => ("waiting", json(waiting)?, render::waiting(waiting)),
        };
        let mut value = value;
        value["event"] = event.into();
        global.ui.emit(value)?;
        global.ui.say(text.trim_end())
    })?;
    let mut value = json(&verified)?;
    value["event"] = "verified".into();
    global.ui.emit(value)?;
    global.ui.say(summary(&verified))?;
    verdict(&verified)
}

/// One device's chain in a line.
fn chain(chain: &ChainView) -> String {
    let who = line(&chain.who);
    let have = count(chain.entries as u64, "entry", "entries");
    let mut text = match chain.entries {
        0 => format!("{who}: {have}"),
        _ => format!("{who}: {have}, numbers {} to {}", chain.first, chain.last),
    };
    if !chain.gaps.is_empty() {
        let gaps = chain.gaps.iter().take(8).map(|(from, to)| match from == to {
            true => from.to_string(),
            false => format!("{from}-{to}"),
        });
        let more = if chain.gaps.len() > 8 { " …" } else { "" };
        text.push_str(&format!("; not read here: {}{more}", gaps.collect::<Vec<_>>().join(", ")));
    }
    text
}

fn summary(verified: &Verified) -> String {
    format!(
        "Looked at {}: {} opened and their signatures checked, {} checked when they came, {} for others.",
        count(verified.entries as u64, "sealed entry", "sealed entries"),
        verified.opened,
        verified.known,
        verified.for_others
    )
}

fn verdict(verified: &Verified) -> Result<(), Failure> {
    let open = verified.missing + verified.waiting;
    if verified.tampered > 0 {
        let problems = count(verified.tampered as u64, "problem needs", "problems need");
        let message = format!("{problems} attention: see above which device, which number, and what follows");
        return Err(Failure::new(Kind::Damaged, "tampered", message).hint(
            "what is not named is sound; nothing named as not used was used. Tell your coordinators which device",
        ));
    }
    if open > 0 {
        let things = count(open as u64, "thing is", "things are");
        let message = format!("{things} missing or wait; nothing was tampered with");
        return Err(Failure::new(Kind::Partial, "incomplete", message)
            .hint("sync, then look again; what does not come is kept back on the way, or lost"));
    }
    Ok(())
}
