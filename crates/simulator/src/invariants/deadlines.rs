//! 16: Whoever waits for a time is woken at that time; and waking up gets us further, so that the
//! master never spins.

use remuda_supervisor::{DirtyState, Event, Phase, Tick, WorkerState, ZygoteState};

use super::{Invariant, Step, Violation};

const NAME: &str = "deadlines";

/// Ticks at one and the same time: a kill can follow from what a tick has begun, and no more.
const TICKS_MAX: u32 = 3;

#[derive(Default)]
pub(super) struct Deadlines {
    last: Option<Tick>,
    ticks: u32,
}

impl Invariant for Deadlines {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if matches!(step.after.phase, Phase::Waiting | Phase::Over) {
            return match step.next_deadline {
                None => Ok(()),
                Some(_) => Err(step.violation(NAME, "waits for nothing".to_owned())),
            };
        }
        if matches!(step.event, Event::Tick) {
            self.ticks =
                if self.last.replace(step.now) == Some(step.now) { self.ticks + 1 } else { 1 };
            if self.ticks > TICKS_MAX {
                return Err(step.violation(NAME, format!("tick {} at one time", self.ticks)));
            }
        }
        let workers = step.after.workers.iter().filter_map(|worker| of_worker(worker.state));
        let zygotes = step.after.zygotes.iter().filter_map(|zygote| of_zygote(zygote.state));
        let arbiters = step.after.arbiters.iter().filter_map(|arbiter| of_arbiter(arbiter.state));
        let earliest = workers.chain(zygotes).chain(arbiters).min();
        if let Some(earliest) = earliest
            && step.next_deadline.is_none_or(|at| at > earliest)
        {
            let what = format!("{earliest:?} is waited for, but not woken for");
            return Err(step.violation(NAME, what));
        }
        Ok(())
    }
}

fn of_worker(state: WorkerState) -> Option<Tick> {
    match state {
        WorkerState::Forking { deadline, .. }
        | WorkerState::Booting { deadline, .. }
        | WorkerState::Draining { deadline, .. }
        | WorkerState::Dumping { deadline, .. }
        | WorkerState::Aborting { deadline, .. }
        | WorkerState::Quitting { deadline, .. } => Some(deadline),
        WorkerState::Unwanted { deadline, .. } => deadline,
        WorkerState::Serving { .. } | WorkerState::Dying { .. } | WorkerState::Gone => None,
    }
}

fn of_arbiter(state: DirtyState) -> Option<Tick> {
    match state {
        DirtyState::Waiting { until } => until,
        DirtyState::Asked { deadline, .. } => deadline,
        DirtyState::Leaving { deadline, .. } => Some(deadline),
        DirtyState::Running { .. } | DirtyState::Dying { .. } | DirtyState::Gone => None,
    }
}

fn of_zygote(state: ZygoteState) -> Option<Tick> {
    match state {
        ZygoteState::Starting { deadline }
        | ZygoteState::Unwanted { deadline }
        | ZygoteState::Booting { deadline, .. }
        | ZygoteState::Leaving { deadline, .. } => Some(deadline),
        ZygoteState::Ready { .. }
        | ZygoteState::Stuck { .. }
        | ZygoteState::Dying { .. }
        | ZygoteState::Gone => None,
    }
}
