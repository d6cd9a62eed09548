//! `fieldbook moved`

use clap::Args;
use fieldbook_vault::DeviceInfo;
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;

/// Say that this vault was moved here, and that no other copy of it is used.
///
/// A vault whose files were made anew (copied to another disk, restored from somebody's backup of the whole machine)
/// finishes and sends nothing until then: two devices that sign with the same keys break each other's chain, for
/// everybody to see. Never say it of an old copy: what was written since would be contradicted.
#[derive(Debug, Args)]
pub struct MovedArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: MovedArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    let device: DeviceInfo = agent.call(&Request::Device)?;
    if device.copy.as_deref() == Some("moved") && !args.yes {
        let question =
            "Is the vault in its old place gone, and was nothing written there since this copy was made?";
        if !global.ui.confirm(question, "--yes")? {
            return Err(Failure::failed("not-moved", "nothing was changed: you said no").hint(
                "`fieldbook join CODE`, with a coordinator's new invitation, makes it a device of its own",
            ));
        }
    }
    agent.call::<()>(&Request::Moved)?;
    global.ui.emit(json!({"event": "moved", "device": device.id}))?;
    global.ui.say("This is the vault's place from now on.")
}
