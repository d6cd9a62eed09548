//! Syncing whole teams with the real program, against the floor and against rsync.
//!
//! Two vaults, a daemon, an unlocked agent, as a user has them. What is timed is the command `sync`
//! from its start to its end, when everything is durable on the other side. Baselines move the very
//! same sealed entries.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use fieldbook_depot::{Depot, SqlDepot};
use fieldbook_tests::link::{Link, Weather};
use fieldbook_tests::{Machine, team_of_two};
use fieldbook_vault::{Passphrase, Vault};
use serde_json::Value;

use crate::syncthing::syncthing;
use crate::{floor, sample};

/// How many reports the first sync carries.
pub const REPORTS: usize = 10_000;

/// How many more come later.
const NEW: usize = 10;

/// How long a datagram takes through the slow network, one way.
const ONE_WAY: Duration = Duration::from_millis(50);

pub fn run(reports: usize) -> Result<(), Box<dyn Error>> {
    let (coordination, monitor) = team_of_two();
    monitor.ok(&["unlock"]);
    write_reports(&monitor, 0..reports);
    // Writing was not the question; what the command itself costs is.
    let mut daemon = coordination.daemon();

    let first = time(|| monitor.ok(&["sync", "--with", daemon.address()]));
    let idle = time(|| monitor.ok(&["sync", "--with", daemon.address()]));

    // Bytes: what passes through a proxy on the way, once with nothing to do and once with ten.
    let proxy = Link::start(daemon.address().parse()?, Weather::default());
    let nothing = sync_with(&monitor, &proxy.address())?;
    let idle_bytes = proxy.bytes();
    write_reports(&monitor, reports..reports + NEW);
    let traffic = sync_with(&monitor, &proxy.address())?;
    let ten_bytes = proxy.bytes() - idle_bytes;
    write_reports(&monitor, reports + NEW..reports + 2 * NEW);
    let ten = time(|| monitor.ok(&["sync", "--with", daemon.address()]));
    // Round trips: what a slow network adds to the time.
    let slow = Link::start(daemon.address().parse()?, Weather { delay: ONE_WAY, ..Weather::default() });
    let slow_idle = time(|| monitor.ok(&["sync", "--with", &slow.address()]));
    write_reports(&monitor, reports + 2 * NEW..reports + 3 * NEW);
    let slow_ten = time(|| monitor.ok(&["sync", "--with", &slow.address()]));
    let waits = |slow: Duration, fast: Duration| {
        slow.saturating_sub(fast).as_secs_f64() / (2.0 * ONE_WAY.as_secs_f64())
    };

    monitor.ok(&["lock"]);
    daemon.process.kill();
    let all = entries_of(&monitor)?;
    let sum = |entries: &[Vec<u8>]| entries.iter().map(Vec::len).sum::<usize>();
    let carried = all.len() - 3 * NEW;
    let (before, later) = all.split_at(carried);
    let mut floors = Vec::new();
    for _ in 0..5 {
        floors.push(floor::quinn_and_insert(monitor.root(), before)?);
    }
    let floor = sample::median(&mut floors);

    let (plain, plain_ten) = rsync(monitor.root(), "plain", before, &later[..NEW], &[])?;
    let peer = syncthing(monitor.root(), before, &later[..NEW])?;
    let (durable, durable_ten) = rsync(monitor.root(), "durable", before, &later[..NEW], &["--fsync"])?;

    println!(
        "First sync: {reports} reports to an empty device, {carried} entries, {:.1} MB ({} bytes on average)",
        sum(before) as f64 / 1e6,
        sum(before) / carried,
    );
    println!("| what | time | against the floor |");
    println!("|---|---|---|");
    let mut rows = vec![
        ("floor: raw quinn on one stream, BLAKE3, one batched insert into a depot", floor),
        ("`fieldbook sync`, durable on arrival, from start to end of the command", first),
        ("of that: the same command when there is nothing to do", idle),
        ("rsync -a (not encrypted, not durable)", plain.time),
        ("rsync -a --fsync (not encrypted)", durable.time),
    ];
    rows.extend(peer.map(|(first, _)| ("Syncthing, two instances (durable, encrypted on the way)", first)));
    for (what, time) in rows {
        println!("| {what} | {} | {:.2} |", millis(time), time.as_secs_f64() / floor.as_secs_f64());
    }
    println!();
    let ten_entries = sum(&later[..NEW]);
    println!("{NEW} new among {reports}: entries of {ten_entries} bytes in all");
    println!("| what | time | bytes on the network | beyond the entries | round trips |");
    println!("|---|---|---|---|---|");
    println!(
        "| `fieldbook sync` | {} | {ten_bytes} | {} | {} in the session |",
        millis(ten),
        ten_bytes.saturating_sub(ten_entries as u64),
        traffic["round_trips"],
    );
    println!(
        "| of that: the same command when there is nothing to do | {} | {idle_bytes} | {idle_bytes} | |",
        millis(idle)
    );
    println!(
        "| rsync -a | {} | {} | {} | |",
        millis(plain_ten.time),
        plain_ten.bytes,
        plain_ten.bytes - ten_entries as u64
    );
    println!(
        "| rsync -a --fsync | {} | {} | {} | |",
        millis(durable_ten.time),
        durable_ten.bytes,
        durable_ten.bytes - ten_entries as u64
    );
    if let Some((_, ten)) = peer {
        println!("| Syncthing, from the order to look | {} | | | |", millis(ten));
    }
    println!();
    println!(
        "Of the bytes, the monitor's padding is {} with nothing to do and {} with {NEW} new; the other side pads, too.",
        nothing["padding"], traffic["padding"],
    );
    println!(
        "With {} ms to the other side and back, the command takes {} ({:.1} round trips longer); with nothing to do {} ({:.1}).",
        2 * ONE_WAY.as_millis(),
        millis(slow_ten),
        waits(slow_ten, ten),
        millis(slow_idle),
        waits(slow_idle, idle),
    );
    Ok(())
}

