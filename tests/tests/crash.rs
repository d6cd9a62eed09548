//! `kill -9` at random moments: the vault opens every time, and all that was reported as saved is there.
//!
//! `FIELDBOOK_KILLS` is the number of kills over all tests of this module (`scripts/crash-campaign` sets some
//! thousands), `FIELDBOOK_SEED` repeats a run: a failing test prints its own.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use fieldbook_tests::{Machine, PHOTO, Running, processes, team_of_two};
use serde_json::{Value, json};

/// Kills in a run without `FIELDBOOK_KILLS`, over all tests.
const KILLS: u64 = 180;
/// The tests that share them.
const TESTS: u64 = 6;

fn kills() -> u64 {
    let total = env::var("FIELDBOOK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    total.div_ceil(TESTS)
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough to choose moments. And the score: how many
/// kills came before the program had reported, and how many after.
struct Dice {
    state: u64,
    before: u64,
    after: u64,
}

impl Dice {
    fn new(test: &str) -> Self {
        let seed = env::var("FIELDBOOK_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64)
        });
        println!("{test}: FIELDBOOK_SEED={seed} FIELDBOOK_KILLS={}", kills() * TESTS);
        Self { state: seed, before: 0, after: 0 }
    }

    /// Kills that all come too early or too late prove nothing.
    fn fell_on_both_sides(&self) {
        println!("killed before a word was said: {}, after: {}", self.before, self.after);
        assert!(
            self.before + self.after < 20 || (self.before > 0 && self.after > 0),
            "all kills fell on one side"
        );
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn moment(&mut self, within: Duration) -> Duration {
        Duration::from_micros(self.below(within.as_micros() as u64 * 11 / 10 + 1))
    }
}

/// What the program has reported as saved.
#[derive(Default)]
struct Promised {
    reports: BTreeMap<String, Promise>,
}

#[derive(Default, Clone)]
struct Promise {
    title: String,
    finished: bool,
    attachments: usize,
}

impl Promised {
    fn add(&mut self, id: &str, title: &str) {
        self.reports.insert(id.to_owned(), Promise { title: title.to_owned(), ..Promise::default() });
    }

    /// Opens the vault, and compares. What was on its way and not reported may be there or not; `maybe` says
    /// which title it would have given to which report.
    fn hold(&self, machine: &Machine, maybe: Option<(&str, &str)>, what: &str) -> BTreeMap<String, Value> {
        let there: BTreeMap<String, Value> = machine
            .reports()
            .into_iter()
            .map(|line| (line["id"].as_str().unwrap_or_default().to_owned(), line))
            .collect();
        for (id, promise) in &self.reports {
            let Some(found) = there.get(id) else { panic!("{what}: {id} was reported as saved and is lost") };
            let title = found["title"].as_str().unwrap_or_default();
            let in_flight = maybe.is_some_and(|(of, to)| of == id && to == title);
            assert!(
                title == promise.title || in_flight,
                "{what}: {id} is {title:?}, not {:?}",
                promise.title
            );
            assert!(!promise.finished || found["state"] == "finished", "{what}: {id} is no longer finished");
            let attachments = found["attachments"].as_u64().unwrap_or(0);
            assert!(attachments >= promise.attachments as u64, "{what}: {id} lost an attachment");
        }
        there
    }
}

/// One act that is cut off.
struct Cut {
    /// The complete lines that were said before the end.
    said: Vec<Value>,
    /// For the failure message.
    what: String,
}

/// When to strike.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the start.
    After(Duration),
    /// As soon as so many lines were said: whatever was still to be done for them is not done any more.
    AtLine(u64),
}

/// Starts a command and kills it, its agent or both. Half of the time a staying agent serves it, and is killed too.
///
/// `usual` is how long the command takes, and follows what is seen of it: measured in a bad moment, it would put all kills
/// on one side.
fn cut(machine: &Machine, dice: &mut Dice, usual: &mut Duration, args: &[&str]) -> Cut {
    let unlocked = dice.below(2) == 1;
    if unlocked {
        machine.ok(&["unlock"]);
    }
    // With a staying agent there is no key derivation to wait for.
    let part = if unlocked { 3 } else { 1 };
    let moment = match dice.below(3) {
        0 => Moment::AtLine(1 + dice.below(if args[0] == "import" { 8 } else { 1 })),
        _ => Moment::After(dice.moment(*usual / part)),
    };
    let victim = dice.below(4);
    let mut lines = Vec::new();
    let mut command = machine.start(args);
    let start = Instant::now();
    let mut below = Vec::new();
    let mut looked = start;
    while command.runs() {
        let due = match moment {
            Moment::After(time) => start.elapsed() >= time,
            Moment::AtLine(number) => lines.len() as u64 >= number,
        };
        if due {
            break;
        }
        lines.extend(command.line_within(Duration::from_micros(200)));
        // The victims are known before the moment comes: looking for them takes longer than saving.
        if looked.elapsed() > Duration::from_millis(15) || below.is_empty() {
            below = machine
                .processes()
                .iter()
                .map(|process| process.pid)
                .filter(|pid| *pid != command.pid())
                .collect();
            looked = Instant::now();
        }
    }
    if !command.runs() {
        *usual = (*usual + start.elapsed() * part) / 2;
    }
    match victim {
        // The client alone: its agent notices, and ends or serves on.
        0 => command.kill(),
        // The agent alone: the client must say that it does not know.
        1 => {
            processes::shoot(&below);
            command.ends();
        }
        // Everything at once.
        _ => {
            processes::shoot(&below);
            command.kill();
        }
    }
    finish_off(machine, &mut command);
    let what = format!("{args:?} cut: {moment:?} (victim {victim}, unlocked: {unlocked})");
    lines.extend(command.rest());
    let said: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    *(if said.is_empty() { &mut dice.before } else { &mut dice.after }) += 1;
    Cut { said, what }
}

/// Nothing of this machine runs any more.
fn finish_off(machine: &Machine, command: &mut Running) {
    command.kill();
    machine.falls();
}

/// How long a command usually takes, here and now.
fn usual(machine: &Machine, args: &[&str]) -> Duration {
    let start = Instant::now();
    machine.ok(args);
    start.elapsed()
}

fn writer() -> Machine {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "Minsk 2017"]);
    machine
}

