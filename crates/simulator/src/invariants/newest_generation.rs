//! 3: Nobody is forked from an old generation once a newer one is ready; and once workers of a
//! reload serve, nobody is forked from before it as long as it goes on.

use remuda_supervisor::{Action, Generation, Notice, ZygoteState};

use super::{Invariant, Step, Violation};

const NAME: &str = "newest_generation";

#[derive(Default)]
pub(super) struct NewestGeneration {
    /// The reload of which a worker has served.
    rolling: Option<Generation>,
}

impl Invariant for NewestGeneration {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let ready = step.after.zygotes.iter();
        let ready = ready.filter(|zygote| matches!(zygote.state, ZygoteState::Ready { .. }));
        let newest = ready.map(|zygote| zygote.generation).max();
        self.follow_reload(step);
        for action in step.actions {
            if let Action::Fork { generation, worker, .. } = action
                && (Some(*generation) != newest || Some(*generation) < self.rolling)
            {
                let (id, from) = (worker.0, generation.0);
                let what = format!("worker {id} is forked from {from}, ready is {newest:?}");
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}

impl NewestGeneration {
    fn follow_reload(&mut self, step: &Step<'_>) {
        if step.after.reloading != self.rolling {
            self.rolling = None;
        }
        let Some(generation) = step.after.reloading else { return };
        let serves = step.notices().any(|notice| match notice {
            Notice::WorkerReady { worker, .. } => {
                step.is(*worker).is_some_and(|view| view.generation >= generation)
            }
            _ => false,
        });
        if serves {
            self.rolling = Some(generation);
        }
    }
}
