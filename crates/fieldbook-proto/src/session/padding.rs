//! Padding of what a side sends: whoever counts the bytes of a session learns a class of sums, and not what was said.
//!
//! A side pads twice. After its last entry, before it waits for an answer: so what it sends in one go has the size of a
//! class but for what is kept for the end. And after its `Done`, up to the class: nothing waits behind either. Then the
//! next stretch begins: where much comes and goes, what was padded once is not padded again.

use bytes::Bytes;

use super::error::Fault;
use super::frame::{Frame, HEADER_LEN};
use super::limits::{PAD_FRAME_MAX, PADDED_DOUBLES_UP_TO, PADDED_LEAST, PADDED_STEPS, PADDING_KEPT};

const HEADER: u64 = HEADER_LEN as u64;

/// What is owed to the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// The other side is to answer what was sent: acknowledgements and a `Done` still have to fit into the class.
    AtEndOfEntries,
    /// All is said.
    AtDone,
}

/// The padding of one side, and what it lets pass of the other's.
#[derive(Debug, Default)]
pub(super) struct Padding {
    on: bool,
    /// Bytes that went out in this stretch, those of padding too.
    sent: u64,
    /// So many of the next bytes do not count.
    uncounted: u64,
    owed: Option<Owed>,
    /// The end of the entries was padded in this stretch.
    marked: bool,
    /// With what was owed this stretch is over.
    over: bool,
    padded: u64,
    /// So many bytes of padding the other side may still send.
    allowed: u64,
}

impl Padding {
    /// Both sides pad.
    pub(super) const fn begin(&mut self) {
        self.on = true;
        self.allowed = 2 * PADDED_LEAST;
    }

    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// Bytes of padding that went out.
    pub(super) const fn padded(&self) -> u64 {
        self.padded
    }

    /// Something is still owed.
    pub(super) const fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// Of what goes out next so much is not part of any stretch.
    pub(super) fn not_counting(&mut self, bytes: &[u8]) {
        self.uncounted += bytes.len() as u64;
    }

    /// These went out.
    pub(super) fn said(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        let uncounted = len.min(self.uncounted);
        self.uncounted -= uncounted;
        self.sent += len - uncounted;
        if std::mem::take(&mut self.over) {
            (self.sent, self.marked) = (0, false);
        }
    }

    /// The last of the entries went out.
    pub(super) fn entries_ended(&mut self) {
        if self.on && !self.marked {
            self.owed = self.owed.or(Some(Owed::AtEndOfEntries));
        }
    }

    /// `Done` is said.
    pub(super) const fn done(&mut self) {
        if self.on {
            self.owed = Some(Owed::AtDone);
        }
    }

    /// There is more to say than was thought, or nobody left to say it to.
    pub(super) const fn cancel(&mut self) {
        self.owed = None;
    }

    /// The next piece of padding.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let owed = self.owed?;
        let kept = match owed {
            Owed::AtEndOfEntries => PADDING_KEPT,
            Owed::AtDone => 0,
        };
        // No frame is shorter than its header.
        let left = class(self.sent + HEADER + kept) - kept - self.sent;
        let mut frame = left.min(HEADER + PAD_FRAME_MAX as u64);
        if (1..HEADER).contains(&(left - frame)) {
            frame -= HEADER;
        }
        if frame == left {
            (self.owed, self.marked) = (None, true);
            self.over = owed == Owed::AtDone;
        }
        self.padded += frame;
        let len = usize::try_from(frame - HEADER).unwrap_or(PAD_FRAME_MAX);
        Some(Frame::Pad { len }.encode().into())
    }

    /// The other side has sent a frame of so many bytes. What fills a class is at most three times what is in it: of what
    /// was kept for the end too little may have been kept.
    ///
    /// # Errors
    /// It sends more padding than its frames call for.
    pub(super) fn heard(&mut self, len: usize, frame: &Frame) -> Result<(), Fault> {
        let len = len as u64;
        match frame {
            Frame::Pad { .. } if !self.on => return Err(Fault::OutOfPhase),
            Frame::Pad { .. } => self.allowed = self.allowed.checked_sub(len).ok_or(Fault::TooMuchPadding)?,
            Frame::Done { .. } => self.allowed = self.allowed.saturating_add(3 * len + PADDED_LEAST),
            _ => self.allowed = self.allowed.saturating_add(3 * len),
        }
        Ok(())
    }
}

/// The least sum of a class that is not below `sent`.
pub(super) const fn class(sent: u64) -> u64 {
    if sent <= PADDED_LEAST {
        return PADDED_LEAST;
    }
    let doubled = sent.next_power_of_two();
    if doubled <= PADDED_DOUBLES_UP_TO { doubled } else { sent.next_multiple_of(doubled / 2 / PADDED_STEPS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_double_and_then_rise_by_an_eighth_at_most() {
        let kib = |n: u64| n * 1024;
        for (sent, expected) in [
            (0, kib(16)),
            (kib(16), kib(16)),
            (kib(16) + 1, kib(32)),
            (kib(100), kib(128)),
            (kib(256), kib(256)),
            (kib(256) + 1, kib(288)),
            (kib(512) + 1, kib(576)),
            (kib(1024 * 1024) - 1, kib(1024 * 1024)),
        ] {
            assert_eq!(class(sent), expected, "{sent}");
        }
        let mut before = 0;
        for sent in (0..4_000_000).step_by(997) {
            let class = class(sent);
            assert!(class >= sent && class >= before && super::class(class) == class, "{sent}");
            assert!(class <= kib(256) || class - sent <= sent / 8, "{sent}: {class}");
            before = class;
        }
    }

    #[test]
    fn whatever_was_sent_both_paddings_end_where_they_should() {
        for sent in (0..70_000).chain(300_000..300_040) {
            let mut padding = Padding::default();
            padding.begin();
            padding.sent = sent;
            padding.entries_ended();
            let mut all = 0;
            while let Some(bytes) = padding.take() {
                padding.said(&bytes);
                all += bytes.len() as u64;
            }
            let at_entries = padding.sent;
            assert_eq!(class(at_entries + PADDING_KEPT), at_entries + PADDING_KEPT, "{sent}");
            assert_eq!((at_entries, padding.padded()), (sent + all, all));
            padding.entries_ended();
            assert!(!padding.owes(), "once in a stretch");
            padding.said(&[0; 77]);
            padding.done();
            let mut rest = 77;
            while let Some(bytes) = padding.take() {
                padding.said(&bytes);
                rest += bytes.len() as u64;
            }
            assert_eq!((rest, padding.sent), (PADDING_KEPT, 0), "{sent}");
        }
    }

    #[test]
    fn padding_beyond_what_was_said_is_a_fault() {
        let mut padding = Padding::default();
        let pad = Frame::Pad { len: 0 };
        assert_eq!(padding.heard(5, &pad), Err(Fault::OutOfPhase));
        padding.begin();
        let most = usize::try_from(2 * PADDED_LEAST).unwrap() + 3 * 100;
        assert_eq!(padding.heard(100, &Frame::Limited), Ok(()));
        assert_eq!(padding.heard(most - 5, &pad), Ok(()));
        assert_eq!(padding.heard(5, &pad), Ok(()));
        assert_eq!(padding.heard(5, &pad), Err(Fault::TooMuchPadding));
    }
}
