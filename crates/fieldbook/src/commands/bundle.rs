//! `fieldbook bundle`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use fieldbook_depot::bundles::{PART_LEN_MAX, PART_LEN_MIN};
use fieldbook_vault::AbsorbSummary;

use super::json;
use super::sync::taken_in;
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::bundle::{self, Taken};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network::bundle::{File, Left, NotLooked, Read, Write};
use crate::sanitise::line;
use crate::ui::{count, size};

#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Write sealed reports into files, for a stick
    Write(WriteArgs),
    /// Take in the sealed reports of files that another device of the team wrote
    Read(ReadArgs),
}

/// Write everything that this device carries into files that only your team's devices can read.
///
/// To everybody else the files look like random bytes, and their names tell nothing. The device carries
/// what it wrote and what it took in for others, which it cannot open itself. When the writing is
/// interrupted, the same command goes on with it.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// A directory, or a file that does not exist
    #[arg(value_name = "DIR|FILE")]
    to: PathBuf,
    /// Leave out what this device is known to hold: it wrote it, brought it, said so at a sync, or signed for it
    #[arg(long = "for", value_name = "DEVICE")]
    device: Option<String>,
    /// Only what came since the last bundle for the same device (without --for: for anybody)
    #[arg(long, value_name = "last")]
    since: Option<Since>,
    /// Longest file: a number of bytes, or of K, M or G [default: just below 2G]
    #[arg(long, value_name = "SIZE", value_parser = part_size)]
    part_size: Option<u64>,
    /// So that a device can read it that has not heard of the last N removals. So can those who were removed
    #[arg(long, value_name = "N", default_value_t = 0)]
    older: usize,
}

/// Since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Since {
    /// Since the last bundle
    Last,
}

/// Take in what lies in files, in any order and any number of times.
///
/// What is damaged costs itself alone; you are told what is missing. Files that are no bundles of your team
/// are left alone. What this device does not carry (`fieldbook carry`) stays on the stick, and you are told.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Files, or directories with files (not those below them)
    #[arg(required = true, value_name = "DIR|FILE")]
    from: Vec<PathBuf>,
}

pub fn run(command: BundleCommand, global: &Global) -> Result<(), Failure> {
    match command {
        BundleCommand::Write(args) => write(args, global),
        BundleCommand::Read(args) => read(args, global),
    }
}

fn write(args: WriteArgs, global: &Global) -> Result<(), Failure> {
    let ui = &global.ui;
    let mut agent = Agent::open(global)?;
    let device = match args.device {
        Some(device) => Some(agent.call::<String>(&Request::FindDevice { device })?),
        None => None,
    };
    let since_last = args.since.is_some();
    let mut held: Vec<String> = Vec::new();
    if let Some(device) = &device {
        // What came meanwhile may say that it holds more.
        agent.call::<AbsorbSummary>(&Request::Absorb)?;
        agent.stream::<Vec<String>, ()>(&Request::KnownToHold { device: device.clone() }, |mut ids| {
            held.append(&mut ids);
            Ok(())
        })?;
    }
    let task = Write {
        to: args.to,
        device,
        held,
        since_last,
        part_len: args.part_size.unwrap_or(PART_LEN_MAX),
        older: args.older,
    };
    let written = bundle::write(&mut agent, task, ui)?;
    let mut object = json(&written)?;
    object["event"] = "written".into();
    ui.emit(object)?;
    if written.files.is_empty() {
        return ui.say("Nothing to write: there is nothing that is not there already.");
    }
    ui.say(format_args!(
        "Wrote {} ({}):",
        count(written.entries, "sealed entry", "sealed entries"),
        size(written.bytes)
    ))?;
    for file in &written.files {
        ui.say(format_args!("  {}", line(file)))?;
    }
    ui.note("On the other device: `fieldbook bundle read`. Take the stick out as your system asks you to.");
    if since_last {
        ui.note("If this one does not arrive, write the next without --since.");
    }
    if args.older > 0 {
        ui.warn(
            "older-secret",
            "who was removed from the team since can see how many sealed entries are in these files, not what they say",
        );
    }
    Ok(())
}

