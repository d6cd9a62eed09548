//! Recovery sheets as people hold them: printed with numbered words and a QR code, typed back word by
//! word or read from files.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_seal::recovery::{CombineError, SHARE_WORDS, Share, ShareError, combine};
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::qr;
use crate::sanitise;
use crate::ui::{Ui, count};

/// Longest text that can be sheets: sixteen of them with their explanations and QR codes.
const TEXT_MAX: u64 = 1 << 20;
const COLUMNS: usize = 3;
const ROWS: usize = SHARE_WORDS.div_ceil(COLUMNS);

/// Where sheets are read from. Words never stand on the command line, where others can see them.
#[derive(Debug, Args)]
pub struct SheetArgs {
    /// A file with one sheet or several; may be given again [default: ask for the words, or read them
    /// from standard input if that is not a terminal]
    #[arg(long = "sheet", value_name = "FILE")]
    sheets: Vec<PathBuf>,
}

/// The text of one sheet, to be printed or copied by hand. It does not say whose it is or what it opens.
pub fn print(share: &Share, sheets: usize) -> Zeroizing<String> {
    let threshold = share.threshold();
    let others = count(threshold as u64 - 1, "other sheet", "other sheets");
    let words = share.words();
    let words: Vec<&str> = words.split(' ').collect();
    let mut table = Zeroizing::new(String::with_capacity(1024));
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let at = column * ROWS + row;
            if let Some(word) = words.get(at) {
                let cell = Zeroizing::new(format!("  {:>2}. {word:<10}", at + 1));
                table.push_str(if column + 1 == COLUMNS { cell.trim_end() } else { &cell });
            }
        }
        table.push('\n');
    }
    let capitals = Zeroizing::new(share.words().to_ascii_uppercase());
    let code = Zeroizing::new(qr::paper(&capitals).unwrap_or_default());
    Zeroizing::new(format!(
        "RECOVERY SHEET {} OF {sheets}                                        set {}\n\
         \n\
         This is one of {sheets} sheets. Any {threshold} of them together give back a key when\n\
         everybody has lost it. Fewer give nothing.\n\
         \n\
         Keep it where only you can get at it: not beside a computer, not with\n\
         another sheet, never as a photograph. If it is lost, or somebody has seen\n\
         it, tell the people who gave it to you.\n\
         \n\
         {}\n\
         To use it, type these words and those of {others} where the program\n\
         asks for them. The first four letters of a word are enough. The form is\n\
         SLIP-0039; any program for it can put the sheets together.\n\
         \n\
         {}",
        share.number(),
        share.set_number(),
        *table,
        *code
    ))
}

/// The sheets that the user gives: from files, from standard input, or typed one after another.
///
/// # Errors
/// A file cannot be read, or words are not a sheet: which sheet, which word.
pub fn read(args: &SheetArgs, ui: &Ui) -> Result<Vec<Share>, Failure> {
    let mut shares = Vec::new();
    if !args.sheets.is_empty() {
        for path in &args.sheets {
            let name = sanitise::line(&path.to_string_lossy());
            let text = text_of(path).map_err(Failure::io(format!("{name} cannot be read")))?;
            shares.extend(parse(&text, shares.len(), Some(&name))?);
        }
    } else if io::stdin().is_terminal() {
        if ui.no_input() {
            return Err(Failure::cannot_ask(
                "--no-input forbids asking for the words of the sheets",
                "--sheet FILE",
            ));
        }
        return ask(ui);
    } else {
        let text = limited(io::stdin().lock()).map_err(Failure::io("standard input cannot be read"))?;
        shares = parse(&text, 0, None)?;
    }
    Ok(shares)
}

fn text_of(path: &Path) -> io::Result<Zeroizing<String>> {
    limited(File::open(path)?)
}

