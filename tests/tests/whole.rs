//! An attachment that has not arrived whole is named before anybody needs it.

use fieldbook_tests::team_of_two;

use crate::making::with_film;

#[test]
fn parts_that_have_not_arrived_are_named_by_verify_status_and_show_until_they_come() {
    let (coordinator, monitor) = team_of_two();
    let id = with_film(&monitor, 1, 3 << 20);
    coordinator.ok(&["carry", "--reports-only"]);
    let daemon = coordinator.daemon();
    monitor.run(&["sync", "--with", daemon.address()]).exits(3);
    let lacking = "3 of 3 parts have not arrived";

    let shown = coordinator.show(&id);
    let one = &shown["unarrived"][0];
    assert_eq!((&one["name"], &one["have"], &one["of"]), (&"film.mp4".into(), &0.into(), &3.into()), "{one}");
    let text = coordinator.ok(&["show", &id]).out();
    assert!(text.contains("NOT WHOLE: 3 of 3 parts have not arrived. Sync again"), "{text}");
    let verify = coordinator.run(&["verify"]).exits(3);
    assert!(verify.out().contains(lacking) && verify.out().contains("\"film.mp4\""), "{verify:?}");
    let said = coordinator.run(&["--json", "verify"]).exits(3);
    assert_eq!(said.error()["code"], "incomplete");
    let last = said.lines().pop().expect("an end");
    assert_eq!((&last["missing"], &last["tampered"]), (&1.into(), &0.into()), "{last}");
    let status = coordinator.ok(&["status"]).out();
    assert!(status.contains("Not here: 1 thing") && status.contains(lacking), "{status}");
    assert!(status.contains("`fieldbook carry` says whether"), "{status}");
    // Whoever wrote it has all of it.
    monitor.ok(&["verify"]);
    assert_eq!(monitor.show(&id)["unarrived"].as_array().map(Vec::len), Some(0));

    coordinator.ok(&["carry", "--everything"]);
    monitor.ok(&["sync", "--with", daemon.address()]);
    coordinator.ok(&["verify"]);
    let text = coordinator.ok(&["show", &id]).out() + &coordinator.ok(&["status"]).out();
    assert!(!text.contains("NOT WHOLE") && !text.contains("Not here"), "{text}");
}
