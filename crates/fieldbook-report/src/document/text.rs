//! A text that two people changed apart, and that no document has in common.

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ObjId, ObjType, ReadDoc as _};

use super::{ActorId, ReportError, guarded};

const TEXT: &str = "text";
/// Of whose changes automerge puts what stands at one place first: always the same.
const HANDS: [ActorId; 3] = [[0; 16], [1; 16], [2; 16]];

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
            tx.update_text(&text, new)?;
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
    use super::*;

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
}
