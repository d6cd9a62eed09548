//! A relay that holds very much, and one to which very many come at once. The relay is a process of its own.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::Carriers;
use fieldbook_depot::{Depot as _, DepotKey};

use crate::devices::{Daemon, Device, RELAY};
use crate::process::memory_kib;

/// Entries of the large relay, and their size in bytes.
pub const ENTRIES: u64 = 1_000_000;
const SIZE: usize = 1_300;
/// Devices that come at once, and what each brings.
const DEVICES: u16 = 200;
const EACH: u64 = 50;

pub fn run(entries: u64) -> Result<(), Box<dyn Error>> {
    large(entries)?;
    println!();
    crowd()
}

fn large(entries: u64) -> Result<(), Box<dyn Error>> {
    let relay = Device::new(RELAY)?;
    let start = Instant::now();
    relay.add(0, entries, SIZE)?;
    println!(
        "A relay with {entries} entries of {SIZE} bytes (made in {:.0} s)",
        start.elapsed().as_secs_f64()
    );
    let monitor = Device::new(2)?;
    let (mut process, first) = first_answer(&relay)?;
    let idle = memory_kib(process.child.id(), "VmRSS")?;
    monitor.add(1 << 40, 10, SIZE)?;
    let (time, summary) = monitor.sync(&process.address)?;
    let (after, most) = (memory_kib(process.child.id(), "VmRSS")?, memory_kib(process.child.id(), "VmHWM")?);
    process.stop()?;
    println!("| what | |");
    println!("|---|---|");
    println!("| from start to the first answer | {:.0} ms |", first.as_secs_f64() * 1e3);
    println!("| resident, after it | {} MiB |", idle / 1024);
    println!(
        "| a device that had nothing: {} received, {} sent | {:.1} s |",
        summary.received,
        summary.sent,
        time.as_secs_f64()
    );
    println!("| resident, after it; at most | {} MiB; {} MiB |", after / 1024, most / 1024);
    Ok(())
}

/// Starts the relay; how long it takes until a device has met it.
fn first_answer(relay: &Device) -> Result<(Relay, Duration), Box<dyn Error>> {
    let asks = Device::new(3)?;
    let start = Instant::now();
    let process = Relay::start(relay)?;
    let answered = asks.meet(&process.address, start)?;
    Ok((process, answered))
}

fn crowd() -> Result<(), Box<dyn Error>> {
    let relay = Device::new(RELAY)?;
    let devices = (10..10 + DEVICES)
        .map(|number| {
            let device = Device::new(number)?;
            device.add(u64::from(number) << 32, EACH, SIZE)?;
            Ok(device)
        })
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let mut process = Relay::start(&relay)?;
    let address = process.address.clone();
    let start = Instant::now();
    let mut times: Vec<Result<Duration, String>> = thread::scope(|scope| {
        let threads: Vec<_> = devices
            .iter()
            .map(|device| {
                let address = &address;
                scope.spawn(move || {
                    let start = Instant::now();
                    // As a user does: again, when it says that it did not come through.
                    for _ in 0..5 {
                        if device.sync(address).is_ok_and(|(_, summary)| summary.sent + summary.received > 0)
                        {
                            return Ok(start.elapsed());
                        }
                    }
                    Err("it did not come through".to_owned())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("it panicked".to_owned())))
            .collect()
    });
    let all = start.elapsed();
    let most = memory_kib(process.child.id(), "VmHWM")?;
    process.stop()?;
    let failed = times.iter().filter(|time| time.is_err()).count();
    times.retain(Result::is_ok);
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort();
    let percentile = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
    let said = |time: Option<&Duration>| {
        time.map_or_else(String::new, |time| format!("{:.1} s", time.as_secs_f64()))
    };
    let held = relay.depot.stats()?.held;
    println!("{DEVICES} devices at once, each with {EACH} entries of {SIZE} bytes, at one relay");
    println!("| what | |");
    println!("|---|---|");
    println!("| until all were through | {:.1} s |", all.as_secs_f64());
    println!("| half of them | {} |", said(percentile(50)));
    println!("| 99 of 100 | {} |", said(percentile(99)));
    println!("| not through after five tries | {failed} |");
    println!("| entries at the relay | {held} of {} |", u64::from(DEVICES) * EACH);
    println!("| the relay's memory at most | {} MiB |", most / 1024);
    Ok(())
}

struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    fn start(relay: &Device) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("crowd-in")
            .arg(relay.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}

/// The relay's process: serves until its input ends.
pub fn run_in(dir: &Path) -> Result<(), Box<dyn Error>> {
    let key: DepotKey = crate::devices::depot_key(RELAY);
    let daemon = Daemon::start_in(dir, &key, Carriers::default())?;
    println!("{}", daemon.address);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    daemon.stop()
}
