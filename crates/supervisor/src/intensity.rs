//! Crash loops: how many early deaths the whole pool may have, and how it goes on after too many.
//!
//! Each slot has its own growing wait (`backoff`). With many slots that is still a crowd that boots
//! and dies, so the pool has a limit as well: after so many early deaths within a window it is in a
//! *crash loop*. From then on one worker is started at a time, as seldom as the limit allows, the
//! log gets a summary instead of a line a wait, and the first worker that has had a stable life
//! ends it. Lack of room is another thing (`shortage`): there the app is not to blame.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Plan, Tick};

/// The early deaths of the pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intensity {
    /// Within the window, oldest first; as many as the limit at most.
    deaths: VecDeque<Tick>,
    looping: Option<Looping>,
}

#[derive(Clone, Copy, Debug)]
struct Looping {
    since: Tick,
    /// No start before then; `None` = now.
    next_start: Option<Tick>,
    next_summary: Tick,
    /// Since the last summary.
    deaths: u32,
}

/// The numbers of one crash loop, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) deaths: u32,
    /// Between two starts.
    pub(crate) pace: Duration,
}

impl Intensity {
    /// Counts an early death; gives a summary when it was the one that makes a loop.
    pub(crate) fn count_death(&mut self, now: Tick, wanted: u16, plan: &Plan) -> Option<Summary> {
        let limit = limit(wanted, plan)?;
        if let Some(looping) = &mut self.looping {
            looping.deaths = looping.deaths.saturating_add(1);
            return None;
        }
        self.deaths.push_back(now);
        while self.deaths.len() > limit as usize
            || self.deaths.front().is_some_and(|&at| now.since(at) > plan.crash_loop_window)
        {
            self.deaths.pop_front();
        }
        if self.deaths.len() < limit as usize {
            return None;
        }
        let pace = plan.crash_loop_window / limit;
        let (next_start, next_summary) = (Some(now + pace), now + plan.crash_loop_window);
        self.looping = Some(Looping { since: now, next_start, next_summary, deaths: 0 });
        self.deaths.clear();
        Some(Summary { deaths: limit, pace })
    }

    /// A summary, when one is due.
    pub(crate) fn summary(&mut self, now: Tick, wanted: u16, plan: &Plan) -> Option<Summary> {
        let pace = plan.crash_loop_window / limit(wanted, plan)?;
        let looping = self.looping.as_mut().filter(|looping| looping.next_summary <= now)?;
        looping.next_summary = now + plan.crash_loop_window;
        Some(Summary { deaths: std::mem::take(&mut looping.deaths), pace })
    }

    pub(crate) fn is_looping(&self) -> bool {
        self.looping.is_some()
    }

    /// Whether a worker may be started now; `under_way` are on their way.
    pub(crate) fn allows_start(&self, under_way: usize) -> bool {
        self.looping.is_none_or(|looping| under_way == 0 && looping.next_start.is_none())
    }

    pub(crate) fn count_start(&mut self, now: Tick, wanted: u16, plan: &Plan) {
        if let (Some(looping), Some(limit)) = (&mut self.looping, limit(wanted, plan)) {
            looping.next_start = Some(now + plan.crash_loop_window / limit);
        }
    }

    /// Whether a worker that has been ready since then shows that the loop is over.
    pub(crate) fn is_ended_by(&self, ready_at: Tick, now: Tick, plan: &Plan) -> bool {
        self.looping.is_some_and(|looping| {
            ready_at >= looping.since && now.since(ready_at) >= plan.stable_life
        })
    }

    /// When a worker that has been ready since then will have shown it.
    pub(crate) fn would_end(&self, ready_at: Tick, plan: &Plan) -> Option<Tick> {
        let looping = self.looping?;
        (ready_at >= looping.since).then(|| ready_at + plan.stable_life)
    }

    /// What was counted says nothing about what comes.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Ends the wait for the next start when its time has come, so that no deadline stays behind
    /// in the past.
    pub(crate) fn let_time_pass(&mut self, now: Tick) {
        if let Some(looping) = &mut self.looping {
            looping.next_start = looping.next_start.filter(|&at| at > now);
        }
    }

