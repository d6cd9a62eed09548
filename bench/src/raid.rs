//! A raid: how long until nothing opens, and whether time tells which passphrase was given: then it fails.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fieldbook_report::ReportInput;
use fieldbook_tests::Machine;
use fieldbook_vault::{CreateOptions, Layout, Passphrase, Vault, destroy_keys, remove_rest};

use crate::{floor, sample};

/// Bytes of the vault that is wiped.
const LARGE: u64 = 10 << 30;
/// Nothing opens any more after so long, however large the vault.
const KEYS_WITHIN: Duration = Duration::from_millis(100);
/// Vaults that are opened with each passphrase.
pub const VAULTS: usize = 100;
/// With fewer, not even times of which each is longer than every other would exceed [`CHANCE`].
pub const FEWEST: usize = 20;
/// Standard deviations beyond which a difference is no chance: by chance one run in a million exceeds them (two-sided).
const CHANCE: f64 = 4.89;
const DURESS: &str = "quite another one, not alike";

fn own() -> Passphrase {
    Passphrase::new("only for this measurement".to_owned())
}

fn duress() -> Passphrase {
    Passphrase::new(DURESS.to_owned())
}

fn made(dir: &Path, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let place = dir.join(name);
    Vault::create(&place, &own(), &CreateOptions { name: "Bench".to_owned(), work_factor: Some(15) })?;
    Ok(place)
}

pub fn run() -> Result<(), Box<dyn Error>> {
    wipe()?;
    println!();
    open(VAULTS)
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
    if keys > KEYS_WITHIN {
        return Err(format!("the keys of a large vault were destroyed after {} only", ms(keys)).into());
    }
    Ok(())
}

/// A machine with a vault and a decoy, and a report in each.
fn machine() -> Result<Machine, Box<dyn Error>> {
    let machine = Machine::new("Bench");
    let own = Passphrase::new(machine.passphrase().to_owned());
    let options = CreateOptions { name: "Bench".to_owned(), work_factor: Some(15) };
    Vault::create(&machine.vault(), &own, &options)?;
    let mut vault = Vault::open(&machine.vault(), &own)?;
    vault.create_report(&ReportInput::from_json(&sample::report(1))?)?;
    vault.set_duress(&own, &duress(), "Bench")?;
    let mut decoy = vault.into_decoy()?;
    decoy.create_report(&ReportInput::from_json(&sample::report(1))?)?;
    decoy.close()?;
    Ok(machine)
}

/// How long the program takes to open a vault, list one report and close it: start to end.
fn list(machine: &Machine, under_duress: bool) -> Result<Duration, Box<dyn Error>> {
    let file = machine.secret_file("duress", &format!("{DURESS}\n"));
    let file = if under_duress { file } else { machine.path("passphrase").to_string_lossy().into_owned() };
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).args(["--passphrase-file", &file, "--no-input", "list"]);
    let start = Instant::now();
    let said = command.output()?;
    let took = start.elapsed();
    if !said.status.success() {
        return Err(String::from_utf8_lossy(&said.stderr).into_owned().into());
    }
    assert!(String::from_utf8_lossy(&said.stdout).contains("Detention 1"), "it lists the report");
    Ok(took)
}

/// Each vault is opened once, with one of its passphrases, in random order: so many with each.
pub fn open(vaults: usize) -> Result<(), Box<dyn Error>> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let mut acts: Vec<(u8, bool)> =
        sample::noise(seed, 2 * vaults).into_iter().zip([false, true].into_iter().cycle()).collect();
    acts.sort_unstable_by_key(|(chance, _)| *chance);
    let (mut ordinary, mut under_duress) = (Vec::new(), Vec::new());
    for (_, duress) in acts {
        let took = list(&machine()?, duress)?;
        if duress { under_duress.push(took) } else { ordinary.push(took) }
    }
    let above =
        ordinary.iter().map(|one| under_duress.iter().filter(|other| *other > one).count()).sum::<usize>();
    let n = vaults as f64;
    // Mann and Whitney's: 0.5 if nothing can be told from one time, 1 if everything can; and how many of its own standard
    // deviations it is away from that.
    let told = above as f64 / (n * n);
    let away = (told - 0.5).abs() / ((2.0 * n + 1.0) / (12.0 * n * n)).sqrt();
    let (a, b) = (sample::median(&mut ordinary), sample::median(&mut under_duress));
    println!(
        "`fieldbook list` with either passphrase ({vaults} vaults each, the lowest scrypt cost that there is: 32 MiB)"
    );
    println!("| passphrase | median | fastest to slowest |");
    println!("|---|---|---|");
    for (name, median, times) in [("the own one", a, &ordinary), ("the duress passphrase", b, &under_duress)]
    {
        let (first, last) =
            (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
        println!("| {name} | {} | {} to {} |", ms(median), ms(first), ms(last));
    }
    println!(
        "The first opening under duress takes longer than an ordinary one in {:.0} of 100 pairs (50: nothing can be told): {away:.1} \
         standard deviations.",
        told * 100.0
    );
    if away > CHANCE {
        return Err("the time of an opening tells which passphrase was given".into());
    }
    Ok(())
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
