//! 31: For its memory a worker goes only when it, or all together, take more than the limit says, and
//! it has grown; one at a time, unless the hard limit is passed. Before its successor comes a worker goes
//! only where one more would not fit, one at a time, while all others serve; and none comes in its slot
//! until it is gone.

use remuda_supervisor::{Action, Event, Notice, SlotId, WorkerId};

use super::{Invariant, Step, Violation};

const NAME: &str = "memory";

#[derive(Default)]
pub(super) struct Memory {
    /// Replaced for its memory, and not gone yet.
    leaving: Option<WorkerId>,
    /// Leaves before its successor comes, and is not gone yet.
    makes_room: Option<(WorkerId, SlotId)>,
    /// What was measured last: of all, and of the largest.
    measured: (u64, u64),
}

impl Invariant for Memory {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if let Event::Measured { workers, total } = step.event {
            self.measured = (*total, workers.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0));
        }
        self.leaving = self.leaving.filter(|&id| step.was(id).is_some());
        self.makes_room = self.makes_room.filter(|&(id, _)| step.is(id).is_some());
        for notice in step.notices() {
            match *notice {
                Notice::WorkerTooLarge { worker, limit, .. } => {
                    is_above(step, worker, limit)?;
                    if let Some(other) = self.leaving.replace(worker) {
                        let what = format!("worker {} goes while {} does", worker.0, other.0);
                        return Err(step.violation(NAME, what));
                    }
                }
                Notice::WorkerFarTooLarge { worker, limit, .. } => is_above(step, worker, limit)?,
                Notice::WorkerMakesRoom { worker, slot, .. } => {
                    self.may_go_first(step, worker, slot)?;
                }
                _ => {}
            }
        }
        self.nobody_comes_too_early(step)
    }
}

fn is_above(step: &Step<'_>, id: WorkerId, limit: u64) -> Result<(), Violation> {
    let Event::Measured { workers, total } = step.event else {
        let what = format!("worker {} goes, and nothing was measured", id.0);
        return Err(step.violation(NAME, what));
    };
    let own = workers.iter().find(|(of, _)| *of == id).map_or(0, |(_, bytes)| *bytes);
    if own.max(*total) <= limit {
        let what = format!("worker {} goes with {own} of {total} bytes", id.0);
        return Err(step.violation(NAME, what));
    }
    Ok(())
}

impl Memory {
    fn may_go_first(
        &mut self,
        step: &Step<'_>,
        id: WorkerId,
        slot: SlotId,
    ) -> Result<(), Violation> {
        let wrong = |what: &str| {
            Err(step.violation(NAME, format!("worker {} goes before its successor, {what}", id.0)))
        };
        if let Some((other, _)) = self.makes_room.replace((id, slot)) {
            return wrong(&format!("while {} does", other.0));
        }
        let (total, largest) = self.measured;
        let hard = step.plan().total_memory.map_or(u64::MAX, |limit| limit.hard);
        if total.saturating_add(largest) <= hard {
            return wrong(&format!("with {total} bytes taken of {hard}"));
        }
        if step.after.serving() == 0 {
            return wrong("and nobody serves");
        }
        Ok(())
    }

    fn nobody_comes_too_early(&self, step: &Step<'_>) -> Result<(), Violation> {
        let Some((id, leaving)) = self.makes_room else { return Ok(()) };
        let asked =
            |action: &Action| matches!(action, Action::Fork { slot, .. } if *slot == leaving);
        if step.is_running() && step.actions.iter().any(asked) {
            let what = format!("slot {} is filled, and worker {} is not gone", leaving.0, id.0);
            return Err(step.violation(NAME, what));
        }
        Ok(())
    }
}
