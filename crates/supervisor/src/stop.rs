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

use crate::{Plan, Tick};

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// Children may finish.
    Finish { until: Tick },
    /// All have been killed; their exits are waited for.
    Killed { until: Tick },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// What the master exits with.
    pub(crate) status: u8,
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
        Self { status, grace, zygotes_until: Some(now + plan.abort_grace) }
    }

    /// Nobody gets more than `abort_grace` any more.
    pub(crate) fn hurry(&mut self, now: Tick, plan: &Plan) {
        if let Grace::Finish { until } = self.grace {
            self.grace = Grace::Finish { until: until.min(now + plan.abort_grace) };
        }
    }

    /// When draining workers are killed.
    pub(crate) fn drain_deadline(&self) -> Tick {
        match self.grace {
            Grace::Finish { until } | Grace::Killed { until } => until,
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
        let until = self.drain_deadline();
        self.zygotes_until.map_or(until, |zygotes_until| zygotes_until.min(until))
    }
}
