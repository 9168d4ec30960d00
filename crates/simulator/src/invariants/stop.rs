//! 10: After a stop nobody is started, and the master leaves within the sum of the graces, with
//! the status that says why; not before everybody is gone, unless the time is over.

use remuda_supervisor::{Action, BootFailure, Event, Notice, Phase, Reason, Tick, Wish};

use super::{Invariant, State, Step, Violation};
use crate::process::Role;

const NAME: &str = "stop";

#[derive(Default)]
pub(super) struct Stop {
    /// Until then everybody may finish.
    finish: Option<Tick>,
    /// Until then the exits of the killed are waited for. Counts from when we could look at the
    /// time, since the master itself may have been held up.
    killed: Option<Tick>,
    status: u8,
}

impl Invariant for Stop {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.is_over && !step.actions.is_empty() {
            return Err(step.violation(NAME, format!("{:?} after the exit", step.actions)));
        }
        if step.actions.contains(&Action::TakeBack) {
            *self = Self::default();
        }
        self.note_the_beginning(step);
        if self.finish.is_none() {
            return match step.after.phase {
                Phase::Over => Err(step.violation(NAME, "exit without a stop".to_owned())),
                _ => Ok(()),
            };
        }
        for action in step.actions {
            match *action {
                Action::Fork { .. } | Action::ForkDirty { .. } | Action::StartZygote { .. }
                    if step.before.phase != Phase::Running =>
                {
                    return Err(step.violation(NAME, format!("{action:?} while stopping")));
                }
                Action::Exit { status } => self.exit_is_right(step, status)?,
                _ => {}
            }
        }
        self.time_is_kept(step)
    }
}

impl Stop {
    fn note_the_beginning(&mut self, step: &Step<'_>) {
        let plan = step.plan();
        for notice in step.notices() {
            if let Notice::Stopping { reason } = *notice {
                let is_quit = matches!(step.event, Event::Asked(Wish::Quit));
                let graceful = plan.graceful_timeout + plan.dump_grace;
                let grace = if is_quit { plan.abort_grace } else { graceful };
                self.finish = Some(step.now + grace);
                self.status = reason.map_or(0, status_of);
            }
        }
        if matches!(step.event, Event::Asked(Wish::Quit)) {
            self.finish = self.finish.map(|finish| finish.min(step.now + plan.abort_grace));
        }
    }

    fn time_is_kept(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if !matches!(step.event, Event::Tick) {
            return Ok(());
        }
        if self.killed.is_some_and(|killed| killed <= step.now) && step.after.phase != Phase::Over {
            return Err(step.violation(NAME, "the time is over, and the master stays".to_owned()));
        }
        if self.finish.is_some_and(|finish| finish <= step.now) {
            self.killed.get_or_insert(step.now + step.plan().abort_grace);
        }
        Ok(())
    }

    fn exit_is_right(&self, step: &Step<'_>, status: u8) -> Result<(), Violation> {
        if status != self.status {
            let what = format!("exit status {status}, expected {}", self.status);
            return Err(step.violation(NAME, what));
        }
        let time_is_over = self.killed.is_some_and(|killed| killed <= step.now);
        let known = step.kernel.all().find(|process| {
            let is_dirty = matches!(process.role, Role::Dirty(_));
            let is_ours = process.worker().is_some() || process.zygote().is_some() || is_dirty;
            // One that is on its way out by itself was given up; nothing can be done about it.
            is_ours && process.told.farewell.is_none() && process.is_alive()
        });
        match known {
            Some(process) if !time_is_over && is_known(step, process.pid) => {
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
        || step.before.arbiters.iter().any(|arbiter| arbiter.pid == Some(pid))
}

fn status_of(reason: Reason) -> u8 {
    match reason {
        Reason::Boot(BootFailure::Import) => 3,
        Reason::Boot(BootFailure::App) => 4,
        Reason::Boot(BootFailure::Class | BootFailure::Setup) => 1,
        Reason::Boot(BootFailure::Unsafe) => 65,
        Reason::Boot(BootFailure::Shortage) => 75,
        Reason::Boot(BootFailure::NoRetry) => 78,
        Reason::CrashLoop => 69,
    }
}

/// Long after the word, the master is gone.
pub(super) fn check_end(state: &State<'_>) -> Result<(), Violation> {
    if state.exit.is_none() {
        return Err(state.violation(NAME, format!("it never ends: {:?}", state.view)));
    }
    Ok(())
}