fn draft(machine: &Machine, promised: &mut Promised, title: &str) -> String {
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", title]);
    promised.add(&id, title);
    id
}

#[test]
fn during_new() {
    let (mut dice, machine, mut promised) = (Dice::new("during_new"), writer(), Promised::default());
    let mut usual = usual(&machine, &["new", "--template", "detention", "--title", "The first"]);
    let mut known = promised.hold(&machine, None, "the first").len();
    for number in 0..kills() {
        let title = format!("Report {number}");
        let text = format!("narrative={title} tells what happened.");
        let cut = cut(
            &machine,
            &mut dice,
            &mut usual,
            &["new", "--template", "detention", "--title", &title, "--set", &text],
        );
        for line in &cut.said {
            promised.add(line["id"].as_str().expect("an id"), &title);
        }
        let there = promised.hold(&machine, None, &cut.what);
        assert!(there.len() <= known + 1, "{}: one report became several", cut.what);
        known = there.len();
        // There or not, but never half of it.
        if let Some(id) = there.iter().find_map(|(id, line)| (line["title"] == title.as_str()).then_some(id))
        {
            let narrative = machine.show(id)["content"]["narrative"].clone();
            assert_eq!(narrative, format!("{title} tells what happened."), "{}", cut.what);
            promised.add(id, &title);
        }
    }
    dice.fell_on_both_sides();
}

