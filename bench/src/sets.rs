//! What it costs two depots to find out whether they know the same, and what differs: two engines over two
//! depots on the disk, no network between them.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fieldbook_depot::{Depot, DepotKey, Incoming, Lookup, Source, SqlDepot, State};
use fieldbook_proto::certificate::Authority;
use fieldbook_proto::session::limits::FEATURES;
use fieldbook_proto::session::{Arrival, Engine, Event, Output, Remembered, Setup, Side, TransportSecret};
use fieldbook_proto::{DepotId, EntryId};
use tempfile::TempDir;

use crate::devices::{certificate, keys};
use crate::process::memory_kib;

/// How many ids each side knows.
pub const SIZES: [u64; 2] = [100_000, 1_000_000];
/// The smallest entry that there is: only ids matter here.
const LEN: usize = 1_024;
const DIFFERENCES: u64 = 10;
/// Numbers of entries that only one side has begin here.
const APART: u64 = 1 << 32;

struct Measured {
    bytes: u64,
    entries: u64,
    rounds: u64,
    cpu: Duration,
    wall: Duration,
    memory_kib: u64,
}

pub fn run(sizes: &[u64]) -> Result<(), Box<dyn Error>> {
    for size in sizes {
        run_size(*size)?;
    }
    Ok(())
}

fn run_size(size: u64) -> Result<(), Box<dyn Error>> {
    let dir = TempDir::new()?;
    let start = Instant::now();
    for (name, seed) in [("one", 1), ("two", 2)] {
        let (path, key) = (dir.path().join(name), DepotKey::new([seed; 32]));
        add(&SqlDepot::create(&path, &key, DepotId::from_bytes([seed; 16]))?, 0..size)?;
    }
    println!("sets: two depots that know {size} entries (made in {:.0} s)", start.elapsed().as_secs_f64());
    // A process of its own has no memory yet that it could use again.
    let status = Command::new(std::env::current_exe()?).arg("sets-in").arg(dir.path()).status()?;
    if status.success() { Ok(()) } else { Err("the sessions failed".into()) }
}

/// The sessions of two depots in a folder.
pub fn run_in(dir: &Path) -> Result<(), Box<dyn Error>> {
    let one = SqlDepot::open(&dir.join("one"), &DepotKey::new([1; 32]))?;
    let two = SqlDepot::open(&dir.join("two"), &DepotKey::new([2; 32]))?;
    session(&one, &two, FEATURES)?;
    let nothing = often(&one, &two)?;
    print("nothing differs", &nothing, None);

    let mut next = APART;
    let mut differ = |features| -> Result<Measured, Box<dyn Error>> {
        add(&one, next..next + DIFFERENCES / 2)?;
        add(&two, next + DIFFERENCES / 2..next + DIFFERENCES)?;
        next += DIFFERENCES;
        session(&one, &two, features)
    };
    let first = differ(FEATURES)?;
    let later = differ(FEATURES)?;
    let all = differ(0)?;
    print(&format!("{DIFFERENCES} differ, all ids offered"), &all, None);
    print(&format!("{DIFFERENCES} differ, reconciled for the first time"), &first, Some(&all));
    print(&format!("{DIFFERENCES} differ, reconciled later"), &later, Some(&all));
    let after = often(&one, &two)?;
    print("nothing differs any more", &after, Some(&all));
    Ok(())
}

/// The mean of many sessions in which nothing differs: one is too short to be measured.
fn often(one: &SqlDepot, two: &SqlDepot) -> Result<Measured, Box<dyn Error>> {
    const TIMES: u32 = 500;
    let (cpu, wall) = (cpu()?, Instant::now());
    let mut last = session(one, two, FEATURES)?;
    for _ in 1..TIMES {
        last = session(one, two, FEATURES)?;
    }
    last.cpu = self::cpu()?.saturating_sub(cpu) / TIMES;
    last.wall = wall.elapsed() / TIMES;
    Ok(last)
}

fn print(what: &str, cost: &Measured, all: Option<&Measured>) {
    let beyond = |cost: &Measured| cost.bytes - cost.entries * LEN as u64;
    let ratio = all.map_or(String::new(), |all| {
        format!(
            "; against all ids: {:.5} of the bytes, {:.4} of the processor time",
            beyond(cost) as f64 / beyond(all) as f64,
            cost.cpu.as_secs_f64() / all.cpu.as_secs_f64()
        )
    });
    println!(
        "  {what}: {} bytes beyond {} entries, {} round trips, {:.2} ms of processor for both sides ({:.2} ms), \
         {} KiB of memory{ratio}",
        beyond(cost),
        cost.entries,
        cost.rounds,
        cost.cpu.as_secs_f64() * 1e3,
        cost.wall.as_secs_f64() * 1e3,
        cost.memory_kib,
    );
}

fn add(depot: &SqlDepot, numbers: std::ops::Range<u64>) -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u64> = numbers.collect();
    for part in numbers.chunks(10_000) {
        let entries: Vec<Vec<u8>> = part
            .iter()
            .map(|number| {
                let mut bytes = vec![0; LEN];
                bytes[..8].copy_from_slice(&number.to_be_bytes());
                bytes
            })
            .collect();
        let batch: Vec<_> = entries
            .iter()
            .map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own })
            .collect();
        depot.put(&batch)?;
    }
    Ok(())
}