fn read(args: ReadArgs, global: &Global) -> Result<(), Failure> {
    let ui = &global.ui;
    let mut agent = Agent::open(global)?;
    let taken = bundle::read(&mut agent, args.from, ui, |file| {
        let mut object = json(file)?;
        object["event"] = "file".into();
        ui.emit(object)?;
        match words(file) {
            Some(words) => ui.say(words),
            None => Ok(()),
        }
    })?;
    let mut object = json(&taken)?;
    object["event"] = "read".into();
    ui.emit(object)?;
    let text = text(&taken);
    if !text.is_empty() {
        ui.say(text.trim_end())?;
    }
    verdict(&taken.read)
}

/// A file, for a person; `None` for one that is something else.
fn words(file: &File) -> Option<String> {
    let name = line(&file.file);
    if let Some(why) = &file.unreadable {
        return Some(format!("{name}: it cannot be read: {}", line(why)));
    }
    if !file.bundle && file.not_read_blocks > 0 {
        let (not, blocks) = (file.not_read_blocks, file.blocks);
        return Some(format!(
            "{name}: the disk does not give {not} of its {blocks} blocks: what it is cannot be told"
        ));
    }
    if !file.bundle {
        return None;
    }
    let entries = count(file.new + file.known, "entry", "entries");
    let mut out = format!("{name}: {entries}, {} new here", file.new);
    if file.newer {
        out.push_str("; parts of it were written by a newer version of the program");
    }
    if file.torn {
        out.push_str("; its end is missing");
    }
    if file.damaged_blocks > 0 {
        out.push_str(&format!("; damaged: {} of {} blocks", file.damaged_blocks, file.blocks));
    }
    if file.not_read_blocks > 0 {
        out.push_str(&format!("; not read: {} of {} blocks", file.not_read_blocks, file.blocks));
    }
    if file.misplaced_blocks > 0 {
        out.push_str(&format!(
            "; {} are not in their place",
            count(file.misplaced_blocks, "block", "blocks")
        ));
    }
    if file.cut > 0 {
        out.push_str(&format!("; {} incomplete", count(file.cut, "entry is", "entries are")));
    }
    if file.left.entries > 0 {
        out.push_str(&format!("; {} left on the stick", count(file.left.entries, "entry", "entries")));
    }
    if file.refused > 0 {
        out.push_str(&format!("; {} refused", count(file.refused, "entry was", "entries were")));
    }
    Some(out)
}

fn text(taken: &Taken) -> String {
    let read = &taken.read;
    let mut out = String::new();
    if read.files > 0 {
        out.push_str(&format!(
            "Read {}: {} new, {} known already.\n",
            count(read.files, "file", "files"),
            count(read.new, "entry", "entries"),
            read.known
        ));
        out.push_str(&taken_in(&taken.absorbed, &taken.held));
    }
    if read.others > 0 && read.files > 0 {
        out.push_str(&format!(
            "{} of your team.\n",
            count(read.others, "other file is no bundle", "other files are no bundles")
        ));
    }
    if let Some(words) = not_looked(&read.not_looked) {
        out.push_str(&format!(
            "Not looked at: {words}. To have a file looked at all the same, name it: `fieldbook bundle read FILE`\n"
        ));
    }
    out
}

