//! Somebody looks over the shoulder, into a list of processes or of files: what they see is a notebook.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use fieldbook_tests::{Machine, Run, binary, processes, run};

use crate::making::{stick, text};

/// The names of everything below a directory.
fn names(below: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(below).expect("a directory") {
        let entry = entry.expect("an entry");
        all.insert(entry.file_name().into_string().expect("UTF-8"));
        if entry.file_type().expect("its type").is_dir() {
            all.extend(names(&entry.path()));
        }
    }
    all
}

/// Words that say what the notebook is for, or whose it is.
const TELLING: [&str; 12] = [
    "violation",
    "right",
    "monitor",
    "detention",
    "report",
    "evidence",
    "secret",
    "vault",
    "duress",
    "decoy",
    "sealed",
    "axolotl",
];

fn tells_nothing(what: &str, words: &str) {
    let words = words.to_lowercase();
    for telling in TELLING {
        assert!(!words.contains(telling), "{what} says \"{telling}\": {words}");
    }
}

#[test]
fn the_default_place_and_what_lies_in_it_are_called_as_a_notebook_is() {
    let machine = Machine::new("Axolotl");
    // The machine's own passphrase file, and the default place.
    let with = |args: &[&str]| {
        let mut command = machine.bare();
        command.arg("--passphrase-file").arg(machine.path("passphrase")).arg("--no-input").args(args);
        run(command, b"").exits(0)
    };
    with(&["init", "--name", "Axolotl", "--work-factor", "15"]);
    assert!(machine.home().join(".local/share/notebook").is_dir());
    with(&["new", "--template", "detention", "--set", "date=2017-03-25"]);
    with(&["unlock"]);
    let lie = [machine.home(), machine.root().join("run"), machine.root().join("tmp")];
    for dir in lie {
        for name in names(&dir) {
            tells_nothing("a file's name", &name);
        }
    }
    with(&["lock"]);
    tells_nothing("the version", &with(&["--version"]).out());
}

#[test]
fn program_and_notebook_live_on_a_stick_side_by_side_under_names_of_ones_own() {
    let machine = Machine::new("Axolotl");
    let stick = stick();
    fs::copy(binary::path(), stick.path().join("notes")).expect("a copy");
    let passphrase = machine.path("passphrase");
    // As typed by whoever stands in the stick's directory.
    let notes = |args: &[&str]| -> Run {
        let mut command = Command::new("./notes");
        command.current_dir(stick.path()).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.root().join("run"));
        command.env("TMPDIR", machine.root().join("tmp"));
        command.args(["--vault", "diary", "--no-input", "--passphrase-file", text(&passphrase)]).args(args);
        run(command, b"").exits(0)
    };
    notes(&["init", "--name", "Axolotl", "--work-factor", "15"]);
    notes(&["unlock"]);
    notes(&["new", "--template", "detention", "--title", "On the stick", "--set", "date=2017-03-25"]);
    assert!(notes(&["list"]).out().contains("On the stick"));

    // Two processes stay. What `ps` shows of them names neither the notebook nor what it is for.
    let program = stick.path().canonicalize().expect("the stick").join("notes");
    let staying = processes::of_home(&machine.home());
    assert_eq!(staying.len(), 2, "agent and watch: {}", staying.len());
    for process in &staying {
        let arguments = String::from_utf8_lossy(&process.arguments).replace('\0', " ");
        assert!(arguments.starts_with(&format!("{} internal ", text(&program))), "{arguments}");
        assert!(!arguments.contains("diary") && !arguments.contains("passphrase"), "{arguments}");
        tells_nothing("a process", &arguments);
        for thread in fs::read_dir(format!("/proc/{}/task", process.pid)).expect("threads") {
            // One that has ended meanwhile has no name.
            let Ok(name) = fs::read_to_string(thread.expect("a thread").path().join("comm")) else {
                continue;
            };
            tells_nothing("a thread", &name);
            assert!(!name.contains("fieldbook"), "it was called notes: {name}");
        }
    }
    notes(&["lock"]);

    // Another computer: everything was on the stick, and nothing of it at home.
    assert!(names(&machine.home()).is_empty(), "{:?}", names(&machine.home()));
    assert!(names(&machine.root().join("tmp")).is_empty());
    for name in names(stick.path()) {
        tells_nothing("a file's name", &name);
    }
    let elsewhere = self::stick();
    for file in ["notes", "diary"] {
        // The same stick at another path, as on another computer: no copy of it.
        fs::rename(stick.path().join(file), elsewhere.path().join(file)).expect("one disk");
    }
    let mut command = Command::new(elsewhere.path().join("notes"));
    command.env_clear().env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.root().join("run"));
    command.args(["--no-input", "--passphrase-file", text(&passphrase), "list", "--vault"]);
    command.arg(elsewhere.path().join("diary"));
    let listed = run(command, b"").exits(0);
    assert!(listed.out().contains("On the stick") && !listed.err().contains("copy"), "{listed:?}");
}
