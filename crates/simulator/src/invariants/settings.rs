//! 32: Settings that a reload has read count from the step on in which a worker of its generation
//! serves: all of them at once, never before, and never if it is given up first. Its workers are
//! started with them already.

use remuda_supervisor::{Action, Event, Generation, Notice, Occasion};

use super::{Invariant, Step, Violation};

const NAME: &str = "settings";

#[derive(Default)]
pub(super) struct Settings {
    /// Read, and not in force yet.
    waiting: Option<Generation>,
    /// Workers by the settings in force.
    planned: u16,
    /// Workers wanted when the reload that is under way began, if somebody had asked for it. What TTIN and
    /// TTOU had done until then ends with it.
    asked_with: Option<(Generation, u16)>,
}

impl Invariant for Settings {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        match *step.event {
            Event::Replanned { generation, .. } if step.before.reloading == Some(generation) => {
                self.waiting = Some(generation);
            }
            _ => {}
        }
        self.waiting = self.waiting.filter(|_| step.is_running());
        let given_up = |notice: &Notice| matches!(notice, Notice::ReloadGivenUp { .. });
        if let Some(generation) = step.adopted() {
            self.adopted(step, generation)?;
        } else if step.notices().any(given_up) {
            self.waiting = None;
        }
        let serves = |generation| {
            step.after.workers.iter().any(|w| w.generation == generation && w.is_serving())
        };
        if let Some(generation) = self.waiting.filter(|&generation| serves(generation)) {
            let what = format!("{} serves, and its settings do not count", generation.0);
            return Err(step.violation(NAME, what));
        }
        for notice in step.notices() {
            if let Notice::ReloadStarted { generation, occasion } = *notice {
                let is_asked = occasion == Occasion::Asked;
                self.asked_with = is_asked.then_some((generation, step.after.wanted));
            }
        }
        self.planned = step.plan().workers;
        self.asked_with = self.asked_with.filter(|&(generation, _)| !serves(generation));
        started_with_their_own(step)
    }
}

impl Settings {
    fn adopted(&mut self, step: &Step<'_>, generation: Generation) -> Result<(), Violation> {
        let was_waiting = self.waiting.take() == Some(generation);
        let becomes_ready = step.notices().any(|notice| match *notice {
            Notice::WorkerReady { worker, .. } => {
                // Its word may come after its end.
                let view = step.is(worker).or(step.was(worker));
                view.is_some_and(|view| view.generation >= generation)
            }
            _ => false,
        });
        if !was_waiting || !becomes_ready {
            let what = format!("the settings of {} count, and it does not serve", generation.0);
            return Err(step.violation(NAME, what));
        }
        let base = self.asked_with.map_or(self.planned, |(_, wanted)| wanted);
        let (is, read) = (step.after.wanted, step.plan().workers);
        let due = (i32::from(read) + i32::from(step.before.wanted) - i32::from(base))
            .clamp(1, i32::from(step.plan().workers_max.max(read)));
        if i32::from(is) != due {
            let what = format!("{is} workers wanted, {read} were read, {due} are due");
            return Err(step.violation(NAME, what));
        }
        Ok(())
    }
}

fn started_with_their_own(step: &Step<'_>) -> Result<(), Violation> {
    for action in step.actions {
        let Action::Fork { generation, max_requests, worker, .. } = *action else { continue };
        let plan = step.plan_of(generation);
        let least = plan.max_requests;
        let most = if least == 0 { 0 } else { least + plan.max_requests_jitter };
        if !(least..=most).contains(&max_requests) {
            let id = worker.0;
            let what = format!("worker {id} has {max_requests} requests, read was {least}");
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}
