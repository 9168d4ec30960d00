//! The requests inside one worker, oldest first; kept by the worker for itself.
//!
//! The board shows the oldest one. When that has ended the next one's method and path must still
//! be known, so they are kept here. Requests end in any order, and some stay for hours, so this is
//! a list through slots that are used again, and not a queue.

use crate::block::Text;

/// Marks the end of the list.
const NONE: u32 = u32::MAX;

/// A request that has begun and not ended.
#[must_use = "a request that is never ended makes its worker look hung"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    at: u32,
    start_ns: u64,
}

impl Ticket {
    /// When the request began, nanoseconds of [`crate::now_ns`].
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }
}

#[derive(Debug)]
struct Slot<const WORDS: usize> {
    start_ns: u64,
    /// Its limits of time count from so much later.
    put_off_ns: u64,
    older: u32,
    newer: u32,
    text: Text<WORDS>,
}

/// The requests inside one worker.
#[derive(Debug)]
pub(crate) struct InFlight<const WORDS: usize> {
    slots: Vec<Slot<WORDS>>,
    /// Slots that nobody has; linked by `newer`.
    free: u32,
    oldest: u32,
    newest: u32,
    /// How many have put off their limits: hardly ever one.
    put_off: u32,
}

impl<const WORDS: usize> Default for InFlight<WORDS> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: NONE, oldest: NONE, newest: NONE, put_off: 0 }
    }
}

impl<const WORDS: usize> InFlight<WORDS> {
    pub(crate) fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    /// A request begins; its text is still to be set.
    #[inline]
    pub(crate) fn begin(&mut self, start_ns: u64) -> (Ticket, &mut Text<WORDS>) {
        let at = match self.free {
            NONE => {
                let at = self.slots.len() as u32;
                let text = Text::EMPTY;
                self.slots.push(Slot { start_ns, put_off_ns: 0, older: NONE, newer: NONE, text });
                at
            }
            at => {
                self.free = self.slots[at as usize].newer;
                at
            }
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.slots[newest as usize].newer = at,
        }
        let slot = &mut self.slots[at as usize];
        (slot.start_ns, slot.older, slot.newer) = (start_ns, self.newest, NONE);
        slot.put_off_ns = 0;
        self.newest = at;
        (Ticket { at, start_ns }, &mut slot.text)
    }

    /// A request has ended; true when it was the oldest.
    #[inline]
    pub(crate) fn end(&mut self, Ticket { at, .. }: Ticket) -> bool {
        let Some(slot) = self.slots.get_mut(at as usize) else { return false };
        let (older, newer) = (slot.older, slot.newer);
        self.put_off -= u32::from(slot.put_off_ns > 0);
        (slot.newer, self.free) = (self.free, at);
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        older == NONE
    }

    /// Puts off the limits of one by so much more.
    pub(crate) fn put_off(&mut self, Ticket { at, .. }: Ticket, length_ns: u64) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        self.put_off += u32::from(slot.put_off_ns == 0 && length_ns > 0);
        slot.put_off_ns = slot.put_off_ns.saturating_add(length_ns);
    }

    /// Start and text of the oldest.
    pub(crate) fn oldest(&self) -> Option<(u64, &Text<WORDS>)> {
        let slot = self.slots.get(self.oldest as usize)?;
        Some((slot.start_ns, &slot.text))
    }

    /// Whether somebody has put off limits.
    #[inline]
    pub(crate) fn has_put_off(&self) -> bool {
        self.put_off > 0
    }

    /// From when the limits of the oldest count, and those of the one for which they count from
    /// last; 0 = from its start, or from the start of the latest.
    pub(crate) fn put_off_until(&self) -> (u64, u64) {
        let until = |slot: &Slot<WORDS>| match slot.put_off_ns {
            0 => 0,
            length => slot.start_ns.saturating_add(length),
        };
        let (mut at, mut last) = (self.oldest, 0);
        while let Some(slot) = self.slots.get(at as usize) {
            last = last.max(until(slot));
            at = slot.newer;
        }
        (self.slots.get(self.oldest as usize).map_or(0, until), last)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain list of starts, from which any may be taken.
        #[test]
        fn the_oldest_is_known_whatever_ends_first(steps in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut in_flight = InFlight::<2>::default();
            let mut model: VecDeque<(u64, Ticket)> = VecDeque::new();
            let mut most = 0;
            for (step, start) in steps.into_iter().zip(1..) {
                if step % 2 == 0 || model.is_empty() {
                    model.push_back((start, in_flight.begin(start).0));
                } else {
                    let at = usize::from(step / 2) % model.len();
                    let (_, ticket) = model.remove(at).expect("it is there");
                    prop_assert_eq!(in_flight.end(ticket), at == 0);
                }
                most = most.max(model.len());
                let oldest = in_flight.oldest().map(|(start, _)| start);
                prop_assert_eq!(oldest, model.front().map(|(start, _)| *start));
                prop_assert_eq!(in_flight.is_empty(), model.is_empty());
            }
            prop_assert_eq!(in_flight.slots.len(), most, "slots are used again");
        }
    }
}
