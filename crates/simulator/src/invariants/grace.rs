//! 8: Between a request to leave and KILL lies at least the grace; and KILL always follows.

use remuda_supervisor::{Action, DirtyState, Event, Phase, Signal, Tick, WorkerState, ZygoteState};

use super::end::End;
use super::{Invariant, Step, Violation};
use crate::process::{Process, Told};

const NAME: &str = "grace";

#[derive(Default)]
pub(super) struct Grace {
    end: End,
}

impl Invariant for Grace {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.end.follow(step);
        for action in step.actions {
            let Action::Send { pid, signal } = *action else { continue };
            let Some(process) = step.kernel.with_pid(pid) else { continue };
            if process.worker().is_some() {
                self.judge(step, process, signal)?;
            }
            if process.zygote().is_some() {
                self.judge_zygote(step, process)?;
            }
        }
        overdue(step)?;
        said_is_done(step)
    }
}

impl Grace {
    fn judge(&self, step: &Step<'_>, process: &Process, signal: Signal) -> Result<(), Violation> {
        let (plan, told) = (step.plan(), process.told);
        let Some(life) = process.worker() else { return Ok(()) };
        // It has as long as the settings gave it then, and they may have changed since.
        let graceful = |at: Tick| {
            let plans = step.plans_since(at).chain([&*life.plan]);
            plans.map(|plan| plan.graceful_timeout).min().unwrap_or_default()
        };
        let has_had_grace =
            |at: Option<Tick>| at.is_some_and(|at| step.now.since(at) >= graceful(at));
        let since = |at: Option<Tick>| at.map(|at| step.now.since(at));
        let has_had = |at: Option<Tick>, grace| since(at).is_some_and(|length| length >= grace);
        let fair = match signal {
            Signal::Quit => self.end.quit_since.is_some(),
            // Workers are told on their channel.
            Signal::Terminate | Signal::Reopen => false,
            Signal::Abort => has_had(told.dump, plan.dump_grace),
            Signal::Kill => {
                let never_served = step.was(life.id).is_none_or(|view| {
                    matches!(
                        view.state,
                        WorkerState::Forking { .. }
                            | WorkerState::Unwanted { .. }
                            | WorkerState::Booting { .. }
                    )
                });
                never_served
                    || step.takes_too_much(life.id)
                    || has_had(told.abort, plan.abort_grace)
                    || has_had(told.quit, plan.abort_grace)
                    || has_had_grace(told.drain)
                    || graceful(step.now).is_zero()
                    || has_had(self.end.quit_since, plan.abort_grace)
                    || has_had_grace(self.end.stopping_since)
            }
        };
        if fair {
            return Ok(());
        }
        let what =
            format!("{signal:?} to worker {} too soon: {}", life.id.0, short(told, step.now));
        Err(step.violation(NAME, what))
    }
}

impl Grace {
    /// One that is ready, or leaves, gets its time to do so; one that imports holds nothing.
    fn judge_zygote(&self, step: &Step<'_>, process: &Process) -> Result<(), Violation> {
        let grace = step.plan().abort_grace;
        let since = process.told.farewell.or(self.end.stopping_since);
        let was_ready = step.before.zygotes.iter().any(|zygote| {
            let ready = match zygote.state {
                ZygoteState::Ready { .. } => true,
                // One that has failed by itself has had its time since then.
                ZygoteState::Leaving { .. } => process.told.farewell.is_some(),
                _ => false,
            };
            zygote.pid == Some(process.pid) && ready
        });
        let time_is_over = self
            .end
            .stopping_since
            .is_some_and(|at| step.now.since(at) >= step.plan().graceful_timeout.min(grace));
        // It did not answer a fork in time: it will not hear of its retirement either.
        let generation = process.zygote().map(|life| life.generation);
        let is_stuck = step.before.workers.iter().any(|worker| {
            let deadline = match worker.state {
                WorkerState::Forking { deadline, .. } => Some(deadline),
                WorkerState::Unwanted { deadline, .. } => deadline,
                _ => None,
            };
            Some(worker.generation) == generation && deadline.is_some_and(|at| at <= step.now)
        });
        let is_stuck = is_stuck
            || step.before.arbiters.iter().any(|arbiter| match arbiter.state {
                DirtyState::Asked { zygote, deadline } => {
                    Some(zygote) == generation && deadline.is_some_and(|at| at <= step.now)
                }
                _ => false,
            });
        let too_soon = !is_stuck && since.is_some_and(|at| step.now.since(at) < grace);
        // A candidate can be given up in the very step in which the stop begins.
        let was_stopping = step.before.phase == Phase::Stopping;
        if was_ready && was_stopping && too_soon && self.end.quit_since.is_none() && !time_is_over {
            let name = crate::world::name(process);
            return Err(step.violation(NAME, format!("{name} is killed before its time")));
        }
        Ok(())
    }
}

fn short(told: Told, now: Tick) -> String {
    let ago = |at: Option<Tick>| at.map(|at| now.since(at));
    format!(
        "drain {:?}, dump {:?}, abort {:?} ago",
        ago(told.drain),
        ago(told.dump),
        ago(told.abort)
    )
}

/// Whoever is past the deadline of its state when the clock is looked at gets the next, harder
/// word in the same step.
fn overdue(step: &Step<'_>) -> Result<(), Violation> {
    if !matches!(step.event, Event::Tick) || step.after.phase == Phase::Over {
        return Ok(());
    }
    for worker in &step.after.workers {
        let deadline = match worker.state {
            WorkerState::Forking { deadline, .. }
            | WorkerState::Booting { deadline, .. }
            | WorkerState::Draining { deadline, .. }
            | WorkerState::Dumping { deadline, .. }
            | WorkerState::Aborting { deadline, .. }
            | WorkerState::Quitting { deadline, .. } => deadline,
            _ => continue,
        };
        let fresh = step.was(worker.worker).is_none_or(|before| before.state != worker.state);
        if deadline <= step.now && !fresh {
            let what =
                format!("worker {} is past its deadline in {:?}", worker.worker.0, worker.state);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}

/// Whoever is said to be dying has been sent KILL.
fn said_is_done(step: &Step<'_>) -> Result<(), Violation> {
    for worker in &step.after.workers {
        let WorkerState::Dying { pid, .. } = worker.state else { continue };
        let process = step.kernel.with_pid(pid);
        let is_it = |process: &&Process| process.worker().is_some_and(|w| w.id == worker.worker);
        let Some(process) = process.filter(is_it).filter(|process| process.is_alive()) else {
            continue;
        };
        let now = step.actions.contains(&Action::Send { pid, signal: Signal::Kill });
        if process.told.kill.is_none() && !now {
            let what = format!("worker {} is waited for, and was not killed", worker.worker.0);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}
