//! Where what is written goes: kept beside a report every few seconds, and into it when it is saved. It never goes
//! anywhere but to the agent.

use std::thread;
use std::time::{Duration, Instant};

use fieldbook_vault::{DeviceInfo, KeptText, OpenedText, ReportSummary, SavedText, text_mark};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::rest::Rest;
use crate::agent::client::{AGENT_GONE, Agent};
use crate::agent::protocol::Request;
use crate::agent::writing::BEING_WRITTEN;
use crate::error::Failure;

/// The name of the text in which a report is told.
pub const NARRATIVE: &str = "narrative";
/// A window that was just closed has its text for a moment longer.
const CLOSING: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Of so many texts it is remembered that they may have been saved.
const TRIED_MAX: usize = 16;

/// What becomes of the text when it is saved.
enum Target {
    /// It is part of a report.
    Report(String),
    /// Of one that is made when there is something to keep.
    New(Box<dyn Fn() -> Request + Send>),
    /// It becomes a question or an answer about a report.
    Note(String, Box<dyn Fn(String, String) -> Request + Send>),
}

/// A text, and where it belongs.
pub struct Work {
    agent: Agent,
    target: Target,
    field: String,
    /// What was saved when its writing began, or was saved last.
    base: Zeroizing<String>,
    /// Marks of texts that were to be saved since, and no answer came.
    tried: Vec<String>,
    device: String,
    /// The report was made to keep a text that nobody has saved.
    only_kept: bool,
    /// Something is kept beside the report.
    is_kept: bool,
    /// It is from another time, and nobody has said yet whether to go on with it.
    is_offered: bool,
    /// A question was sent, and no answer came.
    may_be_sent: bool,
}

/// What there is to begin with.
pub struct Begun {
    /// What it is about, for the first row.
    pub title: String,
    /// What is saved.
    pub text: Zeroizing<String>,
    /// Longest text, in bytes.
    pub limit: usize,
    /// What was written another time and not saved.
    pub unfinished: Option<KeptText>,
}

/// What is saved now.
pub struct Saved {
    /// The agent's last word on it.
    pub said: Value,
    /// What the text is, if somebody else had changed it meanwhile.
    pub merged: Option<Zeroizing<String>>,
}

impl Work {
    /// A text of a report.
    ///
    /// # Errors
    /// What would keep it from being saved.
    pub fn on_report(mut agent: Agent, report: String, field: String) -> Result<(Self, Begun), Failure> {
        let opened = open(&mut agent, &report, &field)?;
        Self::begin(agent, Target::Report(opened.summary.id.clone()), field, Some(opened))
    }

    /// A question or an answer about a report; `send` makes a request of the report's id and the text.
    ///
    /// # Errors
    /// As [`Work::on_report`].
    pub fn on_note(
        mut agent: Agent,
        report: String,
        field: String,
        send: impl Fn(String, String) -> Request + Send + 'static,
    ) -> Result<(Self, Begun), Failure> {
        let opened = open(&mut agent, &report, &field)?;
        let target = Target::Note(opened.summary.id.clone(), Box::new(send));
        Self::begin(agent, target, field, Some(opened))
    }

    /// A text of a report that `make` makes, once there is something to keep.
    ///
    /// # Errors
    /// The agent is gone.
    pub fn on_new(
        agent: Agent,
        field: String,
        make: impl Fn() -> Request + Send + 'static,
    ) -> Result<(Self, Begun), Failure> {
        Self::begin(agent, Target::New(Box::new(make)), field, None)
    }

