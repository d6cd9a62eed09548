//! How these tests read what the program says.

use fieldbook_tests::{Machine, Run};
use serde_json::Value;

/// The ids of `list`, in its order.
#[track_caller]
pub fn ids(machine: &Machine) -> Vec<String> {
    machine.reports().iter().filter_map(|line| line["id"].as_str().map(str::to_owned)).collect()
}

/// `from` syncs with a daemon of `to`, which takes in what came.
#[track_caller]
pub fn sync(from: &Machine, to: &Machine) -> Run {
    let daemon = to.daemon();
    let said = from.ok(&["sync", "--with", daemon.address()]);
    to.ok(&["list"]);
    said
}

/// A command at a terminal of its own, where the person types `lines`. `script` ends with the code of what it runs.
pub fn typed(machine: &Machine, args: &[&str], lines: &str) -> Run {
    let binary = fieldbook_tests::binary::path().display().to_string();
    let (vault, passphrase) = (machine.vault(), machine.path("passphrase"));
    let (vault, passphrase) = (vault.display().to_string(), passphrase.display().to_string());
    let words = [&[&*binary, "--vault", &vault, "--passphrase-file", &passphrase][..], args].concat();
    let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let mut command = std::process::Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.root().join("run"));
    command.env("SHELL", "/bin/sh").env("LC_ALL", "C.UTF-8");
    fieldbook_tests::run(command, lines.as_bytes())
}

/// A field of a shown report.
pub fn field<'a>(shown: &'a Value, name: &str) -> &'a Value {
    &shown["content"]["fields"][name]
}

/// The names of the people of a shown report.
pub fn people(shown: &Value) -> Vec<&str> {
    shown["content"]["people"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|person| person["name"].as_str())
        .collect()
}

/// All of `history` as one text.
#[track_caller]
pub fn history_text(machine: &Machine, id: &str) -> String {
    machine.json(&["history", id]).iter().map(|line| format!("{line}\n")).collect()
}

/// The clashes that `conflicts` lists for a report; null when it lists none.
#[track_caller]
pub fn clashes_of(machine: &Machine, id: &str) -> Value {
    let said = machine.run(&["--json", "conflicts"]);
    assert!(said.code == 0 || said.code == 13, "{said:?}");
    let found = said.lines().into_iter().find(|line| line["id"] == id);
    assert_eq!(said.code == 13, said.lines().iter().any(|line| line.get("clashes").is_some()), "{said:?}");
    found.map_or(Value::Null, |line| line["clashes"].clone())
}

/// Where a report is, in the program's word.
#[track_caller]
pub fn word_of_delivery(machine: &Machine, id: &str) -> String {
    machine.show(id)["summary"]["delivery"]["word"].as_str().unwrap_or("none").to_owned()
}
