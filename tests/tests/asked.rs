//! Questions to a person at a terminal: what they show, what they leave behind, and what Ctrl-C does.

use std::fs;
use std::process::Command;

use fieldbook_tests::{Machine, Terminal, wait_for};

/// A person at a shell gives this command, and sees afterwards how it ended and whether what is typed shows.
fn at_a_shell(machine: &Machine, args: &[&str]) -> Terminal {
    let given = machine.bare();
    let mut command = Command::new("sh");
    // Ctrl-C also goes to the shell, as long as the program has not taken the keyboard for itself.
    command.args([
        "-c",
        "trap : INT; \"$@\"; echo \"ended $?\"; stty -a | tr ' ;' '\\n\\n' | grep -x -e '-\\?echo'",
        "sh",
    ]);
    command.arg(given.get_program()).args(given.get_args()).arg("--vault").arg(machine.vault()).args(args);
    command.env_clear();
    command.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Terminal::start(&command, 100, 30)
}

fn echoes(terminal: &Terminal) -> bool {
    wait_for("how the terminal is", || {
        let sent = String::from_utf8_lossy(&terminal.sent()).into_owned();
        sent.lines().map(str::trim).find_map(|line| match line {
            "echo" => Some(true),
            "-echo" => Some(false),
            _ => None,
        })
    })
}

#[test]
fn ctrl_c_at_a_question_gives_the_terminal_back_as_it_was() {
    let machine = Machine::with_vault("Monitor");
    // The signal and the answer to the question meet: not always in the same order.
    for _ in 0..10 {
        let mut terminal = at_a_shell(&machine, &["list"]);
        terminal.shows("assphrase");
        terminal.types("\x03");
        terminal.shows("ended 130");
        assert!(echoes(&terminal), "{}", terminal.screen());
        terminal.ends();
    }
    assert!(machine.processes().is_empty());
}

#[test]
fn words_that_are_drawn_do_not_stay_on_the_screen_and_a_slip_is_asked_again() {
    let machine = Machine::new("Monitor");
    let drawn = |terminal: &Terminal| -> String {
        wait_for("six words", || {
            let rows = terminal.rows();
            let at = rows.iter().position(|row| row.contains("drawn by chance"))?;
            rows.get(at + 2).map(|row| row.trim().to_owned()).filter(|row| row.split(' ').count() == 6)
        })
    };
    let mut terminal = at_a_shell(&machine, &["init", "--name", "Monitor"]);
    terminal.shows("Passphrase:");
    let words = drawn(&terminal);
    terminal.types("\r");
    terminal.shows("Type it once more");
    terminal.types("something else\r");
    terminal.shows("That is not the same.");
    terminal.types(&format!("{words}\r"));
    terminal.shows("ended 0");
    assert!(echoes(&terminal));
    terminal.ends();
    assert!(!terminal.screen().contains(&words), "{}", terminal.screen());
    // And they open it.
    let file = machine.secret_file("words", &format!("{words}\n"));
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).args(["--passphrase-file", &file, "list"]);
    fieldbook_tests::run(command, b"").exits(0);

    // Nor when it is broken off, or never typed right.
    let machine = Machine::new("Monitor");
    for slips in [0, 3] {
        let mut terminal = at_a_shell(&machine, &["init", "--name", "Monitor"]);
        terminal.shows("Passphrase:");
        let words = drawn(&terminal);
        if slips == 0 {
            terminal.types("\x03");
            terminal.shows("ended 130");
        } else {
            terminal.types("\r");
            for asked in 1..=slips {
                wait_for("the question", || {
                    (terminal.screen().matches("Type it once more").count() >= asked).then_some(())
                });
                terminal.types("something else\r");
            }
            terminal.shows("are not the same");
        }
        assert!(echoes(&terminal));
        terminal.ends();
        assert!(!terminal.screen().contains(&words), "{}", terminal.screen());
        assert!(
            !machine.vault().exists() || fs::read_dir(machine.vault()).expect("a directory").next().is_none()
        );
    }
}

#[test]
fn what_is_said_at_a_terminal_is_broken_between_words() {
    let machine = Machine::with_vault("Monitor");
    let told = "Шестьдесят человек увезли около полудня из помещения правозащитной организации";
    let narrative = format!("narrative={told}");
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25", "--set", &narrative]);
    machine.ok(&["unlock"]);
    let piped = machine.ok(&["show", &id]).out();
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).args(["show", &id]);
    let mut terminal = Terminal::start(&command, 34, 60);
    assert!(terminal.ends().success());
    let rows = terminal.rows();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&rows.join(" ")), words(&piped), "nothing else is changed");
    assert!(
        rows.iter().all(|row| row.chars().count() <= 34) && rows.len() > piped.lines().count(),
        "{rows:?}"
    );
}

#[test]
fn whoever_wipes_a_locked_vault_is_asked_for_nothing_but_its_passphrase() {
    let machine = Machine::with_vault("Monitor");
    let mut terminal = at_a_shell(&machine, &["wipe"]);
    terminal.shows("Its passphrase destroys it");
    terminal.shows("Passphrase to DESTROY the vault");
    terminal.types("\x03");
    terminal.shows("ended 130");
    terminal.ends();
    assert!(machine.vault().exists());
    let mut terminal = at_a_shell(&machine, &["wipe"]);
    terminal.shows("Passphrase to DESTROY the vault");
    terminal.types(&format!("{}\r", machine.passphrase()));
    terminal.shows("Wiped.");
    terminal.shows("ended 0");
    terminal.ends();
    assert!(!String::from_utf8_lossy(&terminal.sent()).contains(machine.passphrase()));
    assert!(!machine.vault().exists());
}
