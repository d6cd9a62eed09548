//! The same data opens in later versions: vaults that an earlier program wrote, in the present one.

use std::fs;
use std::path::{Path, PathBuf};

use fieldbook_tests::Machine;

const FIRST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vault-v1");
const REPORT: &str = "03040cd6d557302612ff8150d0c9a398";
const DRAFT: &str = "4e655fbd9c02aca71c177845d4003072";

/// A machine with a copy of a vault of the first format, which its owner takes up again today.
fn machine_with(fixture: &str, name: &str) -> Machine {
    let machine = Machine::new(name);
    machine.secret_file("passphrase", "zebra canoe lantern\n");
    let (from, to) = (Path::new(FIRST).join(fixture), machine.vault());
    make_private(&to);
    for file in fs::read_dir(&from).expect("the fixture").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
    for store in ["a", "b"] {
        let pair = [0, 1].map(|slot| to.join(format!("{slot}.{store}")));
        let [real, filler]: [&PathBuf; 2] =
            if pair[0].exists() { [&pair[0], &pair[1]] } else { [&pair[1], &pair[0]] };
        let mut random = vec![0; fs::metadata(real).expect("a store").len() as usize];
        getrandom::fill(&mut random).expect("random bytes");
        fs::write(filler, random).expect("the unused store");
    }
    for lock in ["lock", "lock.net"] {
        fs::write(to.join(lock), b"").expect("a lock file");
    }
    machine
}

fn make_private(dir: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(dir).expect("a directory");
}

#[test]
fn a_vault_of_the_first_format_opens_with_everything_in_it() {
    let coordinator = machine_with("coordinator", "Coordination");
    // Twice: whatever is changed at the first opening must be there at the second.
    for _ in 0..2 {
        let reports = coordinator.reports();
        assert_eq!(reports.len(), 1);
        assert_eq!((&reports[0]["id"], &reports[0]["state"]), (&REPORT.into(), &"finished".into()));
        let shown = coordinator.show(REPORT);
        assert_eq!(shown["content"]["title"], "Detention at the square");
        assert_eq!(crate::reading::field(&shown, "authority"), "police");
        assert!(shown["content"]["narrative"].as_str().is_some_and(|text| text.starts_with("Told by one")));
        assert_eq!(crate::reading::people(&shown), ["Alena Example"]);
        assert_eq!(shown["summary"]["author_label"], "Monitor");
    }
    let found = coordinator.json(&["list", "--search", "before the format"]);
    assert_eq!(found[0]["id"], REPORT, "the search index came along");
    let out = coordinator.path("note.txt");
    coordinator.ok(&["attachment", REPORT, "note.txt", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(fs::read(out).expect("the attachment"), b"a note beside the report\n");
    let status = coordinator.json(&["status"]).remove(0);
    assert_eq!(status["device"]["team"]["name"], "Minsk 2017");
    assert_eq!(status["problems"], serde_json::json!([]));
}

#[test]
fn two_vaults_of_the_first_format_sync_and_work_goes_on() {
    let coordinator = machine_with("coordinator", "Coordination");
    let monitor = machine_with("monitor", "Monitor");
    assert_eq!(crate::reading::word_of_delivery(&monitor, REPORT), "received");
    assert_eq!(monitor.show(DRAFT)["summary"]["state"], "draft");
    monitor.ok(&["edit", DRAFT, "--set", "narrative=Finished much later."]);
    monitor.ok(&["finish", DRAFT, "--incomplete"]);
    monitor.ok(&["edit", REPORT, "--set", "charges=None were named"]);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(coordinator.show(DRAFT)["content"]["narrative"], "Finished much later.");
    assert_eq!(crate::reading::field(&coordinator.show(REPORT), "charges"), "None were named");
    coordinator.ok(&["edit", REPORT, "--set", "authority=riot police"]);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(crate::reading::field(&monitor.show(REPORT), "authority"), "riot police");
    assert_eq!(crate::reading::word_of_delivery(&monitor, DRAFT), "received");
    for machine in [&coordinator, &monitor] {
        assert_eq!(machine.json(&["status"])[0]["problems"], serde_json::json!([]));
    }
}

#[test]
fn what_is_written_in_a_vault_of_the_first_format_is_kept() {
    let monitor = machine_with("monitor", "Monitor");
    monitor.ok(&["unlock"]);
    let write = || crate::editor::writing(&monitor, &["edit", DRAFT, "--write"]);
    let mut terminal = write();
    terminal.types("Much later.");
    terminal.shows("kept in the vault");
    terminal.kill();
    monitor.ok(&["lock"]);
    monitor.ok(&["unlock"]);
    assert!(monitor.show(DRAFT)["unfinished"].as_bool().expect("a word on it"));
    let mut terminal = write();
    terminal.shows("was not saved");
    terminal.types("1");
    terminal.shows("Much later.");
    terminal.types("\x18");
    terminal.ends();
    let shown = monitor.show(DRAFT);
    assert!(
        shown["content"]["narrative"].as_str().is_some_and(|text| text.contains("Much later.")),
        "{shown}"
    );
}