/// What could be a bundle and was not looked at; nothing if that is little enough.
fn not_looked(not: &NotLooked) -> Option<String> {
    let mut words = Vec::new();
    if not.files > 0 {
        words.push(format!("{}, because there are so many", count(not.files, "file", "files")));
    }
    if not.lists > 0 {
        words.push("the rest of a directory, whose list of files cannot be read to its end".to_owned());
    }
    if not.bytes > 0 {
        words.push(format!("{} of files that do not begin as a bundle does", size(not.bytes)));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

/// What stays on the stick, and why.
fn left(left: &Left) -> String {
    let reasons = [
        (left.size, "this device does not carry entries of this size"),
        (left.total, "this device holds as much as it may carry"),
        (left.share, "it holds as much as it may carry from sticks"),
        (left.disk, "its disk has too little room"),
    ];
    let reasons: Vec<(u64, &str)> = reasons.into_iter().filter(|(entries, _)| *entries > 0).collect();
    let because = match &reasons[..] {
        [(_, why)] => format!("because {why}"),
        several => {
            let each: Vec<String> =
                several.iter().map(|(entries, why)| format!("{entries} because {why}")).collect();
            each.join(", ")
        }
    };
    format!("left on the stick: {}, {}, {because}", count(left.entries, "entry", "entries"), size(left.bytes))
}

/// Whether everything was there.
fn verdict(read: &Read) -> Result<(), Failure> {
    if read.files == 0 && read.unreadable == 0 {
        return Err(Failure::failed(
            "no-bundle",
            "there is no bundle here that this device can read; nothing was changed",
        )
        .hint(format!(
            "it is of another team or damaged; or the team removed a device and this one has not heard of it: \
             sync it once, or have the bundle written with --older 1{}",
            elsewhere(&read.not_looked)
        )));
    }
    let mut wrong = Vec::new();
    if read.unreadable > 0 {
        wrong.push(format!("{} be read", count(read.unreadable, "file cannot", "files cannot")));
    }
    if read.damaged > 0 {
        let files = if read.files == 1 {
            "the file is".to_owned()
        } else {
            format!("{} of {} files are", read.damaged, read.files)
        };
        wrong.push(format!("{files} damaged or incomplete"));
    }
    for missing in &read.missing {
        let least = if missing.exact { "" } else { "at least " };
        wrong.push(format!(
            "{least}{} not here",
            count(
                missing.missing.into(),
                "more file of the same bundle is",
                "more files of the same bundle are"
            )
        ));
    }
    if read.newer > 0 {
        let mut message =
            "the bundle was written by a newer version of the program; what this one knows was taken"
                .to_owned();
        wrong.iter().for_each(|wrong| message.push_str(&format!("; {wrong}")));
        let more = if wrong.is_empty() { "" } else { "; and ask for another copy" };
        return Err(Failure::new(Kind::Version, "newer-bundle", message)
            .hint(format!("read it with the newer version{more}")));
    }
    if read.files == 0 {
        return Err(Failure::new(Kind::Partial, "bundle-unreadable", wrong.join("; "))
            .hint("the lines above say why; ask for another copy, or have the files made readable for you"));
    }
    let copy = "ask for another copy, or read the other files too: reading twice does no harm";
    let left = (read.left.entries > 0).then(|| (left(&read.left), more_room(&read.left)));
    match left {
        None if wrong.is_empty() => Ok(()),
        None => Err(Failure::new(
            Kind::Partial,
            "bundle-incomplete",
            format!("{}; {}", wrong.join("; "), taken(read, "everything that is intact was taken")),
        )
        .hint(copy)),
        Some((left, room)) if wrong.is_empty() => Err(Failure::new(
            Kind::Partial,
            "bundle-left",
            format!("{left}; {}, and the stick still has them", taken(read, "everything else was taken")),
        )
        .hint(room)),
        Some((left, room)) => Err(Failure::new(
            Kind::Partial,
            "bundle-incomplete",
            format!(
                "{}; {left}; {}",
                wrong.join("; "),
                taken(read, "everything else that is intact was taken")
            ),
        )
        .hint(format!("{room}; {copy}"))),
    }
}

/// What was taken, in these words; unless there was nothing to take.
fn taken(read: &Read, words: &'static str) -> &'static str {
    match read.new + read.known {
        0 => "nothing could be taken",
        _ => words,
    }
}

/// What lets in what was left.
fn more_room(left: &Left) -> &'static str {
    if left.disk > 0 {
        "make room on the disk, then read the stick again; if `fieldbook carry` sets a limit, it says so"
    } else {
        "`fieldbook carry` says what this device carries, and changes it; then read the stick again"
    }
}

/// Where else a bundle may lie.
fn elsewhere(not: &NotLooked) -> String {
    let mut words = String::new();
    if not.folders > 0 {
        words.push_str(&format!(
            "; {} not looked into: name the one that it lies in",
            count(not.folders, "folder here is", "folders here are")
        ));
    }
    if not.links > 0 {
        words.push_str(&format!("; {} not followed", count(not.links, "link is", "links are")));
    }
    if let Some(more) = not_looked(not) {
        words.push_str(&format!("; not looked at: {more}: name the file itself"));
    }
    words
}

/// A size as people write it.
fn part_size(text: &str) -> Result<u64, String> {
    let unit = |letter: char| match letter.to_ascii_uppercase() {
        'K' => Some(1 << 10),
        'M' => Some(1 << 20),
        'G' => Some(1 << 30),
        _ => None,
    };
    let (digits, unit) = match text.chars().last().and_then(unit) {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 1_u64),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let bytes = bytes.ok_or_else(|| "it is not a size: write 64M or 1G".to_owned())?;
    if !(PART_LEN_MIN..=PART_LEN_MAX + (1 << 20)).contains(&bytes) {
        return Err("a file has at least 2M and at most 2G".to_owned());
    }
    Ok(bytes.min(PART_LEN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::bundle::Missing;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(part_size("64M"), Ok(64 << 20));
        assert_eq!(part_size("2048k"), Ok(2 << 20));
        assert_eq!(part_size("2G"), Ok(PART_LEN_MAX));
        assert_eq!(part_size("3000000"), Ok(3_000_000));
        for bad in ["", "M", "1M", "3G", "-1", "1.5G", "99999999999999999999G", "1é"] {
            assert!(part_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_what_to_do() {
        let file = File {
            file: "a".into(),
            bundle: true,
            new: 5,
            known: 1,
            torn: true,
            damaged_blocks: 1,
            blocks: 4,
            cut: 1,
            ..File::default()
        };
        let said = words(&file).unwrap();
        assert_eq!(
            said,
            "a: 6 entries, 5 new here; its end is missing; damaged: 1 of 4 blocks; 1 entry is incomplete"
        );
        assert_eq!(words(&File { file: "film".into(), ..File::default() }), None);
        let missing = vec![Missing { read: 2, missing: 1, exact: true }];
        let failure =
            verdict(&Read { files: 2, new: 5, damaged: 1, missing, ..Read::default() }).unwrap_err();
        assert_eq!(failure.kind.exit(), 3);
        assert_eq!(
            failure.message,
            "1 of 2 files are damaged or incomplete; 1 more file of the same bundle is not here; \
             everything that is intact was taken"
        );
        assert!(failure.hint.unwrap().contains("another copy"));
        let stays = Left { entries: 3, bytes: 2 << 20, size: 2, share: 1, ..Left::default() };
        let failure = verdict(&Read { files: 1, known: 1, left: stays, ..Read::default() }).unwrap_err();
        assert_eq!((failure.kind.exit(), failure.code.as_ref()), (3, "bundle-left"));
        assert_eq!(
            failure.message,
            "left on the stick: 3 entries, 2.0 MiB, 2 because this device does not carry entries of this size, \
             1 because it holds as much as it may carry from sticks; everything else was taken, and the stick \
             still has them"
        );
        let folders = NotLooked { folders: 2, links: 1, files: 7, ..NotLooked::default() };
        let failure = verdict(&Read { not_looked: folders, ..Read::default() }).unwrap_err();
        let hint = failure.hint.unwrap();
        for word in
            ["2 folders here are not looked into", "1 link is not followed", "7 files", "name the file"]
        {
            assert!(hint.contains(word), "{hint}");
        }
        assert!(verdict(&Read { files: 1, others: 3, ..Read::default() }).is_ok());
        // Where nothing was intact, nothing is said to have been taken.
        let nothing = Read { files: 1, damaged: 1, ..Read::default() };
        let failure = verdict(&nothing).unwrap_err();
        assert_eq!(failure.message, "the file is damaged or incomplete; nothing could be taken");
        let unread = Read { files: 1, unreadable: 1, ..Read::default() };
        let failure = verdict(&unread).unwrap_err();
        assert_eq!((failure.kind.exit(), failure.code.as_str()), (3, "bundle-incomplete"));
        assert!(failure.message.starts_with("1 file cannot be read; "), "{failure}");
        let failure = verdict(&Read { files: 0, ..unread }).unwrap_err();
        assert_eq!((failure.kind.exit(), failure.code.as_str()), (3, "bundle-unreadable"));
        // A newer bundle does not hide the rest.
        let missing = vec![Missing { read: 2, missing: 1, exact: true }];
        let failure =
            verdict(&Read { files: 2, newer: 1, damaged: 1, missing, ..Read::default() }).unwrap_err();
        assert_eq!(failure.kind.exit(), 17);
        assert!(failure.message.contains("damaged or incomplete; 1 more file"), "{failure}");
        let failure = verdict(&Read { files: 1, newer: 1, ..Read::default() }).unwrap_err();
        assert!(!failure.message.contains("damaged"), "{failure}");
        assert_eq!(verdict(&Read { others: 1, ..Read::default() }).unwrap_err().code, "no-bundle");
    }
}
