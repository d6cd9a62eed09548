//! A coordinator's person at work: who is in the team, who leaves it, who may read what, what is forgotten.

use fieldbook_tests::{Machine, pair, pair_new_desk, team_of_two};

use crate::reading::{ids, sync};

fn report(machine: &Machine, title: &str) -> String {
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", title]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

#[test]
fn a_removed_device_reaches_nobody_and_the_person_is_told_what_it_may_still_have() {
    let (a, b) = team_of_two();
    let c = Machine::with_vault("Second coordinator");
    pair(&a, &c, "coordinator");
    sync(&b, &a);
    sync(&c, &a);
    report(&b, "Before");
    sync(&b, &a);
    sync(&c, &a);
    a.fails(4, &["team", "remove", "Second coordinator"]);
    let said = a.ok(&["team", "remove", "Second coordinator", "--lost", "--yes"]).out();
    assert!(said.contains("What it may still have") && said.contains("1 report"), "{said}");
    sync(&b, &a);
    let later = report(&b, "After");
    sync(&b, &a);
    assert!(ids(&a).contains(&later));
    let daemon = a.daemon();
    let refused = c.run(&["sync", "--with", daemon.address()]);
    assert!(refused.code != 0, "the removed device synced: {}", refused.out());
    assert!(!ids(&c).contains(&later));
    let people = a.ok(&["team", "people"]).out();
    assert!(people.contains("lost"), "{people}");
    let log = a.ok(&["team", "log"]).out();
    assert!(log.contains("lost") && log.contains("admitted"), "{log}");
    b.fails(1, &["team", "remove", "Monitor", "--yes"]);
}

#[test]
fn a_new_coordinator_is_given_older_reports_on_purpose_and_everybody_s_log_shows_it() {
    let (a, b) = team_of_two();
    let old = report(&b, "Old");
    sync(&b, &a);
    let c = Machine::with_vault("Second coordinator");
    pair(&a, &c, "coordinator");
    sync(&c, &a);
    assert!(!ids(&c).contains(&old));
    a.ok(&["share", "--all", "--with", "Second coordinator"]);
    sync(&c, &a);
    sync(&b, &a);
    assert!(ids(&c).contains(&old));
    for machine in [&a, &b, &c] {
        let log = machine.ok(&["team", "log"]).out();
        assert!(log.contains("shared"), "{log}");
    }
}

#[test]
fn a_report_is_forgotten_everywhere_and_sync_does_not_bring_it_back() {
    let (a, b) = team_of_two();
    let id = report(&b, "Withdrawn");
    sync(&b, &a);
    b.ok(&["forget", &id, "--yes"]);
    assert!(!ids(&b).contains(&id));
    sync(&b, &a);
    assert!(ids(&a).contains(&id), "nobody can be forced to destroy what the coordinators hold");
    let asked = a.ok(&["forget", "--requests"]).out();
    assert!(asked.contains("Withdrawn"), "{asked}");
    a.ok(&["forget", &id, "--confirm", "--yes"]);
    for _ in 0..2 {
        sync(&b, &a);
    }
    assert!(ids(&a).is_empty() && ids(&b).is_empty());
    let log = a.ok(&["team", "log"]).out();
    assert!(log.contains("forgot") && !log.contains("Withdrawn"), "{log}");
}

#[test]
fn two_desks_read_nothing_of_each_other_and_a_filter_s_worth_is_given_on_purpose() {
    let (a, monitor) = team_of_two();
    let mate = Machine::with_vault("Second coordinator");
    pair(&a, &mate, "coordinator");
    let b = Machine::with_vault("Legal");
    pair_new_desk(&a, &b);
    let there = Machine::with_vault("Pinsk-1");
    pair(&b, &there, "monitor");
    b.ok(&["team", "name-desk", "Legal aid"]);
    for from in [&b, &mate, &monitor] {
        sync(from, &a);
    }
    let one = report(&monitor, "First detention");
    let found = report(&monitor, "Zebra crossing");
    let kept = report(&monitor, "Something else");
    let theirs = report(&there, "Of the other desk");
    sync(&there, &b);
    for from in [&monitor, &mate, &b] {
        sync(from, &a);
    }
    let expect = |machine: &Machine, expected: &[&String]| {
        let (mut ids, mut expected) = (ids(machine), expected.iter().copied().cloned().collect::<Vec<_>>());
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected, "{}", machine.name());
    };
    for machine in [&a, &mate] {
        expect(machine, &[&one, &found, &kept]);
    }
    expect(&b, &[&theirs]);
    let desks = a.json(&["team", "desks"]);
    assert_eq!(desks.len(), 2, "{desks:?}");
    assert_eq!(desks.iter().filter(|desk| desk["mine"] == true).count(), 1, "{desks:?}");
    let said = a.ok(&["team", "desks"]).out();
    assert!(
        said.contains("Legal aid") && said.contains("read by Coordination, Second coordinator"),
        "{said}"
    );

    // One by its id, then what a search finds.
    a.ok(&["share", &one, "--with", "Legal"]);
    let shared = a.json(&["share", "--search", "zebra", "--with", "Legal"]);
    assert_eq!(shared[0]["shared"], 1, "{shared:?}");
    for from in [&b, &monitor, &mate] {
        sync(from, &a);
    }
    expect(&b, &[&one, &found, &theirs]);
    expect(&a, &[&one, &found, &kept]);

    // The sharer, the author, the reader, and a desk-mate who is none of them.
    for machine in [&a, &monitor, &b, &mate] {
        let log = machine.json(&["team", "log"]);
        let mut shared: Vec<&str> = log
            .iter()
            .filter(|act| act["kind"] == "shared")
            .filter_map(|act| act["subject"].as_str())
            .collect();
        shared.sort_unstable();
        let mut expected = [one.as_str(), found.as_str()];
        expected.sort_unstable();
        assert_eq!(shared, expected, "{}: {log:?}", machine.name());
    }
    let log = there.json(&["team", "log"]);
    assert!(log.iter().all(|act| act["kind"] != "shared"), "{log:?}");

    // What the other desk writes there comes back to all who read it. A template alone is a filter too.
    b.ok(&["edit", &one, "--title", "Answered by the other desk"]);
    let shared = a.json(&["share", "--template", "detention", "--with", "Legal"]);
    assert_eq!((&shared[0]["shared"], &shared[0]["already"]), (&1.into(), &2.into()), "{shared:?}");
    for from in [&b, &monitor, &mate] {
        sync(from, &a);
    }
    expect(&b, &[&one, &found, &kept, &theirs]);
    for machine in [&a, &mate, &monitor] {
        assert_eq!(
            machine.show(&one)["content"]["title"],
            "Answered by the other desk",
            "{}",
            machine.name()
        );
        let status = machine.json(&["status"]);
        assert_eq!(status[0]["waiting"], 0, "{}: {status:?}", machine.name());
    }
}

