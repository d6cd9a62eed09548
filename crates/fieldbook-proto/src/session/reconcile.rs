//! Range-based reconciliation: which ids does one side know and the other not?
//!
//! The sides take turns. A turn compares the spans that the other side's turn has named with this side's
//! own set, settles those that are equal, and names the differing parts of the others more finely, until
//! a part holds so few ids that they are listed. So there is one message under way, bounded like any
//! frame; what does not fit into it is named coarsely once more, and comes in a later turn. All that a
//! side remembers is what its last message said.
//!
//! The idea is published: Aljoscha Meyer, "Range-Based Set Reconciliation" (2023); decision 0013 says why
//! it is built here.

use std::collections::VecDeque;

use super::comparison::{COMPARISON_HEADER, Comparison, ONE_SUM, Part, ShortId, lacks_len, short};
use super::error::{Fault, SessionError};
use super::fingerprint::Fingerprint;
use super::limits::{
    COMPARE_FRAME_MAX, CUT_INTO, FIRST_CUT_MAX, IDS_A_TURN, LIST_IDS_MAX, LIST_UP_TO, PAGE, SUMS_MAX,
    TURNS_LEAST,
};
use super::span::{DIGEST_LEN, Span};
use super::walks::Walks;
use crate::EntryId;

/// What the reconciliation wants done.
pub(super) enum Ask {
    /// The fingerprints of the parts of a span.
    Spans { span: Span, parts: u16 },
    /// The ids in a span, from the one after `after`.
    Ids { span: Span, after: Option<EntryId>, max_entries: usize },
}

/// What is waited for from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Spans { parts: u16 },
    Ids { max_entries: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ours,
    Theirs,
    /// Both have said all.
    Over,
}

/// A span of the other side's message, on its way into ours.
enum Job {
    /// To be compared with what this side has.
    Compare { span: Span, sums: Vec<[u8; DIGEST_LEN]> },
    /// Compared: its parts, whether each differs, and from which on they are still to be named.
    Name { span: Span, parts: Vec<(Span, Fingerprint, bool)>, from: usize },
    /// To be matched with a list.
    Match { span: Span, theirs: VecDeque<ShortId>, after: Option<EntryId>, lacks: Vec<bool> },
}

impl Job {
    fn new(part: Part) -> Self {
        match part {
            Part::Sums { span, sums } => Self::Compare { span, sums },
            Part::List { span, ids } => {
                Self::Match { span, theirs: ids.into(), after: None, lacks: Vec::new() }
            }
        }
    }

    /// What its answer takes at least: a coarse sum, or one flag for each id.
    fn least(&self) -> usize {
        match self {
            Self::Compare { .. } | Self::Name { .. } => ONE_SUM,
            Self::Match { theirs, lacks, .. } => lacks_len(theirs.len() + lacks.len()),
        }
    }
}

/// What a differing part is named by at most: a cut, or a list.
const NAMED_MOST: usize = ONE_SUM + (CUT_INTO as usize + LIST_IDS_MAX) * DIGEST_LEN;

/// One reconciliation.
pub(super) struct Reconcile {
    turn: Turn,
    turns_left: u64,
    turns: u64,
    walks: Walks,
    asked: Asked,
    jobs: VecDeque<Job>,
    /// What the jobs that are not done take at least in the reply.
    reserved: usize,
    reply: Comparison,
    reply_len: usize,
    /// The ids of each list in the reply, and then in our last message: the other side answers which of them
    /// it lacks.
    listed: Vec<Vec<EntryId>>,
    /// The spans with digests in our last message: what the other side may come back to.
    open: Vec<Span>,
    /// Known here, and not to the other side.
    differences: VecDeque<EntryId>,
}

impl Reconcile {
    /// `begins` takes the first turn. `known` is how many ids this side has to compare, `walks` what may be read
    /// of them.
    pub(super) fn new(begins: bool, known: u64, walks: Walks) -> Self {
        let mut reconcile = Self {
            turn: if begins { Turn::Ours } else { Turn::Theirs },
            turns_left: TURNS_LEAST + known / IDS_A_TURN,
            turns: 0,
            walks,
            asked: Asked::Nothing,
            jobs: VecDeque::new(),
            reserved: 0,
            reply: Comparison::default(),
            reply_len: COMPARISON_HEADER,
            listed: Vec::new(),
            open: vec![Span::WHOLE],
            differences: VecDeque::new(),
        };
        if begins {
            // Everything differs, as far as we know: named by a cut or a list, as any other part.
            let whole = Fingerprint { count: known, ..Fingerprint::default() };
            let parts = vec![(Span::WHOLE, whole, true)];
            reconcile.begin([Job::Name { span: Span::WHOLE, parts, from: 0 }]);
        }
        reconcile
    }

