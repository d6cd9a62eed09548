//! A laptop is closed. What it has in memory while it sleeps is whoever's who takes it.
//!
//! On a real bus (`dbus-daemon`) of the test's own, with a login manager that speaks another implementation of D-Bus.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fieldbook_tests::{Machine, run, wait_for};
use serde_json::Value;

use crate::making::text;
use crate::recovery::python;

/// The bus and the manager on it, which end with the test.
struct Bus {
    bus: Child,
    manager: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    address: String,
}

/// As the bus of a session has it: everybody may do everything.
const POLICY: &str = "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
                      <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/></policy>";

impl Bus {
    fn start(machine: &Machine) -> Self {
        let socket = machine.root().join("bus");
        let config = machine.file(
            "bus.conf",
            format!(
                "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>{POLICY}</busconfig>",
                text(&socket)
            ),
        );
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--nofork", "--nopidfile", "--config-file", &config]).stdout(Stdio::null());
        let bus = bus.spawn().expect("dbus-daemon, as scripts/install has it");
        wait_for("the bus", || socket.exists().then_some(()));
        let address = format!("unix:path={}", text(&socket));
        let mut manager = Command::new(python());
        manager.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/logind.py")).arg(&address);
        let mut manager = manager.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the manager");
        let (to, from) = (manager.stdin.take().expect("a pipe"), manager.stdout.take().expect("a pipe"));
        let mut bus = Self { bus, manager, to, from: BufReader::new(from), address };
        assert_eq!(bus.says(), "ready");
        bus
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn told(&mut self, order: &str) -> String {
        writeln!(self.to, "{order}").expect("the manager lives");
        loop {
            let said = self.says();
            if !said.starts_with("inhibit ") {
                return said;
            }
        }
    }

    /// `unlock` until it says that it locks before sleep: on a machine that is busy elsewhere nobody may have answered in time.
    fn unlock(&mut self, machine: &Machine) {
        wait_for("somebody who tells of sleep", || {
            if unlocked(machine, &self.address)["locks_before_sleep"] == true {
                return Some(());
            }
            machine.ok(&["lock"]);
            None
        });
        // What everybody on the computer can read names a notebook.
        assert_eq!(self.says(), "inhibit sleep notebook saves and closes delay");
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        for child in [&mut self.manager, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `unlock` where the system's bus is at this address: what it says.
fn unlocked(machine: &Machine, address: &str) -> Value {
    let mut command = machine.command(&["--json", "unlock"]);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
    run(command, b"").exits(0).lines().pop().expect("a line")
}

/// What `doctor` says of sleep, where the system's bus is at this address: the verdict and the words. Nothing if it says
/// another thing to a person the next moment: somebody may not have answered in time.
fn examined(machine: &Machine, address: &str) -> Option<(String, String)> {
    let of_the_bus = |options: &[&str]| {
        let mut command = machine.command(options);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
        run(command, b"")
    };
    let said = of_the_bus(&["--json", "doctor"]).lines();
    let of_it: Vec<&Value> = said.iter().filter(|line| line["check"] == "sleep").collect();
    assert_eq!(of_it.len(), 1, "{said:?}");
    let word = |name: &str| of_it[0][name].as_str().unwrap_or_default().to_owned();
    let (verdict, found) = (word("verdict"), word("found"));
    assert_eq!(verdict == "good", of_it[0]["do"].is_null(), "advice where it is of use: {said:?}");
    let mark = if verdict == "good" { "ok" } else { "note" };
    let words = of_the_bus(&["doctor"]).out();
    let is_said = words.lines().any(|line| line.starts_with(mark) && line.ends_with(&found));
    is_said.then_some((verdict, found))
}

/// Whether the vault is open for commands that know no passphrase.
fn is_open(machine: &Machine) -> bool {
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).args(["--no-input", "list"]);
    run(command, b"").code == 0
}

fn agent(machine: &Machine) -> u32 {
    let agent = |arguments: &[u8]| arguments.ends_with(b"\0internal\0agent\0");
    machine.processes().iter().find(|process| agent(&process.arguments)).expect("an agent").pid
}

#[test]
fn the_agent_is_gone_before_the_computer_may_sleep_and_only_its_login_manager_is_believed() {
    let machine = Machine::with_vault("Laptop");
    let mut bus = Bus::start(&machine);
    bus.unlock(&machine);
    let agent = agent(&machine);

    assert_eq!(bus.told("awake"), "done");
    assert_eq!(bus.told("impostor"), "done");
    for _ in 0..5 {
        assert!(is_open(&machine));
    }
    // Whoever holds sleep up lets go when the process that had the keys is no more: buried, or dead and unburied.
    let said = bus.told(&format!("sleep {agent}"));
    assert!(["released gone", "released Z"].contains(&said.as_str()), "{said}");
    assert!(!is_open(&machine));
    machine.rests();

    // Nothing of it is damaged, and the next time it is so again.
    bus.unlock(&machine);
    assert!(is_open(&machine));
    machine.ok(&["lock"]);
    machine.rests();
}

#[test]
fn a_doctor_says_whether_sleep_locks_the_vault() {
    let machine = Machine::with_vault("Laptop");
    let mut bus = Bus::start(&machine);
    // On a machine that is busy elsewhere nobody may have answered in time.
    wait_for("somebody who tells of sleep", || {
        let (verdict, found) = examined(&machine, &bus.address)?;
        (verdict == "good" && found.contains("is locked first")).then_some(())
    });
    assert_eq!(bus.says(), "inhibit sleep notebook saves and closes delay");
    // It is as it says.
    bus.unlock(&machine);
    let agent = agent(&machine);
    let said = bus.told(&format!("sleep {agent}"));
    assert!(["released gone", "released Z"].contains(&said.as_str()), "{said}");
    assert!(!is_open(&machine));
    machine.rests();

    let nowhere = format!("unix:path={}", text(Path::new("/nowhere/bus")));
    let (verdict, found) = examined(&machine, &nowhere).expect("the same words twice");
    assert_eq!(verdict, "notice");
    assert!(found.contains("does not say when it goes to sleep"), "{found}");
}

#[test]
fn where_nobody_tells_of_sleep_unlocking_says_so_and_works() {
    let machine = Machine::with_vault("Server");
    let nowhere = format!("unix:path={}", text(Path::new("/nowhere/bus")));
    assert_eq!(unlocked(&machine, &nowhere)["locks_before_sleep"], false);
    assert!(is_open(&machine));
    machine.ok(&["lock"]);

    // A bus that accepts and says nothing holds nobody up for long; one that talks nonsense neither.
    let silent = machine.root().join("silent");
    let listener = std::os::unix::net::UnixListener::bind(&silent).expect("a socket");
    assert_eq!(unlocked(&machine, &format!("unix:path={}", text(&silent)))["locks_before_sleep"], false);
    machine.ok(&["lock"]);
    let nonsense = std::thread::spawn(move || {
        // The first one is the silent watch's.
        let answer = b"OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\nl\x02\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff";
        for stream in listener.incoming().take(2) {
            let _ = stream.and_then(|mut stream| stream.write_all(answer));
        }
    });
    assert_eq!(unlocked(&machine, &format!("unix:path={}", text(&silent)))["locks_before_sleep"], false);
    assert!(is_open(&machine));
    machine.ok(&["lock"]);
    nonsense.join().expect("its end");
}
