//! 10: After a stop nobody is started, and the master leaves within the sum of the graces, with
//! the status that says why; not before everybody is gone, unless the time is over.

use remuda_supervisor::{Action, BootFailure, Event, Notice, Phase, Tick, Wish};

use super::{Invariant, State, Step, Violation};

const NAME: &str = "stop";

#[derive(Default)]
pub(super) struct Stop {
    bound: Option<Tick>,
    status: u8,
}

impl Invariant for Stop {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.is_over && !step.actions.is_empty() {
            return Err(step.violation(NAME, format!("{:?} after the exit", step.actions)));
        }
        self.note_the_beginning(step);
        let Some(bound) = self.bound else {
            return match step.after.phase {
                Phase::Over => Err(step.violation(NAME, "exit without a stop".to_owned())),
                _ => Ok(()),
            };
        };
        for action in step.actions {
            match *action {
                Action::Fork { .. } | Action::StartZygote { .. }
                    if step.before.phase != Phase::Running =>
                {
                    return Err(step.violation(NAME, format!("{action:?} while stopping")));
                }
                Action::Exit { status } => self.exit_is_right(step, status, bound)?,
                _ => {}
            }
        }
        let late = matches!(step.event, Event::Tick) && bound < step.now;
        if late && step.after.phase != Phase::Over {
            return Err(step.violation(NAME, "the time is over, and the master stays".to_owned()));
        }
        Ok(())
    }
}

impl Stop {
    fn note_the_beginning(&mut self, step: &Step<'_>) {
        let plan = step.plan();
        for notice in step.notices() {
            if let Notice::Stopping { reason } = *notice {
                let is_quit = matches!(step.event, Event::Asked(Wish::Quit));
                let grace = if is_quit { plan.abort_grace } else { plan.graceful_timeout };
                // The last kill is looked at late when the master itself was held up.
                self.bound = Some(step.now + grace + plan.abort_grace);
                self.status = reason.map_or(0, status_of);
            }
        }
        if matches!(step.event, Event::Asked(Wish::Quit))
            && let Some(bound) = self.bound
        {
            self.bound = Some(bound.min(step.now + plan.abort_grace * 2));
        }
        // After the kill everybody gets the last grace from when the kill was really sent.
        let killed = |action: &Action| {
            matches!(action, Action::Send { signal: remuda_supervisor::Signal::Kill, .. })
        };
        if let Some(bound) = self.bound
            && step.actions.iter().any(killed)
        {
            self.bound = Some(bound.max(step.now + plan.abort_grace));
        }
    }

    fn exit_is_right(&self, step: &Step<'_>, status: u8, bound: Tick) -> Result<(), Violation> {
        if status != self.status {
            let what = format!("exit status {status}, expected {}", self.status);
            return Err(step.violation(NAME, what));
        }
        let known = step.kernel.all().find(|process| {
            let is_ours = process.worker().is_some() || process.zygote().is_some();
            // One that is on its way out by itself was given up; nothing can be done about it.
            is_ours && process.told.farewell.is_none() && process.is_alive()
        });
        match known {
            Some(process) if step.now < bound && is_known(step, process.pid) => {
                let name = crate::world::name(process);
                Err(step.violation(NAME, format!("exit while {name} lives")))
            }
            _ => Ok(()),
        }
    }
}

fn is_known(step: &Step<'_>, pid: remuda_supervisor::Pid) -> bool {
    step.before.workers.iter().any(|worker| worker.pid == Some(pid))
        || step.before.zygotes.iter().any(|zygote| zygote.pid == Some(pid))
}

fn status_of(failure: BootFailure) -> u8 {
    match failure {
        BootFailure::Import => 3,
        BootFailure::App => 4,
        BootFailure::Class | BootFailure::Setup => 1,
    }
}

/// Long after the word, the master is gone.
pub(super) fn check_end(state: &State<'_>) -> Result<(), Violation> {
    if state.exit.is_none() {
        return Err(state.violation(NAME, format!("it never ends: {:?}", state.view)));
    }
    Ok(())
}