    /// Not both sides have said all.
    pub(super) fn is_running(&self) -> bool {
        self.turn != Turn::Over
    }

    /// Both sides have said all, and all differences were taken.
    pub(super) fn is_over(&self) -> bool {
        self.turn == Turn::Over && self.differences.is_empty()
    }

    /// What was read, and may be.
    pub(super) const fn walks(&self) -> Walks {
        self.walks
    }

    /// How many turns the other side has taken.
    pub(super) const fn turns(&self) -> u64 {
        self.turns
    }

    /// Takes the other side's turn.
    pub(super) fn hear(&mut self, message: Comparison) -> Result<(), Fault> {
        if self.turn != Turn::Theirs {
            return Err(Fault::OutOfPhase);
        }
        self.turns_left = self.turns_left.checked_sub(1).ok_or(Fault::Endless)?;
        self.turns += 1;
        let listed = std::mem::take(&mut self.listed);
        let answered = listed.iter().map(Vec::len).eq(message.lacks.iter().map(Vec::len));
        if !answered || !self.is_about_what_is_open(&message.parts) {
            return Err(Fault::Unasked);
        }
        for (ids, lacks) in listed.into_iter().zip(message.lacks) {
            let lacking = ids.into_iter().zip(lacks).filter(|(_, lacks)| *lacks);
            self.differences.extend(lacking.map(|(id, _)| id));
        }
        if message.parts.is_empty() {
            self.turn = Turn::Over;
            return Ok(());
        }
        self.begin(message.parts.into_iter().map(Job::new));
        Ok(())
    }

    /// Both lists rise, so one walk compares them.
    fn is_about_what_is_open(&self, parts: &[Part]) -> bool {
        let mut open = self.open.iter().peekable();
        parts.iter().all(|part| {
            while open.next_if(|open| open.last() < part.span().first()).is_some() {}
            open.peek().is_some_and(|open| part.span().within(open))
        })
    }

    fn begin(&mut self, jobs: impl IntoIterator<Item = Job>) {
        self.turn = Turn::Ours;
        self.jobs = jobs.into_iter().collect();
        self.reserved = self.jobs.iter().map(Job::least).sum();
        self.reply = Comparison::default();
        self.reply_len = COMPARISON_HEADER;
        self.open.clear();
    }

    /// What the store is to be asked next. Differences that nobody takes hold it up.
    pub(super) fn next_question(&mut self) -> Option<Ask> {
        if self.asked != Asked::Nothing || self.differences.len() >= PAGE {
            return None;
        }
        loop {
            let ask = match self.jobs.front_mut()? {
                Job::Compare { span, sums } => {
                    let parts = u16::try_from(sums.len()).unwrap_or(u16::MAX);
                    Ask::Spans { span: *span, parts }
                }
                Job::Name { span, parts, from } => {
                    while parts.get(*from).is_some_and(|(.., differs)| !*differs) {
                        *from += 1;
                    }
                    let Some((part, own, _)) = parts.get(*from).copied() else {
                        self.end_job();
                        continue;
                    };
                    if self.reply_len + self.reserved + NAMED_MOST > COMPARE_FRAME_MAX {
                        // No room: all the rest of it in one sum.
                        let mut rest = Fingerprint::default();
                        parts[*from..].iter().for_each(|(_, own, _)| rest.merge(own));
                        let rest_span = Span::new(part.first(), span.last()).unwrap_or(part);
                        self.end_job();
                        self.say(Part::Sums { span: rest_span, sums: vec![rest.digest()] });
                        continue;
                    }
                    // What cannot be cut is listed, whole or not: the other side then offers more than it must.
                    if own.count <= LIST_UP_TO || part.first() == part.last() {
                        Ask::Ids { span: part, after: None, max_entries: LIST_IDS_MAX }
                    } else {
                        Ask::Spans { span: part, parts: cut(part, own.count) }
                    }
                }
                Job::Match { span, after, .. } => Ask::Ids { span: *span, after: *after, max_entries: PAGE },
            };
            self.asked = match &ask {
                Ask::Spans { parts, .. } => Asked::Spans { parts: *parts },
                Ask::Ids { max_entries, .. } => Asked::Ids { max_entries: *max_entries },
            };
            return Some(ask);
        }
    }

    fn say(&mut self, part: Part) {
        self.reply_len += part.len();
        if let Part::Sums { span, .. } = &part {
            self.open.push(*span);
        }
        self.reply.parts.push(part);
    }

    fn end_job(&mut self) {
        if let Some(job) = self.jobs.pop_front() {
            self.reserved = self.reserved.saturating_sub(job.least());
        }
    }

