//! One device of one person.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Run, run};
use crate::{Running, binary, processes};

/// How the names of machines' directories begin.
pub const MACHINE: &str = "fbtest-";

/// A machine with a home, a runtime directory and a directory for temporary files of its own, and
/// room for one vault. When it goes, every process that was started on it goes with it.
pub struct Machine {
    root: TempDir,
    born: SystemTime,
    name: String,
    passphrase: String,
}

impl Machine {
    /// A machine without a vault.
    ///
    /// # Panics
    /// The disk refuses.
    pub fn new(name: &str) -> Self {
        processes::keep_descendants();
        // Short: the path of a Unix socket has at most 107 bytes.
        let root =
            tempfile::Builder::new().prefix(MACHINE).rand_bytes(8).tempdir().expect("a temporary directory");
        for dir in ["home", "run", "tmp", "work"] {
            fs::DirBuilder::new().mode(0o700).create(root.path().join(dir)).expect("a directory");
        }
        let machine = Self {
            root,
            born: SystemTime::now(),
            name: name.to_owned(),
            passphrase: format!("zebra canoe lantern velvet orchard of {name}"),
        };
        machine.secret_file("passphrase", &format!("{}\n", machine.passphrase));
        machine
    }

    /// A machine with a vault, whose passphrase costs as little as the format allows.
    pub fn with_vault(name: &str) -> Self {
        let machine = Self::new(name);
        machine.ok(&["init", "--name", name, "--work-factor", "15"]);
        machine
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its passphrase.
    pub fn passphrase(&self) -> &str {
        &self.passphrase
    }

    /// When it came to be. What is older is not its doing.
    pub fn born(&self) -> SystemTime {
        self.born
    }

    /// Everything the machine has on disk.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The vault's directory.
    pub fn vault(&self) -> PathBuf {
        self.root.path().join("vault")
    }

    /// The home directory.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// A path in the directory that commands are run in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    /// Writes a file beside the vault.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Writes a file that only its owner can read.
    pub fn secret_file(&self, name: &str, content: &str) -> String {
        use std::io::Write as _;
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("a file");
        file.write_all(content.as_bytes()).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// `fieldbook` on this machine and nothing else: no vault, no passphrase, no options.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(binary::path());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.root.path().join("run"))
            .env("TMPDIR", self.root.path().join("tmp"))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.root.path().join("work"));
        command
    }

    /// `fieldbook` with this machine's vault and passphrase, which never asks.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare();
        command.arg("--vault").arg(self.vault());
        command.arg("--passphrase-file").arg(self.path("passphrase"));
        command.arg("--no-input").args(args);
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        run(self.command(args), b"")
    }

    /// Runs a command with something on its standard input.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Run {
        run(self.command(args), input)
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Run {
        self.run(args).exits(0)
    }

    /// Runs a command with `--json` that must succeed: its lines.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        self.run(&[&["--json"], args].concat()).exits(0).lines()
    }

    /// Runs a command with `--json` that must end with this code: its error object.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &[&str]) -> Value {
        let error = self.run(&[&["--json"], args].concat()).exits(code).error();
        if let Some(exit) = error.get("exit") {
            assert_eq!(exit, code, "{error}");
        }
        error
    }

    /// Starts a command that keeps running, with `--json`.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(&[&["--json"], args].concat()))
    }

    /// Writes a report with `new`: its id.
    #[track_caller]
    pub fn write(&self, args: &[&str]) -> String {
        let lines = self.json(&[&["new"], args].concat());
        id_of(lines.last().expect("a line about the new report"))
    }

    /// The lines of `list`.
    #[track_caller]
    pub fn reports(&self) -> Vec<Value> {
        let mut lines = self.json(&["list"]);
        lines.retain(|line| line.get("id").is_some());
        lines
    }

    /// `show`.
    #[track_caller]
    pub fn show(&self, id: &str) -> Value {
        self.json(&["show", id]).pop().expect("a report")
    }

    /// The processes that were started on this machine and still run.
    pub fn processes(&self) -> Vec<processes::Process> {
        processes::of_home(&self.home())
    }

    /// Waits until nothing of it runs. Whoever stood beside a process that has ended notices a moment later.
    #[track_caller]
    pub fn rests(&self) {
        crate::wait_for("the end of every process", || self.processes().is_empty().then_some(()));
    }

    /// Kills whatever runs on it, and what is started meanwhile, until nothing does.
    #[track_caller]
    pub fn falls(&self) {
        crate::wait_for("the end of every process", || {
            let left = self.processes();
            processes::kill(&left);
            left.is_empty().then_some(())
        });
    }

    /// What runs on it, once each watch whose agent or daemon has ended is gone, too: it looks every few milliseconds.
    #[track_caller]
    pub fn lasting(&self) -> Vec<processes::Process> {
        crate::wait_for("the end of the watches", || {
            let all = self.processes();
            let stands = |process: &processes::Process| {
                let is_watch = process.arguments.windows(7).any(|word| word == b"\0watch\0");
                let beside = || all.iter().any(|other| processes::parent(process.pid) == Some(other.pid));
                !is_watch || beside()
            };
            all.iter().all(stands).then(|| all.clone())
        })
    }
}

/// The id in a line about a report.
pub(crate) fn id_of(line: &Value) -> String {
    line["id"].as_str().unwrap_or_else(|| panic!("no id in {line}")).to_owned()
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mine = [b"HOME=", self.home().as_os_str().as_encoded_bytes(), b"\0"].concat();
        let mut processes = self.processes();
        processes.retain(|process| process.environment.windows(mine.len()).any(|window| window == mine));
        processes::kill(&processes);
    }
}
