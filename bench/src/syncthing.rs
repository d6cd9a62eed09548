//! The same entries as files between two instances of Syncthing on this machine, if it is installed.
//!
//! Both run, the sender has looked through its folder, and they know each other; then the clock starts and they may
//! speak. It stops when the receiver says that it lacks nothing. (It asks the disk to sync each file, as by default.)

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::floor;

const KEY: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(180);

/// Moves files with these contents to an empty folder, then `later` ones. `None` if there is no Syncthing.
pub fn syncthing(
    dir: &Path,
    before: &[Vec<u8>],
    later: &[Vec<u8>],
) -> Result<Option<(Duration, Duration)>, Box<dyn Error>> {
    if Command::new("syncthing").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let [one, two] = [Instance::prepare(dir, "one")?, Instance::prepare(dir, "two")?];
    floor::write_files(&one.folder(), 0, before)?;
    one.configure(&two)?;
    two.configure(&one)?;
    let _running = [one.start()?, two.start()?];
    let all = before.len() as u64;
    wait("the sender looks through its folder", || Ok(one.files("localFiles")? == all))?;
    wait("the receiver is ready", || Ok(two.status()?["state"] == "idle"))?;
    let start = Instant::now();
    one.post("system/resume")?;
    two.post("system/resume")?;
    wait("the files arrive", || Ok(two.files("localFiles")? == all && two.files("needFiles")? == 0))?;
    let first = start.elapsed();
    floor::write_files(&one.folder(), before.len(), later)?;
    let all = all + later.len() as u64;
    let start = Instant::now();
    one.post("db/scan?folder=bench")?;
    wait("the later files arrive", || Ok(two.files("localFiles")? == all && two.files("needFiles")? == 0))?;
    Ok(Some((first, start.elapsed())))
}

fn wait(what: &str, done: impl Fn() -> Result<bool, Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !done().unwrap_or(false) {
        if start.elapsed() > PATIENCE {
            return Err(format!("syncthing: {what}: it did not happen").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is a bench's, and has nothing to lose.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Instance {
    home: PathBuf,
    id: String,
    gui: u16,
    listen: u16,
}

impl Instance {
    fn prepare(dir: &Path, name: &str) -> Result<Self, Box<dyn Error>> {
        let home = dir.join(format!("syncthing-{name}"));
        let said = Command::new("syncthing")
            .args(["generate", "--no-default-folder", "--skip-port-probing"])
            .arg(format!("--home={}", home.display()))
            .env("HOME", dir)
            .output()?;
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        let id = said.lines().find_map(|line| line.split("Device ID: ").nth(1)).ok_or("no device id")?;
        let port =
            || -> Result<u16, Box<dyn Error>> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        fs::create_dir_all(home.join("folder/.stfolder"))?;
        Ok(Self { id: id.trim().to_owned(), gui: port()?, listen: port()?, home })
    }

    fn folder(&self) -> PathBuf {
        self.home.join("folder")
    }

    fn configure(&self, other: &Self) -> Result<(), Box<dyn Error>> {
        let device = |it: &Self, paused: bool| {
            format!(
                "<device id=\"{}\" name=\"bench\"><address>tcp://127.0.0.1:{}</address><paused>{paused}</paused></device>",
                it.id, it.listen
            )
        };
        let config = format!(
            "<configuration version=\"36\"><folder id=\"bench\" path=\"{}\" type=\"sendreceive\" \
             rescanIntervalS=\"3600\" fsWatcherEnabled=\"false\"><device id=\"{}\"/><device id=\"{}\"/></folder>{}{}\
             <gui enabled=\"true\" tls=\"false\"><address>127.0.0.1:{}</address><apikey>{KEY}</apikey></gui><options>\
             <listenAddress>tcp://127.0.0.1:{}</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>\
             <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled>\
             <reconnectionIntervalS>1</reconnectionIntervalS><startBrowser>false</startBrowser>\
             <natEnabled>false</natEnabled><urAccepted>-1</urAccepted><autoUpgradeIntervalH>0</autoUpgradeIntervalH>\
             <crashReportingEnabled>false</crashReportingEnabled></options></configuration>",
            self.folder().display(),
            self.id,
            other.id,
            device(self, false),
            device(other, true),
            self.gui,
            self.listen,
        );
        Ok(fs::write(self.home.join("config.xml"), config)?)
    }

    fn start(&self) -> Result<Running, Box<dyn Error>> {
        let child = Command::new("syncthing")
            .args(["serve", "--no-browser", "--no-restart"])
            .arg(format!("--home={}", self.home.display()))
            .env("HOME", &self.home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running(child))
    }

    fn ask(&self, method: &str, path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let said = Command::new("curl")
            .args(["-s", "-f", "-X", method, "-H", "X-API-Key: bench"])
            .arg(format!("http://127.0.0.1:{}/rest/{path}", self.gui))
            .output()?;
        if said.status.success() { Ok(said.stdout) } else { Err("syncthing does not answer".into()) }
    }

    fn post(&self, path: &str) -> Result<(), Box<dyn Error>> {
        self.ask("POST", path).map(drop)
    }

    fn status(&self) -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_slice(&self.ask("GET", "db/status?folder=bench")?)?)
    }

    fn files(&self, what: &str) -> Result<u64, Box<dyn Error>> {
        self.status()?[what].as_u64().ok_or_else(|| "syncthing says no number".into())
    }
}
