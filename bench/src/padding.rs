//! What somebody learns who counts the datagrams of veiled syncs: sessions in which nothing is new, a report of 300 words
//! or one of 900, of one pair of devices, in random order. It fails if a count tells them apart.

use std::collections::HashMap;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fieldbook_net::veil::boxes::SIZES;
use fieldbook_tests::{Machine, team_of_two};

use crate::sample;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Sessions of each kind.
pub const SESSIONS: usize = 60;
/// Standard deviations beyond which a difference is no chance, as in the bench of raids.
const CHANCE: f64 = 4.89;
const KINDS: [(&str, usize); 3] = [("nothing new", 0), ("300 words", 300), ("900 words", 900)];
/// How long a datagram is under way.
const LINES: [(&str, u64); 2] = [("loopback", 0), ("40 ms there and back", 20)];
/// A session is over when nothing has passed for so long after the program's end.
const QUIET: Duration = Duration::from_millis(150);

/// A datagram that passed.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    there: bool,
    len: usize,
}

/// What stands between and counts.
struct Tap {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    over: Arc<AtomicBool>,
}

type Late = Sender<(Instant, Vec<u8>)>;

impl Tap {
    fn start(target: SocketAddr, delay: Duration) -> Outcome<Self> {
        let near = UdpSocket::bind("127.0.0.1:0")?;
        let tap = Self { address: near.local_addr()?, seen: Arc::default(), over: Arc::default() };
        let (seen, over) = (tap.seen.clone(), tap.over.clone());
        thread::spawn(move || forward(&near, target, delay, &seen, &over));
        Ok(tap)
    }