/// One session, each side of which believes that it has read everything in the other's order.
fn session(one: &SqlDepot, two: &SqlDepot, features: u32) -> Result<Measured, Box<dyn Error>> {
    let mut sides = [
        (Engine::with_features(setup(Side::Client, one)?, features)?, one, Vec::new()),
        (Engine::with_features(setup(Side::Server, two)?, features)?, two, Vec::new()),
    ];
    let heads = [two.head()?, one.head()?];
    let mut bytes = 0;
    fs::write("/proc/self/clear_refs", "5")?;
    let (memory, cpu, wall) = (memory_kib(process::id(), "VmRSS")?, cpu()?, Instant::now());
    while !sides.iter().all(|(engine, ..)| engine.is_finished()) {
        let mut moved = false;
        for at in [0, 1] {
            let (engine, depot, _) = &mut sides[at];
            let mut said = Vec::new();
            while let Some(output) = engine.poll(said.len() < 1 << 20)? {
                moved = true;
                answer(engine, depot, output, heads[at], &mut said)?;
            }
            bytes += said.len() as u64;
            let (other, _, waiting) = &mut sides[1 - at];
            waiting.extend(said);
            if other.wants_input() && !waiting.is_empty() {
                let len = waiting.len().min(128 * 1024);
                other.receive(&waiting[..len]);
                waiting.drain(..len);
                moved = true;
            }
        }
        if !moved {
            return Err("both sides wait for each other".into());
        }
    }
    let summary = sides[0].0.summary();
    if !summary.in_step {
        return Err("the sides differ at the end".into());
    }
    Ok(Measured {
        bytes,
        entries: summary.sent + summary.received,
        rounds: summary.round_trips,
        cpu: self::cpu()?.saturating_sub(cpu),
        wall: wall.elapsed(),
        memory_kib: memory_kib(process::id(), "VmHWM")?.saturating_sub(memory),
    })
}

fn answer(
    engine: &mut Engine,
    depot: &SqlDepot,
    output: Output,
    peer_head: u64,
    said: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    match output {
        Output::Send(bytes) => said.extend_from_slice(&bytes),
        Output::Store(batch) => {
            let batch: Vec<_> =
                batch.iter().map(|(id, bytes)| Incoming { id: *id, bytes, from: Source::Bundle }).collect();
            depot.put(&batch)?;
            engine.stored(&[], &[])?;
        }
        Output::FindUnknown { ids, .. } => engine.unknown(&depot.unknown(&ids)?, &[])?,
        Output::ReadArrivals { after, max_entries } => {
            let arrivals = depot.arrivals(after, max_entries, u64::MAX >> 1)?;
            engine.arrivals(arrivals.into_iter().map(arrival).collect())?;
        }
        Output::ReadAddressed { .. } => engine.addressed(Vec::new())?,
        Output::ReadEntries { ids } => {
            let held = |id: &EntryId| match depot.get(id) {
                Ok(Lookup::Held(bytes)) => Some(Bytes::from(bytes)),
                _ => None,
            };
            engine.entries(ids.iter().map(held).collect())?;
        }
        Output::ReadTotals => engine.totals(depot.fingerprint()?.count, depot.head()?)?,
        Output::ReadCursor { .. } => {
            engine.cursor(Remembered { position: peer_head, ..Remembered::default() })?
        }
        Output::TakeSnapshot { past } => {
            let fingerprint = past.map_or_else(|| depot.fingerprint(), |peer| depot.compared(&peer))?;
            engine.snapshot(fingerprint, depot.head()?)?;
        }
        Output::ReadSpans { peer, span, parts } => engine.spans(depot.spans(&peer, span, parts)?)?,
        Output::ReadIds { peer, span, after, max_entries } => {
            engine.ids(depot.ids_in(&peer, span, after.as_ref(), max_entries)?)?;
        }
        Output::FindKnown { ids } => {
            let known: Vec<Arrival> = depot.known(&ids)?.into_iter().map(arrival).collect();
            engine.known(&known)?;
        }
        Output::NotePast { peer, ids } => {
            depot.note_past(&peer, &ids)?;
            engine.past_noted()?;
        }
        Output::Event(Event::StillDifferent) => return Err("the sides differ".into()),
        Output::Event(_) => {}
    }
    Ok(())
}

fn arrival(known: fieldbook_depot::Arrival) -> Arrival {
    Arrival {
        position: known.position,
        id: known.id,
        size: known.size,
        from: None,
        own: true,
        held: known.state == State::Held,
    }
}

fn setup(side: Side, depot: &SqlDepot) -> Result<Setup, Box<dyn Error>> {
    let (own, other) = if side == Side::Client { (1, 2) } else { (2, 1) };
    Ok(Setup {
        side,
        secrets: vec![TransportSecret::new(1, [5; 32])],
        binding: [6; 32],
        certificate: certificate(own)?,
        authority: Authority::new(certificate(1)?)?,
        peer_transport_key: keys(other)?.1.transport,
        now: 2,
        depot: depot.depot_id(),
        known: depot.fingerprint()?.count,
        head: depot.head()?,
    })
}

/// Processor time of this thread.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().ok_or("no processor time")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}
