//! Texts that become others, so that what two people changed apart stays changed.
//!
//! automerge compares two texts letter by letter, with no bound: two long ones that have little in common would keep the
//! program busy for minutes, and anybody in the team can send one. So it is asked only where little differs. What is left
//! is compared by its lines, of which those count that stand once in both: in bounded work, and still so that
//! what others change in the lines between goes where it belongs.

use std::collections::HashMap;

use automerge::transaction::Transactable;
use automerge::{Automerge, ObjId, ObjType, ReadDoc as _};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{ActorId, ReportError, guarded};

const TEXT: &str = "text";
/// Of whose changes automerge puts what stands at one place first: always the same.
const HANDS: [ActorId; 3] = [[0; 16], [1; 16], [2; 16]];
/// Most characters, as people count them, that are compared one by one: of both texts, between what they begin and what they end
/// with alike.
pub const COMPARED_MAX: usize = 20_000;

/// How a text becomes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextChange {
    /// Little differs: automerge compares letter by letter.
    Letters,
    /// These pieces are replaced, from the last to the first.
    Pieces(Vec<Piece>),
}

/// A piece of a text that is replaced. Places count code points, as automerge does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub at: usize,
    /// How much goes.
    pub gone: usize,
    /// What comes.
    pub new: String,
}

/// How `old` becomes `new`, in work that grows with their length and no faster.
pub fn text_change(old: &str, new: &str) -> TextChange {
    let (_, old_middle, new_middle) = middle(old, new);
    let differing = old_middle.graphemes(true).count() + new_middle.graphemes(true).count();
    if differing <= COMPARED_MAX {
        return TextChange::Letters;
    }
    let (old_lines, new_lines) = (lines(old), lines(new));
    let mut pieces = Vec::new();
    // Where the last pair of lines ended, in code points and in bytes.
    let (mut at, mut old_from, mut new_from) = (0, 0, 0);
    let ends = (Line { start: old.len(), text: "" }, Line { start: new.len(), text: "" });
    for (one, other) in common_lines(&old_lines, &new_lines).into_iter().chain([ends]) {
        let gap = &old[old_from..one.start];
        let (before, gone, new) = middle(gap, &new[new_from..other.start]);
        if !gone.is_empty() || !new.is_empty() {
            let at = at + before.chars().count();
            pieces.push(Piece { at, gone: gone.chars().count(), new: new.to_owned() });
        }
        at += gap.chars().count() + one.text.chars().count();
        (old_from, new_from) = (one.start + one.text.len(), other.start + other.text.len());
    }
    pieces.reverse();
    TextChange::Pieces(pieces)
}

/// Makes a text of a document say `new`.
pub(super) fn set_text(tx: &mut impl Transactable, text: &ObjId, new: &str) -> Result<(), ReportError> {
    let old = tx.text(text)?;
    if old == new {
        return Ok(());
    }
    match text_change(&old, new) {
        TextChange::Letters => tx.update_text(text, new)?,
        TextChange::Pieces(pieces) => {
            for piece in pieces {
                tx.splice_text(
                    text,
                    piece.at,
                    isize::try_from(piece.gone).unwrap_or(isize::MAX),
                    &piece.new,
                )?;
            }
        }
    }
    Ok(())
}

/// What both begin with alike, and what each has between that and what both end with alike. No character is cut.
fn middle<'a, 'b>(old: &'a str, new: &'b str) -> (&'a str, &'a str, &'b str) {
    let alike = |(one, other): &(&str, &str)| one == other;
    let bytes = |pair: (&str, &str)| pair.0.len();
    let begin: usize = old.graphemes(true).zip(new.graphemes(true)).take_while(alike).map(bytes).sum();
    let (old_rest, new_rest) = (&old[begin..], &new[begin..]);
    let end: usize =
        old_rest.graphemes(true).rev().zip(new_rest.graphemes(true).rev()).take_while(alike).map(bytes).sum();
    (&old[..begin], &old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end])
}