#[test]
fn during_edit() {
    let (mut dice, machine, mut promised) = (Dice::new("during_edit"), writer(), Promised::default());
    let ids = [draft(&machine, &mut promised, "A draft"), draft(&machine, &mut promised, "Finished")];
    machine.ok(&["finish", &ids[1], "--incomplete"]);
    promised.reports.get_mut(&ids[1]).expect("it").finished = true;
    let mut usual = usual(&machine, &["edit", &ids[0], "--set", "authority=police"]);
    let mut every_title: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..kills() {
        let id = &ids[dice.below(2) as usize];
        let title = format!("Title {number}");
        let cut = cut(&machine, &mut dice, &mut usual, &["edit", id, "--title", &title]);
        if !cut.said.is_empty() {
            promised.reports.get_mut(id).expect("it").title.clone_from(&title);
        }
        let there = promised.hold(&machine, Some((id, &title)), &cut.what);
        if there[id]["title"] == title.as_str() {
            promised.reports.get_mut(id).expect("it").title.clone_from(&title);
            every_title.entry(id.clone()).or_default().push(title);
        }
    }
    dice.fell_on_both_sides();
    // And the history has every title that ever was there.
    for (id, titles) in every_title {
        let history = crate::reading::history_text(&machine, &id);
        for title in titles {
            assert!(history.contains(&format!("\"{title}\"")), "{title} is not in the history of {id}");
        }
    }
}

#[test]
fn during_finish() {
    let (mut dice, machine, mut promised) = (Dice::new("during_finish"), writer(), Promised::default());
    let first = draft(&machine, &mut promised, "The first");
    machine.ok(&["attach", &first, PHOTO]);
    let mut usual = usual(&machine, &["finish", &first, "--incomplete"]);
    for number in 0..kills() {
        let id = draft(&machine, &mut promised, &format!("Report {number}"));
        let photographed = dice.below(3) == 0;
        if photographed {
            machine.ok(&["attach", &id, PHOTO]);
            promised.reports.get_mut(&id).expect("it").attachments = 1;
        }
        let cut = cut(&machine, &mut dice, &mut usual, &["finish", &id, "--incomplete"]);
        if !cut.said.is_empty() {
            promised.reports.get_mut(&id).expect("it").finished = true;
        }
        let there = promised.hold(&machine, None, &cut.what);
        let entries = machine.json(&["entry", "list", &id]);
        let sealed = |kind: &str| entries.iter().filter(|line| line["kind"] == kind).count();
        if there[&id]["state"] == "finished" {
            assert_eq!(sealed("report"), 1, "{}: {entries:?}", cut.what);
            assert_eq!(entries.len(), if photographed { 2 } else { 1 }, "{}: {entries:?}", cut.what);
        } else {
            // A part of the photograph may be sealed, to a key that only the unsealed report holds.
            assert_eq!(sealed("report"), 0, "{}: a draft has entries: {entries:?}", cut.what);
            machine.ok(&["finish", &id, "--incomplete"]);
        }
        promised.reports.get_mut(&id).expect("it").finished = true;
    }
    dice.fell_on_both_sides();
    promised.hold(&machine, None, "at the end");
    assert_eq!(machine.json(&["status"])[0]["problems"], json!([]), "the chain of entries is whole");
}

