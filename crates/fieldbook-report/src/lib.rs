//! Reports: templates, documents that several people write at once, people and their consent, clashes,
//! history, and publications with protected names taken out.
//!
//! Pure: no file, no clock, no socket, and no randomness of its own; ids and times are passed in.
//! (automerge draws a throw-away actor id when a document is made; it is replaced at once and never
//! written.) Nothing here encrypts: the bytes of a document never leave the team, and what is
//! published is always rendered anew from a view, so that no deleted text can travel along.
//!
//! ```
//! use fieldbook_report::{Edit, ReportDocument, ReportInput};
//!
//! let input = ReportInput::from_json(r#"{"template":"detention","fields":{"date":"2017-03-25"}}"#)?;
//! let mut ids = || "00c0ffee".to_owned();
//! let mut mine = ReportDocument::create([1; 16], &input, &mut ids, 1_490_436_000_000)?;
//! let mut theirs = ReportDocument::load([2; 16], &mine.save())?;
//!
//! let before = mine.heads();
//! mine.edit(&[Edit::Title("Detention at the office".into())], 1_490_436_060_000)?;
//! theirs.apply(&mine.changes_since(&before).concat(), Some([1; 16]))?;
//! assert_eq!(theirs.view(), mine.view());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The layout of a document is `protocol/report.md`; another program with any automerge library can
//! read and write it.

mod attachment;
mod document;
mod edit;
pub mod edtf;
pub mod edtf_words;
mod input;
mod language;
pub mod limits;
mod note;
mod person;
pub mod publish;
pub mod template;
mod value;
mod view;

pub use attachment::{AttachmentManifest, AttachmentView};
pub use document::{
    ActorId, Clash, ClashValue, HistoryEdit, HistoryItem, Keep, Piece, ReportDocument, ReportError,
    TextChange, merge_texts, text_change,
};
pub use edit::Edit;
pub use input::{InputError, ReportInput};
pub use language::{Language, is_language_tag};
pub use note::{Note, open_questions};
pub use person::{Consent, NewPerson, Person, parse_person};
pub use template::{Template, builtin, find};
pub use value::FieldValue;
pub use view::ReportView;