/// A line with its end, and where it begins.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    start: usize,
    text: &'a str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let line = |text: &'_ str| {
        start += text.len();
        start - text.len()
    };
    let starts: Vec<usize> = text.split_inclusive('\n').map(line).collect();
    starts.into_iter().zip(text.split_inclusive('\n')).map(|(start, text)| Line { start, text }).collect()
}

/// The lines that stand once in each of both, as many of them as come in one order.
fn common_lines<'a, 'b>(old: &[Line<'a>], new: &[Line<'b>]) -> Vec<(Line<'a>, Line<'b>)> {
    /// Where a text stands in the old and in the new; `None` there if more than once.
    #[derive(Default)]
    struct Places {
        old: (usize, usize),
        new: (usize, usize),
    }
    let mut places: HashMap<&str, Places> = HashMap::new();
    for (number, line) in old.iter().enumerate() {
        let place = &mut places.entry(line.text).or_default().old;
        *place = (place.0 + 1, number);
    }
    for (number, line) in new.iter().enumerate() {
        if let Some(place) = places.get_mut(line.text) {
            place.new = (place.new.0 + 1, number);
        }
    }
    let once: Vec<(usize, usize)> = old
        .iter()
        .filter_map(|line| places.get(line.text))
        .filter(|place| place.old.0 == 1 && place.new.0 == 1)
        .map(|place| (place.old.1, place.new.1))
        .collect();
    longest_rising(&once).into_iter().map(|at| (old[once[at].0], new[once[at].1])).collect()
}

/// Of pairs whose first numbers rise the most whose second numbers rise, too: their places.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<usize> {
    // The place that ends the best run of each length, and what stood before each place.
    let mut last: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, pair) in pairs.iter().enumerate() {
        let length = last.partition_point(|place| pairs[*place].1 < pair.1);
        before.push(length.checked_sub(1).map(|shorter| last[shorter]));
        if length == last.len() {
            last.push(at);
        } else {
            last[length] = at;
        }
    }
    let mut run: Vec<usize> = std::iter::successors(last.last().copied(), |place| before[*place]).collect();
    run.reverse();
    run
}

