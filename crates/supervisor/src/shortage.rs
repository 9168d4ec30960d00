//! Lack of room: the kernel refuses processes, or takes them away for want of memory.
//!
//! More starts only make it worse, and no slot is to blame. So the whole pool waits, longer each
//! time, then tries with one worker; when that one is ready, there is room again. The waits start
//! anew only after a stable life: what is ready can still be taken away a moment later.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::random::Random;
use crate::{Ending, Plan, Tick};

/// sysexits' `EX_TEMPFAIL`: by this status a worker or a zygote says that it is short of resources.
pub(crate) const STATUS: i32 = 75;
const SIGKILL: i32 = 9;

#[derive(Clone, Debug, Default)]
pub(crate) struct Shortage {
    backoff: Backoff,
    /// Of the latest refusal, until there is room again.
    refused_at: Option<Tick>,
}

impl Shortage {
    /// Counts a refusal; how many there were in a row, and how long we wait now. `None` when a
    /// wait is running: that one was asked for before we knew.
    pub(crate) fn count(
        &mut self,
        now: Tick,
        plan: &Plan,
        random: &mut Random,
    ) -> Option<(u32, Duration)> {
        if self.backoff.until().is_some() {
            return None;
        }
        self.refused_at = Some(now);
        Some(self.backoff.count_death(now, plan, random))
    }

    pub(crate) fn let_time_pass(&mut self, now: Tick) {
        self.backoff.let_time_pass(now);
    }

    /// Until when nothing is started; `None` = now.
    pub(crate) fn until(&self) -> Option<Tick> {
        self.backoff.until()
    }

    /// Whether a worker may be started; `under_way` are on their way.
    pub(crate) fn allows_start(&self, under_way: usize) -> bool {
        self.refused_at.is_none() || self.until().is_none() && under_way == 0
    }

    /// A worker that was asked for at that time is ready; true when this ends a shortage.
    pub(crate) fn is_ended_by(&mut self, asked_at: Tick) -> bool {
        let ends = self.refused_at.is_some_and(|refused_at| asked_at > refused_at);
        if ends {
            self.refused_at = None;
        }
        ends
    }

    /// A worker has had a stable life: the next refusal is the first one again.
    pub(crate) fn forget(&mut self) {
        if self.refused_at.is_none() {
            self.backoff.forget();
        }
    }
}

/// Whether an end that nobody asked for tells of a shortage: its own word, or KILL from outside
/// in the boot, which is most often the kernel's for want of memory.
pub(crate) fn is_told_by(ending: Ending, was_ready: bool) -> bool {
    ending == Ending::Exited(STATUS) || ending == Ending::Signaled(SIGKILL) && !was_ready
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000_000)
    }

    #[test]
    fn refusals_during_a_wait_count_once_and_one_try_follows_it() {
        let (mut shortage, mut random) = (Shortage::default(), Random::new(1));
        assert!(shortage.allows_start(5));
        let (count, wait) = shortage.count(at(1), &Plan::default(), &mut random).unwrap();
        assert_eq!(count, 1);
        assert_eq!(shortage.count(at(1), &Plan::default(), &mut random), None);
        assert!(!shortage.allows_start(0));
        shortage.let_time_pass(at(1) + wait);
        assert!(shortage.allows_start(0) && !shortage.allows_start(1));
        assert_eq!(shortage.count(at(3), &Plan::default(), &mut random).map(|c| c.0), Some(2));
    }

    #[test]
    fn only_a_worker_that_was_asked_for_after_the_refusal_shows_that_there_is_room() {
        let (mut shortage, mut random) = (Shortage::default(), Random::new(1));
        assert!(!shortage.is_ended_by(at(1)));
        shortage.count(at(2), &Plan::default(), &mut random);
        assert!(!shortage.is_ended_by(at(1)) && !shortage.is_ended_by(at(2)));
        assert!(shortage.is_ended_by(at(3)) && shortage.allows_start(5));
    }

    #[test]
    fn only_a_stable_life_makes_the_next_refusal_the_first_again() {
        let (mut shortage, mut random) = (Shortage::default(), Random::new(1));
        let mut refuse = |shortage: &mut Shortage, now| {
            shortage.let_time_pass(at(now));
            shortage.count(at(now), &Plan::default(), &mut random).map(|(count, _)| count)
        };
        assert_eq!(refuse(&mut shortage, 2), Some(1));
        shortage.forget();
        assert!(!shortage.allows_start(1), "somebody who has lived for long says nothing of now");
        assert!(shortage.is_ended_by(at(3)));
        assert_eq!(refuse(&mut shortage, 4), Some(2));
        assert!(shortage.is_ended_by(at(5)));
        shortage.forget();
        assert_eq!(refuse(&mut shortage, 6), Some(1));
    }

    #[test]
    fn own_word_and_a_kill_from_outside_tell_of_a_shortage() {
        for was_ready in [false, true] {
            assert!(is_told_by(Ending::Exited(75), was_ready));
            assert_eq!(is_told_by(Ending::Signaled(9), was_ready), !was_ready);
            assert!(!is_told_by(Ending::Exited(1), was_ready));
            assert!(!is_told_by(Ending::Signaled(11), was_ready));
        }
    }
}
