//! A coordinator's person at work: who is in the team, who leaves it, who may read what, what is forgotten.

use fieldbook_tests::{Machine, pair, team_of_two};

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
