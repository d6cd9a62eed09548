//! Offers, and what the peer answers to them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::Event;
use super::super::decline::Decline;
use super::super::error::Fault;
use super::super::frame::Frame;
use super::super::limits::{OFFER_IDS_MAX, OFFERED_MAX, PAGE};
use super::{Item, Outgoing, Pass};

impl Outgoing {
    pub(super) fn offer_frame(&mut self) -> Option<Bytes> {
        if !self.overtaking_offer.is_empty() {
            let count = self.overtaking_offer.len().min(OFFER_IDS_MAX);
            if self.open + count > OFFERED_MAX {
                return None;
            }
            let items = self.overtaking_offer.drain(..count).collect();
            return Some(self.offer(items));
        }
        let count = self.to_offer.len().min(OFFER_IDS_MAX);
        let worth_it = count >= PAGE || (count > 0 && (self.page_end || self.is_full()));
        // Room is left for what overtakes.
        let most = if self.sized { OFFERED_MAX - OFFER_IDS_MAX } else { OFFERED_MAX };
        if !worth_it || self.open + count > most {
            return None;
        }
        let items = self.to_offer.drain(..count).collect();
        Some(self.offer(items))
    }

    fn offer(&mut self, mut items: Vec<Item>) -> Bytes {
        for item in &mut items {
            item.asked = true;
        }
        self.open += items.len();
        self.has_offered = true;
        let frame = if self.sized {
            Frame::SizedOffer(items.iter().map(|item| (item.id, item.told_size())).collect())
        } else {
            Frame::Offer(items.iter().map(|item| item.id).collect())
        };
        self.offered.push_back(items);
        frame.encode().into()
    }

    /// No more differences are taken before some are settled: then no frame waits to be filled.
    fn is_full(&self) -> bool {
        self.pass == Pass::Differences && !self.takes_differences()
    }

    pub(super) fn past_frame(&mut self) -> Option<Bytes> {
        let count = self.past.len().min(OFFER_IDS_MAX);
        let worth_it = count >= PAGE || (count > 0 && (self.page_end || self.is_full()));
        worth_it.then(|| Frame::Past(self.past.drain(..count).collect()).encode().into())
    }

    /// The peer's answer to the oldest offer: which it wants, and which of the others it declines.
    pub(in super::super) fn want(
        &mut self,
        flags: &[bool],
        declined: &[(u16, Decline)],
        events: &mut VecDeque<Event>,
    ) -> Result<(), Fault> {
        let items = self.offered.pop_front().ok_or(Fault::Unasked)?;
        if items.len() != flags.len() {
            return Err(Fault::Unasked);
        }
        self.answered += items.len() as u64;
        let known = items.iter().zip(flags).enumerate().filter(|(at, (_, wanted))| {
            !**wanted && declined.binary_search_by_key(at, |(offset, _)| usize::from(*offset)).is_err()
        });
        let known: Vec<_> = known.map(|(_, (item, _))| item.id).collect();
        if !known.is_empty() {
            events.push_back(Event::Knows(known));
        }
        let declined: Vec<_> =
            declined.iter().filter_map(|(at, why)| Some((*items.get(usize::from(*at))?, *why))).collect();
        self.decline(&declined, events);
        for (item, wanted) in items.into_iter().zip(flags) {
            if *wanted {
                self.waiting += 1;
                self.waiting_bytes += u64::from(item.size);
            }
            if *wanted && self.overtakes(&item) {
                self.overtaking.push_back(item);
            } else if *wanted {
                self.queue.push_back(item);
            } else {
                self.open = self.open.saturating_sub(1);
            }
        }
        Ok(())
    }
}
