//! Exits of processes that we do not know yet.
//!
//! A worker can die before the zygote's answer about its fork is read, because exits and answers
//! arrive on different ways. As long as an answer is owed, unknown exits are remembered, so that
//! the answer finds its worker dead instead of waiting for an exit that was already handled. When
//! no answer is owed they are dropped: the kernel may use the number for somebody else. For the
//! same reason an exit says nothing about a process that was asked for only after it.

use std::collections::VecDeque;

use crate::{Ending, Generation, Pid, WorkerId};

/// Most exits remembered; the oldest is dropped first. Far above what orphans of orphans (we are a
/// subreaper) come to while an answer is owed, and still only some 100 KB.
const STRANGERS_MAX: usize = 4096;

/// The latest that had been asked for at some time: whoever has a higher number came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) worker: WorkerId,
    pub(crate) generation: Generation,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    exits: VecDeque<(Pid, Ending, Latest)>,
}

impl Strangers {
    pub(crate) fn remember(&mut self, pid: Pid, ending: Ending, latest: Latest) {
        if self.exits.len() == STRANGERS_MAX {
            self.exits.pop_front();
        }
        self.exits.push_back((pid, ending, latest));
    }

    /// The exit of this worker, if it came before we knew whose it is.
    pub(crate) fn take_worker(&mut self, id: WorkerId, pid: Pid) -> Option<Ending> {
        self.take(pid, |latest| latest.worker >= id)
    }

    /// The exit of this zygote, if it came before we knew whose it is.
    pub(crate) fn take_zygote(&mut self, generation: Generation, pid: Pid) -> Option<Ending> {
        self.take(pid, |latest| latest.generation >= generation)
    }

    fn take(&mut self, pid: Pid, was_asked_for: impl Fn(Latest) -> bool) -> Option<Ending> {
        let is_it =
            |&(known, _, latest): &(Pid, Ending, Latest)| known == pid && was_asked_for(latest);
        let at = self.exits.iter().rposition(is_it)?;
        self.exits.remove(at).map(|(_, ending, _)| ending)
    }

    pub(crate) fn forget(&mut self) {
        self.exits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATEST: Latest = Latest { worker: WorkerId(5), generation: Generation(2) };

    #[test]
    fn only_the_latest_are_remembered_and_each_is_taken_once() {
        let mut strangers = Strangers::default();
        for pid in 0..5000 {
            strangers.remember(Pid(pid), Ending::Exited(0), LATEST);
        }
        let mut take = |pid| strangers.take_worker(WorkerId(5), Pid(pid));
        assert_eq!(take(903), None);
        assert_eq!(take(904), Some(Ending::Exited(0)));
        assert_eq!(take(904), None);
    }

    #[test]
    fn an_exit_says_nothing_about_who_was_asked_for_after_it() {
        let mut strangers = Strangers::default();
        strangers.remember(Pid(7), Ending::Exited(0), LATEST);
        assert_eq!(strangers.take_worker(WorkerId(6), Pid(7)), None);
        assert_eq!(strangers.take_zygote(Generation(3), Pid(7)), None);
        assert_eq!(strangers.take_zygote(Generation(2), Pid(7)), Some(Ending::Exited(0)));
    }
}
