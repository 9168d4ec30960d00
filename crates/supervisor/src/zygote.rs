//! The life of one zygote, and the small herd of them.
//!
//! At most three live at a time: the one that is forked from, a candidate that boots, and an old
//! one on its way out. What a zygote's end *means* (the service stops, a reload is given up, a new
//! zygote is started) is not decided here but in `supervisor`, from the [`Outcome`].

use std::time::Duration;

use crate::shortage;
use crate::{Action, BootFailure, Ending, Generation, Notice, Pid, Plan, Refusal, Signal, Tick};

/// sysexits' `EX_CONFIG`: by this status a worker or a zygote says that another try is of no use.
pub(crate) const NO_RETRY_STATUS: i32 = 78;

/// Where a zygote is in its life.
///
/// ```text
///              Spawned           Ready         Retire            Exited
///   Starting ──────────▶ Booting ──────▶ Ready ───────▶ Leaving ────────▶ Gone
///      │ Abandon           │ │ Failed      │               ▲ │            ▲
///      ▼                   │ └─────────────┼───────────────┘ │            │
///   Unwanted               │ deadline,     │ stuck           │ deadline   │
///      │ Spawned           │ Abandon       ▼                 ▼            │
///      └───────────────────┴───────────▶ Stuck, Dying ────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZygoteState {
    /// Its process is being made.
    Starting {
        /// It must be ready by then.
        deadline: Tick,
    },
    /// Being made, but no longer wanted: killed as soon as we know its process.
    Unwanted {
        /// It is forgotten then.
        deadline: Tick,
    },
    /// Imports the app.
    Booting {
        /// Its process.
        pid: Pid,
        /// It must be ready by then.
        deadline: Tick,
    },
    /// Waits for fork requests.
    Ready {
        /// Its process.
        pid: Pid,
        /// Since when.
        ready_at: Tick,
    },
    /// Retired or failed; it exits by itself.
    Leaving {
        /// Its process.
        pid: Pid,
        /// It is killed then.
        deadline: Tick,
    },
    /// Killed because it did not answer a fork request. Its end counts as a loss.
    Stuck {
        /// Its process.
        pid: Pid,
        /// Since when it had been ready.
        ready_at: Tick,
    },
    /// Killed; only the report of its exit is left to wait for.
    Dying {
        /// Its process.
        pid: Pid,
    },
    /// Reaped, or never born.
    Gone,
}

/// What may happen to a zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZygoteInput {
    Spawned(Pid),
    SpawnFailed(Refusal),
    /// Its settings have been read; it is told to load the app now.
    Load {
        within: Duration,
    },
    Ready,
    Failed(BootFailure),
    /// It did not answer a fork request in time.
    Stuck,
    DeadlinePassed,
    /// A newer one is ready, or the service stops.
    Retire,
    /// Nobody waits for it any more.
    Abandon,
    Exited(Ending),
}

/// What an input means for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing.
    Nothing,
    /// It can be forked from now on.
    Ready,
    /// It will never be ready.
    Failed(BootFailure),
    /// It was ready, and is no more.
    Lost { ready_at: Tick },
}

/// One zygote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zygote {
    pub(crate) generation: Generation,
    pub(crate) state: ZygoteState,
}

impl Zygote {
    pub(crate) fn start(generation: Generation, now: Tick, plan: &Plan) -> Self {
        Self { generation, state: ZygoteState::Starting { deadline: now + plan.boot_timeout } }
    }

    /// Applies one input, pushes what the runtime has to do, and says what it means.
    ///
    /// A pair that is not named leaves the zygote as it is: it may speak while it is being
    /// retired or killed. The table in the tests shows all pairs.
    pub(crate) fn step(
        &mut self,
        input: ZygoteInput,
        now: Tick,
        plan: &Plan,
        out: &mut Vec<Action>,
    ) -> Outcome {
        let (next, outcome) = match input {
            ZygoteInput::DeadlinePassed => self.on_deadline(now, plan, out),
            ZygoteInput::Stuck | ZygoteInput::Retire | ZygoteInput::Abandon => {
                (self.on_order(input, now, plan, out), Outcome::Nothing)
            }
            news => self.on_news(news, now, plan, out),
        };
        self.state = next;
        outcome
    }

    /// What the runtime and the zygote itself report.
    fn on_news(
        &self,
        news: ZygoteInput,
        now: Tick,
        plan: &Plan,
        out: &mut Vec<Action>,
    ) -> (ZygoteState, Outcome) {
        use ZygoteInput as Input;
        use ZygoteState::{Booting, Dying, Gone, Leaving, Ready, Starting, Stuck, Unwanted};

        let generation = self.generation;
        match (self.state, news) {
            (Starting { deadline }, Input::Spawned(pid)) => {
                (Booting { pid, deadline }, Outcome::Nothing)
            }
            (Unwanted { .. }, Input::Spawned(pid)) => (kill(pid, out), Outcome::Nothing),
            (Starting { .. }, Input::SpawnFailed(refusal)) => {
                let failure = match refusal {
                    Refusal::Shortage => BootFailure::Shortage,
                    Refusal::Other => BootFailure::Setup,
                };
                (Gone, self.fail(failure, out))
            }
            (Unwanted { .. }, Input::SpawnFailed(_)) => (Gone, Outcome::Nothing),
            (Booting { pid, .. }, Input::Load { within }) => {
                (Booting { pid, deadline: now + within }, Outcome::Nothing)
            }
            (Booting { pid, .. }, Input::Ready) => {
                out.push(Action::Report(Notice::ZygoteReady { generation, pid }));
                (Ready { pid, ready_at: now }, Outcome::Ready)
            }
            (Booting { pid, .. }, Input::Failed(failure)) => {
                let deadline = now + plan.abort_grace;
                (Leaving { pid, deadline }, self.fail(failure, out))
            }
            (Booting { .. }, Input::Exited(ending)) => {
                let failure = failure_of(ending).unwrap_or(BootFailure::Setup);
                (Gone, self.fail(failure, out))
            }
            (Ready { ready_at, .. } | Stuck { ready_at, .. }, Input::Exited(ending)) => {
                out.push(Action::Report(Notice::ZygoteLost { generation, ending }));
                (Gone, Outcome::Lost { ready_at })
            }
            (Leaving { .. } | Dying { .. }, Input::Exited(_)) => (Gone, Outcome::Nothing),
            (state, Input::Spawned(_) | Input::SpawnFailed(_)) => {
                let what = "a zygote was started twice";
                out.push(Action::Report(Notice::Surprise { what }));
                (state, Outcome::Nothing)
            }
            (state, _) => (state, Outcome::Nothing),
        }
    }