    /// The store's answer to [`Ask::Spans`].
    pub(super) fn spans(&mut self, own: Vec<Fingerprint>) -> Result<(), SessionError> {
        let misused = SessionError::Misused("spans that were not asked for");
        let Asked::Spans { parts } = std::mem::replace(&mut self.asked, Asked::Nothing) else {
            return Err(misused);
        };
        if own.len() != usize::from(parts) {
            return Err(misused);
        }
        match self.jobs.front_mut() {
            Some(job @ Job::Compare { .. }) => {
                let Job::Compare { span, sums } = &*job else { return Err(misused) };
                self.walks.sums(*span, &own);
                let compared = span.parts(parts).zip(own).zip(sums);
                let parts = compared.map(|((part, own), sum)| (part, own, own.digest() != *sum)).collect();
                *job = Job::Name { span: *span, parts, from: 0 };
            }
            Some(Job::Name { parts, from, .. }) => {
                let Some((part, ..)) = parts.get(*from) else { return Err(misused) };
                self.walks.sums(*part, &own);
                let sums = own.iter().map(Fingerprint::digest).collect();
                let part = Part::Sums { span: *part, sums };
                *from += 1;
                self.say(part);
            }
            _ => return Err(misused),
        }
        Ok(())
    }

    /// The store's answer to [`Ask::Ids`], rising.
    pub(super) fn ids(&mut self, own: Vec<EntryId>) -> Result<(), SessionError> {
        let misused = SessionError::Misused("ids that were not asked for");
        let Asked::Ids { max_entries } = std::mem::replace(&mut self.asked, Asked::Nothing) else {
            return Err(misused);
        };
        let Some(job) = self.jobs.front_mut() else { return Err(misused) };
        let within = match &*job {
            Job::Match { span, .. } => *span,
            Job::Name { parts, from, .. } => parts.get(*from).map_or(Span::WHOLE, |(part, ..)| *part),
            Job::Compare { .. } => return Err(misused),
        };
        let in_order = own.windows(2).all(|pair| pair[0] < pair[1]);
        if own.len() > max_entries || !in_order || !own.iter().all(|id| within.contains(id)) {
            return Err(SessionError::Misused("ids out of order, or of another span"));
        }
        self.walks.settle(own.len() as u64);
        match job {
            Job::Name { from, .. } => {
                *from += 1;
                let mut ids: Vec<ShortId> = own.iter().map(short).collect();
                ids.dedup();
                // Two that begin alike are one to the other side: list neither of them twice, answer for one.
                let mut own = own;
                own.dedup_by_key(|id| short(id));
                if !own.is_empty() {
                    self.listed.push(own);
                }
                self.say(Part::List { span: within, ids });
            }
            Job::Match { theirs, after, lacks, .. } => {
                let last_page = own.len() < max_entries;
                for id in own {
                    let mine = short(&id);
                    while theirs.front().is_some_and(|listed| *listed < mine) {
                        theirs.pop_front();
                        lacks.push(true);
                    }
                    if theirs.front() == Some(&mine) {
                        theirs.pop_front();
                        lacks.push(false);
                    } else {
                        self.differences.push_back(id);
                    }
                    *after = Some(id);
                }
                if last_page {
                    lacks.extend(theirs.drain(..).map(|_| true));
                    let lacks = std::mem::take(lacks);
                    let len = lacks_len(lacks.len());
                    self.jobs.pop_front();
                    self.reserved = self.reserved.saturating_sub(len);
                    self.reply_len += len;
                    if !lacks.is_empty() {
                        self.reply.lacks.push(lacks);
                    }
                }
            }
            Job::Compare { .. } => return Err(misused),
        }
        Ok(())
    }

    /// Our turn, once it is worked out. Not before most of what it brought to light was taken.
    pub(super) fn take_message(&mut self) -> Option<Comparison> {
        if self.turn != Turn::Ours || !self.jobs.is_empty() || self.differences.len() >= PAGE {
            return None;
        }
        let message = std::mem::take(&mut self.reply);
        self.turn = if message.parts.is_empty() { Turn::Over } else { Turn::Theirs };
        Some(message)
    }

    /// Ids that the other side does not know, at most so many.
    pub(super) fn take_differences(&mut self, max: usize) -> Vec<EntryId> {
        let count = self.differences.len().min(max);
        self.differences.drain(..count).collect()
    }
}

/// Into how many parts a span with so many ids is cut. The first cut of a large set is finer.
fn cut(span: Span, count: u64) -> u16 {
    let finer = if span == Span::WHOLE {
        let even = (count / 4_096).next_power_of_two();
        u16::try_from(even).unwrap_or(u16::MAX).clamp(CUT_INTO, FIRST_CUT_MAX)
    } else {
        CUT_INTO
    };
    // A span that is narrower has fewer parts.
    let width = span.last() - span.first();
    u16::try_from(width).map_or(finer, |width| finer.min(width.saturating_add(1)))
}

const _: () = assert!(FIRST_CUT_MAX as usize <= SUMS_MAX);
