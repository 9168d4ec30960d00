//! 33: There is never more than one dirty arbiter for the same code, it leaves when nobody is left who
//! could ask it and not before, and after a death it is waited for.

use std::collections::BTreeMap;

use remuda_supervisor::{
    Action, DirtyState, Event, Generation, Notice, Signal, Tick, Wish, WorkerState,
};

use super::end::End;
use super::{Invariant, State, Step, Violation};
use crate::process::{Process, Role, Serial};

const NAME: &str = "dirty";

#[derive(Default)]
pub(super) struct Dirty {
    /// What each process is for, and which zygote was asked for it.
    known: BTreeMap<Serial, (Generation, Generation)>,
    waits: BTreeMap<Generation, Tick>,
    asked_of: BTreeMap<Generation, Generation>,
    end: End,
}

impl Invariant for Dirty {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.end.follow(step);
        self.waits_are_kept(step)?;
        self.learn(step);
        for (edition, count) in self.living(step) {
            if count > 1 {
                let what = format!("{count} arbiters live for generation {}", edition.0);
                return Err(step.violation(NAME, what));
            }
        }
        for action in step.actions {
            let Action::Send { pid, signal } = *action else { continue };
            if let Some(process) = step.kernel.with_pid(pid)
                && matches!(process.role, Role::Dirty(_))
            {
                self.judge(step, process, signal)?;
            }
        }
        Ok(())
    }
}

impl Dirty {
    fn waits_are_kept(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for action in step.actions {
            let Action::ForkDirty { generation, .. } = *action else { continue };
            let its =
                |state| matches!(state, DirtyState::Asked { zygote, .. } if zygote == generation);
            let asked = step.after.arbiters.iter().find(|arbiter| its(arbiter.state));
            let Some(edition) = asked.map(|arbiter| arbiter.generation) else { continue };
            self.asked_of.insert(edition, generation);
            if self.waits.get(&edition).is_some_and(|until| *until > step.now) {
                let what = format!("that of {} is asked for before its wait is over", edition.0);
                return Err(step.violation(NAME, what));
            }
        }
        let is_there = |edition| step.after.arbiters.iter().any(|a| a.generation == edition);
        self.waits.retain(|edition, _| is_there(*edition));
        for notice in step.notices() {
            if let Notice::DirtyLost { generation, wait, .. }
            | Notice::DirtyForkFailed { generation, wait } = *notice
            {
                self.waits.insert(generation, step.now + wait);
            }
        }
        Ok(())
    }

    fn learn(&mut self, step: &Step<'_>) {
        for arbiter in &step.after.arbiters {
            let process = arbiter.pid.and_then(|pid| step.kernel.with_pid(pid));
            let Some(process) = process.filter(|process| matches!(process.role, Role::Dirty(_)))
            else {
                continue;
            };
            let edition = arbiter.generation;
            let asked_of = self.asked_of.get(&edition).copied().unwrap_or(edition);
            self.known.entry(process.serial).or_insert((edition, asked_of));
        }
    }

    fn living(&self, step: &Step<'_>) -> BTreeMap<Generation, u32> {
        let mut living = BTreeMap::new();
        for process in step.kernel.living() {
            if let Some((edition, _)) = self.known.get(&process.serial) {
                *living.entry(*edition).or_default() += 1;
            }
        }
        living
    }

    fn judge(&self, step: &Step<'_>, process: &Process, signal: Signal) -> Result<(), Violation> {
        // One that answers for what was given up long ago is nobody's.
        let Some(&(_, zygote)) = self.known.get(&process.serial) else { return Ok(()) };
        let had = |since: Option<Tick>, grace| since.is_some_and(|at| step.now.since(at) >= grace);
        let plan = step.plan();
        let lives = |state| !matches!(state, WorkerState::Gone);
        let fair = match signal {
            Signal::Reopen => step.event == &Event::Asked(Wish::ReopenLogs),
            Signal::Quit => self.end.quit_since.is_some(),
            // Its own workers may be waiting for it.
            Signal::Terminate => {
                !step.after.workers.iter().any(|w| w.generation == zygote && lives(w.state))
            }
            Signal::Kill => {
                let graceful = step.plans_since(step.now).map(|plan| plan.graceful_timeout).min();
                had(process.told.quit, plan.abort_grace)
                    || had(self.end.quit_since, plan.abort_grace)
                    || had(self.end.stopping_since, graceful.unwrap_or_default())
            }
            Signal::Abort => false,
        };
        if fair {
            return Ok(());
        }
        let name = crate::world::name(process);
        Err(step.violation(NAME, format!("{signal:?} to {name} too soon")))
    }
}

/// With time enough, there is the one that is wanted, and no other.
pub(super) fn check_rest(state: &State<'_>) -> Result<(), Violation> {
    let arbiters = &state.view.arbiters;
    let run = arbiters.iter().all(|one| matches!(one.state, DirtyState::Running { .. }));
    if arbiters.len() == usize::from(state.has_dirty) && run {
        return Ok(());
    }
    let wanted = if state.has_dirty { "one" } else { "none" };
    Err(state.violation(NAME, format!("{arbiters:?}, where {wanted} is wanted")))
}
