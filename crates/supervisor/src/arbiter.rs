//! The life of a dirty arbiter: gunicorn's process that runs long jobs in processes of its own. A
//! zygote forks it, as it forks workers. Who needs one is said in `arbiters`.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::random::Random;
use crate::{Action, Ending, Generation, Notice, Pid, Plan, Signal, Tick, WorkerId};

/// Where a dirty arbiter is in its life.
///
/// ```text
///             Ask             Forked            Leave, Quit            Exited
///   Waiting ────────▶ Asked ─────────▶ Running ────────────▶ Leaving ─────────▶ Gone
///     ▲ │ Leave         │                 │    Kill             │ deadline, Kill  ▲
///     │ └──▶ Gone       │ ForkFailed      │ Exited              ▼                │
///     └─────────────────┴─────────────────┘                   Dying ─────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyState {
    /// There is none.
    Waiting {
        /// None is asked for before; `None` = as soon as a zygote of its edition is ready.
        until: Option<Tick>,
    },
    /// A zygote was asked for it. One that is not wanted any more is told so when it is known.
    Asked {
        /// The zygote.
        zygote: Generation,
        /// It must have answered by then; `None` = it was killed for not answering.
        deadline: Option<Tick>,
    },
    /// Its process is there.
    Running {
        /// Its process.
        pid: Pid,
        /// Since when.
        since: Tick,
    },
    /// Told to end its workers and to leave.
    Leaving {
        /// Its process.
        pid: Pid,
        /// It is killed then.
        deadline: Tick,
    },
    /// Killed; only the report of its exit is left to wait for.
    Dying {
        /// Its process.
        pid: Pid,
    },
    /// Nobody wants it any more.
    Gone,
}

/// What may happen to a dirty arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirtyInput {
    /// This zygote is ready: ask it, under this number.
    Ask {
        zygote: Generation,
        worker: WorkerId,
    },
    Forked(Pid),
    ForkFailed,
    DeadlinePassed,
    /// Its edition has no workers any more, and no zygote.
    Leave,
    /// The service leaves at once.
    Quit,
    /// The service has had its time.
    Kill,
    Exited(Ending),
}

/// One dirty arbiter, also while its process is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arbiter {
    pub(crate) edition: Generation,
    /// Under which its process was asked for last; zygotes know it as any other fork.
    pub(crate) worker: Option<WorkerId>,
    /// What it gets to leave, as its own settings say.
    pub(crate) grace: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) state: DirtyState,
}

impl Arbiter {
    /// Applies one input, and pushes what the runtime has to do. A pair that is not named changes
    /// nothing; the table in the tests shows all.
    pub(crate) fn step(
        &mut self,
        input: DirtyInput,
        now: Tick,
        plan: &Plan,
        random: &mut Random,
        out: &mut Vec<Action>,
    ) {
        use DirtyInput as Input;
        use DirtyState::{Asked, Dying, Gone, Leaving, Running, Waiting};

        let generation = self.edition;
        self.state = match (self.state, input) {
            (Waiting { until: None }, Input::Ask { zygote, worker }) => {
                self.worker = Some(worker);
                out.push(Action::ForkDirty { generation: zygote, worker });
                Asked { zygote, deadline: Some(now + plan.fork_timeout) }
            }
            (Waiting { .. }, Input::DeadlinePassed) => Waiting { until: None },
            (Waiting { .. }, Input::Leave | Input::Quit | Input::Kill) => Gone,
            (Asked { .. }, Input::Forked(pid)) => {
                out.push(Action::Report(Notice::DirtyStarted { generation, pid }));
                Running { pid, since: now }
            }
            (Asked { .. }, Input::ForkFailed) => {
                let (_, wait) = self.backoff.count_death(now, plan, random);
                out.push(Action::Report(Notice::DirtyForkFailed { generation, wait }));
                Waiting { until: Some(now + wait) }
            }
            (Asked { zygote, .. }, Input::DeadlinePassed) => Asked { zygote, deadline: None },
            (Running { pid, .. }, Input::Leave) => {
                out.push(Action::Send { pid, signal: Signal::Terminate });
                // By then it has killed its own workers.
                Leaving { pid, deadline: now + self.grace + plan.abort_grace }
            }
            (Running { pid, .. } | Leaving { pid, .. }, Input::Quit) => {
                out.push(Action::Send { pid, signal: Signal::Quit });
                Leaving { pid, deadline: now + plan.abort_grace }
            }
            (Running { pid, .. } | Leaving { pid, .. }, Input::Kill) => kill(pid, out),
            (Leaving { pid, .. }, Input::DeadlinePassed) => {
                out.push(Action::Report(Notice::DirtyTimedOut { pid }));
                kill(pid, out)
            }
            (Running { pid, since }, Input::Exited(ending)) => {
                if now.since(since) >= plan.stable_life {
                    self.backoff.forget();
                }
                let (_, wait) = self.backoff.count_death(now, plan, random);
                out.push(Action::Report(Notice::DirtyLost { generation, pid, ending, wait }));
                Waiting { until: Some(now + wait) }
            }
            (Leaving { pid, .. } | Dying { pid }, Input::Exited(ending)) => {
                out.push(Action::Report(Notice::DirtyExited { pid, ending }));
                Gone
            }
            (state, _) => state,
        };
    }

    pub(crate) fn deadline(&self) -> Option<Tick> {
        match self.state {
            DirtyState::Waiting { until } => until,
            DirtyState::Asked { deadline, .. } => deadline,
            DirtyState::Leaving { deadline, .. } => Some(deadline),
            DirtyState::Running { .. } | DirtyState::Dying { .. } | DirtyState::Gone => None,
        }
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.state {
            DirtyState::Running { pid, .. }
            | DirtyState::Leaving { pid, .. }
            | DirtyState::Dying { pid } => Some(pid),
            DirtyState::Waiting { .. } | DirtyState::Asked { .. } | DirtyState::Gone => None,
        }
    }

    pub(crate) fn asked_of(&self) -> Option<Generation> {
        match self.state {
            DirtyState::Asked { zygote, .. } => Some(zygote),
            _ => None,
        }
    }
}

fn kill(pid: Pid, out: &mut Vec<Action>) -> DirtyState {
    out.push(Action::Send { pid, signal: Signal::Kill });
    DirtyState::Dying { pid }
}
