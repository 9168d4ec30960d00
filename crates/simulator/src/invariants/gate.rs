//! 12: The listeners are closed at a stop only, and once; whoever serves then takes what waits in
//! the queue, and hears of it after the gate is closed.

use remuda_supervisor::{Action, Event, Order, Phase, Wish, WorkerState};

use super::{Invariant, Step, Violation};

const NAME: &str = "gate";

#[derive(Default)]
pub(super) struct Gate {
    closed: bool,
}

impl Invariant for Gate {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let closing = step.actions.iter().position(|action| *action == Action::CloseGate);
        if let Some(at) = closing {
            if self.closed || step.after.phase == Phase::Running {
                return Err(step.violation(NAME, "the gate is closed without a stop".to_owned()));
            }
            self.closed = true;
            if !matches!(step.event, Event::Asked(Wish::Quit)) {
                return everybody_takes_the_queue(step, at);
            }
        }
        if !self.closed && step.after.phase == Phase::Stopping {
            return Err(step.violation(NAME, "it stops, and the gate is open".to_owned()));
        }
        for (id, order) in step.told_to_drain() {
            if order == Order::DrainQueue && !self.closed {
                let what = format!("worker {} takes the queue while the gate is open", id.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}

fn everybody_takes_the_queue(step: &Step<'_>, gate: usize) -> Result<(), Violation> {
    for worker in &step.before.workers {
        // One that has ended or hangs in this very step takes nothing.
        let is_left = step.is(worker.worker).is_some_and(|view| {
            matches!(view.state, WorkerState::Serving { .. } | WorkerState::Draining { .. })
        });
        if !matches!(worker.state, WorkerState::Serving { .. }) || !is_left {
            continue;
        }
        let is_told = |action: &Action| {
            *action == Action::Tell { worker: worker.worker, order: Order::DrainQueue }
        };
        if !step.actions[gate..].iter().any(is_told) {
            let what = format!("worker {} serves, and leaves the queue alone", worker.worker.0);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}
