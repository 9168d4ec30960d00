//! Time in which we ourselves stood still (a frozen container, a suspended machine, SIGSTOP).
//!
//! What froze us has most often frozen the workers too, while the clock ran on: all of them then
//! look hung although none is. So a gap between two events that is too long for scheduling is not
//! counted as a worker's standing. One that truly hangs is found a little later: at most by the
//! length of its limit after we went on. The runtime samples every second or more often, so that a
//! gap without cause does not occur while there are workers.

use std::time::Duration;

use crate::Tick;

/// A gap above this is never scheduling.
const GAP_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standstill {
    last_event: Tick,
    /// Nobody was judged until then, so nobody looked.
    unwatched_until: Tick,
    /// The latest gap ended then.
    ended: Tick,
    /// Length of it, and of those shortly before.
    length: Duration,
    /// The longest limit so far: workers are judged by earlier settings as well.
    longest: Duration,
}

impl Standstill {
    /// Looks at the time of every event. `limits`: the shortest and the longest that somebody is
    /// judged by; `None` = nobody is.
    pub(crate) fn observe(&mut self, now: Tick, limits: Option<(Duration, Duration)>) {
        let last_event = std::mem::replace(&mut self.last_event, now);
        let Some((shortest, longest)) = limits else {
            *self = Self { last_event: now, unwatched_until: now, ..Self::default() };
            return;
        };
        self.longest = self.longest.max(longest);
        let gap = now.since(last_event);
        if last_event == Tick::default() || gap <= (shortest / 2).min(GAP_MAX) {
            return;
        }
        // Whoever has stood since before an older gap has been judged by now.
        if last_event.since(self.ended) > self.longest {
            self.length = Duration::ZERO;
        }
        self.ended = now;
        self.length += gap;
    }

    /// How long somebody has stood who stands since `since`, in time in which we ran.
    pub(crate) fn stood(&self, since: Tick, now: Tick) -> Duration {
        let since = since.max(self.unwatched_until);
        let stood = now.since(since);
        if since < self.ended { stood.saturating_sub(self.length) } else { stood }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Option<(Duration, Duration)> =
        Some((Duration::from_secs(30), Duration::from_secs(30)));

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000_000)
    }

    fn secs(length: u64) -> Duration {
        Duration::from_secs(length)
    }

    fn observed(times: impl IntoIterator<Item = u64>) -> Standstill {
        let mut standstill = Standstill::default();
        times.into_iter().for_each(|time| standstill.observe(at(time), TIMEOUT));
        standstill
    }

    #[test]
    fn a_gap_does_not_count_and_the_time_around_it_does() {
        let standstill = observed([100, 101, 102, 202, 203]);
        assert_eq!(standstill.stood(at(100), at(203)), secs(3));
        assert_eq!(standstill.stood(at(202), at(203)), secs(1), "began after the gap");
    }

    #[test]
    fn gaps_add_up_as_long_as_somebody_may_have_stood_through_all_of_them() {
        let standstill = observed([100, 110, 111, 121]);
        assert_eq!(standstill.stood(at(100), at(121)), secs(1));
    }

    #[test]
    fn gap_that_is_just_as_old_as_the_timeout_still_adds_up() {
        let standstill = observed([100, 200].into_iter().chain(201..=230).chain([240]));
        assert_eq!(standstill.stood(at(199), at(240)), secs(0), "41 s, of which 110 do not count");
        assert_eq!(standstill.stood(at(100), at(240)), secs(30));
    }

    #[test]
    fn an_old_gap_is_forgotten_at_the_next() {
        let standstill = observed([100, 200].into_iter().chain(201..=240).chain([250]));
        assert_eq!(standstill.stood(at(239), at(250)), secs(1));
    }

    #[test]
    fn a_short_gap_is_scheduling() {
        let standstill = observed([100, 102]);
        assert_eq!(standstill.stood(at(100), at(102)), secs(2));
        let mut quick = Standstill::default();
        quick.observe(at(100), Some((secs(1), secs(30))));
        quick.observe(at(101), Some((secs(1), secs(30))));
        assert_eq!(quick.stood(at(100), at(101)), secs(0), "half a short timeout is long");
    }

    #[test]
    fn time_in_which_nobody_was_judged_is_nobodys() {
        let mut standstill = Standstill::default();
        standstill.observe(at(100), None);
        standstill.observe(at(300), None);
        standstill.observe(at(301), TIMEOUT);
        assert_eq!(standstill.stood(at(100), at(301)), secs(1));
    }

    #[test]
    fn the_first_event_ends_no_gap() {
        assert_eq!(observed([100]).stood(at(10), at(100)), secs(90));
    }
}
