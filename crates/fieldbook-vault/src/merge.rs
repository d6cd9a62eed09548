//! Merging changes that others wrote: the one act in which a crafted input could exhaust memory or
//! bring automerge down.
//!
//! The vault asks a [`Merger`]. [`InProcess`] does it here; the agent passes one that does it in a
//! worker process with a cap on its memory and time. Requests and answers have an encoding for
//! that pipe; both ends are the same program, so it is no part of the protocol.

use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_report::limits::DOCUMENT_MAX;
use fieldbook_report::{ActorId, ReportDocument, ReportError};

/// Longest text of a refusal, in bytes.
const REASON_MAX: usize = 4 * 1024;

/// Changes to be merged into a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRequest<'a> {
    /// The actor of this device.
    pub me: ActorId,
    /// The only actor whose changes these may be. None if a coordinator vouches for all of them: then they
    /// may be anybody's but this device's, which knows its own.
    pub hand: Option<ActorId>,
    /// The saved document, or nothing for a report that begins with these changes.
    pub document: Option<&'a [u8]>,
    /// automerge change chunks, one after another.
    pub changes: &'a [u8],
}

/// What came of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The saved document, or nothing if all changes were known.
    pub document: Option<Vec<u8>>,
}

/// Why nothing was merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeRefusal {
    /// The changes build on one that has not arrived.
    MissingChanges,
    /// Not all that is new is by the one hand that was allowed.
    OtherHand,
    /// The merger could not be started; the changes are none the worse for it.
    Unavailable,
    /// They are damaged, too large, by another hand, or their merging failed; in words.
    Refused(String),
}

/// Whoever merges.
pub trait Merger {
    /// Merges, or says why not. An input that brings the merger down is a refusal.
    ///
    /// # Errors
    /// [`MergeRefusal`].
    fn merge(&mut self, request: &MergeRequest<'_>) -> Result<Merged, MergeRefusal>;
}

/// Merges in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcess;

impl Merger for InProcess {
    fn merge(&mut self, request: &MergeRequest<'_>) -> Result<Merged, MergeRefusal> {
        let mut mine = 0;
        let merged = match request.document {
            None => ReportDocument::receive(request.me, request.changes, request.hand).map(Some),
            Some(saved) => ReportDocument::load(request.me, saved).and_then(|mut document| {
                mine = document.changes_by(&request.me);
                let new = document.apply(request.changes, request.hand)?;
                if !document.waits_for().is_empty() {
                    return Err(ReportError::MissingChanges);
                }
                Ok((new > 0).then_some(document))
            }),
        };
        match merged {
            Ok(Some(document)) if document.changes_by(&request.me) > mine => Err(MergeRefusal::Refused(
                "it holds a change in this device's name, which this device did not make".to_owned(),
            )),
            Ok(document) => Ok(Merged { document: document.map(|mut document| document.save()) }),
            Err(ReportError::MissingChanges) => Err(MergeRefusal::MissingChanges),
            Err(ReportError::ForeignActor { .. }) => Err(MergeRefusal::OtherHand),
            Err(error) => Err(MergeRefusal::Refused(error.to_string())),
        }
    }
}

impl<'a> MergeRequest<'a> {
    /// The request as it goes through a pipe.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(&self.me).u8(u8::from(self.hand.is_some())).raw(&self.hand.unwrap_or_default());
        writer.u8(u8::from(self.document.is_some()));
        writer.bytes(self.document.unwrap_or_default()).bytes(self.changes).finish()
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (me, one_hand) = (reader.array("me")?, reader.u8("one hand")? == 1);
        let hand = Some(reader.array("hand")?).filter(|_| one_hand);
        let exists = reader.u8("document")? == 1;
        let document = reader.bytes("document", DOCUMENT_MAX)?;
        let changes = reader.bytes("changes", DOCUMENT_MAX)?;
        reader.end()?;
        Ok(Self { me, hand, document: exists.then_some(document), changes })
    }
}

/// The answer as it goes through a pipe.
pub fn encode_answer(answer: &Result<Merged, MergeRefusal>) -> Vec<u8> {
    let mut writer = Writer::new();
    match answer {
        Ok(Merged { document: None }) => writer.u8(0),
        Ok(Merged { document: Some(document) }) => writer.u8(1).bytes(document),
        Err(MergeRefusal::MissingChanges) => writer.u8(2),
        Err(MergeRefusal::Unavailable) => writer.u8(4),
        Err(MergeRefusal::OtherHand) => writer.u8(5),
        Err(MergeRefusal::Refused(reason)) => {
            let end = (0..=reason.len().min(REASON_MAX)).rev().find(|end| reason.is_char_boundary(*end));
            writer.u8(3).bytes(&reason.as_bytes()[..end.unwrap_or(0)])
        }
    };
    writer.finish()
}

/// Reads an answer.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_answer(bytes: &[u8]) -> Result<Result<Merged, MergeRefusal>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let answer = match reader.u8("answer")? {
        0 => Ok(Merged { document: None }),
        1 => Ok(Merged { document: Some(reader.bytes("document", 4 * DOCUMENT_MAX)?.to_vec()) }),
        2 => Err(MergeRefusal::MissingChanges),
        4 => Err(MergeRefusal::Unavailable),
        5 => Err(MergeRefusal::OtherHand),
        3 => Err(MergeRefusal::Refused(reader.text("reason", REASON_MAX)?.to_owned())),
        _ => return Err(DecodeError::Invalid { field: "answer" }),
    };
    reader.end()?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_survive_the_pipe() {
        for (document, hand) in [(None, None), (Some(b"saved".as_slice()), Some([2; 16]))] {
            let request = MergeRequest { me: [1; 16], hand, document, changes: b"changes" };
            assert_eq!(MergeRequest::decode(&request.encode()), Ok(request));
        }
        for answer in [
            Ok(Merged { document: None }),
            Ok(Merged { document: Some(vec![7; 9]) }),
            Err(MergeRefusal::MissingChanges),
            Err(MergeRefusal::OtherHand),
            Err(MergeRefusal::Refused("é".repeat(REASON_MAX))),
        ] {
            let back = decode_answer(&encode_answer(&answer)).unwrap();
            match (back, answer) {
                (Err(MergeRefusal::Refused(back)), Err(MergeRefusal::Refused(sent))) => {
                    assert!(!back.is_empty() && sent.starts_with(&back));
                }
                (back, answer) => assert_eq!(back, answer),
            }
        }
    }

    #[test]
    fn garbage_is_refused_and_nothing_else_happens() {
        let garbage = MergeRequest { me: [1; 16], hand: Some([2; 16]), document: None, changes: b"garbage" };
        assert!(matches!(InProcess.merge(&garbage), Err(MergeRefusal::Refused(_))));
    }
}
