//! Who leaves before the successor comes, for want of memory; for the invariants that need to know.

use remuda_supervisor::{Notice, SlotId, WorkerId};

use super::Step;

/// The one, until it is gone.
#[derive(Default)]
pub(super) struct Room(Option<(WorkerId, SlotId)>);

impl Room {
    pub(super) fn follow(&mut self, step: &Step<'_>) {
        self.0 = self.0.filter(|&(id, _)| step.is(id).is_some());
        for notice in step.notices() {
            if let Notice::WorkerMakesRoom { worker, slot, .. } = *notice {
                self.0 = Some((worker, slot));
            }
        }
    }

    pub(super) fn is_made_by(&self, id: WorkerId) -> bool {
        self.0.is_some_and(|(of, _)| of == id)
    }

    pub(super) fn is_made_in(&self, slot: SlotId) -> bool {
        self.0.is_some_and(|(_, of)| of == slot)
    }
}
