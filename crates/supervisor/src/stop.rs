//! The end of the whole service: who gets how long.
//!
//! ```text
//!   Finish ── until ──▶ Killed ── until ──▶ exit, whoever is left
//!     └─── all gone ──────┴── all gone ──▶ exit
//! ```
//!
//! The second bound exists because even SIGKILL cannot end a process that sleeps in the kernel,
//! and an orchestrator would rather see us gone than wait for it.

use std::time::Duration;

use crate::arbiter::DirtyInput;
use crate::supervisor::{Life, Supervisor};
use crate::upgrade::{UpgradeInput, UpgradeState};
use crate::worker::{Input, Worker, WorkerState};
use crate::zygote::{Zygote, ZygoteInput};
use crate::{Action, BootFailure, Cause, Notice, Order, Plan, Reason, Tick};

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// Children may finish, and who has not may show its stacks.
    Finish { until: Tick },
    /// All have been killed; their exits are waited for.
    Killed { until: Tick },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// What the master exits with.
    pub(crate) status: u8,
    /// Somebody has asked for it: there is no way back.
    pub(crate) is_asked_for: bool,
    grace: Grace,
    /// Zygotes may answer forks and leave until then; `None` = they have been killed.
    zygotes_until: Option<Tick>,
}

/// What a stop asks for when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    KillZygotes,
    KillAll,
    Exit,
}

impl Stop {
    pub(crate) fn begin(status: u8, grace: Duration, now: Tick, plan: &Plan) -> Self {
        let grace = Grace::Finish { until: now + grace };
        Self { status, is_asked_for: false, grace, zygotes_until: Some(now + plan.abort_grace) }
    }

    /// Nobody gets more than `abort_grace` any more.
    pub(crate) fn hurry(&mut self, now: Tick, plan: &Plan) {
        if let Grace::Finish { until } = self.grace {
            self.grace = Grace::Finish { until: until.min(now + plan.abort_grace) };
        }
    }

    pub(crate) fn on_tick(&mut self, now: Tick, plan: &Plan) -> Due {
        match self.grace {
            Grace::Finish { until } if until <= now => {
                self.grace = Grace::Killed { until: now + plan.abort_grace };
                self.zygotes_until = None;
                Due::KillAll
            }
            Grace::Killed { until } if until <= now => Due::Exit,
            Grace::Finish { .. } | Grace::Killed { .. } => match self.zygotes_until {
                Some(until) if until <= now => {
                    self.zygotes_until = None;
                    Due::KillZygotes
                }
                _ => Due::Nothing,
            },
        }
    }

    pub(crate) fn next_deadline(&self) -> Tick {
        let (Grace::Finish { until } | Grace::Killed { until }) = self.grace;
        self.zygotes_until.map_or(until, |zygotes_until| zygotes_until.min(until))
    }
}

impl Supervisor {
    /// Begins the end with drain. `reason`: why, if nobody asked for it.
    pub(crate) fn stop(&mut self, reason: Option<Reason>, now: Tick, out: &mut Vec<Action>) {
        if matches!(self.life, Life::Stopping(_) | Life::Over) {
            return;
        }
        let status = reason.map_or(0, status_of);
        let grace = self.plan.graceful_timeout;
        let stop = Stop::begin(status, grace + self.plan.dump_grace, now, &self.plan);
        self.life = Life::Stopping(stop);
        out.push(Action::Report(Notice::Stopping { reason }));
        self.step_upgrade(UpgradeInput::LeftAlone, now, out);
        let (cause, order) = self.leave_the_listeners(now, out);
        let drain = Input::Drain { order, cause, deadline: now + grace };
        // First those that leave already: what they have handed over until then is found by the
        // others, who hear of it later.
        let leaves = |worker: &Worker| matches!(worker.state, WorkerState::Draining { .. });
        let ids = [self.pool.ids(leaves), self.pool.ids(|worker| !leaves(worker))];
        let somebody_serves = self.upgrade.heir().is_some()
            || self.pool.workers().any(|w| w.is_serving() || leaves(w));
        for id in ids.concat() {
            // If all have just died, whoever boots is the only one who can serve what waits.
            if somebody_serves || !self.worker_ever_ready || reason.is_some() {
                self.step_worker(id, Input::Cancel(cause), now, out);
            }
            self.step_worker(id, drain, now, out);
        }
        let booting = |zygote: &&Zygote| zygote.is_booting();
        let booting: Vec<_> = self.zygotes.values().filter(booting).map(|z| z.generation).collect();
        for generation in booting {
            self.step_zygote(generation, ZygoteInput::Abandon, now, out);
        }
    }

    /// Who becomes ready while the service stops takes what waits, and leaves.
    pub(crate) fn drain_late_comers(&mut self, now: Tick, out: &mut Vec<Action>) {
        let deadline = now + self.plan.graceful_timeout;
        let drain = Input::Drain { order: Order::DrainQueue, cause: Cause::Stop, deadline };
        for id in self.pool.ids(Worker::is_serving) {
            self.step_worker(id, drain, now, out);
        }
    }

    /// First of all at an end: nobody new comes in, except to the new master if there is one.
    /// Returns what workers have to do about it.
    fn leave_the_listeners(&mut self, now: Tick, out: &mut Vec<Action>) -> (Cause, Order) {
        if let Some(to) = self.upgrade.heir() {
            // The new master speaks for the service from then on: not before that is told.
            self.publish(now, out);
            out.push(Action::HandOver { to });
            // Idle connections go to the workers of one that serves, as to any sibling.
            let serves = matches!(self.upgrade, UpgradeState::Succeeded { ready: true, .. });
            return (Cause::HandOver, if serves { Order::Drain } else { Order::HandOver });
        }
        // What comes after the gate could be promised to nobody.
        out.push(Action::CloseGate);
        (Cause::Stop, Order::DrainQueue)
    }

    /// Begins the end without drain, or shortens one that has begun.
    pub(crate) fn quit(&mut self, now: Tick, out: &mut Vec<Action>) {
        match &mut self.life {
            Life::Stopping(stop) => stop.hurry(now, &self.plan),
            Life::Waiting | Life::Running | Life::Over => {
                self.life = Life::Stopping(Stop::begin(0, self.plan.abort_grace, now, &self.plan));
                out.push(Action::Report(Notice::Stopping { reason: None }));
                // Whoever comes now is better refused than reset when we are gone.
                self.step_upgrade(UpgradeInput::LeftAlone, now, out);
                self.leave_the_listeners(now, out);
            }
        }
        for id in self.pool.ids(|_| true) {
            self.step_worker(id, Input::Quit, now, out);
        }
        self.step_arbiters(DirtyInput::Quit, now, out);
        self.abandon_zygotes(now, out);
    }

    pub(crate) fn exit(&mut self, status: u8, out: &mut Vec<Action>) {
        self.life = Life::Over;
        out.push(Action::Exit { status });
    }
}

/// The master's exit status for an end that nobody asked for; `journal` declares what each means.
#[must_use]
pub fn status_of(reason: Reason) -> u8 {
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