fn limited(from: impl Read) -> io::Result<Zeroizing<String>> {
    // Sized once, so that no copy is left behind by a growing text.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    from.take(TEXT_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Asks for sheet after sheet until there are enough; a sheet with a mistake is asked for again.
fn ask(ui: &Ui) -> Result<Vec<Share>, Failure> {
    ui.note(format_args!(
        "Type the {SHARE_WORDS} words of a sheet, on one line or several; the first four letters are enough."
    ));
    let mut shares: Vec<Share> = Vec::new();
    loop {
        let typed = ask_words(ui, shares.len() + 1)?;
        match Share::parse(&typed) {
            Ok(share) => shares.push(share),
            Err(error) => {
                ui.note(format_args!("{}. Type this sheet again.", sanitise::line(&error.to_string())));
                continue;
            }
        }
        match combine(&shares) {
            Err(CombineError::TooFew { given, needed }) => {
                let missing = count((needed - given) as u64, "more sheet", "more sheets");
                ui.note(format_args!("This sheet is whole. {missing}."));
            }
            Err(error @ (CombineError::AnotherSet { .. } | CombineError::Duplicate { .. })) => {
                ui.note(format_args!("{error}. Take another one."));
                shares.pop();
            }
            // Whether they fit is told by what they are used for.
            Ok(_) | Err(CombineError::DoNotFit) => return Ok(shares),
        }
    }
}

fn ask_words(ui: &Ui, number: usize) -> Result<Zeroizing<String>, Failure> {
    let mut typed = Zeroizing::new(String::with_capacity(1024));
    let mut prompt = format!("sheet {number}: ");
    loop {
        let line = Zeroizing::new(ui.ask_line(&prompt)?);
        typed.push_str(&line);
        typed.push(' ');
        let have = words(&typed).count();
        if have >= SHARE_WORDS || (line.trim().is_empty() && have > 0) {
            return Ok(typed);
        }
        prompt = format!("  from word {}: ", have + 1);
    }
}

/// Sheets in a text: printed ones with numbered words, several of them one after another, or bare
/// words, a blank line between two sheets. `before` sheets were read already.
fn parse(text: &str, before: usize, name: Option<&str>) -> Result<Vec<Share>, Failure> {
    let numbered = numbered(text);
    let sheets = if numbered.is_empty() { bare(text) } else { numbered };
    let one = sheets.len() == 1 && name.is_some();
    let mut shares = Vec::new();
    for (at, sheet) in sheets.iter().enumerate() {
        shares.push(Share::parse(sheet).map_err(|error| {
            let which = match name {
                Some(name) if one => name.to_owned(),
                Some(name) => format!("{name}, sheet {}", at + 1),
                None => format!("sheet {}", before + at + 1),
            };
            wrong(&which, &error)
        })?);
    }
    Ok(shares)
}

fn wrong(which: &str, error: &ShareError) -> Failure {
    let message = sanitise::line(&format!("{which}: {error}"));
    let failure = Failure::usage("sheet-wrong", message);
    match error {
        ShareError::UnknownWord { .. } | ShareError::Checksum { suspect: Some(_) } => {
            failure.hint("compare that word with the sheet")
        }
        ShareError::Checksum { suspect: None } => {
            failure.hint("compare the words with the sheet, one by one")
        }
        ShareError::Length { .. } => {
            failure.hint("give the words in the order of their numbers, none left out")
        }
        ShareError::Malformed | ShareError::SeveralGroups => {
            failure.hint("is this a sheet that Fieldbook made?")
        }
    }
}

/// Words as [`Share::parse`] tells them apart.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

/// The words behind `1.`, `2.` … in the order of their numbers; a new sheet begins where `1.` comes again.
fn numbered(text: &str) -> Vec<Zeroizing<String>> {
    let mut sheets: Vec<Vec<(usize, &str)>> = Vec::new();
    let mut tokens = text.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        let Some((number, rest)) = token.split_once(['.', ')', ':']) else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        let word = if rest.is_empty() { tokens.peek().copied().unwrap_or_default() } else { rest };
        let word = word.trim_matches(|c: char| !c.is_alphabetic());
        if !(1..=SHARE_WORDS).contains(&number) || word.is_empty() || !word.chars().all(char::is_alphabetic) {
            continue;
        }
        if number == 1 || sheets.is_empty() {
            sheets.push(Vec::with_capacity(SHARE_WORDS));
        }
        if let Some(sheet) = sheets.last_mut() {
            sheet.push((number, word));
        }
    }
    for sheet in &mut sheets {
        sheet.sort_by_key(|(number, _)| *number);
    }
    sheets.iter().map(|sheet| join(sheet.iter().map(|(_, word)| *word))).collect()
}

