//! `fieldbook demo`: the whole story, with the real program in real processes, and checked at every
//! step. Whatever does not come out as told ends it with a failure.

mod stage;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::Failure;
use crate::sanitise::line;
use crate::ui::Ui;
use stage::{Device, Stage, expect};

const SEED: &[u8] = include_bytes!("../../../../demo/minsk-2017.jsonl");
const PHOTO: &[u8] = include_bytes!("../../../../demo/photo.jpg");
/// Reports in the seed data.
const SEED_REPORTS: usize = 23;

/// A witness who agreed to nothing: must be in no publication.
const WITNESS: &str = "Ales Karatkevich";

/// Plays the story; the publication goes to `out`, else to a new temporary directory.
///
/// # Errors
/// A step did not come out as it should, or the disk refused.
pub fn play(out: Option<PathBuf>, keep: bool, ui: &Ui) -> Result<(), Failure> {
    let stage = Stage::set(ui, keep)?;
    let out = match out {
        Some(out) => std::path::absolute(out).map_err(Failure::io("the directory cannot be named"))?,
        None => stage::fresh_path("fieldbook-publication")?,
    };
    let coordination = stage.device("coordination", "grandmother's seven blue kettles\n")?;
    let monitor = stage.device("monitor", "walnut tram of the quiet harbour\n")?;

    stage.say("Two devices, each with a vault that only its passphrase opens.")?;
    coordination.run(&["init", "--name", "Coordination"])?;
    monitor.run(&["init", "--name", "Monitor"])?;
    stage.say("Unlocked once, no command needs the passphrase again.")?;
    coordination.run(&["unlock"])?;
    monitor.run(&["unlock"])?;

    pair(&stage, &coordination, &monitor)?;
    let witnessed = write(&stage, &monitor)?;
    alone(&stage, &monitor)?;
    first_sync(&stage, &coordination, &monitor)?;
    apart(&stage, &coordination, &monitor, &witnessed)?;
    together(&stage, &coordination, &monitor, &witnessed)?;
    publish(&stage, &coordination, &out)?;

    stage.say("Locked: the keys are gone from memory.")?;
    coordination.run(&["lock"])?;
    monitor.run(&["lock"])?;
    let page = out.join("reports.html");
    expect(page.is_file(), "the publication has a first page")?;
    ui.emit(json!({"event": "done", "publication": page.to_string_lossy(), "kept": stage.kept()}))?;
    if let Some(kept) = stage.kept() {
        ui.say(format_args!("\nThe two vaults and their passphrases are in {}.", line(&kept)))?;
    }
    ui.say(format_args!("\nOpen the publication:\n  {}", line(&page.to_string_lossy())))
}

/// A one-time code, and the same check words on both screens.
fn pair(stage: &Stage<'_>, coordination: &Device<'_>, monitor: &Device<'_>) -> Result<(), Failure> {
    stage.say("A team, and a one-time code for the monitor. Both screens show the same four words.")?;
    coordination.run(&["team", "create", "Minsk 2017"])?;
    let mut invitation =
        coordination.start(&["team", "invite", "--role", "monitor", "--listen", "127.0.0.1:0", "--yes"])?;
    let code = invitation.text("code")?;
    stage.show(&format!("One-time code: {code}"))?;
    let joined = monitor.json(&["join", &code, "--yes"])?;
    let words = invitation.text("words")?;
    let theirs = joined.iter().find_map(|line| line["words"].as_str()).unwrap_or_default();
    expect(words == theirs, "both screens show the same words")?;
    stage.show(&format!("Both screens: {words}"))?;
    invitation.end()
}

/// Reports without any network: typed, imported, with a photograph.
fn write(stage: &Stage<'_>, monitor: &Device<'_>) -> Result<String, Failure> {
    stage.say(
        "The monitor writes, without any network: a report, a photograph, and 23 real ones from a file.",
    )?;
    let narrative =
        format!("The bus stopped at the gate at noon. {WITNESS} saw three people being taken away.");
    let person = format!("name={WITNESS},role=witness,consent=internal");
    let written = monitor.json(&[
        "new",
        "--template",
        "detention",
        "--title",
        "Three people taken from the gate",
        "--language",
        "en",
        "--set",
        "date=2017-03-25",
        "--set",
        "place.country=BY",
        "--set",
        "place.locality=Minsk",
        "--set",
        "people_detained=3",
        "--set",
        &format!("narrative={narrative}"),
        "--person",
        &person,
    ])?;
    let id = written.last().and_then(|line| line["id"].as_str()).unwrap_or_default().to_owned();
    expect(id.len() == 32, "the new report has an id")?;
    let short = &id[..8];
    stage.show(&format!("Saved draft {short}"))?;
    monitor.run(&["attach", short, &stage.file("photo.jpg", PHOTO)?])?;
    monitor.run(&["import", &stage.file("minsk-2017.jsonl", SEED)?])?;
    monitor.run(&["edit", short, "--set", "authority=men in plain clothes"])?;
    monitor.run(&["show", short])?;
    Ok(short.to_owned())
}

