//! A raid: how long until nothing opens, and whether time tells which passphrase was given.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fieldbook_vault::{CreateOptions, Layout, Passphrase, Vault, destroy_keys, remove_rest};

use crate::{floor, sample};

/// Bytes of the vault that is wiped.
const LARGE: u64 = 10 << 30;
/// Vaults that are opened with either passphrase.
const ROUNDS: usize = 25;

fn own() -> Passphrase {
    Passphrase::new("only for this measurement".to_owned())
}

fn duress() -> Passphrase {
    Passphrase::new("quite another one, not alike".to_owned())
}

fn made(dir: &Path, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let place = dir.join(name);
    Vault::create(&place, &own(), &CreateOptions { name: "Bench".to_owned(), work_factor: Some(15) })?;
    Ok(place)
}

pub fn run() -> Result<(), Box<dyn Error>> {
    wipe()?;
    println!();
    open()
}

fn wipe() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let place = made(dir.path(), "large")?;
    let layout = Layout::new(&place);
    let block = sample::noise(1, 64 << 20);
    let mut store = OpenOptions::new().append(true).open(layout.vault(0))?;
    for _ in 0..LARGE / block.len() as u64 {
        store.write_all(&block)?;
    }
    store.sync_all()?;
    drop(store);
    let mut disk = floor::Append::new(dir.path())?;
    let mut appended = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        disk.append_and_sync()?;
        appended.push(start.elapsed());
    }
    let floor = sample::median(&mut appended);
    let start = Instant::now();
    destroy_keys(&layout)?;
    let keys = start.elapsed();
    assert!(Vault::open(&place, &own()).is_err(), "nothing opens");
    let start = Instant::now();
    remove_rest(&layout)?;
    let rest = start.elapsed();
    println!("Wiping a vault of {} GiB", LARGE >> 30);
    println!("| act | time | against one append + fdatasync |");
    println!("|---|---|---|");
    for (act, time) in [
        ("append 4 KiB + fdatasync", floor),
        ("destroy the keys, durably: from here on nothing opens", keys),
        ("remove the files", rest),
    ] {
        println!("| {act} | {} | {:.1} |", ms(time), time.as_secs_f64() / floor.as_secs_f64());
    }
    Ok(())
}

fn open() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (mut ordinary, mut under_duress) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let place = made(dir.path(), &format!("vault-{round}"))?;
        let mut vault = Vault::open(&place, &own())?;
        vault.set_duress(&own(), &duress(), "Bench")?;
        vault.close()?;
        for (passphrase, times) in [(own(), &mut ordinary), (duress(), &mut under_duress)] {
            let start = Instant::now();
            let vault = Vault::open(&place, &passphrase)?;
            times.push(start.elapsed());
            vault.close()?;
        }
        assert!(Vault::open(&place, &own()).is_err(), "the duress passphrase did its work");
    }
    let above =
        ordinary.iter().map(|one| under_duress.iter().filter(|other| *other > one).count()).sum::<usize>();
    // Mann and Whitney's: 0.5 if nothing can be told from one time, 1 if everything can.
    let told = above as f64 / (ROUNDS * ROUNDS) as f64;
    let (a, b) = (sample::median(&mut ordinary), sample::median(&mut under_duress));
    println!(
        "Opening with either passphrase (medians of {ROUNDS} vaults, the lowest scrypt cost that there is: 32 MiB)"
    );
    println!("| passphrase | time | fastest to slowest |");
    println!("|---|---|---|");
    for (name, median, times) in [("the own one", a, &ordinary), ("the duress passphrase", b, &under_duress)]
    {
        let (first, last) =
            (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
        println!("| {name} | {} | {} to {} |", ms(median), ms(first), ms(last));
    }
    println!(
        "An opening under duress takes longer than an ordinary one in {:.0} of 100 pairs (50: nothing can be told).",
        told * 100.0
    );
    Ok(())
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