#[test]
fn during_attach() {
    let (mut dice, machine, mut promised) = (Dice::new("during_attach"), writer(), Promised::default());
    let ids = [draft(&machine, &mut promised, "A draft"), draft(&machine, &mut promised, "Finished")];
    machine.ok(&["finish", &ids[1], "--incomplete"]);
    // A film of several parts: long enough to be cut in the middle.
    let film: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let first = machine.file("first.mp4", &film);
    let mut usual = usual(&machine, &["attach", &ids[0], &first]);
    for promise in promised.reports.values_mut() {
        promise.attachments = 0;
    }
    promised.reports.get_mut(&ids[0]).expect("it").attachments = 1;
    let mut whole: Vec<(String, String)> = vec![(ids[0].clone(), "first.mp4".into())];
    for number in 0..kills() {
        let id = &ids[dice.below(2) as usize];
        let name = format!("film-{number}.mp4");
        let file = machine.file(&name, &film);
        let cut = cut(&machine, &mut dice, &mut usual, &["attach", id, &file]);
        fs::remove_file(&file).expect("the film");
        if !cut.said.is_empty() {
            promised.reports.get_mut(id).expect("it").attachments += 1;
            whole.push((id.clone(), name));
        }
        let there = promised.hold(&machine, None, &cut.what);
        promised.reports.get_mut(id).expect("it").attachments =
            there[id]["attachments"].as_u64().expect("a number") as usize;
    }
    dice.fell_on_both_sides();
    // What was reported is there to the last byte.
    for (id, name) in whole.iter().step_by(whole.len().div_ceil(8)) {
        let out = machine.path("saved");
        let _ = fs::remove_file(&out);
        machine.ok(&["attachment", id, name, "--out", out.to_str().expect("UTF-8")]);
        assert!(fs::read(&out).expect("the film") == film, "{name}");
    }
}

#[test]
fn during_import() {
    let (mut dice, machine, mut promised) = (Dice::new("during_import"), writer(), Promised::default());
    let batch = |number: u64| -> String {
        (0..12)
            .map(|line| {
                let report = json!({"template": "detention", "title": format!("Import {number}, line {line}"),
                    "language": "en", "fields": {"date": "2017-03-25"}, "narrative": "It happened."});
                format!("{report}\n")
            })
            .collect()
    };
    let first = machine.file("first.jsonl", batch(1_000_000));
    let mut usual = usual(&machine, &["import", &first]);
    for number in 0..kills() {
        let file = machine.file("batch.jsonl", batch(number));
        let cut = cut(&machine, &mut dice, &mut usual, &["import", &file]);
        for line in cut.said.iter().filter(|line| line.get("id").is_some()) {
            promised.add(line["id"].as_str().expect("an id"), line["title"].as_str().expect("a title"));
        }
        promised.hold(&machine, None, &cut.what);
        if number % 5 == 0 {
            // Importing again completes what was cut off, and doubles nothing.
            machine.ok(&["import", &file]);
            let there = promised.hold(&machine, None, "import again");
            let prefix = format!("Import {number}, ");
            let titles =
                there.values().filter(|line| line["title"].as_str().is_some_and(|t| t.starts_with(&prefix)));
            assert_eq!(titles.count(), 12, "{}", cut.what);
        }
    }
    dice.fell_on_both_sides();
}

