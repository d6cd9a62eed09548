//! What this side has asked for and not got yet.

use std::collections::{BTreeSet, VecDeque};

use super::limits::ID_PREFIX;
use crate::EntryId;

/// Wanted entries. A peer that can be declined to sends them in any order, so that what is urgent overtakes; one
/// of an earlier version in the order in which they were wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    ids: BTreeSet<EntryId>,
    /// In strict order only.
    order: Option<VecDeque<EntryId>>,
}

impl Wanted {
    pub(super) fn new(any_order: bool) -> Self {
        Self { ids: BTreeSet::new(), order: (!any_order).then(VecDeque::new) }
    }

    pub(super) fn len(&self) -> usize {
        self.order.as_ref().map_or(self.ids.len(), VecDeque::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one; false if it is wanted already.
    pub(super) fn add(&mut self, id: EntryId) -> bool {
        match &mut self.order {
            Some(order) => {
                order.push_back(id);
                true
            }
            None => self.ids.insert(id),
        }
    }

    /// The one that an entry with these bytes stands for: `id` if it is wanted, else one that begins as `prefix`
    /// says, whose bytes were altered. Nothing if no such one may come now.
    pub(super) fn take(&mut self, id: &EntryId, prefix: &[u8; ID_PREFIX]) -> Option<EntryId> {
        if let Some(order) = &mut self.order {
            let fits = order.front().is_some_and(|next| next.as_bytes()[..ID_PREFIX] == *prefix);
            return if fits { order.pop_front() } else { None };
        }
        if id.as_bytes()[..ID_PREFIX] == *prefix
            && let Some(id) = self.ids.take(id)
        {
            return Some(id);
        }
        let mut lowest = [0; EntryId::LEN];
        lowest[..ID_PREFIX].copy_from_slice(prefix);
        let found = self.ids.range(EntryId::from_bytes(lowest)..).next().copied();
        let found = found.filter(|found| found.as_bytes()[..ID_PREFIX] == *prefix)?;
        self.ids.take(&found)
    }

    /// This one will not come. False if it was not wanted, or not next.
    pub(super) fn give_up(&mut self, id: &EntryId) -> bool {
        match &mut self.order {
            Some(order) => order.front() == Some(id) && order.pop_front().is_some(),
            None => self.ids.remove(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> EntryId {
        let mut bytes = [0; EntryId::LEN];
        (bytes[0], bytes[EntryId::LEN - 1]) = (first, last);
        EntryId::from_bytes(bytes)
    }

    fn prefix(id: &EntryId) -> [u8; ID_PREFIX] {
        *id.as_bytes().first_chunk().unwrap()
    }

    #[test]
    fn in_any_order_each_is_taken_once_and_in_strict_order_only_the_next() {
        let (a, b, c) = (id(1, 1), id(1, 2), id(2, 0));
        let mut any = Wanted::new(true);
        assert!(any.add(a) && any.add(b) && any.add(c) && !any.add(a));
        assert_eq!(any.take(&c, &prefix(&c)), Some(c));
        assert_eq!(any.take(&c, &prefix(&c)), None);
        assert_eq!(any.take(&b, &prefix(&b)), Some(b));
        assert_eq!(any.take(&id(9, 9), &prefix(&a)), Some(a), "altered bytes under a wanted name");
        assert!(any.is_empty() && !any.give_up(&a));
        let mut strict = Wanted::new(false);
        assert!(strict.add(a) && strict.add(c));
        assert_eq!((strict.take(&c, &prefix(&c)), strict.give_up(&c)), (None, false));
        assert_eq!(strict.take(&a, &prefix(&a)), Some(a));
        assert!(strict.give_up(&c) && strict.is_empty());
    }
}
