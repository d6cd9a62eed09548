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