/// Syncs; what the command says of the traffic.
fn sync_with(machine: &Machine, address: &str) -> Result<Value, Box<dyn Error>> {
    let said = machine.json(&["sync", "--with", address]);
    let synced = said.into_iter().find(|line| line["event"] == "synced").ok_or("no word on the sync")?;
    Ok(synced["traffic"].clone())
}

fn write_reports(machine: &Machine, numbers: std::ops::Range<usize>) {
    // In parts: the harness takes a command that runs for minutes to be stuck.
    let numbers: Vec<usize> = numbers.collect();
    for part in numbers.chunks(1_000) {
        let lines: Vec<String> = part.iter().map(|number| sample::report(*number) + "\n").collect();
        let file = machine.file("reports.jsonl", lines.concat());
        machine.ok(&["import", &file]);
        machine.ok(&["finish", "--all", "--incomplete"]);
    }
}

fn rsync(
    dir: &Path,
    name: &str,
    before: &[Vec<u8>],
    later: &[Vec<u8>],
    options: &[&str],
) -> Result<(floor::Rsync, floor::Rsync), Box<dyn Error>> {
    let (from, to) = (dir.join(format!("{name}-from")), dir.join(format!("{name}-to")));
    floor::write_files(&from, 0, before)?;
    let first = floor::rsync(&from, &to, options)?;
    floor::write_files(&from, before.len(), later)?;
    let second = floor::rsync(&from, &to, options)?;
    Ok((first, second))
}

/// The sealed entries that this machine's reports became, in their order.
fn entries_of(machine: &Machine) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let vault = Vault::open(&machine.vault(), &Passphrase::new(machine.passphrase().to_owned()))?;
    let depot = SqlDepot::open(&vault.depot_path(), &vault.depot_key())?;
    let arrivals = depot.arrivals_with_bytes(0, usize::MAX, u64::MAX)?;
    Ok(arrivals.into_iter().filter_map(|(_, bytes)| bytes).collect())
}

fn time<T>(act: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
