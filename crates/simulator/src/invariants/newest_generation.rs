//! 3: Nobody is forked from an old generation once a newer one is ready; and once workers of a
//! reload serve, nobody is forked from before it as long as it goes on.

use remuda_supervisor::{Action, ZygoteState};

use super::rolling::Rolling;
use super::{Invariant, Step, Violation};

const NAME: &str = "newest_generation";

#[derive(Default)]
pub(super) struct NewestGeneration {
    rolling: Rolling,
}

impl Invariant for NewestGeneration {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let ready = step.after.zygotes.iter();
        let ready = ready.filter(|zygote| matches!(zygote.state, ZygoteState::Ready { .. }));
        let newest = ready.map(|zygote| zygote.generation).max();
        self.rolling.follow(step);
        for action in step.actions {
            if let Action::Fork { generation, worker, .. } = action
                && (Some(*generation) != newest || Some(*generation) < self.rolling.since())
            {
                let (id, from) = (worker.0, generation.0);
                let what = format!("worker {id} is forked from {from}, ready is {newest:?}");
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
