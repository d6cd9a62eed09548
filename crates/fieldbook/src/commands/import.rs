//! `fieldbook import`

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_vault::Created;
use serde_json::json;

use super::new::{MISPLACED, misplaced_fields, misplaced_words};
use super::render;
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::sanitise;
use crate::ui::count;

/// Longest line: what one entry can carry.
const LINE_MAX: usize = 1 << 20;

/// Read reports from JSON Lines files, one report a line. They become drafts.
///
/// A line that cannot be taken is named with its number, and the others are imported (exit 3).
/// Importing the same line twice adds it once.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Default)]
struct Tally {
    imported: u64,
    known: u64,
    refused: u64,
    /// Fields that stood beside `fields`, in whichever line.
    misplaced: BTreeSet<String>,
}

pub fn run(args: ImportArgs, global: &Global) -> Result<(), Failure> {
    // A file that is not there is noticed before anything is imported.
    let mut inputs: Vec<(String, Box<dyn BufRead>)> = Vec::new();
    for path in &args.files {
        let name = sanitise::line(&path.to_string_lossy());
        inputs.push((name.clone(), open(path, &name)?));
    }
    let mut agent = Agent::open(global)?;
    let mut tally = Tally::default();
    for (name, mut input) in inputs {
        import_file(&name, &mut *input, &mut agent, global, &mut tally)?;
    }
    global.ui.emit(json!({
        "event": "summary", "imported": tally.imported, "already_there": tally.known, "refused": tally.refused
    }))?;
    global.ui.note(format_args!("Imported {}.", count(tally.imported, "report", "reports")));
    if tally.known > 0 {
        global.ui.note(format_args!("{} had been imported before.", count(tally.known, "line", "lines")));
    }
    if !tally.misplaced.is_empty() {
        global.ui.warn(MISPLACED, misplaced_words(&tally.misplaced));
    }
    let message = format!("{} could not be imported", count(tally.refused, "line", "lines"));
    match (tally.refused, tally.imported + tally.known) {
        (0, _) => Ok(()),
        (_, 0) => Err(Failure::failed("import", message).hint("the lines are named above")),
        _ => Err(Failure::new(Kind::Partial, "import", message)
            .hint("the others are saved; correct these and import again")),
    }
}

fn open(path: &Path, name: &str) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(error) => Err(Failure::input(name)(error)),
    }
}

fn import_file(
    name: &str,
    input: &mut dyn BufRead,
    agent: &mut Agent,
    global: &Global,
    tally: &mut Tally,
) -> Result<(), Failure> {
    for number in 1_u64.. {
        let source = match next_line(input) {
            Ok(None) => break,
            Ok(Some(line)) => line,
            Err(error) => return Err(Failure::io(format!("{name}, line {number}"))(error)),
        };
        let created = match source {
            Line::Text(text) if text.trim().is_empty() => continue,
            Line::Text(text) => {
                let misplaced = misplaced_fields(&text);
                let created = agent.call::<Created>(&Request::Import { source: text });
                if created.is_ok() {
                    tally.misplaced.extend(misplaced);
                }
                created
            }
            Line::Unusable(why) => Err(Failure::usage("input", why)),
        };
        match created {
            Ok(created) => {
                *(if created.already_there { &mut tally.known } else { &mut tally.imported }) += 1;
                global.ui.emit(json!({
                    "event": if created.already_there { "already-there" } else { "imported" },
                    "file": name, "line": number, "id": created.summary.id, "title": created.summary.title,
                }))?;
                if !created.already_there {
                    let id = render::short(&created.summary.id);
                    global.ui.say(format_args!("{id}  {}", render::title(&created.summary.title)))?;
                }
            }
            Err(failure) if concerns_the_line(&failure) => {
                tally.refused += 1;
                global.ui.emit(json!({
                    "event": "refused", "file": name, "line": number, "code": failure.code, "message": failure.message,
                }))?;
                global.ui.note(format_args!("{name}, line {number}: {}", sanitise::text(&failure.message)));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// A full disk or a vanished agent would refuse every further line as well.
fn concerns_the_line(failure: &Failure) -> bool {
    failure.kind == Kind::Usage || matches!(failure.code.as_str(), "report" | "too-large")
}

enum Line {
    Text(String),
    Unusable(String),
}

/// The next line, bounded; `None` at the end.
fn next_line(input: &mut dyn BufRead) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let read = io::Read::take(&mut *input, LINE_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if read > LINE_MAX && bytes.last() != Some(&b'\n') {
        skip_line(input)?;
        return Ok(Some(Line::Unusable(format!("the line is longer than {LINE_MAX} bytes"))));
    }
    // A file made on Windows may begin with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Ok(Some(match std::str::from_utf8(bytes) {
        Ok(text) => Line::Text(text.to_owned()),
        Err(_) => Line::Unusable("the line is not UTF-8".to_owned()),
    }))
}

fn skip_line(input: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let block = input.fill_buf()?;
        let end = block.iter().position(|byte| *byte == b'\n');
        let (used, done) = (end.map_or(block.len(), |at| at + 1), end.is_some() || block.is_empty());
        input.consume(used);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_or_not_text_is_named_and_the_next_one_is_read() {
        let mut bytes = vec![b'x'; 3 * LINE_MAX];
        bytes.extend_from_slice(b"\n\xff\n{}\r\nlast");
        let mut input = bytes.as_slice();
        let mut next = || next_line(&mut input).unwrap();
        assert!(matches!(next(), Some(Line::Unusable(why)) if why.contains("longer")));
        assert!(matches!(next(), Some(Line::Unusable(why)) if why.contains("UTF-8")));
        assert!(matches!(next(), Some(Line::Text(text)) if text.trim() == "{}"));
        assert!(matches!(next(), Some(Line::Text(text)) if text == "last"));
        assert!(next().is_none());
    }
}