    fn begin(
        mut agent: Agent,
        target: Target,
        field: String,
        opened: Option<OpenedText>,
    ) -> Result<(Self, Begun), Failure> {
        let device = agent.call::<DeviceInfo>(&Request::Device)?.id;
        let limit = if field == NARRATIVE {
            fieldbook_report::limits::NARRATIVE_MAX
        } else {
            fieldbook_report::limits::FIELD_MAX
        };
        let begun = opened.map_or_else(
            || Begun { title: String::new(), text: Zeroizing::default(), limit, unfinished: None },
            |opened| Begun {
                title: format!(
                    "{}  {}",
                    &opened.summary.id[..8.min(opened.summary.id.len())],
                    opened.summary.title
                ),
                text: Zeroizing::new(opened.text),
                limit: opened.limit,
                unfinished: opened.unfinished,
            },
        );
        let (base, is_kept) = (begun.text.clone(), begun.unfinished.is_some());
        let only_kept = begun.unfinished.as_ref().is_some_and(|kept| kept.made);
        let (tried, is_offered) = (Vec::new(), is_kept);
        let may_be_sent = false;
        Ok((
            Self { agent, target, field, base, tried, device, only_kept, is_kept, is_offered, may_be_sent },
            begun,
        ))
    }

    /// Goes on with what was written another time, beginning from what was saved then.
    pub fn go_on_from(&mut self, base: Zeroizing<String>, tried: Vec<String>) {
        (self.base, self.tried, self.is_offered) = (base, tried, false);
    }

    /// Knows no more what was saved: the screen is covered.
    pub fn forget(&mut self) {
        self.base = Zeroizing::default();
    }

    /// Something that hangs up when the vault is locked.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What is known of it.
    pub fn standing(&self) -> Standing {
        Standing {
            base: self.base.clone(),
            is_of_report: matches!(self.target, Target::Report(_)),
            is_note: matches!(self.target, Target::Note(..)),
            is_kept: self.is_kept || self.only_kept,
        }
    }

    /// The report; made now, if there was none.
    fn report(&mut self) -> Result<String, Failure> {
        let made = match &self.target {
            Target::Report(id) | Target::Note(id, _) => return Ok(id.clone()),
            Target::New(make) => self.agent.call::<ReportSummary>(&make())?,
        };
        self.only_kept = true;
        self.target = Target::Report(made.id.clone());
        Ok(made.id)
    }

    /// Keeps the text as it is now: it is safe, and not in the report.
    ///
    /// # Errors
    /// The vault could not; or it is locked.
    pub fn keep(&mut self, text: &str) -> Result<(), Failure> {
        let report = self.report()?;
        let mut request = Request::KeepText {
            report,
            field: self.field.clone(),
            base: self.base.to_string(),
            tried: self.tried.clone(),
            text: text.to_owned(),
            made: self.only_kept,
        };
        let kept = self.agent.call::<()>(&request);
        if let Request::KeepText { base, text, .. } = &mut request {
            base.zeroize();
            text.zeroize();
        }
        kept?;
        self.is_kept = *self.base != text;
        Ok(())
    }

    /// Saves the text.
    ///
    /// # Errors
    /// The vault could not; or it is locked. What was kept is kept.
    pub fn save(&mut self, text: &str) -> Result<Saved, Failure> {
        let report = self.report()?;
        if let Target::Note(_, send) = &self.target {
            let mut request = send(report, text.trim_end().to_owned());
            let said = self.agent.call::<Value>(&request);
            if let Request::Ask { text, .. } | Request::Answer { text, .. } = &mut request {
                text.zeroize();
            }
            self.may_be_sent = said.as_ref().is_err_and(|failure| failure.code == AGENT_GONE);
            let said = said?;
            self.is_kept = false;
            return Ok(Saved { said, merged: None });
        }
        let mut request = Request::SaveText {
            report,
            field: self.field.clone(),
            base: self.base.to_string(),
            tried: self.tried.clone(),
            text: text.to_owned(),
        };
        let saved = self.agent.call::<SavedText>(&request);
        if let Request::SaveText { base, text, .. } = &mut request {
            base.zeroize();
            text.zeroize();
        }
        let saved = saved.inspect_err(|failure| {
            let mark = text_mark(text);
            if failure.code == AGENT_GONE && !self.tried.contains(&mark) {
                // The agent may have saved it before it went.
                self.tried.truncate(TRIED_MAX - 1);
                self.tried.insert(0, mark);
            }
        })?;
        self.tried.clear();
        (self.only_kept, self.is_kept) = (false, false);
        self.base = Zeroizing::new(saved.text);
        let merged = saved.merged.then(|| self.base.clone());
        let said = serde_json::to_value(saved.summary)
            .map_err(|error| Failure::failed("internal", error.to_string()))?;
        Ok(Saved { said, merged })
    }

