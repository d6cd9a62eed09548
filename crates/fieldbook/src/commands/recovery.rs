//! `fieldbook recovery`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use fieldbook_seal::recovery::Share;
use fieldbook_vault::{ExportedFile, RecoveryCheck, RecoveryRestored};
use serde_json::json;
use zeroize::Zeroizing;

use super::json;
use crate::agent::client::Agent;
use crate::agent::protocol::{RecoverySheets, Request};
use crate::agent::wire::Hex;
use crate::error::Failure;
use crate::exports;
use crate::global::Global;
use crate::output::NewFile;
use crate::sanitise::line;
use crate::sheets::{self, SheetArgs};
use crate::ui::count;

#[derive(Debug, Subcommand)]
pub enum RecoveryCommand {
    /// Make the sheets: a key on paper, split so that some of them together give it back
    Create(CreateArgs),
    /// A drill: are these sheets the right ones, and do they open what this device has?
    Check(CheckArgs),
    /// Read everything again with the sheets, or bring the team back on a new device
    Restore(RestoreArgs),
}

/// Make the sheets: a key on paper, split so that some of them together give it back.
///
/// From then on everything that the desk gets can also be opened with the sheets. Give each sheet to
/// another person. Making sheets again ends the authority of the earlier ones; what was written
/// until then they still open.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// How many sheets there are: 2 to 16
    #[arg(long, value_name = "N", default_value_t = 3)]
    shares: usize,
    /// How many of them it takes: 2 or more
    #[arg(long, value_name = "K", default_value_t = 2)]
    threshold: usize,
    /// Write the sheets as text files into this directory, to be printed [default: show them here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the sheets that the desk has
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    sheets: SheetArgs,
}

/// Read everything again with the sheets, or bring the team back on a new device.
///
/// On a coordinator's device, whatever it carries and the sheets open becomes readable: reports from
/// before it came, and those of a lost device. On a new device without a team, this device becomes a
/// coordinator's, with keys of its own; remove the lost one afterwards.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    sheets: SheetArgs,
    /// First take in the entries of this directory, as `fieldbook entry export --all` wrote it
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// `2of3`: how many sheets it takes, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    threshold: usize,
    shares: usize,
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("of").and_then(|(threshold, shares)| {
            Some(Self { threshold: threshold.trim().parse().ok()?, shares: shares.trim().parse().ok()? })
        });
        parts.ok_or_else(|| "write it as 2of3: two of three sheets are needed".to_owned())
    }
}

pub fn run(command: RecoveryCommand, global: &Global) -> Result<(), Failure> {
    match command {
        RecoveryCommand::Create(args) => {
            let split = Split { threshold: args.threshold, shares: args.shares };
            create(split, args.out.as_deref(), args.replace, &mut Agent::open(global)?, global)
        }
        RecoveryCommand::Check(args) => check(&args, global),
        RecoveryCommand::Restore(args) => restore(&args, global),
    }
}

/// Makes the sheets and shows or saves them.
pub fn create(
    split: Split,
    out: Option<&Path>,
    replace: bool,
    agent: &mut Agent,
    global: &Global,
) -> Result<(), Failure> {
    // The files first: a directory that cannot be written must not cost the team its sheets.
    let files = out.map(|dir| begin(dir, split.shares)).transpose()?;
    let request = Request::CreateRecovery { threshold: split.threshold, shares: split.shares, replace };
    let made: RecoverySheets = agent.call(&request)?;
    let shares = made.shares()?;
    match files {
        Some(files) => {
            let place = out.unwrap_or(Path::new("."));
            // The sheets are made: that they cannot be noted must not keep them from being saved.
            let noted = exports::begin(agent, place, "sheets");
            let saved = save(files, &shares, global)?;
            noted.and_then(|noted| noted.done(agent, saved))?;
        }
        None => show(&shares, global)?,
    }
    if made.replaced {
        global.ui.note(
            "The earlier sheets have no authority any more. They still open what was written until now: \
             collect and destroy them.",
        );
    }
    global.ui.note(
        "Give each sheet to another person, and keep none on a computer. \
         Then try them: `fieldbook recovery check`.",
    );
    Ok(())
}

fn begin(dir: &Path, shares: usize) -> Result<Vec<(PathBuf, NewFile)>, Failure> {
    std::fs::create_dir_all(dir).map_err(Failure::io("the directory for the sheets cannot be made"))?;
    let names = (1..=shares).map(|number| dir.join(format!("sheet-{number}-of-{shares}.txt")));
    names.map(|path| Ok((path.clone(), NewFile::begin(&path)?))).collect()
}

