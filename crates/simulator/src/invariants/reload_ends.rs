//! 4: Every reload that begins ends, in done, given up or overtaken by an edit, before the next one begins; one that was
//! asked for begins; and what is called done is done.

use remuda_supervisor::{Action, Event, Generation, Notice, Signal, Wish, WorkerState};

use super::{Invariant, Step, Violation};
use crate::process::Accepts;

const NAME: &str = "reload_ends";

#[derive(Default)]
pub(super) struct ReloadEnds {
    under_way: Option<Generation>,
}

impl Invariant for ReloadEnds {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for notice in step.notices() {
            self.follow(step, notice)?;
        }
        if step.is_running() && self.under_way != step.after.reloading {
            let (told, is) = (self.under_way, step.after.reloading);
            let what = format!("told was {told:?}, under way is {is:?}");
            return Err(step.violation(NAME, what));
        }
        self.wish_is_answered(step)
    }
}

impl ReloadEnds {
    fn follow(&mut self, step: &Step<'_>, notice: &Notice) -> Result<(), Violation> {
        match *notice {
            Notice::ReloadStarted { generation, .. } => {
                if let Some(earlier) = self.under_way.replace(generation) {
                    let what = format!("{} begins while {} goes on", generation.0, earlier.0);
                    return Err(step.violation(NAME, what));
                }
            }
            Notice::ReloadDone { generation, .. } => {
                if self.under_way.take() != Some(generation) {
                    let what = format!("{} is done and was not begun", generation.0);
                    return Err(step.violation(NAME, what));
                }
                let is_old = |worker: &&remuda_supervisor::WorkerView| {
                    worker.generation < generation
                        && matches!(
                            worker.state,
                            WorkerState::Serving { .. }
                                | WorkerState::Booting { .. }
                                | WorkerState::Forking { .. }
                        )
                };
                if let Some(old) = step.after.workers.iter().find(is_old) {
                    let what = format!("done, and worker {} serves the old code", old.worker.0);
                    return Err(step.violation(NAME, what));
                }
                nobody_old_accepts(step, generation)?;
            }
            Notice::ReloadGivenUp { generation, .. } | Notice::ReloadOvertaken { generation }
                if self.under_way.take() != Some(generation) =>
            {
                let what = format!("{} is given up and was not begun", generation.0);
                return Err(step.violation(NAME, what));
            }
            _ => {}
        }
        Ok(())
    }

    fn wish_is_answered(&self, step: &Step<'_>) -> Result<(), Violation> {
        if !matches!(step.event, Event::Asked(Wish::Reload)) || !step.is_running() {
            return Ok(());
        }
        let answers =
            |notice: &Notice| matches!(notice, Notice::ReloadStarted { .. } | Notice::ReloadQueued);
        if step.notices().any(answers) {
            return Ok(());
        }
        Err(step.violation(NAME, "somebody asked for a reload and got no answer".to_owned()))
    }
}

/// What the processes themselves have in mind, whatever they have said.
fn nobody_old_accepts(step: &Step<'_>, generation: Generation) -> Result<(), Violation> {
    let killed = |pid| step.actions.contains(&Action::Send { pid, signal: Signal::Kill });
    for process in step.kernel.living().filter(|process| process.told.kill.is_none()) {
        let Some(life) = process.worker().filter(|_| !killed(process.pid)) else { continue };
        // One that was given up is on its way out, and nobody can tell it more.
        let is_old = step.is(life.id).is_some_and(|view| view.generation < generation);
        if is_old && life.ready_at.is_some() && life.accepts == Accepts::All {
            let what = format!("done, and worker {} accepts with the old code", life.id.0);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}
