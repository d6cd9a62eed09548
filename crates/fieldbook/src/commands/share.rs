//! `fieldbook share`

use clap::Args;
use fieldbook_vault::{ListFilter, ShareSummary};

use super::json;
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::sanitise::line;
use crate::ui::count;

/// Give reports to a coordinator who cannot read them: one admitted later, or one of another desk.
///
/// The desk's coordinators and the authors see in their logs that it was done. It cannot be taken back.
#[derive(Debug, Args)]
pub struct ShareArgs {
    /// The reports: the beginnings of their ids
    #[arg(value_name = "ID", required_unless_present_any = ["all", "search", "template"])]
    ids: Vec<String>,
    /// Every finished report of this desk
    #[arg(long, conflicts_with_all = ["ids", "search"])]
    all: bool,
    /// Every finished report of this desk with these words
    #[arg(long, value_name = "WORDS", conflicts_with = "ids")]
    search: Option<String>,
    /// Every finished report of this desk with this template; with --search, only of this one
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    template: Option<String>,
    /// The coordinator: a name, or the beginning of a device's id
    #[arg(long, value_name = "DEVICE")]
    with: String,
}

pub fn run(args: ShareArgs, global: &Global) -> Result<(), Failure> {
    let filtered = args.all || args.search.is_some() || args.template.is_some();
    let filter = filtered.then(|| ListFilter {
        search: args.search,
        template: args.template,
        ..ListFilter::default()
    });
    let request = Request::Share { reports: args.ids, filter, with: args.with };
    let shared: ShareSummary = Agent::open(global)?.call(&request)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&shared)?)?;
    global.ui.say(format_args!(
        "Shared {} with \"{}\"; it reads them after the next sync.",
        count(shared.shared as u64, "report", "reports"),
        line(&shared.label)
    ))?;
    if shared.already + shared.left_out > 0 {
        global.ui.note(format_args!("{} shared before, {} left out.", shared.already, shared.left_out));
    }
    Ok(())
}