#[test]
fn an_invitation_to_a_new_desk_says_what_is_true_and_is_for_coordinators() {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    let refused = a.fails(2, &["team", "invite", "--role", "monitor", "--new-desk"]);
    assert!(refused.to_string().contains("new desk"), "{refused}");
    let b = Machine::with_vault("Legal");
    let address = format!("127.0.0.1:{}", fieldbook_tests::free_port());
    let mut invitation =
        a.start(&["team", "invite", "--role", "coordinator", "--new-desk", "--listen", &address, "--yes"]);
    let begun = invitation.object_with("code");
    assert_eq!(begun["new_desk"], true);
    let code = begun["code"].as_str().unwrap_or_default().to_owned();
    b.json(&["join", &code, "--at", &address, "--yes"]);
    assert!(invitation.ends().success());
    let err = invitation.err();
    assert!(err.contains("admits-and-removes") && !err.contains("reads-everything-new"), "{err}");
}

#[test]
fn a_role_is_changed_by_name_and_what_cannot_be_is_refused() {
    let (a, b) = team_of_two();
    sync(&b, &a);
    let old = report(&b, "Old");
    sync(&b, &a);
    let c = Machine::with_vault("Vitebsk-3");
    pair(&a, &c, "monitor");
    let said = a.ok(&["team", "role", "Vitebsk-3", "coordinator"]).out();
    assert!(said.contains("is a coordinator now"), "{said}");
    sync(&c, &a);
    sync(&b, &a);
    let new = report(&b, "New");
    sync(&b, &a);
    sync(&c, &a);
    assert_eq!(ids(&c), std::slice::from_ref(&new), "nothing from before");
    assert!(ids(&a).contains(&old));
    let said = a.ok(&["team", "role", "Vitebsk-3", "monitor"]).out();
    assert!(said.contains("is a monitor now"), "{said}");
    sync(&c, &a);
    sync(&b, &a);
    let later = report(&b, "Later");
    sync(&b, &a);
    sync(&c, &a);
    assert!(!ids(&c).contains(&later));
    a.fails(1, &["team", "role", "Vitebsk-3", "coordinator"]);
    a.fails(1, &["team", "role", "Nobody", "monitor"]);
    b.fails(1, &["team", "role", "Coordination", "monitor"]);
    b.fails(1, &["team", "name-desk", "Mine"]);
    let desk = a.json(&["team", "name-desk", "Minsk"]);
    assert_eq!((&desk[0]["name"], &desk[0]["mine"]), (&"Minsk".into(), &true.into()), "{desk:?}");
    sync(&b, &a);
    let desks = b.json(&["team", "desks"]);
    assert_eq!(desks[0]["name"], "Minsk", "{desks:?}");
}

#[test]
fn a_monitor_that_slept_through_three_removals_syncs_and_delivers() {
    let (a, b) = team_of_two();
    sync(&b, &a);
    let written = report(&b, "Written before it slept");
    for name in ["Dummy-1", "Dummy-2", "Dummy-3"] {
        let dummy = Machine::with_vault(name);
        pair(&a, &dummy, "monitor");
        a.ok(&["team", "remove", name, "--yes"]);
    }
    sync(&b, &a);
    assert!(ids(&a).contains(&written));
    let later = report(&b, "After it woke up");
    sync(&b, &a);
    assert!(ids(&a).contains(&later));
}

#[test]
fn whom_a_lost_coordinator_admitted_is_listed_and_stays_only_if_named() {
    let (a, b) = team_of_two();
    let c = Machine::with_vault("Second coordinator");
    pair(&a, &c, "coordinator");
    let sleeper = Machine::with_vault("Third coordinator");
    pair(&c, &sleeper, "coordinator");
    for _ in 0..2 {
        sync(&c, &a);
        sync(&b, &a);
    }
    a.fails(2, &["team", "remove", "Second coordinator", "--keep", "Third coordinator", "--yes"]);
    let removed = a.run(&["--json", "team", "remove", "Second coordinator", "--lost", "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    let event = removed.lines().into_iter().find(|line| line["event"] == "removed").unwrap_or_default();
    assert_eq!(event["admitted"][0]["label"], "Third coordinator", "{event}");
    assert_eq!(event["admitted"][0]["stays"], false, "{event}");
    let people = a.ok(&["team", "people"]).out();
    assert!(people.contains("Third coordinator  not kept"), "{people}");
    let daemon = a.daemon();
    let refused = sleeper.run(&["sync", "--with", daemon.address()]);
    assert!(refused.code != 0, "{refused:?}");
}
