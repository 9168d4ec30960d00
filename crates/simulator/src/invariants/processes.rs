//! 2: There are never more processes than the plan allows, and never two that load the app.

use remuda_supervisor::{Phase, Snapshot, WorkerState, WorkerView, ZygoteState};

use super::{Invariant, Step, Violation, is_under_way};

const NAME: &str = "processes";

/// What a reload leaves of `max_surge` counts at once, but whoever is on the way by then may come.
#[derive(Default)]
pub(super) struct Processes {
    surge: u16,
}

impl Invariant for Processes {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.after.phase != Phase::Running {
            return Ok(());
        }
        let relieved = |state: &WorkerState| {
            use remuda_supervisor::Cause::{Recycle, Reload};
            matches!(state, WorkerState::Draining { cause: Recycle | Reload, .. })
        };
        let counted = step.after.workers.iter();
        let counted = counted
            .filter(|worker| is_under_way(worker) || worker.is_serving() || relieved(&worker.state))
            .count();
        let allowed = step.plan().max_surge;
        let was_allowed = self.surge.max(allowed);
        let serves = |slot| step.after.workers.iter().any(|w| w.slot == slot && w.is_serving());
        let replaces = |worker: &&WorkerView| {
            relieved(&worker.state) || is_under_way(worker) && serves(worker.slot)
        };
        if step.after.workers.iter().filter(replaces).count() <= usize::from(allowed) {
            self.surge = allowed;
        }
        let most = most(self.surge.max(allowed), step.after);
        if counted > most {
            return Err(step.violation(NAME, format!("{counted} workers, where {most} may be")));
        }
        // The same from the kernel's side: everybody who was not told to go in some way, and will
        // not be as soon as its number is known.
        let was_most = self::most(was_allowed, step.before);
        let living = step.kernel.living().filter(|process| {
            // Nobody knows it any more: the end of its channel is on its way.
            let counts = |id| step.is(id).is_some() && !is_unwanted(step, id);
            process.worker().is_some_and(|life| counts(life.id)) && !process.told.is_leaving()
        });
        let living = living.count();
        if living > was_most.max(most) {
            return Err(step.violation(NAME, format!("{living} processes, where {most} may be")));
        }
        let booting = step.after.zygotes.iter().filter(|zygote| {
            matches!(zygote.state, ZygoteState::Starting { .. } | ZygoteState::Booting { .. })
        });
        let booting = booting.count();
        if booting > 1 {
            return Err(step.violation(NAME, format!("{booting} zygotes load the app")));
        }
        let ready = step.after.zygotes.iter();
        // One that owes an answer is kept until it has given it.
        let owes = |generation| {
            let owed =
                |state| matches!(state, WorkerState::Forking { .. } | WorkerState::Unwanted { .. });
            step.after.workers.iter().any(|w| w.generation == generation && owed(w.state))
        };
        let ready = ready.filter(|zygote| {
            matches!(zygote.state, ZygoteState::Ready { .. }) && !owes(zygote.generation)
        });
        let ready = ready.count();
        if ready > 2 {
            return Err(step.violation(NAME, format!("{ready} zygotes are ready")));
        }
        Ok(())
    }
}

/// Wanted, surge, and those that stand in for others that do not serve yet.
fn most(surge: u16, view: &Snapshot) -> usize {
    let serves = |slot: u16| view.workers.iter().any(|w| w.slot.0 == slot && w.is_serving());
    let empty = (0..view.wanted).filter(|slot| !serves(*slot)).count();
    let beyond = view.workers.iter().filter(|w| w.slot.0 >= view.wanted && w.is_serving()).count();
    usize::from(view.wanted) + usize::from(surge) + empty.min(beyond)
}

fn is_unwanted(step: &Step<'_>, id: remuda_supervisor::WorkerId) -> bool {
    let unwanted =
        |view: &remuda_supervisor::WorkerView| matches!(view.state, WorkerState::Unwanted { .. });
    step.was(id).is_some_and(unwanted) || step.is(id).is_some_and(unwanted)
}
