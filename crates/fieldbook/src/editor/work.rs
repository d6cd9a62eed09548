//! Where what is written goes: kept beside a report every few seconds, and into it when it is saved. It never goes
//! anywhere but to the agent.

use fieldbook_vault::{DeviceInfo, KeptText, OpenedText, ReportSummary, SavedText};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::rest::Rest;
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;

/// The name of the text in which a report is told.
pub const NARRATIVE: &str = "narrative";

/// What becomes of the text when it is saved.
enum Target {
    /// It is part of a report.
    Report(String),
    /// Of one that is made when there is something to keep.
    New(Box<dyn Fn() -> Request + Send>),
    /// It becomes a question or an answer about a report.
    Note(String, Box<dyn Fn(String) -> Request + Send>),
}

/// A text, and where it belongs.
pub struct Work {
    agent: Agent,
    target: Target,
    field: String,
    /// What was saved when its writing began, or was saved last.
    base: Zeroizing<String>,
    device: String,
    /// The report was made to keep a text that nobody has saved.
    only_kept: bool,
    /// Something is kept beside the report.
    is_kept: bool,
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
        let opened: OpenedText = agent.call(&Request::OpenText { report, field: field.clone() })?;
        Self::begin(agent, Target::Report(opened.summary.id.clone()), field, Some(opened))
    }

    /// A question or an answer about a report.
    ///
    /// # Errors
    /// As [`Work::on_report`].
    pub fn on_note(
        mut agent: Agent,
        report: String,
        field: String,
        send: impl Fn(String) -> Request + Send + 'static,
    ) -> Result<(Self, Begun), Failure> {
        let opened: OpenedText = agent.call(&Request::OpenText { report, field: field.clone() })?;
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
        Ok((Self { agent, target, field, base, device, only_kept: false, is_kept }, begun))
    }

    /// Goes on with what was written another time, beginning from what was saved then.
    pub fn go_on_from(&mut self, base: Zeroizing<String>) {
        self.base = base;
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
            text: text.to_owned(),
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
        let field = self.field.clone();
        if let Target::Note(_, send) = &self.target {
            let said: Value = self.agent.call(&send(text.trim_end().to_owned()))?;
            self.agent.call::<()>(&Request::DropText { report, field })?;
            self.is_kept = false;
            return Ok(Saved { said, merged: None });
        }
        let request = Request::SaveText { report, field, base: self.base.to_string(), text: text.to_owned() };
        let saved: SavedText = self.agent.call(&request)?;
        (self.only_kept, self.is_kept) = (false, false);
        self.base = Zeroizing::new(saved.text);
        let merged = saved.merged.then(|| self.base.clone());
        let said = serde_json::to_value(saved.summary)
            .map_err(|error| Failure::failed("internal", error.to_string()))?;
        Ok(Saved { said, merged })
    }

    /// Throws away what was kept and not saved, and a report that was made for nothing else.
    ///
    /// # Errors
    /// The vault could not; or it is locked.
    pub fn throw_away(&mut self) -> Result<(), Failure> {
        let (Target::Report(report) | Target::Note(report, _)) = &self.target else { return Ok(()) };
        let report = report.clone();
        if self.only_kept {
            let request = Request::Forget { report, person: None, keep_attachments: false };
            return self.agent.call::<Value>(&request).map(drop);
        }
        if self.is_kept {
            self.agent.call::<()>(&Request::DropText { report, field: self.field.clone() })?;
            self.is_kept = false;
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
                let (base, text) = match opened.unfinished {
                    Some(kept) => (kept.base, kept.text),
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
