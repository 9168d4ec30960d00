//! 15: No two workers write to the same line of the scoreboard, and every line exists.

use std::collections::BTreeSet;

use remuda_supervisor::Action;

use super::{Invariant, Step, Violation};

const NAME: &str = "lines";

pub(super) struct Lines;

impl Invariant for Lines {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let count = step.script.plan.lines();
        let mut taken = BTreeSet::new();
        for worker in &step.after.workers {
            let line = worker.line.0;
            if !taken.insert(line) || line >= count {
                let what = format!("worker {} writes to line {line} of {count}", worker.worker.0);
                return Err(step.violation(NAME, what));
            }
        }
        for action in step.actions {
            if let Action::Fork { worker, line, .. } = *action
                && step.is(worker).is_some_and(|view| view.line != line)
            {
                let what = format!("worker {} is told another line, {}", worker.0, line.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
