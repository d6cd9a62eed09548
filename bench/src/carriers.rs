//! The same session over QUIC, over TCP and over a pipe, between two depots, in one run.
//!
//! Timed is the session: from the moment at which the client knows whom it met until the courier has nothing
//! more to do, when everything is durable on the other side. What comes before (QUIC's head start above all)
//! is not a matter of bytes.

use std::error::Error;
use std::time::Duration;

use fieldbook_daemon::Carriers;

use crate::devices::{Daemon, Device};
use crate::sample;

/// Entries of the first session, and their size in bytes.
const ENTRIES: u64 = 10_000;
const SIZE: usize = 1_900;
/// How many more come later, and how often that is repeated.
const NEW: u64 = 10;
const ROUNDS: u64 = 9;

pub fn run() -> Result<(), Box<dyn Error>> {
    println!(
        "One session of {ENTRIES} entries of {SIZE} bytes, then of {NEW} more (median of {ROUNDS}), durable on arrival"
    );
    println!("| carrier | {ENTRIES} entries | against QUIC | {NEW} new | round trips |");
    println!("|---|---|---|---|---|");
    let mut first = None;
    for (name, way) in [("QUIC", By::Quic), ("TLS over TCP", By::Tcp), ("TLS over a pipe", By::Pipe)] {
        let (bulk, ten, round_trips) = measure(way)?;
        let quic = *first.get_or_insert(bulk);
        println!(
            "| {name} | {:.0} ms | {:.2} | {:.1} ms | {round_trips} |",
            bulk.as_secs_f64() * 1e3,
            bulk.as_secs_f64() / quic.as_secs_f64(),
            ten.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum By {
    Quic,
    Tcp,
    Pipe,
}

fn measure(by: By) -> Result<(Duration, Duration, u64), Box<dyn Error>> {
    let (coordinator, monitor) = (Device::new(1)?, Device::new(2)?);
    let daemon = match by {
        By::Quic => Some(Daemon::start(&coordinator, Carriers { udp: true, tcp: false })?),
        By::Tcp => Some(Daemon::start(&coordinator, Carriers { udp: false, tcp: true })?),
        By::Pipe => None,
    };
    let session = || match &daemon {
        Some(daemon) => monitor.sync(&daemon.address),
        None => monitor.sync_by_pipe(&coordinator),
    };
    monitor.add(0, ENTRIES, SIZE)?;
    let (bulk, summary) = session()?;
    if summary.sent != ENTRIES || !summary.in_step {
        return Err(format!("only {} arrived", summary.sent).into());
    }
    let mut times = Vec::new();
    let mut round_trips = 0;
    for round in 0..ROUNDS {
        monitor.add(ENTRIES + round * NEW, NEW, SIZE)?;
        let (time, summary) = session()?;
        round_trips = summary.round_trips;
        times.push(time);
    }
    if let Some(daemon) = daemon {
        daemon.stop()?;
    }
    Ok((bulk, sample::median(&mut times), round_trips))
}
