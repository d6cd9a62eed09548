//! `fieldbook forget`

use clap::Args;
use fieldbook_vault::{ForgetRequestView, ForgetSummary, PersonFound, ShownReport};

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::sanitise::{line, text};
use crate::ui::{count, time};

const CANNOT_BE_UNDONE: &str = "This destroys it on every device of the team and cannot be undone. Go on?";

/// Forget a report, or somebody who takes back consent: here at once, elsewhere as each device hears of it.
///
/// A coordinator's word is carried out by every honest device. A monitor's own report is forgotten on its device at
/// once; at the coordinators it waits for one of them to confirm it, so that nobody can be forced to destroy evidence.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The report: the beginning of its id
    #[arg(value_name = "ID", required_unless_present_any = ["requests", "person"])]
    id: Option<String>,
    /// Only this person: by name, in every report here that may be forgotten; with ID also by the id that `show`
    /// prints. A report without them takes the place of each
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    /// The attachments of these reports do not show or name the person: keep them [default: they go]
    #[arg(long, requires = "person")]
    keep_attachments: bool,
    /// Say what would be forgotten, and forget nothing
    #[arg(long, conflicts_with_all = ["confirm", "requests", "yes"])]
    preview: bool,
    /// Do what the author of the report asked for
    #[arg(long, conflicts_with = "person")]
    confirm: bool,
    /// List what authors have asked for
    #[arg(long, conflicts_with_all = ["id", "person", "confirm"])]
    requests: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: ForgetArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    match (args.id.clone(), args.person.clone()) {
        (id, Some(person)) => forget_person(&args, id, person, &mut agent, global),
        (Some(id), None) => forget_report(&args, id, &mut agent, global),
        (None, None) => requests(&mut agent, global),
    }
}

fn said_no() -> Failure {
    Failure::new(Kind::Failed, "not-forgotten", "nothing was forgotten: you said no")
}

fn forget_report(
    args: &ForgetArgs,
    report: String,
    agent: &mut Agent,
    global: &Global,
) -> Result<(), Failure> {
    if args.preview {
        let shown: ShownReport = agent.call(&Request::Show { report })?;
        let summary = shown.summary;
        let mut event = json(&summary)?;
        event["event"] = "would-forget".into();
        global.ui.emit(event)?;
        return global.ui.say(format_args!(
            "Would forget {}  {}, with {} and {}.",
            render::short(&summary.id),
            line(&summary.title),
            count(summary.people as u64, "person", "people"),
            count(summary.attachments as u64, "attachment", "attachments")
        ));
    }
    if !args.yes && !global.ui.confirm(CANNOT_BE_UNDONE, "--yes")? {
        return Err(said_no());
    }
    let request = if args.confirm {
        Request::ConfirmForget { report }
    } else {
        Request::Forget { report, person: None, keep_attachments: false }
    };
    let forgotten: ForgetSummary = agent.call(&request)?;
    network::nudge(&global.vault);
    tell(&forgotten, 0, global)
}

