//! 16: Whoever waits for a time is woken at that time; and waking up always gets us further, so
//! that the master never spins.

use remuda_supervisor::{Event, Phase, WorkerState, ZygoteState};

use super::{Invariant, Step, Violation};

const NAME: &str = "deadlines";

pub(super) struct Deadlines;

impl Invariant for Deadlines {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if matches!(step.after.phase, Phase::Waiting | Phase::Over) {
            return match step.next_deadline {
                None => Ok(()),
                Some(_) => Err(step.violation(NAME, "waits for nothing".to_owned())),
            };
        }
        if let Some(at) = step.next_deadline
            && at <= step.now
            && matches!(step.event, Event::Tick)
        {
            let what = format!("awake at {:?}, and the next time is {at:?}", step.now);
            return Err(step.violation(NAME, what));
        }
        let workers = step.after.workers.iter().filter_map(|worker| of_worker(worker.state));
        let zygotes = step.after.zygotes.iter().filter_map(|zygote| of_zygote(zygote.state));
        let earliest = workers.chain(zygotes).min();
        if let Some(earliest) = earliest
            && step.next_deadline.is_none_or(|at| at > earliest)
        {
            let what = format!("{earliest:?} is waited for, but not woken for");
            return Err(step.violation(NAME, what));
        }
        Ok(())
    }
}

fn of_worker(state: WorkerState) -> Option<remuda_supervisor::Tick> {
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

fn of_zygote(state: ZygoteState) -> Option<remuda_supervisor::Tick> {
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
