//! Where the demo plays: a temporary directory, two devices in it, and their commands as real
//! processes, shown as they would be typed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{BufRead, BufReader, Lines, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::error::Failure;
use crate::interrupt;
use crate::sanitise;
use crate::ui::Ui;

/// Lines of one command that are shown.
const LINES_SHOWN: usize = 14;

/// The temporary place.
pub struct Stage<'a> {
    dir: PathBuf,
    keep: bool,
    ui: &'a Ui,
}

/// A device: a vault and its passphrase.
pub struct Device<'a> {
    stage: &'a Stage<'a>,
    name: &'static str,
}

impl<'a> Stage<'a> {
    /// Makes the place, closed to others.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn set(ui: &'a Ui, keep: bool) -> Result<Self, Failure> {
        let dir = fresh_path("fieldbook-demo")?;
        for path in [dir.clone(), dir.join("run")] {
            DirBuilder::new()
                .mode(0o700)
                .create(path)
                .map_err(Failure::io("a temporary directory cannot be made"))?;
        }
        Ok(Self { dir, keep, ui })
    }

    /// A device with this passphrase.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn device(&'a self, name: &'static str, passphrase: &str) -> Result<Device<'a>, Failure> {
        self.file(&format!("{name}.passphrase"), passphrase.as_bytes())?;
        Ok(Device { stage: self, name })
    }

    /// Puts a file there; its name, relative to the place.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<String, Failure> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.join(name))
            .and_then(|mut file| file.write_all(content))
            .map_err(Failure::io("a temporary file cannot be made"))?;
        Ok(name.to_owned())
    }

    /// Tells what happens next.
    ///
    /// # Errors
    /// Standard output.
    pub fn say(&self, words: &str) -> Result<(), Failure> {
        self.ui.emit(json!({"event": "step", "words": words}))?;
        self.ui.say(format_args!("\n{words}\n"))
    }

    /// Shows a line as a command would print it.
    ///
    /// # Errors
    /// Standard output.
    pub fn show(&self, words: &str) -> Result<(), Failure> {
        self.ui.say(format_args!("    {}", sanitise::line(words)))
    }

    /// Where the vaults are, if they are kept.
    pub fn kept(&self) -> Option<String> {
        self.keep.then(|| self.dir.to_string_lossy().into_owned())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // After a failure an agent may still run: it is asked to close its vault.
        for name in ["coordination", "monitor"] {
            let _ = Device { stage: self, name }.command(&["lock"], false).output();
        }
        if !self.keep {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl<'a> Device<'a> {
    fn command(&self, args: &[&str], json: bool) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| "fieldbook".into());
        let mut command = Command::new(program);
        command.current_dir(&self.stage.dir).env("XDG_RUNTIME_DIR", self.stage.dir.join("run"));
        for variable in ["FIELDBOOK_VAULT", "FIELDBOOK_PASSPHRASE_FILE"] {
            command.env_remove(variable);
        }
        command.args(["--vault", self.name]).args(self.passphrase(args));
        command.arg("--no-input").args(json.then_some("--json")).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed, and shows it and what it prints.
    ///
    /// # Errors
    /// It does not.
    pub fn run(&self, args: &[&str]) -> Result<(), Failure> {
        self.run_expecting(0, args)
    }

    /// Runs a command that must end with this code.
    ///
    /// # Errors
    /// It does not.
    pub fn run_expecting(&self, code: i32, args: &[&str]) -> Result<(), Failure> {
        self.announce(args)?;
        let output = finish(self.command(args, false))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let aside = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> =
            if said.trim().is_empty() { aside.lines().collect() } else { said.lines().collect() };
        for line in lines.iter().take(LINES_SHOWN) {
            self.stage.show(line)?;
        }
        if lines.len() > LINES_SHOWN {
            self.stage.show(&format!("… and {} lines more", lines.len() - LINES_SHOWN))?;
        }
        self.check(args, code, &output)
    }

    /// Runs a command with `--json`: its objects. Not shown.
    ///
    /// # Errors
    /// It fails.
    pub fn json(&self, args: &[&str]) -> Result<Vec<Value>, Failure> {
        self.announce(args)?;
        self.json_silently(args)
    }

    /// The same, and the command is not shown either.
    ///
    /// # Errors
    /// As [`Device::json`].
    pub fn json_silently(&self, args: &[&str]) -> Result<Vec<Value>, Failure> {
        let output = finish(self.command(args, true))?;
        self.check(args, 0, &output)?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|error| went_wrong(&format!("{args:?}: {error}"))))
            .collect()
    }

    /// The reports of `list`.
    ///
    /// # Errors
    /// As [`Device::json`].
    pub fn reports(&self) -> Result<Vec<Value>, Failure> {
        self.json_silently(&["list"])
    }

    /// A report as `show --json` has it.
    ///
    /// # Errors
    /// As [`Device::json`].
    pub fn shown(&self, id: &str) -> Result<Value, Failure> {
        let mut lines = self.json_silently(&["show", id])?;
        lines.pop().ok_or_else(|| went_wrong("`show` printed nothing"))
    }

    /// Starts a command that keeps running, with `--json`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, args: &[&str]) -> Result<Running, Failure> {
        self.announce(args)?;
        Running::start(self.command(args, true))
    }

    /// Starts the daemon on loopback.
    ///
    /// # Errors
    /// It does not listen.
    pub fn daemon(&self) -> Result<Daemon, Failure> {
        let mut running = self.start(&["daemon", "--listen", "127.0.0.1:0"])?;
        let address = running.text("listening")?;
        self.stage.show(&format!("listening on {address}"))?;
        Ok(Daemon { running, address })
    }

    /// Where the passphrase is, for the two commands that need it.
    fn passphrase(&self, args: &[&str]) -> Vec<String> {
        match args.first() {
            Some(&"init" | &"unlock") => {
                vec!["--passphrase-file".to_owned(), format!("{}.passphrase", self.name)]
            }
            _ => Vec::new(),
        }
    }

    fn announce(&self, args: &[&str]) -> Result<(), Failure> {
        self.stage.ui.emit(json!({"event": "command", "vault": self.name, "arguments": args}))?;
        let passphrase = self.passphrase(args);
        let typed: Vec<String> =
            args.iter().copied().chain(passphrase.iter().map(String::as_str)).map(quoted).collect();
        self.stage.ui.say(format_args!("  $ fieldbook --vault {} {}", self.name, typed.join(" ")))
    }

    fn check(&self, args: &[&str], code: i32, output: &Output) -> Result<(), Failure> {
        if output.status.code() == Some(code) {
            return Ok(());
        }
        Err(went_wrong(&format!(
            "`fieldbook --vault {} {}` ended with {}, not {code}: {}",
            self.name,
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// A command that keeps running; ended when this value is dropped.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _guard: interrupt::Child,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, Failure> {
        let cannot = "a process cannot be started";
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Failure::io(cannot))?;
        let guard = interrupt::Child::watch(&child);
        let stdout = child.stdout.take().ok_or_else(|| went_wrong(cannot))?;
        Ok(Self { child, lines: BufReader::new(stdout).lines(), _guard: guard })
    }

    /// Waits for an object that has a text of this name.
    ///
    /// # Errors
    /// It ends without one.
    pub fn text(&mut self, key: &str) -> Result<String, Failure> {
        for line in self.lines.by_ref() {
            let line = line.map_err(Failure::io("a process cannot be heard"))?;
            let object: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(text) = object[key].as_str() {
                return Ok(text.to_owned());
            }
        }
        Err(went_wrong(&format!("a process ended without saying its \"{key}\"")))
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Errors
    /// It is not.
    pub fn end(&mut self) -> Result<(), Failure> {
        // What it still says is not needed, but must not block it.
        self.lines.by_ref().for_each(drop);
        let status = self.child.wait().map_err(Failure::io("a process cannot be awaited"))?;
        expect(status.success(), &format!("the process ends well (it ended with {status})"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon that listens.
pub struct Daemon {
    running: Running,
    /// Where.
    pub address: String,
}

impl Daemon {
    /// Stops it as a person would.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(mut self, device: &Device<'_>) -> Result<(), Failure> {
        device.run(&["daemon", "stop"])?;
        self.running.end()
    }
}

/// Fails unless it is so.
///
/// # Errors
/// It is not.
pub fn expect(is_so: bool, what: &str) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(went_wrong(&format!("this did not hold: {what}"))) }
}

fn went_wrong(what: &str) -> Failure {
    Failure::failed("demo", format!("the demo went wrong: {what}"))
        .hint("this is a fault of the program; please report it with what was printed above")
}

fn finish(mut command: Command) -> Result<Output, Failure> {
    command.output().map_err(Failure::io("a command cannot be run"))
}

/// A path among the temporary files that nothing has.
///
/// # Errors
/// The system gave no random bytes.
pub fn fresh_path(name: &str) -> Result<PathBuf, Failure> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|_| fieldbook_vault::VaultError::Randomness)?;
    Ok(std::env::temp_dir().join(format!("{name}-{}", fieldbook_proto::encode_hex(&random))))
}

/// A port of this machine on which nobody listens.
///
/// # Errors
/// There is none.
pub fn closed_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(listener.map_err(Failure::io("no port is free"))?.port())
}

/// The text of all files of a publication.
///
/// # Errors
/// They cannot be read.
pub fn all_text(dir: &Path) -> Result<String, Failure> {
    let unreadable = || Failure::io("the publication cannot be read");
    let mut text = String::new();
    for entry in fs::read_dir(dir).map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        text.push_str(&String::from_utf8_lossy(&fs::read(path).map_err(unreadable())?));
    }
    Ok(text)
}

/// An argument as it would be typed in a shell.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        assert_eq!(quoted("--set"), "--set");
        assert_eq!(quoted("Minsk 2017"), "'Minsk 2017'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
