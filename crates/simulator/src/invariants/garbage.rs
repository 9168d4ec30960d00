//! 13: What a worker says of itself, by word or on the scoreboard, true or not, touches nobody
//! else; words about those who do not exist touch nobody.

use remuda_supervisor::{Action, Event, Notice, SlotId, WorkerId, WorkerState, WorkerView};

use super::{Invariant, Step, Violation};

const NAME: &str = "garbage";

pub(super) struct Garbage;

impl Invariant for Garbage {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let speaker = match *step.event {
            Event::WorkerReady { worker }
            | Event::WorkerSpent { worker }
            | Event::WorkerDrains { worker }
            | Event::Sampled { worker, .. } => worker,
            _ => return Ok(()),
        };
        let begins = |notice: &Notice| matches!(notice, Notice::ReloadStarted { .. });
        let gives_up = |notice: &Notice| matches!(notice, Notice::Stopping { .. });
        if step.notices().any(begins) || step.notices().any(gives_up) {
            // The speaker has ended a reload, and the next one brings the planned number back; or
            // it was the last one, and nobody may be started in its place.
            return Ok(());
        }
        let slot = step.was(speaker).map(|worker| worker.slot);
        for action in step.actions {
            if !concerns(step, action, speaker, slot) {
                let what = format!("worker {} speaks, and {action:?} follows", speaker.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}

fn concerns(step: &Step<'_>, action: &Action, speaker: WorkerId, slot: Option<SlotId>) -> bool {
    match *action {
        // The dirty arbiter of code that is no longer served goes, too.
        Action::Send { pid, .. } if step.before.arbiters.iter().any(|a| a.pid == Some(pid)) => true,
        Action::Send { pid, .. } => {
            let was_under_way = |view: &&WorkerView| {
                view.pid == Some(pid) && matches!(view.state, WorkerState::Booting { .. })
            };
            // With the speaker's code come its settings, and in them a smaller number.
            let is_surplus = step.before.workers.iter().find(was_under_way);
            is_surplus.is_some_and(|view| view.slot.0 >= step.after.wanted)
                || step.was(speaker).is_some_and(|view| view.pid == Some(pid))
        }
        Action::DumpStacks { worker, .. } => worker == speaker,
        Action::Tell { worker, .. } => {
            let its = step.is(worker).map(|view| view.slot);
            // One that has stood in for the speaker, or for somebody like it.
            let stood_in = its.is_some_and(|its| its.0 >= step.after.wanted);
            worker == speaker || slot.is_some() && (its == slot || stood_in)
        }
        // When it may is another rule's business (`settings`).
        Action::Adopt { .. } => matches!(step.event, Event::WorkerReady { .. }) && slot.is_some(),
        Action::CloseGate
        | Action::StartUpgrade
        | Action::HandOver { .. }
        | Action::TakeBack
        | Action::Exit { .. }
        | Action::ReopenLogs => false,
        Action::StartZygote { .. }
        | Action::RetireZygote { .. }
        | Action::Fork { .. }
        | Action::ForkDirty { .. }
        | Action::Publish(_)
        | Action::FeedWatchdog
        | Action::Report(_) => true,
    }
}
