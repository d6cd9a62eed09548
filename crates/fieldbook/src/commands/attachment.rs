//! `fieldbook attachment`

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use fieldbook_report::AttachmentView;

use super::json;
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::agent::wire::Hex;
use crate::error::Failure;
use crate::exports;
use crate::global::Global;
use crate::output::NewFile;
use crate::sanitise::line;

/// Save a report's attachment as a file. It leaves the vault: it is no longer encrypted there.
///
/// The file is complete and its hash is right, or there is no file.
#[derive(Debug, Args)]
pub struct AttachmentArgs {
    /// The report: the beginning of its id
    id: String,
    /// The attachment: the beginning of its id, or its name
    attachment: String,
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(args: AttachmentArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    let mut file = NewFile::begin(&args.out)?;
    let noted = exports::begin(&mut agent, &args.out, "attachment")?;
    let request = Request::Attachment { report: args.id, attachment: args.attachment };
    let streamed = agent.stream(&request, |chunk: Hex| {
        file.write_all(&chunk.0).map_err(Failure::io("the file cannot be written"))
    });
    let view: AttachmentView = match streamed {
        Ok(view) => view,
        Err(failure) => {
            drop(file);
            noted.nothing(&mut agent);
            return Err(failure);
        }
    };
    noted.done(&mut agent, vec![file.keep()?])?;
    global.ui.emit(json(&view)?)?;
    global.ui.say(format_args!("Saved {} as {}.", line(&view.name), line(&args.out.to_string_lossy())))
}
