//! The growing wait after deaths that no stable life lies between, for one slot or the zygote.

use std::time::Duration;

use crate::random::Random;
use crate::{Plan, Tick};

/// How often something died in a row, and until when we wait before we try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    deaths: u32,
    until: Option<Tick>,
}

impl Backoff {
    /// Counts one death and returns how many there were in a row and how long we wait now:
    /// `backoff_first`, doubled with each further death up to `backoff_max`, ±20 % so that slots
    /// that died together do not boot together for ever.
    pub(crate) fn count_death(
        &mut self,
        now: Tick,
        plan: &Plan,
        random: &mut Random,
    ) -> (u32, Duration) {
        self.deaths = self.deaths.saturating_add(1);
        let doublings = (self.deaths - 1).min(31);
        let wait = plan.backoff_first.saturating_mul(1 << doublings).min(plan.backoff_max);
        let fifth = u64::try_from((wait / 5).as_nanos()).unwrap_or(u64::MAX / 4);
        let wait = (wait - wait / 5) + Duration::from_nanos(random.up_to(fifth.saturating_mul(2)));
        self.until = Some(now + wait);
        (self.deaths, wait)
    }

    /// A stable life lies behind: the next death is the first one again.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Ends the wait when its time has come, so that no deadline stays behind in the past.
    pub(crate) fn let_time_pass(&mut self, now: Tick) {
        self.until = self.until.filter(|&until| until > now);
    }

    /// Until when nothing may be tried; `None` = now.
    pub(crate) fn until(&self) -> Option<Tick> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_its_maximum_and_starts_anew_after_a_stable_life() {
        let plan = Plan {
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            ..Plan::default()
        };
        let (mut backoff, mut random) = (Backoff::default(), Random::new(3));
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let (_, wait) = backoff.count_death(Tick(0), &plan, &mut random);
            let expected = Duration::from_millis(expected);
            assert!(wait >= expected * 4 / 5 && wait <= expected * 6 / 5, "{wait:?}");
            assert_eq!(backoff.until(), Some(Tick(0) + wait));
        }
        backoff.forget();
        assert_eq!(backoff.until(), None);
        assert_eq!(backoff.count_death(Tick(0), &plan, &mut random).0, 1);
    }

    #[test]
    fn hundreds_of_deaths_do_not_overflow() {
        let (plan, mut backoff, mut random) = (Plan::default(), Backoff::default(), Random::new(3));
        for _ in 0..500 {
            let (_, wait) = backoff.count_death(Tick(u64::MAX), &plan, &mut random);
            assert!(wait <= plan.backoff_max * 6 / 5);
        }
    }
}
