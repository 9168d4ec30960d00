//! 22: For its memory a worker goes only when it, or all together, take more than the limit says, and
//! it has grown; one at a time, unless the hard limit is passed.

use remuda_supervisor::{Event, Notice, WorkerId};

use super::{Invariant, Step, Violation};

const NAME: &str = "memory";

#[derive(Default)]
pub(super) struct Memory {
    /// Replaced for its memory, and not gone yet.
    leaving: Option<WorkerId>,
}

impl Invariant for Memory {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.leaving = self.leaving.filter(|&id| step.was(id).is_some());
        for notice in step.notices() {
            let (id, limit, hard) = match *notice {
                Notice::WorkerTooLarge { worker, limit, .. } => (worker, limit, false),
                Notice::WorkerFarTooLarge { worker, limit, .. } => (worker, limit, true),
                _ => continue,
            };
            let Event::Measured { workers, total } = step.event else {
                let what = format!("worker {} goes, and nothing was measured", id.0);
                return Err(step.violation(NAME, what));
            };
            let own = workers.iter().find(|(of, _)| *of == id).map_or(0, |(_, bytes)| *bytes);
            if own.max(*total) <= limit {
                let what = format!("worker {} goes with {own} of {total} bytes", id.0);
                return Err(step.violation(NAME, what));
            }
            if hard {
                continue;
            }
            if let Some(other) = self.leaving.replace(id) {
                let what = format!("worker {} goes while {} does", id.0, other.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
