//! 3: Nobody is forked from an old generation once a newer one is ready.

use remuda_supervisor::{Action, ZygoteState};

use super::{Invariant, Step, Violation};

const NAME: &str = "newest_generation";

pub(super) struct NewestGeneration;

impl Invariant for NewestGeneration {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let ready = step.after.zygotes.iter();
        let ready = ready.filter(|zygote| matches!(zygote.state, ZygoteState::Ready { .. }));
        let newest = ready.map(|zygote| zygote.generation).max();
        for action in step.actions {
            if let Action::Fork { generation, worker, .. } = action
                && Some(*generation) != newest
            {
                let (id, from) = (worker.0, generation.0);
                let what = format!("worker {id} is forked from {from}, ready is {newest:?}");
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