    /// When something is to be looked at: the next start, the next summary.
    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        let looping = self.looping?;
        looping.next_start.into_iter().chain([looping.next_summary]).min()
    }
}

/// Early deaths that make a loop. At least two a worker, so that one bad moment for all of them is
/// not a loop; `None` = there is no limit.
fn limit(wanted: u16, plan: &Plan) -> Option<u32> {
    (plan.crash_loop_limit > 0).then(|| plan.crash_loop_limit.max(2 * u32::from(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { crash_loop_limit: 4, crash_loop_window: Duration::from_secs(60), ..Plan::default() }
    }

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000_000)
    }

    /// Counts deaths at these times; whether one of them made a loop.
    fn loops(wanted: u16, plan: &Plan, times: &[u64]) -> bool {
        let mut intensity = Intensity::default();
        times.iter().any(|&time| intensity.count_death(at(time), wanted, plan).is_some())
    }

    #[test]
    fn as_many_deaths_as_the_limit_within_the_window_make_a_loop() {
        assert!(!loops(1, &plan(), &[1, 2, 3]));
        assert!(loops(1, &plan(), &[1, 2, 3, 61]));
        assert!(!loops(1, &plan(), &[1, 2, 3, 62]), "the first lies outside");
        assert!(loops(1, &plan(), &[1, 50, 61, 62, 63]));
    }

    #[test]
    fn two_deaths_a_worker_are_always_allowed() {
        assert!(!loops(4, &plan(), &[1; 7]));
        assert!(loops(4, &plan(), &[1; 8]));
    }

    #[test]
    fn limit_of_zero_is_no_limit() {
        assert!(!loops(1, &Plan { crash_loop_limit: 0, ..plan() }, &[1; 1000]));
    }

    #[test]
    fn starts_are_spread_over_the_window() {
        let mut intensity = Intensity::default();
        let made = (0..4).filter_map(|_| intensity.count_death(at(100), 1, &plan())).last();
        assert_eq!(made, Some(Summary { deaths: 4, pace: Duration::from_secs(15) }));
        intensity.let_time_pass(at(114));
        assert!(!intensity.allows_start(0));
        intensity.let_time_pass(at(115));
        assert!(intensity.allows_start(0));
        assert!(!intensity.allows_start(1), "one at a time");
        assert_eq!(intensity.next_deadline(), Some(at(160)), "the summary");
        intensity.count_start(at(115), 1, &plan());
        assert_eq!(intensity.next_deadline(), Some(at(130)));
    }

    #[test]
    fn summary_comes_once_a_window_with_the_deaths_since_the_last() {
        let mut intensity = Intensity::default();
        for time in 1..=6 {
            intensity.count_death(at(time), 1, &plan());
        }
        assert_eq!(intensity.summary(at(63), 1, &plan()), None);
        let deaths = |summary: Option<Summary>| summary.map(|summary| summary.deaths);
        let summary = intensity.summary(at(64), 1, &plan());
        assert_eq!(summary, Some(Summary { deaths: 2, pace: Duration::from_secs(15) }));
        assert_eq!(deaths(intensity.summary(at(65), 1, &plan())), None);
        assert_eq!(deaths(intensity.summary(at(124), 1, &plan())), Some(0));
    }

    #[test]
    fn stable_life_that_began_in_the_loop_ends_it() {
        let mut intensity = Intensity::default();
        for _ in 0..4 {
            intensity.count_death(at(100), 1, &plan());
        }
        let ended = |ready, now| intensity.is_ended_by(at(ready), at(now), &plan());
        assert!(!ended(99, 200), "it lived before");
        assert!(!ended(100, 109));
        assert!(ended(100, 110));
        assert_eq!(intensity.would_end(at(100), &plan()), Some(at(110)));
        assert_eq!(intensity.would_end(at(99), &plan()), None);
    }
}
