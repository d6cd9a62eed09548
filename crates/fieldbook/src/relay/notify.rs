//! What a service says to the system's manager: `sd_notify(3)`, a datagram of `KEY=value` lines to the socket
//! that `NOTIFY_SOCKET` names. Without that variable nothing is said, and nothing is missing.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The variables that say where, and how often the manager wants to hear.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The way to the manager, if there is one.
#[derive(Debug)]
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment of this process says.
    pub fn of_this_process() -> Self {
        let [socket, usec, pid] = VARIABLES.map(std::env::var_os);
        let text = |value: Option<std::ffi::OsString>| value.and_then(|value| value.into_string().ok());
        Self::new(socket.as_deref(), text(usec).as_deref(), text(pid).as_deref())
    }

    fn new(socket: Option<&OsStr>, usec: Option<&str>, pid: Option<&str>) -> Self {
        let to = socket.and_then(address).and_then(|to| Some((UnixDatagram::unbound().ok()?, to)));
        let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let usec = usec.and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0 && ours && to.is_some());
        Self { to, watchdog: usec.map(Duration::from_micros) }
    }

    /// How often it has to be told that all is well: twice in the time after which it would end this process.
    pub fn pace(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Everything works from now on.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}\n", one_line(status)));
    }

    /// All is well.
    pub fn well(&self, status: &str) {
        let dog = if self.watchdog.is_some() { "WATCHDOG=1\n" } else { "" };
        self.say(&format!("{dog}STATUS={}\n", one_line(status)));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=Ending\n");
    }

    /// A manager that does not hear is not waited for.
    fn say(&self, state: &str) {
        if let Some((socket, to)) = &self.to {
            let _ = socket.send_to_addr(state.as_bytes(), to);
        }
    }
}

/// A path, or behind an `@` a name in the kernel's own space.
fn address(socket: &OsStr) -> Option<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(socket).ok(),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut block = [0; 512];
        let read = socket.recv(&mut block).unwrap();
        String::from_utf8(block[..read].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_what_it_asked_for_at_a_path_and_at_a_name_of_the_kernels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("fieldbook-test-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        let me = std::process::id().to_string();
        for (socket, named) in sockets {
            let manager = Manager::new(Some(&named), Some("4000000"), Some(&me));
            assert_eq!(manager.pace(), Some(Duration::from_secs(2)));
            manager.ready("Two\nlines");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=Two lines\n");
            manager.well("well");
            assert_eq!(heard(&socket), "WATCHDOG=1\nSTATUS=well\n");
            manager.stopping();
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=Ending\n");
            // The watchdog is another process's.
            let manager = Manager::new(Some(&named), Some("4000000"), Some("1"));
            assert_eq!(manager.pace(), None);
            manager.well("well");
            assert_eq!(heard(&socket), "STATUS=well\n");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        for socket in
            [None, Some(OsStr::new("relative")), Some(OsStr::new("")), Some(OsStr::new("/nowhere/at/all"))]
        {
            let manager = Manager::new(socket, Some("x"), None);
            assert_eq!(manager.pace(), None);
            manager.ready("");
            manager.stopping();
        }
    }
}