/// Finished, sealed, and nobody to be reached.
fn alone(stage: &Stage<'_>, monitor: &Device<'_>) -> Result<(), Failure> {
    stage.say("Drafts never leave the device. Finished, they are sealed for the coordinators and wait.")?;
    monitor.run(&["finish", "--all"])?;
    stage.say("Nobody is there yet: the work is safe here (exit code 14).")?;
    let nobody = format!("127.0.0.1:{}", stage::closed_port()?);
    monitor.run_expecting(14, &["sync", "--with", &nobody])
}

/// The daemon of the coordination, and everything travels over QUIC.
fn first_sync(stage: &Stage<'_>, coordination: &Device<'_>, monitor: &Device<'_>) -> Result<(), Failure> {
    stage.say("The coordination's daemon listens. It carries sealed entries and cannot read one.")?;
    let daemon = coordination.daemon()?;
    monitor.run(&["sync", "--with", &daemon.address])?;
    coordination.run(&["list"])?;
    expect(coordination.reports()?.len() == SEED_REPORTS + 1, "all reports have arrived")?;
    stage.say("The coordination has opened them. Its receipts travel back with the next sync.")?;
    monitor.run(&["sync"])?;
    monitor.run(&["status"])?;
    daemon.stop(coordination)
}

/// The same report, changed on both sides.
fn apart(
    stage: &Stage<'_>,
    coordination: &Device<'_>,
    monitor: &Device<'_>,
    id: &str,
) -> Result<(), Failure> {
    stage.say(
        "Apart again, both change the same report: the text in two places, and one field to two values.",
    )?;
    let text =
        |report: &serde_json::Value| report["content"]["narrative"].as_str().unwrap_or_default().to_owned();
    let narrative = text(&coordination.shown(id)?);
    let longer = format!("narrative=Reported by telephone. {narrative}");
    coordination.run(&["edit", id, "--set", &longer, "--set", "authority=KGB"])?;
    let longer = format!("narrative={narrative} The bus had no number plates.");
    monitor.run(&["edit", id, "--set", &longer, "--set", "authority=anti-riot police"])
}

/// Text merges, the field waits for a person, and nothing is lost.
fn together(
    stage: &Stage<'_>,
    coordination: &Device<'_>,
    monitor: &Device<'_>,
    id: &str,
) -> Result<(), Failure> {
    stage.say("Together again. The text has merged; the field waits for a person (exit code 13).")?;
    let daemon = coordination.daemon()?;
    monitor.run(&["sync", "--with", &daemon.address])?;
    coordination.run_expecting(13, &["conflicts"])?;
    coordination.run(&["resolve", id, "--field", "authority", "--keep", "anti-riot police"])?;
    coordination.run(&["conflicts"])?;
    monitor.run(&["sync", "--with", &daemon.address])?;
    let (here, there) = (monitor.shown(id)?, coordination.shown(id)?);
    expect(here["content"] == there["content"], "both devices show the same report")?;
    let merged = here["content"]["narrative"].as_str().unwrap_or_default();
    expect(
        merged.starts_with("Reported by telephone.") && merged.ends_with("no number plates."),
        "both changes of the text are there",
    )?;
    stage.say("The history keeps what was not chosen.")?;
    monitor.run(&["history", id])?;
    let history = monitor.json_silently(&["history", id])?;
    let all: String = history.iter().map(ToString::to_string).collect();
    expect(all.contains("KGB") && all.contains("anti-riot police"), "the history has both values")?;
    daemon.stop(coordination)
}

/// Redacted by default.
fn publish(stage: &Stage<'_>, coordination: &Device<'_>, out: &Path) -> Result<(), Failure> {
    stage.say("Published: who did not agree to be named appears under a pseudonym, and what was left out is listed.")?;
    let directory = out.to_string_lossy();
    coordination.run(&["export", "--all", "--format", "html", "--out", &directory])?;
    let text = stage::all_text(out)?;
    expect(!text.contains("Karatkevich"), "the witness is not named")?;
    expect(text.contains("Žamchužny"), "who agreed to be named is named")
}
