//! Syncs of the real program over bad links: how long, how many tries, and what passes beyond the entries.

use std::error::Error;
use std::time::{Duration, Instant};

use fieldbook_tests::link::{Link, Only, Weather};
use fieldbook_tests::{Machine, team_of_two};

use crate::sample;

/// Reports that a sync carries.
const REPORTS: usize = 30;
/// Syncs before a link is given up.
const TRIES: u32 = 100;

pub fn run() -> Result<(), Box<dyn Error>> {
    let weathers = [
        ("a good link", 0, 0, 0, 0),
        ("30 % loss", 30, 0, 0, 0),
        ("600 ms to the other side and back", 0, 300, 0, 0),
        ("64 kbit/s, 100 ms", 0, 50, 8_000, 0),
        ("there for 5 s, gone for 5 s", 0, 50, 8_000, 5_000),
        ("10 % loss, 600 ms, 64 kbit/s", 10, 300, 8_000, 0),
    ];
    println!("{REPORTS} reports, by the command `sync`, repeated until it comes to its end");
    println!("| link | syncs | time | bytes of entries | bytes on the link | overhead | of it lost again |");
    println!("|---|---|---|---|---|---|---|");
    let tries = weathers.iter().flat_map(|weather| [Only::Udp, Only::Tcp].map(|only| (weather, only)));
    for ((name, loss, delay, rate, flap), only) in tries {
        if *loss > 0 && only == Only::Tcp {
            // What the system's TCP makes of loss is not ours, and this link has no way to show it.
            continue;
        }
        let weather = Weather {
            loss: *loss,
            delay: Duration::from_millis(*delay),
            rate: *rate,
            flap: (*flap > 0).then(|| Duration::from_millis(*flap)),
            lasts: None,
            only: Some(only),
        };
        let name = format!("{name}, by {only:?}");
        let (coordination, monitor) = team_of_two();
        monitor.ok(&["unlock"]);
        write_reports(&monitor)?;
        let daemon = coordination.daemon();
        let link = Link::start(daemon.address().parse()?, weather);
        let start = Instant::now();
        let mut tries = 1;
        while monitor.run(&["--json", "sync", "--with", &link.address()]).code != 0 {
            tries += 1;
            if tries > TRIES {
                return Err(format!("{name}: no sync came through").into());
            }
        }
        let time = start.elapsed();
        let status = &coordination.json(&["status"])[0];
        if status["theirs"] != REPORTS {
            return Err(format!("{name}: {status}").into());
        }
        let entries = status["depot_bytes"].as_u64().ok_or("no size")?;
        println!(
            "| {name} | {tries} | {:.1} s | {entries} | {} | {:.2} | {} datagrams |",
            time.as_secs_f64(),
            link.bytes(),
            link.bytes() as f64 / entries as f64,
            link.lost(),
        );
        monitor.ok(&["lock"]);
    }
    Ok(())
}

fn write_reports(machine: &Machine) -> Result<(), Box<dyn Error>> {
    let lines: Vec<String> = (0..REPORTS).map(|number| sample::report(number) + "\n").collect();
    let file = machine.file("reports.jsonl", lines.concat());
    machine.ok(&["import", &file]);
    machine.ok(&["finish", "--all", "--incomplete"]);
    Ok(())
}
