//! Questions and notes on a report: how those who read it ask, and how its author answers.
//!
//! They belong to the team: no publication holds them, and none of their words. Nobody changes or
//! deletes one; who wrote it is known from the change that did, never from a field that could lie.

use serde::{Deserialize, Serialize};

use crate::input::InputError;
use crate::limits::NOTE_MAX;

/// A note as it stands in a report. One that answers no other is a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Eight hexadecimal digits; unique in the report.
    pub id: String,
    /// Who wrote it: the actor of the change, in hexadecimal. 32 digits.
    pub actor: String,
    /// When, by the writer's clock: Unix time in milliseconds.
    pub time_ms: i64,
    /// What it says.
    pub text: String,
    /// The note that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

/// The questions that nobody has answered, in the order in which they were asked.
pub fn open_questions(notes: &[Note]) -> impl Iterator<Item = &Note> {
    notes.iter().filter(|note| {
        note.reply_to.is_none()
            && !notes.iter().any(|other| other.reply_to.as_deref() == Some(note.id.as_str()))
    })
}

pub(crate) fn check(id: &str, text: &str) -> Result<(), InputError> {
    if id.len() != 8 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(InputError::wrong("a note's id", "8 hexadecimal digits"));
    }
    if text.trim().is_empty() {
        return Err(InputError::EmptyNote);
    }
    InputError::check_len("a note", text, NOTE_MAX)
}
