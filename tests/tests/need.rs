//! Who knows whom, and what is gone everywhere once consent was taken back.

use fieldbook_tests::traces::Canary;
use fieldbook_tests::{Machine, PHOTO, pair, team_of_two};
use serde_json::Value;

use crate::image::{Image, assert_nowhere};
use crate::reading::{ids, sync, typed};

fn report(machine: &Machine, title: &str, more: &[&str]) -> String {
    let id = machine.write(&[&["--template", "detention", "--title", title][..], more].concat());
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

#[test]
fn monitors_carry_for_each_other_and_whoever_takes_one_finds_no_other() {
    let coordinator = Machine::with_vault("Coordination");
    coordinator.ok(&["team", "create", "Minsk 2017"]);
    let (watcher, hidden) = (Machine::with_vault("Watcher-Device"), Machine::with_vault("Hidden-Monitor"));
    pair(&coordinator, &watcher, "monitor");
    pair(&coordinator, &hidden, "monitor");
    // Through each other's daemons, in both directions; the hidden one never meets the coordinator again.
    let id = report(&hidden, "By way of another", &["--set", "date=2017-03-25"]);
    let daemon = watcher.daemon();
    let with_watcher = || hidden.json(&["sync", "--with", daemon.address()]).pop().expect("a result");
    let first = with_watcher();
    assert!(first["traffic"]["sent"].as_u64().is_some_and(|sent| sent > 0), "{first}");
    assert_eq!((&first["device"], &first["name"]), (&"".into(), &"another device of the team".into()));
    let again = with_watcher();
    assert_eq!((&again["traffic"]["sent"], &again["traffic"]["received"]), (&0.into(), &0.into()));
    let said = daemon.process.err();
    assert!(said.is_empty() || said.contains("another device of the team"), "{said}");
    let watcher_at = daemon.address().to_owned();
    drop(daemon);
    let daemon = hidden.daemon();
    let hidden_at = daemon.address().to_owned();
    let met = watcher.json(&["sync", "--with", &hidden_at]).pop().expect("a result");
    assert_eq!(met["device"], "");
    drop(daemon);
    sync(&watcher, &coordinator);
    assert!(ids(&coordinator).contains(&id), "it was carried");
    coordinator.ok(&["edit", &id, "--title", "And back"]);
    sync(&watcher, &coordinator);
    let daemon = watcher.daemon();
    hidden.ok(&["sync", "--with", daemon.address()]);
    drop(daemon);
    assert_eq!(hidden.show(&id)["content"]["title"], "And back");

    let status = watcher.json(&["status"]).remove(0);
    let peers = status["peers"].as_array().expect("peers");
    let mut names: Vec<&str> = peers.iter().filter_map(|peer| peer["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Coordination", "another device of the team"], "{status}");
    assert!(watcher.ok(&["status"]).out().contains("Synced with another device of the team, last "));
    assert!(!watcher.ok(&["team", "people"]).out().contains("Hidden-Monitor"));

    let (seized, at_coordinator) = (Image::of(&watcher), Image::of(&coordinator));
    for (machine, image, other, address) in
        [(&watcher, &seized, &hidden, &hidden_at), (&hidden, &Image::of(&hidden), &watcher, &watcher_at)]
    {
        let theirs = Image::of(other);
        let keys = theirs.device.keys();
        let id = theirs.device.id();
        let mut traces = vec![
            Canary::bytes("device id", id.as_bytes()),
            Canary::bytes("first half of the device id", &id.as_bytes()[..16]),
            Canary::bytes("signing key", &keys.signing),
            Canary::bytes("transport key", &keys.transport),
            Canary::word(keys.recipient.as_str()),
            Canary::word(other.name()),
        ];
        for trace in &traces {
            assert!(
                trace.find(&at_coordinator.bytes).is_some(),
                "the search finds it where it is: {trace:?}"
            );
        }
        traces.extend([Canary::word(&id.short()), Canary::word(address)]);
        for trace in &traces {
            assert_eq!(trace.find(&image.bytes), None, "{} holds {trace:?}", machine.name());
        }
    }
    assert_nowhere(&watcher, &["Hidden-Monitor"]);
    assert!(seized.opened > 0 && seized.held > seized.opened, "it carries what it cannot open");
}

const PERSON: [&str; 4] =
    ["--person", "name=Alena Žalubinskaja,role=victim", "--person", "name=Ivan Tapirau,role=witness"];

#[test]
fn what_a_coordinator_confirms_to_forget_is_on_no_machine_any_more() {
    const WORDS: [&str; 3] = ["Okapititle", "narwhalstory", "Žalubinskaja"];
    let (coordinator, author) = team_of_two();
    let carrier = Machine::with_vault("Carrier");
    pair(&coordinator, &carrier, "monitor");
    let id = author.write(
        &[
            &["--template", "detention", "--title", "Okapititle", "--set", "narrative=The narwhalstory."][..],
            &PERSON,
        ]
        .concat(),
    );
    author.ok(&["attach", &id, PHOTO]);
    author.ok(&["finish", &id, "--incomplete"]);
    sync(&author, &coordinator);
    sync(&carrier, &coordinator);
    coordinator.ok(&["ask", &id, "Where does Žalubinskaja live now?"]);
    sync(&author, &coordinator);
    for machine in [&author, &coordinator] {
        assert_eq!(Image::of(machine).words(&WORDS), WORDS, "the search finds them on {}", machine.name());
    }
    // What sealed entries there are of it opens with the coordinator's keys on the carrier's machine too.
    assert!(Image::of(&coordinator).opens_of(&carrier).reports.contains(&id));

    author.ok(&["forget", &id, "--yes"]);
    sync(&author, &coordinator);
    coordinator.ok(&["forget", &id, "--confirm", "--yes"]);
    for _ in 0..2 {
        sync(&author, &coordinator);
        sync(&carrier, &coordinator);
    }
    let machines = [&author, &coordinator, &carrier];
    for machine in machines {
        assert_nowhere(machine, &WORDS);
        for keys in machines {
            let opened = Image::of(keys).opens_of(machine);
            assert!(!opened.reports.contains(&id), "{} at {}", keys.name(), machine.name());
        }
    }
    let log = carrier.ok(&["team", "log"]).out();
    assert!(log.contains("Coordination  forgot  "), "{log}");
    assert!(log.contains("sealed entries that it could not read"), "{log}");
}

#[test]
fn somebody_is_forgotten_by_name_in_every_report_after_a_look_at_what_it_concerns() {
    let (coordinator, monitor) = team_of_two();
    let first = report(
        &monitor,
        "First",
        &[&PERSON[..], &["--set", "narrative=Alena Žalubinskaja was taken."]].concat(),
    );
    let second = report(&monitor, "Second", &["--person", "name=Zhalubinskaya Alena,role=witness"]);
    let other = report(&monitor, "Other", &PERSON[2..]);
    let mentioned = report(&monitor, "Mentioned", &["--set", "narrative=Alena Žalubinskaja again."]);
    sync(&monitor, &coordinator);

    let would = coordinator.json(&["forget", "--person", "alena žalubinskaja", "--preview"]);
    let reports = |event: &str| -> Vec<&Value> {
        let mut found: Vec<&Value> =
            would.iter().filter(|line| line["event"] == event).map(|line| &line["report"]).collect();
        found.sort_by_key(|id| id.as_str());
        found
    };
    let mut both = [first.as_str(), second.as_str()];
    both.sort_unstable();
    assert_eq!(reports("would-forget"), both, "{would:?}");
    assert_eq!(reports("mentioned"), [mentioned.as_str()], "{would:?}");
    assert_eq!(ids(&coordinator).len(), 4, "a preview changes nothing");
    assert_eq!(
        coordinator.fails(1, &["forget", "--person", "Nobody Here", "--yes"])["code"],
        "no-such-person"
    );

    let said = typed(&coordinator, &["forget", "--person", "Alena Žalubinskaja"], "n\n").exits(1);
    for words in ["First", "Second", "Mentioned", "only its text says the name", "cannot be undone"] {
        assert!(said.out().contains(words), "{words}: {said:?}");
    }
    assert_eq!(ids(&coordinator).len(), 4);
    let said = typed(&coordinator, &["forget", "--person", "Alena Žalubinskaja"], "y\n").exits(0);
    assert_eq!(said.out().matches("takes its place without them").count(), 2, "{said:?}");
    let left = ids(&coordinator);
    assert!(
        left.contains(&other)
            && left.contains(&mentioned)
            && !left.contains(&first)
            && !left.contains(&second)
    );
    let titles: Vec<String> =
        coordinator.reports().iter().filter_map(|line| line["title"].as_str().map(str::to_owned)).collect();
    assert_eq!(titles.iter().filter(|title| *title == "First" || *title == "Second").count(), 2);
    for id in left.iter().filter(|id| **id != mentioned) {
        let shown = coordinator.show(id)["content"].to_string();
        assert!(!shown.contains("lubinskaja") && !shown.contains("lubinskaya"), "{shown}");
    }
    sync(&monitor, &coordinator);
    assert!(!ids(&monitor).contains(&first));
}

#[test]
fn attachments_go_with_a_person_unless_somebody_looked_and_says_that_they_may_stay() {
    let (coordinator, monitor) = team_of_two();
    let photographed = |title: &str| {
        let id = monitor.write(&[&["--template", "detention", "--title", title][..], &PERSON].concat());
        monitor.ok(&["attach", &id, PHOTO]);
        monitor.ok(&["finish", &id, "--incomplete"]);
        id
    };
    let [gone, kept, by_flag] = ["Gone", "Kept", "By flag"].map(photographed);
    sync(&monitor, &coordinator);
    let person = |id: &str| {
        let people = coordinator.show(id)["content"]["people"].clone();
        let found = people.as_array().into_iter().flatten().find(|one| one["name"] == "Alena Žalubinskaja");
        found.and_then(|one| one["id"].as_str().map(str::to_owned)).expect("the person")
    };
    let after = |title: &str| {
        let line = coordinator.reports().into_iter().find(|line| line["title"] == title).expect("a report");
        (line["id"].as_str().expect("an id").to_owned(), line["attachments"].clone())
    };
    let asked = typed(&coordinator, &["forget", &gone, "--person", &person(&gone)], "\ny\n").exits(0);
    assert!(asked.out().contains("look for a person in files"), "{asked:?}");
    assert!(asked.out().contains("Its attachments are gone too"), "{asked:?}");
    assert_eq!(after("Gone").1, 0);
    typed(&coordinator, &["forget", &kept, "--person", "Alena Žalubinskaja"], "y\ny\n").exits(0);
    let flags = ["forget", &by_flag, "--person", &person(&by_flag), "--keep-attachments", "--yes"];
    assert_eq!(coordinator.json(&flags)[0]["attachments_kept"], 1);
    for title in ["Kept", "By flag"] {
        let (id, attachments) = after(title);
        assert_eq!(attachments, 1);
        assert!(id != kept && id != by_flag);
        let out = coordinator.path(&format!("{title}.jpg"));
        coordinator.ok(&["attachment", &id, "photo.jpg", "--out", out.to_str().expect("UTF-8")]);
        assert_eq!(
            std::fs::read(out).expect("the photograph"),
            std::fs::read(PHOTO).expect("the photograph")
        );
        assert!(!coordinator.show(&id).to_string().contains("lubinskaja"));
    }
}

#[test]
fn before_a_removal_it_is_said_what_the_device_may_still_have() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor, "Of the removed", &[]);
    sync(&monitor, &coordinator);
    let other = Machine::with_vault("Another reader");
    pair(&coordinator, &other, "coordinator");
    let said = typed(&coordinator, &["team", "remove", "Monitor"], "n\n").exits(1);
    let out = said.out();
    let (before, _) = out.split_once("It cannot be undone").expect("the question");
    for words in ["(1 report arrived here)", "drafts", "attachments", "carried, which it cannot open"] {
        assert!(before.contains(words), "{words}: {before}");
    }
    let said = typed(&coordinator, &["team", "remove", "Another reader"], "n\n").exits(1);
    assert!(said.out().contains("1 report known here, with their attachments"), "{said:?}");
    assert!(coordinator.ok(&["team", "people"]).out().contains("Another reader  member"));
    assert!(ids(&coordinator).contains(&id));
    coordinator.ok(&["team", "remove", "Monitor", "--yes"]);
}

/// As on a hotspot or a cable between two machines. Where the system lets no test have a network of its own, the
/// tests of `reachable` have to do.
#[test]
fn a_code_names_this_machines_address_where_no_route_leads_out() {
    let machine = Machine::with_vault("Coordination");
    machine.ok(&["team", "create", "Minsk 2017"]);
    let network = "ip link set lo up && ip addr add 192.168.43.1/24 dev lo";
    let able = std::process::Command::new("unshare").args(["-rn", "sh", "-c", network]).output();
    if !able.is_ok_and(|run| run.status.success()) {
        eprintln!("no network of its own here: not tried");
        return;
    }
    let invite = machine.command(&["--json", "team", "invite", "--role", "monitor", "--yes"]);
    let words: Vec<String> = std::iter::once(invite.get_program())
        .chain(invite.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut inside = std::process::Command::new("unshare");
    inside.args(["-rn", "sh", "-c", &format!("{network} && exec {}", words.join(" "))]);
    inside.env_clear().envs(invite.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut invitation = fieldbook_tests::Running::start(inside);
    let said = invitation.object_with("listen");
    let first = said["listen"][0].as_str().expect("an address");
    assert!(first.starts_with("192.168.43.1:"), "{said}");
}
