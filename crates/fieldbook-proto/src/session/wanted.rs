//! What this side has asked for and not got yet.

use std::collections::{BTreeMap, VecDeque};

use super::limits::ID_PREFIX;
use crate::EntryId;

/// Wanted entries. A peer that can be declined to sends them in any order, so that what is urgent overtakes; one
/// of an earlier version in the order in which they were wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Each with its size, as the peer said.
    ids: BTreeMap<EntryId, u32>,
    bytes: u64,
    /// In strict order only.
    order: Option<VecDeque<EntryId>>,
}

impl Wanted {
    pub(super) fn new(any_order: bool) -> Self {
        Self { order: (!any_order).then(VecDeque::new), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.order.as_ref().map_or(self.ids.len(), VecDeque::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their bytes, as far as the peer has told.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds one; false if it is wanted already. Its size is 0 where the peer does not tell.
    pub(super) fn add(&mut self, id: EntryId, size: u32) -> bool {
        match &mut self.order {
            Some(order) => {
                order.push_back(id);
                true
            }
            None if self.ids.contains_key(&id) => false,
            None => {
                self.ids.insert(id, size);
                self.bytes += u64::from(size);
                true
            }
        }
    }

    /// The one that an entry with these bytes stands for: `id` if it is wanted, else one that begins as `prefix`
    /// says, whose bytes were altered. Nothing if no such one may come now.
    pub(super) fn take(&mut self, id: &EntryId, prefix: &[u8; ID_PREFIX]) -> Option<EntryId> {
        if let Some(order) = &mut self.order {
            let fits = order.front().is_some_and(|next| next.as_bytes()[..ID_PREFIX] == *prefix);
            return if fits { order.pop_front() } else { None };
        }
        if id.as_bytes()[..ID_PREFIX] == *prefix && self.remove(id) {
            return Some(*id);
        }
        let mut lowest = [0; EntryId::LEN];
        lowest[..ID_PREFIX].copy_from_slice(prefix);
        let found = self.ids.range(EntryId::from_bytes(lowest)..).next().map(|(id, _)| *id);
        let found = found.filter(|found| found.as_bytes()[..ID_PREFIX] == *prefix)?;
        self.remove(&found).then_some(found)
    }

    /// This one will not come. False if it was not wanted, or not next.
    pub(super) fn give_up(&mut self, id: &EntryId) -> bool {
        match &mut self.order {
            Some(order) => order.front() == Some(id) && order.pop_front().is_some(),
            None => self.remove(id),
        }
    }

    fn remove(&mut self, id: &EntryId) -> bool {
        let size = self.ids.remove(id);
        self.bytes = self.bytes.saturating_sub(size.map_or(0, u64::from));
        size.is_some()
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
        assert!(any.add(a, 5) && any.add(b, 6) && any.add(c, 7) && !any.add(a, 8));
        assert_eq!(any.bytes(), 18);
        assert_eq!(any.take(&c, &prefix(&c)), Some(c));
        assert_eq!(any.take(&c, &prefix(&c)), None);
        assert_eq!(any.bytes(), 11);
        assert_eq!(any.take(&b, &prefix(&b)), Some(b));
        assert_eq!(any.take(&id(9, 9), &prefix(&a)), Some(a), "altered bytes under a wanted name");
        assert!(any.is_empty() && any.bytes() == 0 && !any.give_up(&a));
        let mut strict = Wanted::new(false);
        assert!(strict.add(a, 0) && strict.add(c, 0));
        assert_eq!((strict.take(&c, &prefix(&c)), strict.give_up(&c)), (None, false));
        assert_eq!(strict.take(&a, &prefix(&a)), Some(a));
        assert!(strict.give_up(&c) && strict.is_empty());
    }
}
