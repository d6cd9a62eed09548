//! Through ssh, to a server that this test starts: with its own keys, on loopback, for itself alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fieldbook_tests::{Machine, free_port, team_of_two, wait_for};

use super::{line, shell, synced, world};
use crate::making::finished_plain as finished;
use crate::reading::ids;

struct Server {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// A server whose one key may run anything, or only `forced`.
    fn start(forced: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        for key in ["host", "client"] {
            world::run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
        }
        let public = fs::read_to_string(path("client.pub")).expect("a key");
        let options = forced.map(|command| {
            let command = command.replace('\\', "\\\\").replace('"', "\\\"");
            format!("restrict,command=\"{command}\" ")
        });
        fs::write(path("authorized"), options.unwrap_or_default() + &public).expect("a file");
        let port = free_port();
        let host = fs::read_to_string(path("host.pub")).expect("a key");
        fs::write(path("known"), format!("[127.0.0.1]:{port} {host}")).expect("a file");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             PidFile none\nPrintMotd no\n",
            path("host"),
            path("authorized")
        );
        fs::write(path("config"), config).expect("a file");
        fs::set_permissions(path("host"), fs::Permissions::from_mode(0o600)).expect("a key");
        // Where Debian's service makes it, which need not have run.
        if rustix::process::getuid().is_root() {
            let _ = fs::create_dir("/run/sshd");
        }
        let log = fs::File::create(path("log")).expect("a file");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd: scripts/install brings it");
        wait_for("the ssh server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { process, port, dir }
    }

    /// A line for `sh` that runs `command` there.
    fn line(&self, command: &str) -> String {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let user = Command::new("id").arg("-un").output().expect("id").stdout;
        let at = format!("{}@127.0.0.1", String::from_utf8_lossy(&user).trim());
        let (port, known) = (self.port.to_string(), format!("UserKnownHostsFile={}", path("known")));
        let key = path("client");
        shell(&[
            "ssh",
            "-F",
            "none",
            "-T",
            "-p",
            &port,
            "-i",
            &key,
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            &known,
            &at,
            command,
        ])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sync_through(machine: &Machine, line: &str, server: &Server) -> serde_json::Value {
    assert!(Path::new("/usr/bin/ssh").exists(), "ssh: scripts/install brings it");
    let said = machine.run(&["--json", "sync", "--through", line]);
    assert_eq!(said.code, 0, "{said:?}\n{}", server.log());
    synced(&said)
}

#[test]
fn a_sync_goes_through_ssh() {
    let (a, b) = team_of_two();
    let id = finished(&b);
    let server = Server::start(None);
    let there = line(&a, &["sync", "--stdio", "--serve"]);
    let done = sync_through(&b, &server.line(&there), &server);
    assert_eq!((done["path"].as_str(), done["traffic"]["in_step"].as_bool()), (Some("stdio"), Some(true)));
    assert_eq!(ids(&a), [id]);
}

#[test]
fn a_key_that_may_sync_and_nothing_else() {
    let (a, b) = team_of_two();
    let id = finished(&b);
    let server = Server::start(Some(&line(&a, &["sync", "--stdio", "--serve"])));
    // Whatever it asks for, the server runs the sync.
    sync_through(&b, &server.line("cat /etc/passwd"), &server);
    assert_eq!(ids(&a), [id]);
    // And where no server is, that is no device.
    let nobody = server.line("x").replace("127.0.0.1", "127.0.0.77") + " 2>/dev/null";
    let error = b.fails(14, &["sync", "--through", &nobody]);
    assert!(error["message"].as_str().expect("words").contains("the command ended with 255"), "{error}");
}