    /// Throws away what was kept and not saved, and a report that was made for nothing else; of what was kept another time and
    /// is offered only that.
    ///
    /// # Errors
    /// The vault could not; or it is locked.
    pub fn throw_away(&mut self) -> Result<(), Failure> {
        let (Target::Report(report) | Target::Note(report, _)) = &self.target else { return Ok(()) };
        let report = report.clone();
        if self.is_kept || self.only_kept {
            let draft = self.only_kept && !self.is_offered;
            self.agent.call::<()>(&Request::DropText { report, field: self.field.clone(), draft })?;
            (self.is_kept, self.is_offered) = (false, false);
        }
        Ok(())
    }

    /// Keeps what the vault did not have when it was locked, through an agent that has opened it once more; if it has opened
    /// the same one. Under force another passphrase opens another notebook: nothing of this one may be seen or saved there,
    /// and nothing may tell that it was another.
    ///
    /// # Errors
    /// The vault could not keep it.
    pub fn keep_rest(&mut self, agent: Agent, rest: &Rest) -> Result<(), Failure> {
        self.agent = agent;
        if self.agent.call::<DeviceInfo>(&Request::Device)?.id != self.device {
            return Ok(());
        }
        let kept = match &self.target {
            Target::New(_) => Zeroizing::default(),
            Target::Report(report) | Target::Note(report, _) => {
                let request = Request::OpenText { report: report.clone(), field: self.field.clone() };
                let opened: OpenedText = self.agent.call(&request)?;
                if self.may_be_sent && self.is_kept && opened.unfinished.is_none() {
                    // It was sent: what was kept went with it.
                    return Ok(());
                }
                let (base, text) = match opened.unfinished {
                    Some(mut kept) => {
                        self.tried = std::mem::take(&mut kept.tried);
                        (std::mem::take(&mut kept.base), std::mem::take(&mut kept.text))
                    }
                    None => (opened.text.clone(), opened.text),
                };
                self.base = Zeroizing::new(base);
                let text = Zeroizing::new(text);
                Zeroizing::new(text.replace("\r\n", "\n"))
            }
        };
        rest.onto(&kept).map_or(Ok(()), |whole| self.keep(&whole))
    }
}

/// What is known of a text without asking for it.
pub struct Standing {
    /// What was saved when its writing began, or was saved last.
    pub base: Zeroizing<String>,
    is_of_report: bool,
    is_note: bool,
    /// Something is kept that was not saved.
    pub is_kept: bool,
}

impl Standing {
    /// Whether saving it would change nothing.
    pub fn is_saved(&self, text: &str) -> bool {
        self.is_of_report && !self.is_kept && self.is_as_it_was(text)
    }

    /// Whether leaving loses nothing: there is nothing that the vault does not have as it was.
    pub fn is_as_it_was(&self, text: &str) -> bool {
        *self.base == text
            || self.base.contains('\r') && *Zeroizing::new(self.base.replace("\r\n", "\n")) == text
    }

    /// Whether it is over once it is saved.
    pub const fn ends_when_saved(&self) -> bool {
        self.is_note
    }
}