    fn on_deadline(&self, now: Tick, plan: &Plan, out: &mut Vec<Action>) -> (ZygoteState, Outcome) {
        let timed_out = Action::Report(Notice::ZygoteBootTimedOut { generation: self.generation });
        match self.state {
            ZygoteState::Starting { .. } => {
                out.push(timed_out);
                let deadline = now + plan.abort_grace;
                (ZygoteState::Unwanted { deadline }, Outcome::Failed(BootFailure::Setup))
            }
            ZygoteState::Unwanted { .. } => (ZygoteState::Gone, Outcome::Nothing),
            ZygoteState::Booting { pid, .. } => {
                out.push(timed_out);
                (kill(pid, out), Outcome::Failed(BootFailure::Setup))
            }
            ZygoteState::Leaving { pid, .. } => (kill(pid, out), Outcome::Nothing),
            state => (state, Outcome::Nothing),
        }
    }

    /// The supervisor wants it to leave.
    fn on_order(
        &self,
        order: ZygoteInput,
        now: Tick,
        plan: &Plan,
        out: &mut Vec<Action>,
    ) -> ZygoteState {
        use ZygoteInput as Input;
        use ZygoteState::{Booting, Dying, Leaving, Ready, Starting, Stuck, Unwanted};

        let deadline = now + plan.abort_grace;
        match (self.state, order) {
            (Starting { .. }, Input::Abandon) => Unwanted { deadline },
            (Ready { pid, .. }, Input::Retire) => {
                out.push(Action::RetireZygote { generation: self.generation });
                Leaving { pid, deadline }
            }
            (Ready { pid, ready_at }, Input::Stuck) => {
                kill(pid, out);
                Stuck { pid, ready_at }
            }
            // It imports, or has answered for the last time: nothing is lost by a kill.
            (Booting { pid, .. } | Ready { pid, .. } | Leaving { pid, .. }, Input::Abandon) => {
                kill(pid, out)
            }
            (Stuck { pid, .. }, Input::Abandon) => Dying { pid },
            (state, _) => state,
        }
    }

    /// When this zygote must be looked at again if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Tick> {
        match self.state {
            ZygoteState::Starting { deadline }
            | ZygoteState::Unwanted { deadline }
            | ZygoteState::Booting { deadline, .. }
            | ZygoteState::Leaving { deadline, .. } => Some(deadline),
            ZygoteState::Ready { .. }
            | ZygoteState::Stuck { .. }
            | ZygoteState::Dying { .. }
            | ZygoteState::Gone => None,
        }
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.state {
            ZygoteState::Booting { pid, .. }
            | ZygoteState::Ready { pid, .. }
            | ZygoteState::Leaving { pid, .. }
            | ZygoteState::Stuck { pid, .. }
            | ZygoteState::Dying { pid } => Some(pid),
            ZygoteState::Starting { .. } | ZygoteState::Unwanted { .. } | ZygoteState::Gone => None,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, ZygoteState::Ready { .. })
    }

    pub(crate) fn is_booting(&self) -> bool {
        matches!(self.state, ZygoteState::Starting { .. } | ZygoteState::Booting { .. })
    }

    /// It boots or is ready, so there is something to abandon.
    pub(crate) fn is_of_use(&self) -> bool {
        self.is_booting() || self.is_ready() || matches!(self.state, ZygoteState::Stuck { .. })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state == ZygoteState::Gone
    }

    /// The runtime owes us its process.
    pub(crate) fn is_asked_for(&self) -> bool {
        matches!(self.state, ZygoteState::Starting { .. } | ZygoteState::Unwanted { .. })
    }

    fn fail(&self, failure: BootFailure, out: &mut Vec<Action>) -> Outcome {
        let generation = self.generation;
        out.push(Action::Report(Notice::ZygoteFailed { generation, failure }));
        Outcome::Failed(failure)
    }
}

/// What an exit before ready says about the app: gunicorn's statuses for "worker failed to boot"
/// and "app failed to load", used by zygotes and by workers that load the app by themselves, and
/// the two of sysexits by which an app can speak to us.
pub(crate) fn failure_of(ending: Ending) -> Option<BootFailure> {
    match ending {
        Ending::Exited(3) => Some(BootFailure::Import),
        Ending::Exited(4) => Some(BootFailure::App),
        Ending::Exited(shortage::STATUS) => Some(BootFailure::Shortage),
        Ending::Exited(NO_RETRY_STATUS) => Some(BootFailure::NoRetry),
        Ending::Exited(_) | Ending::Signaled(_) => None,
    }
}

fn kill(pid: Pid, out: &mut Vec<Action>) -> ZygoteState {
    out.push(Action::Send { pid, signal: Signal::Kill });
    ZygoteState::Dying { pid }
}
