//! 12: The listeners are closed at a stop only, and once; whoever serves then takes what waits in
//! the queue, and hears of it after the gate is closed. When a new master has taken over they are
//! its own: they are never closed, and the queue is left to it.

use remuda_supervisor::{Action, Event, Order, Phase, Wish, WorkerState};

use super::{Invariant, Step, Violation};

const NAME: &str = "gate";

#[derive(Default)]
pub(super) struct Gate {
    closed: bool,
    handed_over: bool,
}

impl Invariant for Gate {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let handing_over =
            step.actions.iter().position(|action| matches!(action, Action::HandOver { .. }));
        if let Some(at) = handing_over {
            self.handed_over = true;
            if !matches!(step.event, Event::Asked(Wish::Quit)) {
                let is_ready = matches!(step.event, Event::UpgradeReady { .. });
                let order = if is_ready { Order::Drain } else { Order::HandOver };
                everybody_is_told(step, at, order)?;
            }
        }
        self.handed_over &= !step.actions.contains(&Action::TakeBack);
        let closing = step.actions.iter().position(|action| *action == Action::CloseGate);
        if let Some(at) = closing {
            if self.handed_over {
                return Err(step.violation(NAME, "the new master's gate is closed".to_owned()));
            }
            if self.closed || step.after.phase == Phase::Running {
                return Err(step.violation(NAME, "the gate is closed without a stop".to_owned()));
            }
            self.closed = true;
            if !matches!(step.event, Event::Asked(Wish::Quit)) {
                return everybody_is_told(step, at, Order::DrainQueue);
            }
        }
        if !self.closed && !self.handed_over && step.after.phase == Phase::Stopping {
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

fn everybody_is_told(step: &Step<'_>, gate: usize, order: Order) -> Result<(), Violation> {
    for worker in &step.before.workers {
        // One that has ended or hangs in this very step takes nothing.
        let is_left = step.is(worker.worker).is_some_and(|view| {
            matches!(view.state, WorkerState::Serving { .. } | WorkerState::Draining { .. })
        });
        if !matches!(worker.state, WorkerState::Serving { .. }) || !is_left {
            continue;
        }
        let is_told = |action: &Action| *action == Action::Tell { worker: worker.worker, order };
        if !step.actions[gate..].iter().any(is_told) {
            let what = format!("worker {} serves, and is not told: {order:?}", worker.worker.0);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}