/// Shows every report that it concerns, asks once, and goes through them. What is wrong with one does not
/// keep the person in the others.
fn forget_person(
    args: &ForgetArgs,
    report: Option<String>,
    person: String,
    agent: &mut Agent,
    global: &Global,
) -> Result<(), Failure> {
    let mut all: Vec<PersonFound> = Vec::new();
    let find = Request::FindPeople { report: report.clone(), person: person.clone() };
    agent.stream::<PersonFound, ()>(&find, |found| {
        all.push(found);
        Ok(())
    })?;
    let (found, mentioned): (Vec<PersonFound>, Vec<PersonFound>) =
        all.into_iter().partition(|one| one.person.is_some());
    show_found(&found, &mentioned, args, global)?;
    if found.is_empty() {
        let message = "nobody of that name is entered as a person in a report that can be forgotten here";
        return Err(Failure::new(Kind::Failed, "no-such-person", message)
            .hint("`show` prints the people of a report; a name that only stands in a text is taken out with `edit`"));
    }
    if args.preview {
        return Ok(());
    }
    let attachments: usize = found.iter().map(|one| one.attachments).sum();
    let mut keep = args.keep_attachments;
    if attachments > 0 && !keep && !args.yes && global.ui.may_ask() {
        let question = format!(
            "No program can look for a person in files. Did you look at the {}, and may all of them stay?",
            count(attachments as u64, "attachment", "attachments")
        );
        keep = global.ui.confirm(&question, "--keep-attachments")?;
    }
    if !args.yes && !global.ui.confirm(CANNOT_BE_UNDONE, "--yes")? {
        return Err(said_no());
    }
    let mut failed: Option<Failure> = None;
    for one in &found {
        let request = Request::Forget {
            report: one.report.clone(),
            person: one.person.clone(),
            keep_attachments: keep,
        };
        match agent.call::<ForgetSummary>(&request) {
            Ok(forgotten) => tell(&forgotten, one.attachments, global)?,
            Err(failure) => {
                let report = render::short(&one.report);
                global
                    .ui
                    .warn(&failure.code, format_args!("{report} stays as it is: {}", text(&failure.message)));
                failed.get_or_insert(failure);
            }
        }
    }
    network::nudge(&global.vault);
    failed.map_or(Ok(()), Err)
}

fn show_found(
    found: &[PersonFound],
    mentioned: &[PersonFound],
    args: &ForgetArgs,
    global: &Global,
) -> Result<(), Failure> {
    // A single report that was named is told of when it is done.
    if args.id.is_none() || args.preview {
        for one in found {
            let mut event = json(one)?;
            event["event"] = "would-forget".into();
            global.ui.emit(event)?;
            let kind = if one.finished { "" } else { "draft, " };
            global.ui.say(format_args!(
                "{}  {}: {} ({kind}{}, {})",
                render::short(&one.report),
                line(&one.title),
                line(&one.name),
                line(&one.role),
                count(one.attachments as u64, "attachment", "attachments")
            ))?;
        }
    }
    for one in mentioned {
        let mut event = json(one)?;
        event["event"] = "mentioned".into();
        global.ui.emit(event)?;
        global.ui.say(format_args!(
            "{}  {}: only its text says the name, and nothing is done about that",
            render::short(&one.report),
            line(&one.title)
        ))?;
    }
    Ok(())
}

fn tell(forgotten: &ForgetSummary, attachments: usize, global: &Global) -> Result<(), Failure> {
    global.ui.emit(json(forgotten)?)?;
    let report = render::short(&forgotten.report);
    if let Some(new) = &forgotten.replaced_by {
        let files = match (attachments, forgotten.attachments_kept) {
            (0, _) => String::new(),
            (_, 0) => " Its attachments are gone too.".to_owned(),
            (_, kept) => format!(" {} went along.", count(kept as u64, "attachment", "attachments")),
        };
        global.ui.say(format_args!(
            "Forgot {report}; {} takes its place without them. Read it once: names can hide in ways no program \
             finds.{files}",
            render::short(new)
        ))?;
    }
    if forgotten.waits_for_coordinator {
        return global.ui.say(format_args!(
            "Forgot {report} on this device. The coordinators are asked to do the same; one of them has to confirm it."
        ));
    }
    match &forgotten.replaced_by {
        Some(_) => Ok(()),
        None => global.ui.say(format_args!("Forgot {report}. The others do so as they hear of it.")),
    }
}

fn requests(agent: &mut Agent, global: &Global) -> Result<(), Failure> {
    agent.stream::<ForgetRequestView, ()>(&Request::ForgetRequests, |request| {
        global.ui.emit(json(&request)?)?;
        global.ui.say(format_args!(
            "{}  {}  asked by {} at {}",
            render::short(&request.report),
            line(&request.title),
            line(&request.who),
            time(request.time_ms)
        ))
    })
}
