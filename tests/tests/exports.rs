//! Plain files that left the vault are on a list, and can be removed.

use std::fs;
use std::path::Path;

use fieldbook_tests::{Machine, PHOTO};

fn report(machine: &Machine) -> String {
    machine.write(&["--template", "detention", "--title", "Exported", "--set", "narrative=A narwhalstory."])
}

#[test]
fn every_plain_file_is_on_the_list_and_goes_with_it() {
    let machine = Machine::with_vault("Coordination");
    machine.ok(&["team", "create", "Minsk"]);
    let id = report(&machine);
    machine.ok(&["attach", &id, PHOTO]);
    machine.ok(&["finish", &id, "--incomplete"]);
    assert!(machine.ok(&["exports"]).out().contains("Nothing left this vault"));
    let path = |name: &str| machine.path(name).to_str().expect("UTF-8").to_owned();
    let (publication, photo) = (path("publication"), path("photo.jpg"));
    let (identity, sheets) = (path("identity.txt"), path("sheets"));
    machine.ok(&["export", &id, "--internal", "--format", "html", "--out", &publication]);
    let name = Path::new(PHOTO).file_name().and_then(|name| name.to_str()).expect("a name");
    machine.ok(&["attachment", &id, name, "--out", &photo]);
    machine.ok(&["recover", "identity", "--out", &identity]);
    machine.ok(&["recovery", "create", "--threshold", "2", "--shares", "3", "--out", &sheets]);

    let listed = machine.json(&["exports"]);
    let kinds: Vec<&str> = listed.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, ["internal", "attachment", "identity", "sheets"]);
    for line in &listed {
        let files = line["files"].as_array().expect("files");
        assert!(!files.is_empty() && files.iter().all(|file| file["found"] == "as-written"), "{line}");
    }
    // What somebody changed, or put in its place, is not destroyed by mistake.
    fs::write(&photo, "another picture").expect("a file");
    let kept = machine.file("publication/notes.txt", "mine");
    assert_eq!(machine.fails(4, &["exports", "shred", "--all"])["code"], "cannot-ask");
    let error = machine.fails(3, &["exports", "shred", "--all", "--yes"]);
    assert_eq!(error["code"], "exports-left");
    let listed = machine.json(&["exports"]);
    let paths: Vec<&str> = listed.iter().filter_map(|line| line["path"].as_str()).collect();
    assert_eq!(paths, [photo.as_str()]);
    assert!(!Path::new(&identity).exists() && !Path::new(&sheets).exists());
    let left: Vec<_> =
        fs::read_dir(&publication).expect("a directory").flatten().map(|file| file.path()).collect();
    assert_eq!(left, [Path::new(&kept)], "what is not an export stays");
    machine.ok(&["exports", "shred", "--changed", "--yes", "photo.jpg"]);
    assert!(!Path::new(&photo).exists());
    assert!(machine.ok(&["exports"]).out().contains("Nothing left this vault"));
    assert_eq!(machine.fails(1, &["exports", "shred", "--yes", "photo.jpg"])["code"], "no-such-export");
}

#[test]
fn what_was_refused_or_cut_off_is_on_the_list_only_if_something_may_be_there() {
    let machine = Machine::with_vault("Coordination");
    machine.ok(&["team", "create", "Minsk"]);
    let id = report(&machine);
    let out = machine.path("publication");
    let out = out.to_str().expect("UTF-8");
    // A draft is not published.
    machine.fails(15, &["export", &id, "--format", "md", "--out", out]);
    assert!(machine.ok(&["exports"]).out().contains("Nothing left this vault"));
    machine.ok(&["export", &id, "--internal", "--format", "md", "--out", out]);
    machine.fails(15, &["export", &id, "--format", "md", "--out", out, "--force"]);
    let listed = machine.json(&["exports"]);
    assert_eq!(listed[0]["files"].as_array().map(Vec::is_empty), Some(false), "what is there stays known");
    fs::remove_dir_all(out).expect("a directory");
    assert!(machine.ok(&["exports"]).out().contains("gone"));
    machine.ok(&["exports", "shred", "--all", "--yes"]);
    assert!(machine.ok(&["exports"]).out().contains("Nothing left this vault"));
}
