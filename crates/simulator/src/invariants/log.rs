//! 17: The log tells the truth: each worker is forked once and ends once, in that order, and the
//! service is called complete once, when it is.

use std::collections::BTreeMap;

use remuda_supervisor::{Notice, Pid, WorkerId};

use super::{Invariant, Step, Violation};

const NAME: &str = "log";

#[derive(Default)]
pub(super) struct Log {
    announced: bool,
    living: BTreeMap<WorkerId, Pid>,
}

impl Invariant for Log {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for notice in step.notices() {
            let is_true = match *notice {
                Notice::WorkerForked { worker, pid, .. } => {
                    self.living.insert(worker, pid).is_none()
                }
                Notice::WorkerReady { worker, pid, .. }
                | Notice::WorkerDraining { worker, pid, .. }
                | Notice::WorkerHung { worker, pid, .. } => self.living.get(&worker) == Some(&pid),
                Notice::WorkerExited { worker, pid, .. } => {
                    self.living.remove(&worker) == Some(pid)
                }
                Notice::Serving { workers } => {
                    let complete = step.after.serving() >= usize::from(workers);
                    complete && !std::mem::replace(&mut self.announced, true)
                }
                _ => true,
            };
            if !is_true {
                return Err(step.violation(NAME, format!("{notice:?}")));
            }
        }
        Ok(())
    }
}
