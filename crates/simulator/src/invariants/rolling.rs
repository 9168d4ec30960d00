//! Which reload has come so far that there is no way back; for the invariants that need to know.

use remuda_supervisor::{Generation, Notice};

use super::Step;

/// The reload that goes on, once one of its workers has served.
#[derive(Default)]
pub(super) struct Rolling(Option<Generation>);

impl Rolling {
    pub(super) fn follow(&mut self, step: &Step<'_>) {
        if step.after.reloading != self.0 {
            self.0 = None;
        }
        let Some(generation) = step.after.reloading else { return };
        let serves = step.notices().any(|notice| match notice {
            Notice::WorkerReady { worker, .. } => {
                step.is(*worker).is_some_and(|view| view.generation >= generation)
            }
            _ => false,
        });
        if serves {
            self.0 = Some(generation);
        }
    }

    pub(super) fn since(&self) -> Option<Generation> {
        self.0
    }
}
