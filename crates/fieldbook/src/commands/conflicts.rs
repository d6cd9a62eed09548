//! `fieldbook conflicts`

use clap::Args;
use fieldbook_vault::ReportClashes;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::ui::count;

/// List clashes that wait for a person: fields that two people changed at the same time.
///
/// Exits with 13 if there are any.
#[derive(Debug, Args)]
pub struct ConflictsArgs {}

pub fn run(_: ConflictsArgs, global: &Global) -> Result<(), Failure> {
    let mut waiting = 0;
    Agent::open(global)?.stream::<ReportClashes, ()>(&Request::Conflicts, |report| {
        waiting += report.clashes.len() as u64;
        global.ui.emit(json(&report)?)?;
        global.ui.say(format_args!("{}  {}", render::short(&report.id), render::title(&report.title)))?;
        report.clashes.iter().try_for_each(|clash| global.ui.say(render::clash(clash).trim_end()))
    })?;
    if waiting == 0 {
        return global.ui.say("No clashes.");
    }
    Err(Failure::new(Kind::Clashes, "clashes", format!("{} for a person", waits(waiting)))
        .hint("decide with `fieldbook resolve ID --field FIELD --keep VALUE`, or `--keep both`"))
}

fn waits(number: u64) -> String {
    format!("{} {}", count(number, "clash", "clashes"), if number == 1 { "waits" } else { "wait" })
}
