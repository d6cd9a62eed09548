//! The command line as a whole.

use clap::Parser;

use crate::commands::Command;
use crate::error::exit_code_table;
use crate::global::GlobalArgs;

/// Write down what happened, keep it safe, bring it together, publish it.
///
/// Reports are written offline, sealed for the coordinators of your team, carried by any device, and
/// published with the people in them protected. Nothing leaves this device before `finish`.
#[derive(Debug, Parser)]
#[command(name = "fieldbook", version, after_long_help = after_help(), disable_help_subcommand = false)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn after_help() -> String {
    format!(
        "Begin:\n  fieldbook demo                       the whole story, with real processes, in a temporary place\n  \
         fieldbook init --name \"My device\"    make a vault\n  \
         fieldbook new --template detention   write\n\n\
         The passphrase comes from --passphrase-file, --passphrase-fd or --passphrase-command, else from\n\
         $FIELDBOOK_PASSPHRASE_FILE, else you are asked. After `fieldbook unlock` no command needs it.\n\
         A report is named by the beginning of its id.\n\n{}",
        exit_code_table()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_its_help_lists_every_exit_code() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for code in ["  0  done", "  4  locked", " 13  clashes", "130  interrupted"] {
            assert!(help.contains(code), "{code}");
        }
    }

    #[test]
    fn the_lines_of_the_first_page_are_understood() {
        for line in [
            "--vault A init --name Coordination --passphrase-file pa",
            "--vault A team create Minsk",
            "--vault A team invite --role monitor --listen 127.0.0.1:0 --json",
            "--vault B join CODE --at 127.0.0.1:4000 --yes",
            "--vault B new --template detention --set date=2017-03-25 --person name=a,role=witness,consent=internal",
            "--vault B new --from -",
            "--vault B import a.jsonl b.jsonl",
            "--vault B attach 12ab photo.jpg",
            "--vault B edit 12ab --set date=2017-03-26",
            "--vault B finish 12ab",
            "--vault B finish --all --incomplete",
            "--vault A daemon --listen 127.0.0.1:0",
            "--vault A daemon status",
            "--vault A daemon stop",
            "--vault B sync --with 127.0.0.1:4000",
            "--vault B bundle write /media/stick",
            "--vault B bundle write /media/stick/x --for Coordination --since last --part-size 64M --older 1",
            "--vault A bundle read /media/stick /tmp/x",
            "--vault A resolve 12ab --field fields.date --keep both",
            "--vault A export --all --format html --out DIR",
            "--vault A export 12ab 34cd --format csv --out DIR --internal",
            "--vault A entry export 12ab --out e.age",
            "recover --explain",
            "--vault A recover identity --out key.txt",
            "unlock --for 30m",
        ] {
            let parsed = Cli::try_parse_from(std::iter::once("fieldbook").chain(line.split(' ')));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
        }
        for line in ["finish", "new", "export --out D", "resolve 12ab", "unlock --for soon", "bogus"] {
            let parsed = Cli::try_parse_from(std::iter::once("fieldbook").chain(line.split(' ')));
            assert!(parsed.is_err(), "{line}");
        }
    }
}
