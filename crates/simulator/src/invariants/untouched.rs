//! 6: A candidate that fails leaves the old generation as it was.

use remuda_supervisor::{
    Action, Cause, Event, Generation, Notice, WorkerId, WorkerState, WorkerView, ZygoteState,
};

use super::{Invariant, Step, Violation, is_under_way};

const NAME: &str = "untouched";

/// The candidate, as long as none of its workers has served.
#[derive(Default)]
pub(super) struct Untouched {
    candidate: Option<Generation>,
}

impl Invariant for Untouched {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if let Some(candidate) = self.candidate.filter(|_| step.is_running()) {
            self.old_workers_stay(step, candidate)?;
            self.old_zygote_stays(step, candidate)?;
            self.old_boots_go_on(step, candidate)?;
        }
        for notice in step.notices() {
            match *notice {
                Notice::ReloadStarted { generation, .. } => self.candidate = Some(generation),
                Notice::ReloadGivenUp { .. }
                | Notice::ReloadOvertaken { .. }
                | Notice::ReloadDone { .. } => self.candidate = None,
                _ => {}
            }
        }
        // It may be one too many, with the new settings, and leave in the same step.
        let becomes_ready = |id: WorkerId| {
            step.notices()
                .any(|notice| matches!(notice, Notice::WorkerReady { worker, .. } if *worker == id))
        };
        let serves = |candidate: Generation| {
            step.after
                .workers
                .iter()
                .any(|w| w.generation >= candidate && (w.is_serving() || becomes_ready(w.worker)))
        };
        self.candidate = self.candidate.filter(|&candidate| !serves(candidate));
        Ok(())
    }
}

impl Untouched {
    fn old_workers_stay(&self, step: &Step<'_>, candidate: Generation) -> Result<(), Violation> {
        for (id, _) in step.told_to_drain() {
            let Some(worker) = step.is(id).filter(|worker| worker.generation < candidate) else {
                continue;
            };
            if !step.was(id).is_some_and(remuda_supervisor::WorkerView::is_serving) {
                continue;
            }
            let by_reload =
                matches!(worker.state, WorkerState::Draining { cause: Cause::Reload, .. });
            // An earlier reload may still be replacing what an even older one has left.
            let successor = step.after.workers.iter().any(|other| {
                other.slot == worker.slot
                    && other.generation > worker.generation
                    && other.is_serving()
            });
            let in_pool = worker.slot.0 < step.after.wanted;
            if by_reload && in_pool && !successor {
                let what = format!("worker {} drains for a candidate that does not serve", id.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }

    /// What the end of a candidate ends is its own.
    fn old_boots_go_on(&self, step: &Step<'_>, candidate: Generation) -> Result<(), Violation> {
        let gives_up = |notice: &Notice| {
            matches!(notice, Notice::ReloadGivenUp { .. } | Notice::ReloadOvertaken { .. })
        };
        if !step.notices().any(gives_up) {
            return Ok(());
        }
        for worker in step.before.workers.iter().filter(|worker| worker.generation < candidate) {
            let in_pool = worker.slot.0 < step.after.wanted && is_under_way(worker);
            let cancelled = |view: &WorkerView| {
                matches!(
                    view.state,
                    WorkerState::Unwanted { cause: Cause::Reload, .. }
                        | WorkerState::Dying { cause: Cause::Reload, .. }
                )
            };
            if in_pool && step.is(worker.worker).is_some_and(cancelled) {
                let what = format!("worker {} goes with a candidate", worker.worker.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }

    fn old_zygote_stays(&self, step: &Step<'_>, candidate: Generation) -> Result<(), Violation> {
        let serves = step.after.workers.iter().any(|w| w.generation >= candidate && w.is_serving())
            || step.notices().any(|notice| matches!(notice, Notice::WorkerReady { .. }));
        // What would be gone back to: the newest below the candidate.
        let ready = step.before.zygotes.iter().filter(|zygote| {
            zygote.generation < candidate && matches!(zygote.state, ZygoteState::Ready { .. })
        });
        let needed = ready.map(|zygote| zygote.generation).max();
        for action in step.actions {
            if let Action::RetireZygote { generation } = *action
                && Some(generation) == needed
                && !serves
                && !matches!(step.event, Event::Asked(_))
            {
                let what = format!("zygote {} retires before its successor serves", generation.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
