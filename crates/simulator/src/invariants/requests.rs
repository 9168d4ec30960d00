//! 14: A request is lost only in a process that crashed, or that was killed after all its grace,
//! or in the last moment before the kernel would do so for want of memory.
//! So nobody who may hold requests is killed out of the blue.

use remuda_supervisor::{Action, Event, Signal, Wish};

use super::{Invariant, Step, Violation};

const NAME: &str = "requests";

pub(super) struct Requests;

impl Invariant for Requests {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for action in step.actions {
            let Action::Send { pid, signal: Signal::Kill } = *action else { continue };
            let process = step.kernel.with_pid(pid);
            let Some((told, life)) = process.and_then(|p| Some((p.told, p.worker()?))) else {
                continue;
            };
            if life.requests.is_empty() {
                continue;
            }
            if matches!(step.event, Event::Asked(Wish::Quit)) {
                // Somebody asked for just that.
                continue;
            }
            let was_asked = [told.drain, told.quit, told.dump].iter().any(Option::is_some);
            // A grace of nothing is over as soon as it begins.
            let is_zero = |plan: &remuda_supervisor::Plan| plan.graceful_timeout.is_zero();
            let no_grace = (step.plans_since(step.now).any(is_zero) || is_zero(&life.plan))
                && step.told_to_drain().any(|(told, _)| told == life.id);
            let is_judged = !step.takes_too_much(life.id);
            if is_judged && !was_asked && !no_grace {
                let (id, count) = (life.id.0, life.requests.len());
                let what = format!("worker {id} is killed with {count} requests, unasked");
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