#[test]
fn during_sync_on_either_side() {
    let mut dice = Dice::new("during_sync");
    let (a, b) = team_of_two();
    let mut promised = Promised::default();
    let address = format!("127.0.0.1:{}", fieldbook_tests::free_port());
    let id = draft(&b, &mut promised, "The first");
    b.ok(&["finish", &id, "--incomplete"]);
    let mut usual = {
        let daemon = a.daemon_at(&address);
        usual(&b, &["sync", "--with", daemon.address()])
    };
    for round in 0..kills() {
        // Something to carry, and now and then something large.
        let id = draft(&b, &mut promised, &format!("Report {round}"));
        if dice.below(4) == 0 {
            let film: Vec<u8> =
                (0..2_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
            b.ok(&["attach", &id, &b.file("film.mp4", film)]);
            promised.reports.get_mut(&id).expect("it").attachments = 1;
        }
        b.ok(&["finish", &id, "--incomplete"]);
        promised.reports.get_mut(&id).expect("it").finished = true;

        let mut daemon = a.daemon_at(&address);
        let moment = dice.moment(usual);
        // Alone, the monitor waits half a minute for QUIC to give the other side up: that must do now and then.
        let victims = if round % 15 == 7 { 2 } else { dice.below(2) };
        let start = Instant::now();
        let mut syncing = b.start(&["sync", "--with", daemon.address()]);
        while start.elapsed() < moment && syncing.runs() {
            std::thread::sleep(Duration::from_micros(200));
        }
        if !syncing.runs() {
            usual = (usual + start.elapsed()) / 2;
        }
        let what = format!("sync cut after {moment:?} (victims {victims})");
        // 0: the monitor's side, 1: both, 2: the coordinator's.
        if victims != 2 {
            processes::kill(
                &b.processes().into_iter().filter(|p| p.pid != syncing.pid()).collect::<Vec<_>>(),
            );
            syncing.kill();
        }
        if victims != 0 {
            processes::kill(
                &a.processes().into_iter().filter(|p| p.pid != daemon.process.pid()).collect::<Vec<_>>(),
            );
            daemon.process.kill();
        }
        // Who is left finishes or gives up, by itself.
        syncing.ends();
        finish_off(&b, &mut syncing);
        finish_off(&a, &mut daemon.process);
        *(if syncing.rest().is_empty() { &mut dice.before } else { &mut dice.after }) += 1;

        let here = promised.hold(&b, None, &what);
        let there: Vec<String> = crate::reading::ids(&a);
        for (id, line) in &here {
            let word = line["delivery"]["word"].as_str().unwrap_or_default();
            // A peer acknowledges what is durable on its side, and nothing before.
            let acknowledged = ["carried", "received"].contains(&word);
            assert!(
                !acknowledged || there.contains(id),
                "{what}: {id} is {word}, but the coordinator lost it"
            );
        }
        if round % 8 == 7 {
            converge(&a, &b, &address, &what);
        }
    }
    dice.fell_on_both_sides();
    converge(&a, &b, &address, "at the end");
}

/// Whatever happened before, one undisturbed sync brings everything across.
fn converge(a: &Machine, b: &Machine, address: &str, what: &str) {
    let daemon = a.daemon_at(address);
    b.ok(&["sync", "--with", daemon.address()]);
    let (mut here, mut there) = (crate::reading::ids(b), crate::reading::ids(a));
    here.sort();
    there.sort();
    assert_eq!(here, there, "{what}");
    for id in here.iter().rev().take(3) {
        assert_eq!(a.show(id)["content"], b.show(id)["content"], "{what}");
    }
    for machine in [a, b] {
        assert_eq!(machine.json(&["status"])[0]["problems"], json!([]), "{what}: {}", machine.name());
    }
}

#[test]
fn a_vault_whose_making_was_cut_off_can_be_made_again() {
    let mut dice = Dice::new("during_init");
    let mut usual = Duration::from_millis(500);
    for _ in 0..kills().min(20) {
        let machine = Machine::new("Monitor");
        let init = ["init", "--name", "Monitor", "--work-factor", "15"];
        let start = Instant::now();
        let mut command = machine.start(&init);
        let moment = dice.moment(usual);
        while start.elapsed() < moment && command.runs() {
            std::thread::sleep(Duration::from_micros(200));
        }
        if !command.runs() {
            usual = (usual + start.elapsed()) / 2;
        }
        finish_off(&machine, &mut command);
        let reported = !command.rest().is_empty();
        let listed = machine.run(&["list"]);
        match listed.code {
            0 => {}
            10 if !reported => {
                machine.ok(&init);
                machine.ok(&["list"]);
            }
            _ => panic!("cut after {moment:?}: {listed:?}"),
        }
    }
}

/// The tools that the campaign needs are the tests' own.
#[test]
fn a_kill_is_a_kill() {
    let machine = Machine::new("Nobody");
    let mut command = Command::new("sleep");
    command.arg("1000").env("HOME", machine.home());
    let mut sleeping = Running::start(command);
    assert_eq!(machine.processes().len(), 1);
    finish_off(&machine, &mut sleeping);
    machine.rests();
}
