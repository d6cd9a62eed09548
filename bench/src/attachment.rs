//! A large attachment from device to device, durable on arrival, against what the same disk takes in files of
//! the same size. Parts are entries of 1 MiB and their envelope.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::process;
use std::time::{Duration, Instant};

use fieldbook_daemon::Carriers;

use crate::devices::{Daemon, Device};
use crate::process::memory_kib;
use crate::sample;

/// Parts of the two attachments: memory must not grow with them.
const SIZES: [u64; 2] = [64, 256];
/// Bytes of a part, as sealing makes them.
const PART: usize = (1 << 20) + 2_048;
const MIB: f64 = (1 << 20) as f64;

pub fn run() -> Result<(), Box<dyn Error>> {
    println!("An attachment in parts of {PART} bytes, durable on arrival");
    println!("| what | time | MiB/s | against the disk | memory of both sides at most |");
    println!("|---|---|---|---|---|");
    for parts in SIZES {
        let dir = tempfile::tempdir()?;
        let mut times = [files(dir.path(), parts)?, Duration::ZERO, Duration::ZERO];
        let mut memory = [0; 2];
        for (at, carriers) in
            [Carriers { udp: true, tcp: false }, Carriers { udp: false, tcp: true }].into_iter().enumerate()
        {
            (times[at + 1], memory[at]) = session(parts, carriers)?;
        }
        // The disk again: it may have changed its mind meanwhile.
        let disk = times[0].min(files(dir.path(), parts)?);
        let rate = |time: Duration| (parts as usize * PART) as f64 / MIB / time.as_secs_f64();
        let row = |what: &str, time: Duration, memory: Option<u64>| {
            println!(
                "| {parts} parts, {what} | {:.2} s | {:.0} | {:.2} | {} |",
                time.as_secs_f64(),
                rate(time),
                rate(time) / rate(disk),
                memory.map_or_else(String::new, |kib| format!("{} MiB", kib / 1024)),
            );
        };
        row("files of the same size with fdatasync", disk, None);
        row("QUIC", times[1], Some(memory[0]));
        row("TLS over TCP", times[2], Some(memory[1]));
    }
    Ok(())
}

fn session(parts: u64, carriers: Carriers) -> Result<(Duration, u64), Box<dyn Error>> {
    let (coordinator, monitor) = (Device::new(1)?, Device::new(2)?);
    monitor.add_one_by_one(parts, PART)?;
    let daemon = Daemon::start(&coordinator, carriers)?;
    let before = memory_kib(process::id(), "VmRSS")?;
    // From here on the highest counts.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let (time, summary) = monitor.sync(&daemon.address)?;
    let memory = memory_kib(process::id(), "VmHWM")?.saturating_sub(before);
    daemon.stop()?;
    if summary.sent != parts {
        return Err(format!("only {} parts arrived", summary.sent).into());
    }
    Ok((time, memory))
}

fn files(dir: &std::path::Path, parts: u64) -> Result<Duration, Box<dyn Error>> {
    let contents: Vec<Vec<u8>> = (0..4).map(|number| sample::noise(number, PART)).collect();
    let start = Instant::now();
    for (number, content) in (0..parts).zip(contents.iter().cycle()) {
        let mut file = File::create(dir.join(number.to_string()))?;
        file.write_all(content)?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}
