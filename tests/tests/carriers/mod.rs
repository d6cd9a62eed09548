//! The ways that a sync can take, with real processes: TCP where UDP is blocked, a SOCKS5 proxy, a pipe,
//! ssh.

mod capture;
mod padding;
mod pipe;
pub mod proxy;
mod ssh;
mod tcp;
pub mod world;

use fieldbook_tests::{Machine, Run};
use serde_json::Value;

/// What a sync said at its end.
pub fn synced(said: &Run) -> Value {
    said.lines().into_iter().find(|line| line["event"] == "synced").expect("a sync")
}

/// The ways that were tried in vain, in order.
fn tried(synced: &Value) -> Vec<&str> {
    synced["tried"].as_array().expect("a list").iter().filter_map(|tried| tried["path"].as_str()).collect()
}

/// A command line for `sh`.
pub fn shell(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
}

/// `fieldbook` on this machine as a line for `sh`, with nothing of the environment that it is run in.
pub fn line(machine: &Machine, args: &[&str]) -> String {
    let command = machine.command(args);
    let mut words = vec!["env".to_owned(), "-i".to_owned()];
    words.extend(
        command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?))),
    );
    words.push(command.get_program().to_str().expect("a path").to_owned());
    words.extend(command.get_args().map(|arg| arg.to_str().expect("UTF-8").to_owned()));
    shell(&words.iter().map(String::as_str).collect::<Vec<_>>())
}
