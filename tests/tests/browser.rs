//! The publication as a reader's browser shows it: headless Chromium, which we did not write.

use std::path::Path;
use std::process::Command;

use fieldbook_tests::{Machine, run};
use serde_json::json;

/// What a browser has made of a page, as text. It gets no network: the page must need none.
fn shown(machine: &Machine, page: &Path) -> String {
    let profile = machine.path("browser");
    let mut browser = Command::new("chromium");
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .env("HOME", machine.path("home"));
    run(browser, b"").exits(0).out().to_owned()
}

#[test]
fn what_people_typed_is_shown_and_never_run_and_protected_names_are_not_in_the_page() {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    let report = json!({"template": "detention", "title": "<script>document.title='run'</script>Ganna's day",
        "language": "be", "fields": {"date": "2017-21", "people_detained": 700,
            "people_detained_precision": "more than",
            "persons": [{"name": "Ганна Сінкевіч", "role": "witness"}]},
        "narrative": "<img src=x onerror=\"document.title='run'\"> Ганну Сінкевіч бачылі & чулі."});
    a.ok(&["import", &a.file("report.jsonl", format!("{report}\n"))]);
    a.ok(&["finish", "--all", "--incomplete"]);
    let out = a.path("publication");
    a.ok(&["export", "--all", "--format", "html", "--out", out.to_str().expect("UTF-8")]);
    let page = shown(&a, &out.join("reports.html"));
    assert!(page.contains("lang=\"be\""), "{page}");
    assert!(page.contains("700"), "{page}");
    assert!(!page.contains("Сінкевіч"), "{page}");
    // The browser's own elements: none of ours became one.
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(!page.contains("<title>run</title>"), "{page}");
    assert!(page.contains("&lt;img src=x"), "{page}");
}
