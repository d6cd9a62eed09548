//! Bundles by themselves: writing and reading, against copying the same bytes with fsync.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use fieldbook_depot::bundles::{PART_LEN_MAX, Target, WriteOptions, read_bundles, take_all, write_bundle};
use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_proto::codec::Writer;
use fieldbook_proto::{DepotId, EntryId};

use crate::sample;

const ROUNDS: usize = 5;

pub fn run() -> Result<(), Box<dyn Error>> {
    of(10_000, 2_048)?;
    println!();
    of(64, 1 << 20)
}

fn of(count: usize, len: usize) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let entries = sample::entries(count, len);
    let batch: Vec<_> =
        entries.iter().map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own }).collect();
    let from = depot(&dir.path().join("from"))?;
    from.put(&batch)?;
    let [mut copied, mut written, mut read, mut put, mut again] = [const { Vec::new() }; 5];
    let mut bytes = 0;
    for round in 0..ROUNDS {
        let stick = dir.path().join(format!("stick-{round}"));
        fs::create_dir(&stick)?;
        let options = WriteOptions {
            target: Target::Directory(stick.clone()),
            device: None,
            held: HashSet::new(),
            since_last: false,
            part_len: PART_LEN_MAX,
            older: 0,
        };
        let start = Instant::now();
        let bundle = write_bundle(&from, &options, &mut |_| {})?;
        written.push(start.elapsed());
        bytes = bundle.bytes;
        let [part] = &bundle.parts[..] else { return Err("more than one part".into()) };
        copied.push(copy(part, &dir.path().join("copy"))?);

        let to = depot(&dir.path().join(format!("to-{round}")))?;
        let start = Instant::now();
        let summary = read_bundles(&to, std::slice::from_ref(part), &mut take_all, &mut |_| {})?;
        read.push(start.elapsed());
        if summary.new != count as u64 || summary.damaged > 0 {
            return Err(format!("{} of {count} entries came out", summary.new).into());
        }
        let start = Instant::now();
        read_bundles(&to, std::slice::from_ref(part), &mut take_all, &mut |_| {})?;
        again.push(start.elapsed());
        let floor = depot(&dir.path().join(format!("floor-{round}")))?;
        let start = Instant::now();
        floor.put(&batch)?;
        put.push(start.elapsed());
        fs::remove_dir_all(&stick)?;
    }
    let floor = sample::median(&mut copied);
    let share = bytes as f64 / (count * len) as f64;
    println!(
        "Bundle of {count} entries of {len} bytes: {:.1} MB, {share:.3} times the entries (medians of {ROUNDS})",
        bytes as f64 / 1e6
    );
    println!("| what | time | against the copy |");
    println!("|---|---|---|");
    for (what, mut times) in [
        ("copy a file of the same bytes, fsync", copied),
        ("write the bundle, durable", written),
        ("read it into an empty depot, durable", read),
        ("of that: one batched insert of the same entries", put),
        ("read it again: nothing new", again),
    ] {
        let time = sample::median(&mut times);
        println!("| {what} | {} | {:.2} |", millis(time), time.as_secs_f64() / floor.as_secs_f64());
    }
    Ok(())
}

fn depot(path: &Path) -> Result<SqlDepot, Box<dyn Error>> {
    let depot = SqlDepot::create(path, &DepotKey::new([1; 32]), DepotId::from_bytes([1; 16]))?;
    let secrets = Writer::new().u32(1).u32(1).raw(&[7; 32]).finish();
    depot.set_setting("transport-secrets", Some(&secrets))?;
    Ok(depot)
}

fn copy(from: &Path, to: &Path) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    let elapsed = start.elapsed();
    fs::remove_file(to)?;
    Ok(elapsed)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