    /// What has passed since it was asked last, once nothing more comes.
    fn take(&self) -> Vec<Seen> {
        loop {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let quiet = seen.last().map_or(QUIET, |last| last.at.elapsed());
            if quiet >= QUIET {
                return std::mem::take(&mut seen);
            }
            drop(seen);
            thread::sleep(QUIET - quiet);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// Each device that dials gets a socket of its own towards the target, until another dials.
fn forward(
    near: &UdpSocket,
    target: SocketAddr,
    delay: Duration,
    seen: &Arc<Mutex<Vec<Seen>>>,
    over: &Arc<AtomicBool>,
) -> Option<()> {
    near.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let mut buffer = vec![0; 2_048];
    let mut dialler: Option<(SocketAddr, Arc<AtomicBool>, Late)> = None;
    while !over.load(Relaxed) {
        let Ok((len, from)) = near.recv_from(&mut buffer) else { continue };
        let at = note(seen, true, len);
        if dialler.as_ref().is_none_or(|(known, ..)| *known != from) {
            if let Some((_, gone, _)) = dialler.take() {
                gone.store(true, Relaxed);
            }
            let far = Arc::new(UdpSocket::bind("127.0.0.1:0").ok()?);
            far.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
            let gone = Arc::<AtomicBool>::default();
            let out = far.clone();
            let there = late(move |datagram| drop(out.send_to(datagram, target)));
            let out = near.try_clone().ok()?;
            let back = late(move |datagram| drop(out.send_to(datagram, from)));
            let (seen, ended) = (seen.clone(), gone.clone());
            thread::spawn(move || {
                let mut buffer = vec![0; 2_048];
                while !ended.load(Relaxed) {
                    let Ok((len, _)) = far.recv_from(&mut buffer) else { continue };
                    let at = note(&seen, false, len);
                    let _ = back.send((at + delay, buffer[..len].to_vec()));
                }
            });
            dialler = Some((from, gone, there));
        }
        if let Some((_, _, there)) = &dialler {
            let _ = there.send((at + delay, buffer[..len].to_vec()));
        }
    }
    if let Some((_, gone, _)) = dialler {
        gone.store(true, Relaxed);
    }
    Some(())
}

fn note(seen: &Mutex<Vec<Seen>>, there: bool, len: usize) -> Instant {
    let at = Instant::now();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { at, there, len });
    at
}

/// Hands on what it is given when its time has come.
fn late(mut to: impl FnMut(&[u8]) + Send + 'static) -> Late {
    let (sender, due): (Late, Receiver<(Instant, Vec<u8>)>) = channel();
    thread::spawn(move || {
        for (at, datagram) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            to(&datagram);
        }
    });
    sender
}

/// What is counted of a session.
fn features(seen: &[Seen]) -> Vec<(String, f64)> {
    let mut features = Vec::new();
    for (there, way) in [(true, "there"), (false, "back")] {
        let lens: Vec<usize> = seen.iter().filter(|one| one.there == there).map(|one| one.len).collect();
        features.push((format!("datagrams {way}"), lens.len() as f64));
        features.push((format!("bytes {way}"), lens.iter().sum::<usize>() as f64));
        for size in SIZES {
            let count = lens.iter().filter(|len| **len == size).count();
            features.push((format!("{size} {way}"), count as f64));
        }
        let other = lens.iter().filter(|len| !SIZES.contains(len)).count();
        features.push((format!("other sizes {way}"), other as f64));
    }
    let turns = seen.windows(2).filter(|two| two[0].there != two[1].there).count();
    features.push(("changes of direction".to_owned(), turns as f64));
    features
}

/// Mann and Whitney's: in how many of 100 pairs the second is more (50: nothing can be told), and how many of its standard
/// deviations that is away from chance.
fn told(first: &[f64], second: &[f64]) -> (f64, f64) {
    let (n, m) = (first.len() as f64, second.len() as f64);
    let mut above = 0.0;
    for one in first {
        for other in second {
            above += if other > one {
                1.0
            } else if (other - one).abs() < 0.5 {
                0.5
            } else {
                0.0
            };
        }
    }
    let mut equal: HashMap<u64, f64> = HashMap::new();
    first.iter().chain(second).for_each(|value| *equal.entry(value.to_bits()).or_default() += 1.0);
    let all = n + m;
    let ties: f64 = equal.values().map(|t| t * t * t - t).sum();
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let away = if variance > 0.0 { (above - n * m / 2.0).abs() / variance.sqrt() } else { 0.0 };
    (100.0 * above / (n * m), away)
}

fn narrative(words: usize, seed: u64) -> String {
    let letters = sample::noise(seed, words * 8);
    let word = |bytes: &[u8]| -> String {
        let len = 3 + usize::from(bytes[0] % 6);
        bytes[1..].iter().cycle().take(len).map(|byte| char::from(b'a' + byte % 26)).collect()
    };
    letters.chunks(8).map(word).collect::<Vec<_>>().join(" ")
}

fn write(machine: &Machine, words: usize, seed: u64) {
    let report = serde_json::json!({
        "template": "detention",
        "fields": { "date": "2017-03-25", "narrative": narrative(words, seed) },
    });
    let file = machine.file("reports.jsonl", report.to_string() + "\n");
    machine.ok(&["import", &file]);
    machine.ok(&["finish", "--all", "--incomplete"]);
}

pub fn run(sessions: usize) -> Outcome<()> {
    let mut worst: Option<(f64, String)> = None;
    for (line, delay) in LINES {
        println!("Syncs through the veil, {line}: {sessions} sessions of each kind in random order");
        for (away, what) in measure(sessions, Duration::from_millis(delay))? {
            if worst.as_ref().is_none_or(|(most, _)| away > *most) {
                worst = Some((away, format!("{what}, {line}")));
            }
        }
        println!();
    }
    match worst {
        Some((away, what)) if away > CHANCE => {
            Err(format!("{what}: {away:.1} standard deviations from chance").into())
        }
        _ => Ok(()),
    }
}

fn measure(sessions: usize, delay: Duration) -> Outcome<Vec<(f64, String)>> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let (coordination, monitor) = team_of_two();
    let daemon = coordination.daemon_with(&["--no-tcp"]);
    monitor.ok(&["unlock"]);
    let tap = Tap::start(daemon.address().parse()?, delay)?;
    let address = format!("veil://{}", tap.address);
    let sync = |reports: u64| -> Outcome<Vec<Seen>> {
        let done = monitor.run(&["--json", "sync", "--with", &address]).exits(0);
        let traffic =
            done.lines().into_iter().find_map(|line| line.get("traffic").cloned()).unwrap_or_default();
        if traffic["in_step"] != true || traffic["sent"] != reports {
            return Err(format!("not what was meant: {traffic}").into());
        }
        Ok(tap.take())
    };
    monitor.run(&["sync", "--with", &address]).exits(0);
    tap.take();
    let chances = sample::noise(seed, 2 * KINDS.len() * sessions);
    let mut order: Vec<(u16, usize)> = chances
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .zip((0..KINDS.len()).cycle())
        .collect();
    order.sort_unstable();
    let mut counted: Vec<Vec<Vec<f64>>> = vec![Vec::new(); KINDS.len()];
    let mut after: Vec<Vec<Vec<f64>>> = vec![Vec::new(); KINDS.len()];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); KINDS.len()];
    let mut names = Vec::new();
    let mut before = None;
    for (number, (_, kind)) in (0..).zip(order) {
        if KINDS[kind].1 > 0 {
            write(&monitor, KINDS[kind].1, seed.wrapping_add(number));
        }
        let seen = sync(u64::from(kind > 0))?;
        let (keys, values): (Vec<String>, Vec<f64>) = features(&seen).into_iter().unzip();
        names = keys;
        if kind == 0
            && let Some(before) = before
        {
            let after: &mut Vec<Vec<f64>> = &mut after[before];
            after.push(values.clone());
        }
        counted[kind].push(values);
        if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
            times[kind].push(last.at - first.at);
        }
        before = Some(kind);
        if std::env::var_os("PADDING_TRACE").is_some() {
            let trace: Vec<String> = seen
                .iter()
                .map(|one| {
                    let ms = (one.at - seen[0].at).as_secs_f64() * 1e3;
                    format!("{}{}@{ms:.1}", if one.there { ">" } else { "<" }, one.len)
                })
                .collect();
            eprintln!("{}: {}", KINDS[kind].0, trace.join(" "));
        }
    }
    println!(
        "| counted | mean: nothing | 300 words | 900 words | pairs of 100: nothing, 300 | nothing, 900 | 300, 900 |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut aways = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let column = |of: &[Vec<f64>]| of.iter().map(|values| values[at]).collect::<Vec<f64>>();
        let columns: Vec<Vec<f64>> = counted.iter().map(|of| column(of)).collect();
        let mean = |of: &Vec<f64>| of.iter().sum::<f64>() / of.len() as f64;
        let all: Vec<f64> = columns.concat();
        if all.iter().all(|value| (value - all[0]).abs() < 0.5) {
            println!("| {name} | {} | the same | the same | | | |", all[0]);
            continue;
        }
        let mut cells: Vec<String> = columns.iter().map(|of| format!("{:.2}", mean(of))).collect();
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let (pairs, away) = told(&columns[one], &columns[other]);
            cells.push(format!("{pairs:.0} ({away:.1})"));
            aways.push((away, format!("{name}, {} and {}", KINDS[one].0, KINDS[other].0)));
        }
        println!("| {name} | {} |", cells.join(" | "));
        // What a session in which nothing is new tells of the one before it.
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let (_, away) = told(&column(&after[one]), &column(&after[other]));
            aways.push((
                away,
                format!("{name} of an empty session after {} and {}", KINDS[one].0, KINDS[other].0),
            ));
        }
    }
    let medians: Vec<String> =
        times.iter_mut().map(|of| format!("{:.1} ms", sample::median(of).as_secs_f64() * 1e3)).collect();
    println!("| time, median (not judged) | {} | | | |", medians.join(" | "));
    let most = aways.iter().map(|(away, _)| *away).fold(0.0, f64::max);
    println!("The furthest from chance: {most:.1} standard deviations, of {} comparisons.", aways.len());
    Ok(aways)
}
