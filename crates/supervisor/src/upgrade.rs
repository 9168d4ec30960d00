//! The upgrade: a new master beside this one, and what becomes of it.
//!
//! ```text
//!        asked          spawned            ready
//!   Idle ─────▶ Starting ─────▶ Booting ─────────▶ Succeeded: we drain and leave
//!    ▲             │ failed        │ late
//!    │             │               ▼
//!    │             │            Draining ── late ──▶ Dying
//!    └─────────────┴── exited ─────┴─── exited ────────┘     given up: we serve on
//! ```
//!
//! Until the new master has said that it serves, nothing of ours changes, so going back needs
//! nothing at all. Once it has, the listeners are its own: we never close the gate, and leave the
//! accept queue to it. If it is then killed, or crashes, while we still drain, nobody has closed its
//! gate: the listeners are open here, and we take the service back. One that ends by itself has been
//! told so, or has its reasons, and has closed the gate: then it is over for us as well.
//!
//! Whoever tells us to leave while it boots has decided for it (gunicorn's way of an upgrade: USR2,
//! look, TERM): then we hand over at once, and what comes waits in the accept queue.

use std::time::Duration;

use crate::shortage::Shortage;
use crate::supervisor::{Life, Supervisor};
use crate::{Action, Ending, Notice, Pid, Plan, Signal, Tick, UpgradeFailure};

/// How far the upgrade has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpgradeState {
    /// None is under way.
    #[default]
    Idle,
    /// The process is asked for.
    Starting,
    /// The new master is not ready.
    Booting { pid: Pid, since: Tick, deadline: Tick },
    /// It was late, and is told to leave.
    Draining { pid: Pid, deadline: Tick },
    /// It is killed.
    Dying { pid: Pid },
    /// It has taken over, ready or not; we leave.
    Succeeded { pid: Pid, ready: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeInput {
    Asked,
    Spawned(Pid),
    SpawnFailed,
    Ready(Pid),
    /// We are told to leave: it has to do without us.
    LeftAlone,
    DeadlinePassed,
    Exited(Ending),
    /// It has taken over and crashed, and we go back to work.
    TakenBack(Ending),
}

impl UpgradeState {
    /// The new master's process.
    #[must_use]
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Idle | Self::Starting => None,
            Self::Booting { pid, .. }
            | Self::Draining { pid, .. }
            | Self::Dying { pid }
            | Self::Succeeded { pid, .. } => Some(pid),
        }
    }

    /// The new master that has taken over.
    #[must_use]
    pub fn heir(self) -> Option<Pid> {
        match self {
            Self::Succeeded { pid, .. } => Some(pid),
            _ => None,
        }
    }

    pub(crate) fn deadline(self) -> Option<Tick> {
        match self {
            Self::Booting { deadline, .. } | Self::Draining { deadline, .. } => Some(deadline),
            Self::Idle | Self::Starting | Self::Dying { .. } | Self::Succeeded { .. } => None,
        }
    }

    pub(crate) fn step(
        &mut self,
        input: UpgradeInput,
        now: Tick,
        plan: &Plan,
        out: &mut Vec<Action>,
    ) {
        use UpgradeInput as I;
        let given_up = |why| Action::Report(Notice::UpgradeGivenUp { why });
        match (*self, input) {
            (Self::Idle, I::Asked) => {
                *self = Self::Starting;
                out.push(Action::StartUpgrade);
            }
            (_, I::Asked) => {
                let why = "an upgrade is under way";
                out.push(Action::Report(Notice::UpgradeRefused { why }));
            }
            (Self::Starting, I::Spawned(pid)) => {
                let deadline = now + patience(plan);
                *self = Self::Booting { pid, since: now, deadline };
                out.push(Action::Report(Notice::UpgradeStarted { pid }));
            }
            (Self::Starting, I::SpawnFailed) => {
                *self = Self::Idle;
                out.push(given_up(UpgradeFailure::Spawn));
            }
            (Self::Booting { pid, since, .. }, I::Ready(ready)) if ready == pid => {
                *self = Self::Succeeded { pid, ready: true };
                let took = now.since(since);
                out.push(Action::Report(Notice::HandedOver { pid, took: Some(took) }));
            }
            (Self::Booting { pid, .. }, I::LeftAlone) => {
                *self = Self::Succeeded { pid, ready: false };
                out.push(Action::Report(Notice::HandedOver { pid, took: None }));
            }
            (Self::Booting { pid, .. }, I::DeadlinePassed) => {
                // Some of its workers may serve; they have the same grace as ours, and so has it.
                let deadline = now + plan.graceful_timeout + plan.abort_grace * 3;
                *self = Self::Draining { pid, deadline };
                out.push(given_up(UpgradeFailure::TimedOut));
                out.push(Action::Send { pid, signal: Signal::Terminate });
            }
            (Self::Draining { pid, .. }, I::DeadlinePassed) => {
                *self = Self::Dying { pid };
                out.push(Action::Send { pid, signal: Signal::Kill });
            }
            (Self::Booting { .. }, I::Exited(ending)) => {
                *self = Self::Idle;
                out.push(given_up(UpgradeFailure::Exited(ending)));
            }
            (Self::Draining { .. } | Self::Dying { .. }, I::Exited(_)) => *self = Self::Idle,
            (Self::Succeeded { pid, .. }, I::TakenBack(ending)) => {
                *self = Self::Idle;
                out.push(Action::Report(Notice::TakenBack { pid, ending }));
            }
            // Too late: we have left the listeners to it, and are on our way.
            (Self::Succeeded { pid, .. }, I::Exited(ending)) => {
                out.push(Action::Report(Notice::HeirLost { pid, ending }));
            }
            _ => {}
        }
    }
}

impl Supervisor {
    /// The new master has ended: before it took over, or after it.
    pub(crate) fn on_heir_exited(&mut self, ending: Ending, now: Tick, out: &mut Vec<Action>) {
        let has_crashed = matches!(ending, Ending::Signaled(_));
        let serves_for_us = matches!(self.upgrade, UpgradeState::Succeeded { ready: true, .. });
        let is_wanted = matches!(self.life, Life::Stopping(stop) if !stop.is_asked_for);
        if has_crashed && serves_for_us && is_wanted {
            self.step_upgrade(UpgradeInput::TakenBack(ending), now, out);
            self.take_back(now, out);
        } else {
            self.step_upgrade(UpgradeInput::Exited(ending), now, out);
        }
    }

    /// Goes on as a service; what drains goes on draining, and `settle` does the rest.
    fn take_back(&mut self, now: Tick, out: &mut Vec<Action>) {
        self.life = Life::Running;
        out.push(Action::TakeBack);
        // What has ended while we left says nothing about what comes.
        self.pool.forget_all_deaths();
        self.intensity.forget();
        self.shortage = Shortage::default();
        self.zygote_backoff.forget();
        self.give_up_reload(None, now, out);
    }
}

/// Its zygote has `boot_timeout`, and then its workers.
fn patience(plan: &Plan) -> Duration {
    plan.boot_timeout * 2
}