fn bare(text: &str) -> Vec<Zeroizing<String>> {
    let mut sheets = Vec::new();
    let mut paragraph: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !line.trim().is_empty() {
            paragraph.extend(words(line));
            continue;
        }
        // Sheets one below the other, without a blank line.
        let several = paragraph.len() > SHARE_WORDS && paragraph.len().is_multiple_of(SHARE_WORDS);
        let size = if several { SHARE_WORDS } else { paragraph.len().max(1) };
        sheets.extend(paragraph.chunks(size).map(|sheet| join(sheet.iter().copied())));
        paragraph.clear();
    }
    sheets
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    for word in words {
        text.push_str(word);
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldbook_seal::recovery::RecoverySecret;

    fn shares() -> Vec<Share> {
        let mut next = 0_u8;
        RecoverySecret::from_bytes(&[7; 32])
            .split(2, 3, |bytes| {
                for byte in bytes {
                    next = next.wrapping_mul(5).wrapping_add(41);
                    *byte = next;
                }
            })
            .unwrap()
    }

    fn read(text: &str) -> Result<Vec<String>, String> {
        parse(text, 0, None)
            .map(|shares| shares.iter().map(|share| share.words().to_string()).collect())
            .map_err(|failure| failure.message)
    }

    fn words_of(shares: &[Share]) -> Vec<String> {
        shares.iter().map(|share| share.words().to_string()).collect()
    }

    #[test]
    fn printed_sheets_are_read_as_they_are_also_several_in_one_file() {
        let shares = shares();
        let printed: String = shares.iter().map(|share| print(share, 3).to_string()).collect();
        assert_eq!(read(&printed), Ok(words_of(&shares)));
        let first = print(&shares[0], 3);
        assert!(first.starts_with("RECOVERY SHEET 1 OF 3 ") && first.contains("Any 2 of them"), "{}", *first);
        assert!(first.lines().take(30).all(|line| line.chars().count() < 80));
        assert!(!first.to_lowercase().contains("fieldbook") && !first.contains("report"));
    }

    #[test]
    fn bare_words_are_read_line_by_line_or_by_paragraph() {
        let shares = shares();
        let words = words_of(&shares);
        assert_eq!(read(&words.join("\n")), Ok(words.clone()));
        assert_eq!(read(&words.join("\n\n").to_uppercase()), Ok(words.clone()));
        let broken = words[0].replacen(' ', "\n", 20);
        assert_eq!(read(&format!("\n\n{broken}\n\n\n{}", words[1])), Ok(words[..2].to_vec()));
        let listed: String =
            words[2].split(' ').enumerate().map(|(at, word)| format!("{}) {word}\n", at + 1)).collect();
        assert_eq!(read(&listed), Ok(words[2..].to_vec()));
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn a_wrong_word_is_named_with_its_sheet() {
        let words = words_of(&shares());
        let second =
            words[1].split(' ').enumerate().map(|(at, word)| if at == 8 { "xylophone" } else { word });
        let text = format!("{}\n\n{}", words[0], second.collect::<Vec<_>>().join(" "));
        let said = read(&text).unwrap_err();
        assert_eq!(said, "sheet 2: word 9, \"xylophone\", is not a word of recovery sheets");
        let said = read(words[0].rsplit_once(' ').unwrap().0).unwrap_err();
        assert_eq!(said, "sheet 1: a sheet has 33 words, and these are 32");
        let printed = print(&shares()[0], 3)
            .replace(&format!(" 5. {}", words[0].split(' ').nth(4).unwrap()), " 5. academic");
        let said = read(&printed).unwrap_err();
        assert_eq!(said, "sheet 1: one word is not the one on the sheet, probably word 5");
    }
}
