//! 9: Deaths that no stable life lies between are followed by growing waits, and nobody is asked
//! for before the wait is over; nobody at all where somebody has asked for that.

use std::collections::BTreeMap;

use remuda_supervisor::{
    Action, Ending, Event, Generation, Notice, Pid, SlotId, Tick, WorkerState,
};

use super::{Invariant, Step, Violation};

const NAME: &str = "backoff";

#[derive(Default)]
pub(super) struct Backoff {
    slots: BTreeMap<SlotId, Waiting>,
    closed: BTreeMap<SlotId, Generation>,
    is_looping: bool,
}

/// What was said of one slot.
#[derive(Clone, Copy)]
struct Waiting {
    deaths: u32,
    until: Tick,
}

impl Invariant for Backoff {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.actions.contains(&Action::TakeBack) {
            self.slots.clear();
            self.is_looping = false;
        }
        if let Event::ZygoteReady { generation } = *step.event
            && step.before.reloading == Some(generation)
        {
            // How the old code died says nothing about the new.
            self.slots.clear();
            self.is_looping = false;
        }
        for notice in step.notices() {
            match *notice {
                Notice::BackingOff { slot, deaths, wait } => {
                    self.wait_grows(step, slot, deaths, wait)?;
                }
                // Waits are not told any more, one by one.
                Notice::CrashLoop { .. } => {
                    self.slots.clear();
                    self.is_looping = true;
                }
                Notice::CrashLoopOver => self.is_looping = false,
                _ => {}
            }
        }
        self.closed.extend(step.closed());
        self.stable_lives_count(step);
        for action in step.actions {
            if let Action::Fork { slot, generation, .. } = action {
                self.wait_is_over(step, *slot, *generation)?;
            }
        }
        self.early_death_is_counted(step)
    }
}

impl Backoff {
    /// When a worker that has had a stable life ends or drains, its slot starts anew.
    fn stable_lives_count(&mut self, step: &Step<'_>) {
        for worker in &step.before.workers {
            let WorkerState::Serving { ready_at, .. } = worker.state else { continue };
            let goes_on = step
                .is(worker.worker)
                .is_some_and(|view| matches!(view.state, WorkerState::Serving { .. }));
            if !goes_on && step.now.since(ready_at) >= step.plan().stable_life {
                self.slots.remove(&worker.slot);
            }
        }
    }

    fn wait_grows(
        &mut self,
        step: &Step<'_>,
        slot: SlotId,
        deaths: u32,
        wait: std::time::Duration,
    ) -> Result<(), Violation> {
        let plan = step.plan();
        let known = self.slots.get(&slot).map_or(0, |waiting| waiting.deaths);
        let doubled = plan.backoff_first.saturating_mul(1 << (deaths.max(1) - 1).min(20));
        let expected = doubled.min(plan.backoff_max);
        let is_near = wait >= expected * 79 / 100 && wait <= expected * 121 / 100;
        // Some may have been counted untold, in a crash loop.
        let is_next = deaths == known + 1 || deaths == 1 || known == 0;
        if !is_next || !is_near {
            let what = format!("slot {}: death {deaths} after {known} waits {wait:?}", slot.0);
            return Err(step.violation(NAME, what));
        }
        self.slots.insert(slot, Waiting { deaths, until: step.now + wait });
        Ok(())
    }

    fn wait_is_over(
        &self,
        step: &Step<'_>,
        slot: SlotId,
        generation: Generation,
    ) -> Result<(), Violation> {
        if self.closed.get(&slot).is_some_and(|&closed| closed >= generation) {
            return Err(step.violation(NAME, format!("slot {} is closed, and filled", slot.0)));
        }
        match self.slots.get(&slot) {
            Some(waiting) if waiting.until > step.now => {
                let left = waiting.until.since(step.now);
                let what = format!("slot {} is filled {left:?} before its wait is over", slot.0);
                Err(step.violation(NAME, what))
            }
            _ => Ok(()),
        }
    }

    /// A death that nobody asked for, without a stable life before it, costs a wait.
    fn early_death_is_counted(&self, step: &Step<'_>) -> Result<(), Violation> {
        let Event::Exited { pid, ending } = *step.event else { return Ok(()) };
        let Some(slot) = died_early(step, pid).filter(|_| step.is_running()) else {
            return Ok(());
        };
        let counted = |notice: &Notice| match notice {
            Notice::BackingOff { slot: counted, .. } | Notice::SlotClosed { slot: counted, .. } => {
                *counted == slot
            }
            Notice::ReloadGivenUp { .. } => ending == Ending::Exited(78),
            _ => false,
        };
        let was_ready =
            step.before.workers.iter().any(|worker| {
                worker.slot == slot && worker.pid == Some(pid) && worker.is_serving()
            });
        let by_others = match ending {
            Ending::Exited(75) => true,
            Ending::Signaled(9) => !was_ready,
            _ => false,
        };
        if by_others || self.is_looping || step.notices().any(counted) {
            return Ok(());
        }
        Err(step.violation(NAME, format!("an early death in slot {} is not counted", slot.0)))
    }
}

fn died_early(step: &Step<'_>, pid: Pid) -> Option<SlotId> {
    let worker = step.before.workers.iter().find(|worker| worker.pid == Some(pid))?;
    match worker.state {
        WorkerState::Booting { .. } => Some(worker.slot),
        WorkerState::Serving { ready_at, .. }
            if step.now.since(ready_at) < step.plan().stable_life =>
        {
            Some(worker.slot)
        }
        _ => None,
    }
}