fn save(
    files: Vec<(PathBuf, NewFile)>,
    shares: &[Share],
    global: &Global,
) -> Result<Vec<ExportedFile>, Failure> {
    let mut saved = Vec::new();
    for ((path, mut file), share) in files.into_iter().zip(shares) {
        file.write_all(sheets::print(share, shares.len()).as_bytes())
            .map_err(Failure::io("a sheet cannot be written"))?;
        saved.push(file.keep()?);
        let path = path.to_string_lossy();
        global.ui.emit(json!({
            "sheet": share.number(), "of": shares.len(), "threshold": share.threshold(),
            "set": share.set_number(), "out": path
        }))?;
        global.ui.say(format_args!("Saved sheet {} as {}.", share.number(), line(&path)))?;
    }
    global.ui.warn(
        "sheets-on-disk",
        "whoever has enough of these files can open everything. Print them, then destroy the files: `fieldbook exports shred`",
    );
    Ok(saved)
}

fn show(shares: &[Share], global: &Global) -> Result<(), Failure> {
    for share in shares {
        let words = share.words();
        global.ui.emit(json!({
            "sheet": share.number(), "of": shares.len(), "threshold": share.threshold(),
            "set": share.set_number(), "words": words.as_str()
        }))?;
        global.ui.say(format_args!("{}\n", *sheets::print(share, shares.len())))?;
    }
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        global.ui.note("Copy them by hand, then clear the screen and its history.");
    }
    Ok(())
}

fn check(args: &CheckArgs, global: &Global) -> Result<(), Failure> {
    let shares = given(&args.sheets, global)?;
    let found: RecoveryCheck = Agent::open(global)?.call(&Request::CheckRecovery { shares })?;
    global.ui.emit(json(&found)?)?;
    if !found.current {
        let message = if found.opens > 0 {
            "these are sheets that were replaced: they open what was written before, and nothing newer"
        } else {
            "these sheets fit together, and they are not those of this desk"
        };
        return Err(Failure::failed("other-sheets", message)
            .hint("look for sheets with the number of the set that is in use"));
    }
    let entries = count(found.entries as u64, "sealed entry", "sealed entries");
    global.ui.say(format_args!(
        "These are the sheets in use. They open {} of the {entries} that this device carries.",
        found.opens
    ))?;
    if !found.charter {
        global.ui.warn(
            "no-charter",
            "this device does not carry what a new device needs to bring the team back; sync, and check again",
        );
    }
    Ok(())
}

fn restore(args: &RestoreArgs, global: &Global) -> Result<(), Failure> {
    let shares = given(&args.sheets, global)?;
    let from = match &args.from {
        Some(dir) => Some(std::path::absolute(dir).map_err(Failure::io("the directory cannot be used"))?),
        None => None,
    };
    let done: RecoveryRestored = Agent::open(global)?.call(&Request::RestoreRecovery { shares, from })?;
    global.ui.emit(json(&done)?)?;
    if let Some(taken) = &done.imported {
        let entries = count(taken.added as u64, "sealed entry", "sealed entries");
        global.ui.say(format_args!("Took in {entries}."))?;
        if taken.refused > 0 {
            let files = count(taken.refused as u64, "file is not an entry", "files are not entries");
            global.ui.warn("not-entries", format_args!("{files}"));
        }
    }
    if done.joined {
        global.ui.say(format_args!(
            "This device is now a coordinator's of the team \"{}\", with keys of its own.",
            line(&done.team)
        ))?;
    }
    let reports = count(done.reports as u64, "report", "reports");
    global.ui.say(format_args!("{reports} can be read here, {} of them new.", done.new_reports))?;
    if done.joined {
        global.ui.note(
            "Next: `fieldbook team people`, then `fieldbook team remove DEVICE --lost` for each lost device. \
             Sync with the others, so that they hear of it.",
        );
    }
    Ok(())
}

/// The sheets, as the agent takes them.
fn given(args: &SheetArgs, global: &Global) -> Result<Vec<Hex>, Failure> {
    let shares = sheets::read(args, &global.ui)?;
    Ok(shares.iter().map(|share| Hex::new(share.words().as_bytes().to_vec())).collect())
}

impl RecoverySheets {
    /// What the agent made.
    fn shares(&self) -> Result<Vec<Share>, Failure> {
        let bad = |_| Failure::failed("internal", "the agent's sheets do not read back");
        let mut shares = Vec::new();
        for words in &self.sheets {
            let text = Zeroizing::new(String::from_utf8_lossy(&words.0).into_owned());
            shares.push(Share::parse(&text).map_err(bad)?);
        }
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_written_as_it_is_said() {
        let split: Split = "2of3".parse().unwrap();
        assert_eq!((split.threshold, split.shares), (2, 3));
        let split: Split = "3 of 5".parse().unwrap();
        assert_eq!((split.threshold, split.shares), (3, 5));
        for wrong in ["", "2", "2/3", "two of three", "2of", "of3", "-1of3"] {
            assert!(wrong.parse::<Split>().is_err(), "{wrong}");
        }
    }
}
