//! A world of its own for a test: a network with nothing but loopback, and files of the system that are
//! this test's alone. The test starts itself again inside.

use std::process::Command;

/// Set inside.
const INSIDE: &str = "FIELDBOOK_TEST_INSIDE";

/// Whether this is the inside of such a world. If not, the test `name` of this program is run there, and has
/// passed when this returns.
#[track_caller]
pub fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run(&["ip", "link", "set", "lo", "up"]);
        return true;
    }
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let program = std::env::current_exe().expect("the path of this test");
    command.args(["--net", "--mount", "--"]).arg(program).args(["--exact", name, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("unshare, of util-linux");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "inside of a world of its own: {said}");
    assert!(said.contains("1 passed"), "no test of the name {name}: {said}");
    false
}

/// Puts a file in the place of one of the system's, for all inside.
pub fn instead(of: &str, file: &str) {
    run(&["mount", "--bind", file, of]);
}

/// Runs a command that must succeed.
#[track_caller]
pub fn run(words: &[&str]) {
    let status = Command::new(words[0]).args(&words[1..]).status().expect(words[0]);
    assert!(status.success(), "{words:?}: {status}");
}
