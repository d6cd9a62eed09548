//! The harness: people, machines and the real `fieldbook` program, for tests that tell a story.
//!
//! A [`Machine`] is one device of one person: a home, a runtime directory, a directory for temporary
//! files and a vault, all its own and all thrown away. Everything the program does there is done by
//! the binary that users get, found by [`binary::path`]; nothing in this crate links to it.
//!
//! ```no_run
//! use fieldbook_tests::{Machine, pair};
//!
//! let (coordination, monitor) = (Machine::with_vault("Coordination"), Machine::with_vault("Monitor"));
//! coordination.ok(&["team", "create", "Minsk 2017"]);
//! pair(&coordination, &monitor, "monitor");
//! let id = monitor.write(&["--template", "detention", "--set", "date=2017-03-25"]);
//! monitor.ok(&["finish", &id, "--incomplete"]);
//! let daemon = coordination.daemon();
//! monitor.ok(&["sync", "--with", daemon.address()]);
//! assert_eq!(coordination.reports().len(), 1);
//! ```
//!
//! Nothing here sleeps to give the program time: what is waited for is polled, until a deadline far
//! beyond what any machine needs.

// A harness that cannot set the scene has no better way to say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod binary;
mod bucket;
mod daemon;
pub mod link;
mod machine;
pub mod memory;
mod pairing;
pub mod processes;
mod run;
mod running;
mod terminal;
pub mod traces;

pub use bucket::BucketServer;
pub use daemon::Daemon;
pub use machine::{MACHINE, Machine};
pub use pairing::{pair, pair_new_desk, team_of_two};
pub use run::{Run, run};
pub use running::Running;
pub use terminal::Terminal;

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes this long, on any machine, unless it will never come.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Asks again and again until there is an answer.
///
/// # Panics
/// There is none before the deadline.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of loopback that was free a moment ago, for TCP and for UDP. Below those that the system gives to whoever
/// asks for any: nobody takes it by chance before it is used. Each process begins elsewhere, and no other one takes it as long
/// as this one lives.
///
/// # Panics
/// The machine has none left.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let marks = std::env::temp_dir().join(format!("fbtest-ports-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&marks).expect("a directory");
    for _ in 0..PORTS {
        let number = std::process::id().wrapping_mul(16).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(number % PORTS).expect("small");
        let mark = File::create(marks.join(port.to_string())).expect("a file");
        if mark.try_lock().is_err() {
            continue;
        }
        let tcp = std::net::TcpListener::bind(("127.0.0.1", port));
        if tcp.is_ok() && std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().expect("the marks").push(mark);
            return port;
        }
    }
    panic!("no port is free for both TCP and UDP");
}

/// How many ports [`free_port`] chooses from.
const PORTS: u32 = 20_000;

/// The seed data: 23 reports, a JSON object a line.
pub const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/minsk-2017.jsonl");

/// A photograph as a telephone takes it, with the place and the maker in its EXIF data.
pub const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/photo.jpg");
