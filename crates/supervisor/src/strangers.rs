//! Exits of processes that we do not know yet.
//!
//! A worker can die before the zygote's answer about its fork is read, because exits and answers
//! arrive on different ways. As long as an answer is owed, unknown exits are remembered, so that
//! the answer finds its worker dead instead of waiting for an exit that was already handled. When
//! no answer is owed they are dropped: the kernel may use the number for somebody else.

use std::collections::VecDeque;

use crate::{Ending, Pid};

/// Most exits remembered; the oldest is dropped first. Far above what a burst of failed boots
/// gives, low enough that orphans of orphans (we are a subreaper) cannot fill memory.
const STRANGERS_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    exits: VecDeque<(Pid, Ending)>,
}

impl Strangers {
    pub(crate) fn remember(&mut self, pid: Pid, ending: Ending) {
        if self.exits.len() == STRANGERS_MAX {
            self.exits.pop_front();
        }
        self.exits.push_back((pid, ending));
    }

    /// The exit of `pid`, if it came before we knew whose it is.
    pub(crate) fn take(&mut self, pid: Pid) -> Option<Ending> {
        let at = self.exits.iter().position(|&(known, _)| known == pid)?;
        self.exits.remove(at).map(|(_, ending)| ending)
    }

    pub(crate) fn forget(&mut self) {
        self.exits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_are_remembered_and_each_is_taken_once() {
        let mut strangers = Strangers::default();
        for pid in 0..100 {
            strangers.remember(Pid(pid), Ending::Exited(0));
        }
        assert_eq!(strangers.take(Pid(35)), None);
        assert_eq!(strangers.take(Pid(36)), Some(Ending::Exited(0)));
        assert_eq!(strangers.take(Pid(36)), None);
    }
}