/// Opens a text. Who closed another window with it a moment ago need not hear that it is written there.
fn open(agent: &mut Agent, report: &str, field: &str) -> Result<OpenedText, Failure> {
    let begun = Instant::now();
    let request = Request::OpenText { report: report.to_owned(), field: field.to_owned() };
    loop {
        match agent.call(&request) {
            Err(failure) if failure.code == BEING_WRITTEN && begun.elapsed() < CLOSING => {
                thread::sleep(ASK_AGAIN);
            }
            answered => return answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::{self, Receiver};

    use serde_json::json;

    use super::*;
    use crate::agent::protocol::Answer;
    use crate::agent::wire;

    /// An agent that gives each connection its answers, one for each request, and then hangs up without the last one.
    fn agent(answers: Vec<Vec<Answer>>) -> (tempfile::TempDir, impl Fn() -> Agent, Receiver<Request>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let (heard, requests) = mpsc::channel();
        thread::spawn(move || {
            for answers in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut answers = answers.into_iter();
                while let Ok(Some(request)) = wire::read::<Request>(&mut stream) {
                    let _ = heard.send(request);
                    let Some(answer) = answers.next() else { break };
                    wire::write(&mut stream, &answer).unwrap();
                }
            }
        });
        (dir, move || Agent::connect(&socket).unwrap().unwrap(), requests)
    }

    fn work(agent: Agent, target: Target) -> Work {
        Work {
            agent,
            target,
            field: NARRATIVE.to_owned(),
            base: Zeroizing::new("Base".to_owned()),
            tried: Vec::new(),
            device: String::new(),
            only_kept: false,
            is_kept: true,
            is_offered: false,
            may_be_sent: false,
        }
    }

    fn refused() -> Answer {
        Answer::Refused(Failure::failed("disk-full", "the disk is full"))
    }

    #[test]
    fn what_may_have_been_saved_is_said_with_what_comes_next() {
        let done = || Answer::Done(Value::Null);
        let (_dir, connect, requests) = agent(vec![vec![], vec![refused()], vec![done(), refused(), done()]]);
        let mut work = work(connect(), Target::Report("ab".to_owned()));
        assert!(work.save("One").is_err());
        work.agent = connect();
        assert!(work.save("Two").is_err());
        assert!(work.save("Three").is_err());
        work.agent = connect();
        work.keep("Four").unwrap();
        assert!(work.save("Five").is_err());
        work.throw_away().unwrap();
        // What was refused was not saved, and an answer that did not come may have been any.
        let mark = |text| text_mark(text);
        let expected = [
            vec![],
            vec![mark("One")],
            vec![mark("One")],
            vec![mark("Three"), mark("One")],
            vec![mark("Three"), mark("One")],
        ];
        let heard: Vec<Vec<String>> = requests
            .iter()
            .filter_map(|request| match request {
                Request::SaveText { tried, base, .. } | Request::KeepText { tried, base, .. } => {
                    assert_eq!(base, "Base");
                    Some(tried)
                }
                _ => None,
            })
            .take(expected.len())
            .collect();
        assert_eq!(heard, expected);
    }

    #[test]
    fn what_was_sent_is_sent_and_no_longer_kept() {
        let (_dir, connect, requests) = agent(vec![vec![Answer::Done(json!("sent"))]]);
        let ask = |report, text| Request::Ask { report, text, once: None, kept: None };
        let mut work = work(connect(), Target::Note("ab".to_owned(), Box::new(ask)));
        assert_eq!(work.save("Who?\n").unwrap().said, json!("sent"));
        assert!(matches!(requests.recv().unwrap(), Request::Ask { text, .. } if text == "Who?"));
        assert!(!work.standing().is_kept);
    }

    #[test]
    fn what_is_offered_is_thrown_away_before_the_draft_that_was_made_for_it() {
        let done = || Answer::Done(Value::Null);
        let (_dir, connect, requests) = agent(vec![vec![done(), done()]]);
        let mut work = work(connect(), Target::Report("ab".to_owned()));
        (work.only_kept, work.is_offered) = (true, true);
        work.throw_away().unwrap();
        work.throw_away().unwrap();
        let drafts: Vec<bool> = requests
            .iter()
            .filter_map(|request| match request {
                Request::DropText { draft, .. } => Some(draft),
                _ => None,
            })
            .take(2)
            .collect();
        assert_eq!(drafts, [false, true]);
    }

    #[test]
    fn a_window_that_was_just_closed_is_waited_for() {
        let written = || Answer::Refused(Failure::failed(BEING_WRITTEN, "written"));
        let (_dir, connect, requests) = agent(vec![vec![written(), written(), refused()]]);
        let failure = open(&mut connect(), "ab", NARRATIVE).map(drop).unwrap_err();
        assert_eq!((failure.code.as_str(), requests.try_iter().count()), ("disk-full", 3));
    }
}
