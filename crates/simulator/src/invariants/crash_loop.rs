//! 20: In a crash loop no more workers are started within a window than the limit allows, one at a
//! time, and the log gets one summary a window and no line a wait. A loop ends when a worker has
//! had a stable life, or with new code.

use remuda_supervisor::{Action, Event, Notice, Tick};

use super::{Invariant, Step, Violation, is_under_way};

const NAME: &str = "crash_loop";

#[derive(Default)]
pub(super) struct CrashLoop {
    since: Option<Tick>,
    next_start: Option<Tick>,
    last_summary: Option<Tick>,
}

impl Invariant for CrashLoop {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.actions.contains(&Action::TakeBack) {
            *self = Self::default();
        }
        if let Event::ZygoteReady { generation } = *step.event
            && step.before.reloading == Some(generation)
        {
            *self = Self::default();
        }
        let was_looping = self.since.is_some();
        for notice in step.notices() {
            match notice {
                Notice::CrashLoop { .. } => self.summary(step)?,
                Notice::CrashLoopOver => self.is_over(step)?,
                Notice::BackingOff { .. } if was_looping => {
                    return Err(step.violation(NAME, format!("told in a loop: {notice:?}")));
                }
                _ => {}
            }
        }
        self.starts_are_rare(step)
    }
}

impl CrashLoop {
    fn summary(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.since.get_or_insert(step.now);
        let last = self.last_summary.replace(step.now);
        let window = |last| step.plans_since(last).map(|plan| plan.crash_loop_window).min();
        if last.is_some_and(|last| Some(step.now.since(last)) < window(last)) {
            return Err(step.violation(NAME, "a summary comes too soon".to_owned()));
        }
        Ok(())
    }

    fn is_over(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Some(since) = self.since else {
            return Err(step.violation(NAME, "over, and there was none".to_owned()));
        };
        *self = Self::default();
        let stable = |worker: &remuda_supervisor::WorkerView| match worker.state {
            remuda_supervisor::WorkerState::Serving { ready_at, .. } => {
                ready_at >= since && step.now.since(ready_at) >= step.plan().stable_life
            }
            _ => false,
        };
        if step.before.workers.iter().any(stable) {
            return Ok(());
        }
        Err(step.violation(NAME, "over, and nobody has had a stable life".to_owned()))
    }

    fn starts_are_rare(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let starts = step.actions.iter().filter(|action| matches!(action, Action::Fork { .. }));
        let starts = starts.count();
        if self.since.is_none() || starts == 0 {
            return Ok(());
        }
        let plan = step.plan();
        // At least two a worker are always allowed.
        let limit = plan.crash_loop_limit.max(2 * u32::from(step.after.wanted));
        let pace = plan.crash_loop_window / limit;
        let next = self.next_start.replace(step.now + pace);
        let too_soon = next.is_some_and(|next| step.now < next);
        let others = step.before.workers.iter().filter(|worker| is_under_way(worker)).count();
        if starts > 1 || too_soon || others > 0 && step.is_running() && still(step) > 1 {
            let what =
                format!("{starts} starts in a crash loop, {others} under way, next {next:?}");
            return Err(step.violation(NAME, what));
        }
        Ok(())
    }
}

/// Under way after the step.
fn still(step: &Step<'_>) -> usize {
    step.after.workers.iter().filter(|worker| is_under_way(worker)).count()
}
