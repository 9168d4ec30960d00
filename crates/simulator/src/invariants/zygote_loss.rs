//! 11: The death of a zygote never harms a worker that serves.

use remuda_supervisor::{Action, Event, Phase, Pid, Signal};

use super::{Invariant, Step, Violation};

const NAME: &str = "zygote_loss";

pub(super) struct ZygoteLoss;

impl Invariant for ZygoteLoss {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Event::Exited { pid, .. } = *step.event else { return Ok(()) };
        let is_zygote = step.before.zygotes.iter().any(|zygote| zygote.pid == Some(pid));
        let serving = step.before.serving();
        if !is_zygote || serving == 0 || step.before.phase != Phase::Running {
            return Ok(());
        }
        if step.after.phase != Phase::Running {
            return Err(step.violation(NAME, format!("{serving} workers serve, and it stops")));
        }
        let serves =
            |pid: Pid| step.before.workers.iter().any(|w| w.pid == Some(pid) && w.is_serving());
        for action in step.actions {
            if let Action::Send { pid, signal: Signal::Kill } = *action
                && serves(pid)
            {
                return Err(step.violation(NAME, format!("{action:?} to one that serves")));
            }
        }
        Ok(())
    }
}
