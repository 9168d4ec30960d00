//! When the end of the service began, and how.

use remuda_supervisor::{Action, Event, Phase, Tick, Wish};

use super::Step;

#[derive(Default)]
pub(super) struct End {
    pub(super) stopping_since: Option<Tick>,
    pub(super) quit_since: Option<Tick>,
}

impl End {
    pub(super) fn follow(&mut self, step: &Step<'_>) {
        if matches!(step.event, Event::Asked(Wish::Quit)) {
            self.quit_since.get_or_insert(step.now);
        }
        if step.actions.contains(&Action::TakeBack) {
            self.stopping_since = None;
        }
        if step.after.phase == Phase::Stopping {
            self.stopping_since.get_or_insert(step.now);
        }
    }
}