/// What two people made of `base`, as one text: both changes are in it. Where both wrote at the same place, what
/// `theirs` says and what `mine` says stand one after the other.
///
/// # Errors
/// automerge failed on it.
pub fn merge_texts(base: &str, theirs: &str, mine: &str) -> Result<String, ReportError> {
    if theirs == base || theirs == mine {
        return Ok(mine.to_owned());
    }
    if mine == base {
        return Ok(theirs.to_owned());
    }
    guarded(|| {
        let [first, second, third] = HANDS.map(automerge::ActorId::from);
        let mut common = Automerge::new().with_actor(first);
        let mut tx = common.transaction();
        let text = tx.put_object(&ObjId::Root, TEXT, ObjType::Text)?;
        tx.splice_text(&text, 0, 0, base)?;
        tx.commit();
        let changed = |by: automerge::ActorId, new: &str| -> Result<Automerge, ReportError> {
            let mut document = common.fork().with_actor(by);
            let mut tx = document.transaction();
            set_text(&mut tx, &text, new)?;
            tx.commit();
            Ok(document)
        };
        let mut one = changed(second, theirs)?;
        one.merge(&mut changed(third, mine)?)?;
        Ok(one.text(&text)?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::NARRATIVE_MAX;

    /// `old`, with its pieces replaced.
    fn applied(old: &str, pieces: &[Piece]) -> String {
        let mut text: Vec<char> = old.chars().collect();
        for piece in pieces {
            text.splice(piece.at..piece.at + piece.gone, piece.new.chars());
        }
        text.into_iter().collect()
    }

    fn paragraphs(word: &str, bytes: usize) -> String {
        (0..)
            .map(|number| format!("{word} {number}\n"))
            .scan(0, |sum, line| {
                *sum += line.len();
                (*sum <= bytes).then_some(line)
            })
            .collect()
    }

    #[test]
    fn both_changes_are_in_it() {
        let base = "Их забрали в полдень.\nThe second paragraph.\n";
        let theirs = "Их забрали в полдень, сказала она.\nThe second paragraph.\n";
        let mine = "Их забрали в полдень.\nThe second paragraph, longer.\nA third.\n";
        let merged = merge_texts(base, theirs, mine).unwrap();
        assert_eq!(merged, "Их забрали в полдень, сказала она.\nThe second paragraph, longer.\nA third.\n");
    }

    #[test]
    fn one_change_is_what_it_says() {
        assert_eq!(merge_texts("a", "a", "ab").unwrap(), "ab");
        assert_eq!(merge_texts("a", "b", "a").unwrap(), "b");
        assert_eq!(merge_texts("a", "c", "c").unwrap(), "c");
        assert_eq!(merge_texts("a", "", "ab").unwrap(), "b");
    }

    #[test]
    fn two_long_texts_that_have_nothing_in_common_are_one_piece() {
        let old = "а".repeat(NARRATIVE_MAX / 2);
        let new = "b".repeat(NARRATIVE_MAX);
        let TextChange::Pieces(pieces) = text_change(&old, &new) else { panic!("letter by letter") };
        assert_eq!(pieces, [Piece { at: 0, gone: old.chars().count(), new: new.clone() }]);
        // What one wrote and what the other wrote, whole.
        let merged = merge_texts(&old, &new, &"c".repeat(NARRATIVE_MAX)).unwrap();
        assert_eq!(merged.len(), 2 * NARRATIVE_MAX);
        assert!(["b", "c"].iter().all(|letter| merged.contains(&letter.repeat(NARRATIVE_MAX))));
        // Short lines that all are alike are none to hold on to.
        let (old, new) = ("a\n".repeat(100_000), "b\n".repeat(100_000));
        let TextChange::Pieces(pieces) = text_change(&old, &new) else { panic!("letter by letter") };
        assert_eq!(pieces.len(), 1);
    }

    #[test]
    fn what_one_changed_at_both_ends_of_a_long_text_leaves_what_another_changed_between() {
        let base = paragraphs("Их забрали в полдень", 200 * 1024);
        let mine = format!("Mine, before.\n{base}Mine, at the end.\n");
        let TextChange::Pieces(pieces) = text_change(&base, &mine) else { panic!("letter by letter") };
        assert_eq!(pieces.len(), 2);
        let theirs = base.replacen("полдень 1000\n", "полдень 1000, сказала она\n", 1);
        let mine = mine.replacen("забрали в полдень 2000\n", "забрали в полночь 2000\n", 1);
        let merged = merge_texts(&base, &theirs, &mine).unwrap();
        assert_eq!(merged, mine.replacen("полдень 1000\n", "полдень 1000, сказала она\n", 1));
        // And in a report.
        let theirs = format!("Theirs.\n{base}");
        let mine = format!("{base}Mine.\n");
        assert_eq!(merge_texts(&base, &theirs, &mine).unwrap(), format!("Theirs.\n{base}Mine.\n"));
    }

    proptest! {
        #[test]
        fn pieces_make_the_new_text(
            lines in proptest::collection::vec("[abяé\u{301}\r👩\u{200d}]{0,3}\n?", 0..40),
            other in proptest::collection::vec("[abяé\u{301}\r👩\u{200d}]{0,3}\n?", 0..40),
            kept in proptest::collection::vec(any::<bool>(), 40),
        ) {
            // Long enough that it is not compared letter by letter, and some lines stand in both.
            let long = ["x", "y"].map(|letter| letter.repeat(COMPARED_MAX));
            let some: String = lines.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(line, _)| line.as_str()).collect();
            let old = format!("{}\n{}", long[0], lines.concat());
            let new = format!("{some}{}\n{}{some}", other.concat(), long[1]);
            let TextChange::Pieces(pieces) = text_change(&old, &new) else { panic!("letter by letter") };
            prop_assert_eq!(applied(&old, &pieces), new);
        }
    }
}
